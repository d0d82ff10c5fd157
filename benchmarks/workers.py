"""Two processes over one folder, against one: how much faster, and what keeps it from being twice as fast.

Processes side by side belong here; one process over many files does not.
"""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil
from sqlalchemy import text

from benchmarks.files import write_small_reports
from benchmarks.installation import Installation, installation
from benchmarks.report import Figure, Show, at_least, median_ratio, spread
from benchmarks.servers import Servers
from visitas_dagster.domain.states import Estado
from visitas_dagster.resources.platform import Platform

AGAINST_ONE = 1.6
_LOADED = re.compile(rf"^report_\d+\.txt {Estado.COMPLETADO.value}$", re.MULTILINE)


class NotAllLoaded(RuntimeError):
    """A file did not end in the tables."""


@dataclass(frozen=True)
class Shared:
    """What so many processes over one folder took.

    Attributes:
        seconds: until the last one ended.
        ours: the processes' processor seconds.
        server: the database server's.
        idle, waiting: shares of the machine's processors that had nothing to do, and that waited for the disk.
        fewest: files that the process which loaded the fewest loaded.
        deadlocks: those that the server counted.
    """

    seconds: float
    ours: float
    server: float
    idle: float
    waiting: float
    fewest: int
    deadlocks: int

    def processors(self) -> str:
        """Say what kept the processors busy: 1 is one of them all the time."""
        return (
            f"ours {self.ours / self.seconds:.2f}, the database server's {self.server / self.seconds:.2f}, "
            f"all of the machine's idle {self.idle:.0%}, waiting for the disk {self.waiting:.0%}"
        )


def measure_workers(servers: Servers, engine: str, files: int, records: int, pairs: int, show: Show) -> None:
    """Show two ``visitas dispatch`` at once over ``files`` files, in turn with one over as many."""
    ones: list[Shared] = []
    twos: list[Shared] = []
    for _ in range(pairs):
        ones.append(_run(servers, engine, 1, files, records))
        twos.append(_run(servers, engine, 2, files, records))
    ratio = median_ratio([run.seconds for run in ones], [run.seconds for run in twos])
    show(
        Figure(
            f"{engine}: two processes over {files} files of {records} records",
            _rate(files, twos),
            _rate(files, ones),
            ratio,
            at_least(ratio, AGAINST_ONE),
            f"processors with two: {_median(twos).processors()}; with one: {_median(ones).processors()}; "
            f"the slower of the two loaded {min(run.fewest for run in twos)} files at the least; "
            f"deadlocks {sum(run.deadlocks for run in twos)}; every file {Estado.COMPLETADO.value}",
        )
    )


def _rate(files: int, runs: list[Shared]) -> str:
    return spread([files / run.seconds * 60 for run in runs], "files/minute")


def _median(runs: list[Shared]) -> Shared:
    return sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]


def _run(servers: Servers, engine: str, processes: int, files: int, records: int) -> Shared:
    with installation(servers.sftp, servers.database(engine)) as place:
        write_small_reports(place.folder, files, records)
        server, deadlocks = servers.cpu_seconds(engine), servers.deadlocks(engine)
        machine, begin = psutil.cpu_times(), time.perf_counter()
        with ThreadPoolExecutor(processes) as pool:
            # Each a single process: a pass over many files would start another one by itself.
            runs = list(pool.map(lambda _: place.visitas("dispatch", VISITAS_PROCESOS="1"), range(processes)))
        found = Shared(
            time.perf_counter() - begin,
            sum(run.cpu_seconds for run in runs),
            servers.cpu_seconds(engine) - server,
            *_shares(machine, psutil.cpu_times()),
            min(len(_LOADED.findall(run.output)) for run in runs),
            servers.deadlocks(engine) - deadlocks,
        )
        _require_all(place, files)
        return found


def _shares(before: Any, after: Any) -> tuple[float, float]:
    passed = sum(after) - sum(before)
    return float((after.idle - before.idle) / passed), float((after.iowait - before.iowait) / passed)


def _require_all(place: Installation, files: int) -> None:
    with Platform(place.settings()) as platform, platform.engine.connect() as connection:
        rows = connection.execute(text("SELECT estado, COUNT(*) FROM bitacora_control GROUP BY estado")).all()
    found = {str(state): int(count) for state, count in rows}
    if found != {Estado.COMPLETADO.value: files}:
        raise NotAllLoaded(f"of {files} files: {found}")
