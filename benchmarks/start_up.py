"""How soon a command answers: its whole process, against Python importing SQLAlchemy.

The commands and what they are held against belong here; what a command does with files does not.
"""

from __future__ import annotations

import statistics
import sys

from benchmarks.files import write_small_reports
from benchmarks.installation import installation
from benchmarks.process import measure
from benchmarks.report import Figure, Show, at_most, below, median_ratio
from benchmarks.servers import Servers

COMMANDS = (("--help", 0.3, 1.5), ("status", 0.5, 2.0))
"""The command, its seconds, and how many times the import of SQLAlchemy it may take."""


def measure_start(servers: Servers, engine: str, times: int, show: Show) -> None:
    """Show each command's start, in turn with the import; a first round, which warms the disk, is not counted."""
    imports: list[float] = []
    seconds: dict[str, list[float]] = {command: [] for command, _, _ in COMMANDS}
    with installation(servers.sftp, servers.database(engine)) as place:
        write_small_reports(place.folder, 3, 100)
        place.visitas("dispatch")
        for _ in range(times + 1):
            imports.append(measure([sys.executable, "-c", "import sqlalchemy"], place.environment()).seconds)
            for command in seconds:
                seconds[command].append(place.visitas(command).seconds)
    for command, limit, ratio in COMMANDS:
        _show(f"{engine}: `visitas {command}`", seconds[command][1:], imports[1:], limit, ratio, show)


def _show(
    what: str, seconds: list[float], imports: list[float], limit: float, at_most_ratio: float, show: Show
) -> None:
    median, ratio = statistics.median(seconds), median_ratio(seconds, imports)
    show(
        Figure(
            what,
            f"{median:.3f} s ({min(seconds):.3f} to {max(seconds):.3f})",
            f"{statistics.median(imports):.3f} s",
            ratio,
            f"{below(median, limit, ' s')}; {at_most(ratio, at_most_ratio)}",
            f"median of {len(seconds)}; held against: `python -c 'import sqlalchemy'`",
        )
    )
