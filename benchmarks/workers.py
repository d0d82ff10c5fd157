"""Two processes over one folder, against one: how much faster, and what keeps it from being twice as fast.

Processes side by side belong here; one process over many files does not.
"""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sqlalchemy import text

from benchmarks.files import write_small_reports
from benchmarks.installation import Installation, installation
from benchmarks.report import Figure, Show, at_least, median_ratio, spread
from benchmarks.servers import Servers
from visitas_dagster.domain.states import Estado
from visitas_dagster.resources.platform import Platform

AGAINST_ONE = 1.6


class NotAllLoaded(RuntimeError):
    """A file did not end in the tables."""


@dataclass(frozen=True)
class Shared:
    """What so many processes over one folder took.

    Attributes:
        seconds: until the last one ended.
        server: the database server's processor seconds meanwhile.
        deadlocks: those that the server counted meanwhile.
    """

    seconds: float
    server: float
    deadlocks: int


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
            f"one's seconds over those of two ({spread([run.seconds for run in twos])}); the database server takes "
            f"{_share(twos)} of a processor, with one process {_share(ones)}; deadlocks "
            f"{sum(run.deadlocks for run in twos)}; every file {Estado.COMPLETADO.value}",
        )
    )


def _rate(files: int, runs: list[Shared]) -> str:
    return f"{files / statistics.median(run.seconds for run in runs) * 60:,.0f} files/minute"


def _share(runs: list[Shared]) -> str:
    return f"{statistics.median(run.server / run.seconds for run in runs):.2f}"


def _run(servers: Servers, engine: str, processes: int, files: int, records: int) -> Shared:
    with installation(servers.sftp, servers.database(engine)) as place:
        write_small_reports(place.folder, files, records)
        server, deadlocks = servers.cpu_seconds(engine), servers.deadlocks(engine)
        begin = time.perf_counter()
        with ThreadPoolExecutor(processes) as pool:
            list(pool.map(lambda _: place.visitas("dispatch"), range(processes)))
        seconds = time.perf_counter() - begin
        found = Shared(seconds, servers.cpu_seconds(engine) - server, servers.deadlocks(engine) - deadlocks)
        _require_all(place, files)
        return found


def _require_all(place: Installation, files: int) -> None:
    with Platform(place.settings()) as platform, platform.engine.connect() as connection:
        rows = connection.execute(text("SELECT estado, COUNT(*) FROM bitacora_control GROUP BY estado")).all()
    found = {str(state): int(count) for state, count in rows}
    if found != {Estado.COMPLETADO.value: files}:
        raise NotAllLoaded(f"of {files} files: {found}")
