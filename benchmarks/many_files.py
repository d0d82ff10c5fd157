"""Many files: a burst of small ones through ``visitas dispatch``, and a sensor tick over a long history.

Figures that grow with the number of files belong here; those of one big file do not.
"""

from __future__ import annotations

import time

import dagster as dg
from sqlalchemy import insert

from benchmarks.files import link_reports, write_report, write_small_reports
from benchmarks.floor import load_floor, sftp_batch
from benchmarks.installation import Installation, installation
from benchmarks.report import Figure, Show, median_ratio, spread
from benchmarks.servers import Servers
from visitas_dagster.instance import open_instance
from visitas_dagster.loading.tables import bitacora_control
from visitas_dagster.partitions import ARCHIVOS
from visitas_dagster.resources.platform import Platform
from visitas_dagster.sensors.arrivals import tick
from visitas_dagster.settings import Settings

SMALL_RECORDS = 500
_INSERTED = 5000


class UnexpectedRuns(RuntimeError):
    """The number of runs is not the one that the settings promise."""


def measure_small(servers: Servers, engine: str, files: int, show: Show) -> None:
    """Show a burst of small files: files a minute, and how many Dagster runs it took."""
    names = [f"report_{number}.txt" for number in range(1, files + 1)]
    with installation(servers.sftp, servers.database(engine)) as place:
        write_small_reports(place.folder, files, SMALL_RECORDS)
        floor = load_floor(servers.sftp, place.folder, names, place.database_url, place.home).seconds
    with installation(servers.sftp, servers.database(engine)) as place:
        write_small_reports(place.folder, files, SMALL_RECORDS)
        run = place.visitas("dispatch")
        settings = place.settings()
        runs = _runs(settings)
    wanted = -(-files // settings.archivos_por_corrida)
    if runs != wanted:
        raise UnexpectedRuns(f"{files} files took {runs} Dagster runs, not {wanted}")
    show(
        Figure(
            f"{engine}: {files} files of {SMALL_RECORDS} records",
            f"{run.seconds:.1f} s, {files / run.seconds * 60:,.0f} files/minute",
            f"{files / floor * 60:,.0f} files/minute",
            run.seconds / floor,
            f"{runs} Dagster runs, peak {run.peak_mib:.0f} MiB; start-up included; Dagster's storage: SQLite",
        )
    )


def _runs(settings: Settings) -> int:
    with open_instance(settings) as instance:
        return instance.get_runs_count()


def measure_tick(servers: Servers, engine: str, known: int, new: int, pairs: int, show: Show) -> None:
    """Show a sensor tick that finds ``new`` files, with ``known`` others in Dagster and in the ledger."""
    with installation(servers.sftp, servers.database(engine)) as place:
        source = place.home / "one.txt"
        write_report(source, 10)
        link_reports(place.folder, source, new, first=known + 1)
        settings = place.settings()
        _remember(settings, known)
        with open_instance(settings) as instance:
            instance.add_dynamic_partitions(ARCHIVOS, [f"report_{number}.txt" for number in range(1, known + 1)])
            _time_ticks(place, settings, instance, new, pairs, show, f"{engine}: tick, {known:,} known, {new} new")


def _time_ticks(
    place: Installation,
    settings: Settings,
    instance: dg.DagsterInstance,
    new: int,
    pairs: int,
    show: Show,
    what: str,
) -> None:
    floors, ours, inner = [], [], []
    wanted = -(-new // settings.archivos_por_corrida)
    for _ in range(pairs):
        floors.append(sftp_batch(place.sftp, place.folder, "ls -ln")[0])
        begin = time.perf_counter()
        with Platform(settings) as platform:
            # Connections are open, as they are not in the daemon: a tick of its own opens them.
            platform.sftp.list()
            connected = time.perf_counter()
            result = tick(instance, None, platform)
            inner.append(time.perf_counter() - connected)
        ours.append(time.perf_counter() - begin)
        runs = len(result.run_requests or []) if isinstance(result, dg.SensorResult) else 0
        if runs != wanted:
            raise UnexpectedRuns(f"a tick over {new} new files asked for {runs} runs, not {wanted}: {result}")
    show(
        Figure(
            what,
            spread(ours),
            spread(floors),
            median_ratio(ours, floors),
            f"{wanted} runs asked for; {spread(inner)} of it without connecting; floor: sftp's ls",
        )
    )


def _remember(settings: Settings, known: int) -> None:
    """Write so many loaded files into the ledger."""
    rows = [
        {
            "archivo": f"report_{number}.txt",
            "sha256": f"{number:064x}",
            "estado": "COMPLETADO",
            "intentos": 1,
            "vigente": True,
        }
        for number in range(1, known + 1)
    ]
    with Platform(settings) as platform, platform.engine.begin() as connection:
        for start in range(0, known, _INSERTED):
            connection.execute(insert(bitacora_control), rows[start : start + _INSERTED])
