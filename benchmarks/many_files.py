"""Bursts of small files: what one more file costs, against one file alone and against Dagster as it comes.

Figures of many files through one process belong here; two processes, and what a long history costs, do not.
"""

from __future__ import annotations

import json
import statistics
import sys

from benchmarks.files import write_small_reports
from benchmarks.floor import load_floor
from benchmarks.installation import Installation, installation
from benchmarks.process import Measured, measure
from benchmarks.report import Figure, Show, at_least, at_most, median_ratio, spread
from benchmarks.servers import Servers
from visitas_dagster.instance import open_instance

AGAINST_ONE = 6
AGAINST_DEFAULT = 20


class UnexpectedRuns(RuntimeError):
    """The number of runs is not the one that the settings promise."""


def measure_small(
    servers: Servers, engine: str, files: int, records: int, default_files: int, pairs: int, show: Show
) -> None:
    """Show a burst of small files, in turn with one such file, with the floor, and with Dagster's default.

    Args:
        servers: where it runs.
        engine: the database.
        files: of the burst.
        records: of each file.
        default_files: how many of them Dagster's default executor gets, a run each.
        pairs: how often each takes its turn.
        show: told each figure.
    """
    ones: list[float] = []
    floors: list[float] = []
    bursts: list[Measured] = []
    defaults: list[float] = []
    for _ in range(pairs):
        ones.append(_burst(servers, engine, 1, records).seconds)
        bursts.append(_burst(servers, engine, files, records))
        floors.append(_floor(servers, engine, files, records))
        defaults.append(_default_seconds(servers, engine, default_files, records))
    seconds = [run.seconds for run in bursts]
    rate = files / statistics.median(seconds) * 60
    what = f"{engine}: {files} files of {records} records"
    against_one = median_ratio(seconds, ones)
    facts = f"{rate:,.0f} files/minute, peak {max(run.peak_mib for run in bursts):.0f} MiB; Dagster's storage: SQLite"
    show(
        Figure(f"{what}, against one file", spread(seconds), spread(ones), against_one, _target(against_one), facts),
    )
    show(
        Figure(
            f"{what}, against the floor",
            f"{rate:,.0f} files/minute",
            f"{files / statistics.median(floors) * 60:,.0f} files/minute",
            median_ratio(seconds, floors),
            note="one sftp session for all; load, upsert and commit for each",
        )
    )
    against_default = median_ratio([one / default_files for one in defaults], [one / files for one in seconds])
    show(
        Figure(
            f"{what}, against Dagster's default executor",
            f"{rate:,.0f} files/minute",
            f"{default_files / statistics.median(defaults) * 60:,.1f} files/minute",
            against_default,
            at_least(against_default, AGAINST_DEFAULT),
            f"ours over theirs; theirs: {default_files} files, a run each, a process a step, no start counted",
        )
    )


def _target(ratio: float) -> str:
    return at_most(ratio, AGAINST_ONE)


def _burst(servers: Servers, engine: str, files: int, records: int) -> Measured:
    with installation(servers.sftp, servers.database(engine)) as place:
        write_small_reports(place.folder, files, records)
        run = place.visitas("dispatch")
        _require_runs(place, files)
        return run


def _require_runs(place: Installation, files: int) -> None:
    settings = place.settings()
    wanted = -(-files // settings.archivos_por_corrida)
    with open_instance(settings) as instance:
        runs = instance.get_runs_count()
    if runs != wanted:
        raise UnexpectedRuns(f"{files} files took {runs} Dagster runs, not {wanted}")


def _floor(servers: Servers, engine: str, files: int, records: int) -> float:
    names = [f"report_{number}.txt" for number in range(1, files + 1)]
    with installation(servers.sftp, servers.database(engine)) as place:
        write_small_reports(place.folder, files, records)
        return load_floor(servers.sftp, place.folder, names, place.database_url, place.home).seconds


def _default_seconds(servers: Servers, engine: str, files: int, records: int) -> float:
    """Return the seconds of the runs, one a file, without the start of the process that asks for them."""
    with installation(servers.sftp, servers.database(engine)) as place:
        write_small_reports(place.folder, files, records)
        home = place.home / "default"
        home.mkdir()
        target = place.home / "found.json"
        environment = {**place.environment(), "DAGSTER_HOME": str(home)}
        measure([sys.executable, "-m", "benchmarks.default_runs", str(target), str(files)], environment)
        return float(json.loads(target.read_text(encoding="utf-8"))["seconds"])
