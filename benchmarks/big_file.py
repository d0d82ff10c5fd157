"""One big file through ``visitas dispatch``: seconds, records a second, memory, and where the time goes.

The big file's figures belong here; many files and the sensor do not.
"""

from __future__ import annotations

import json
import statistics
import sys

from benchmarks.files import write_report
from benchmarks.floor import Floor, load_floor, to_sql_seconds
from benchmarks.installation import installation
from benchmarks.process import Measured, measure
from benchmarks.report import Figure, Show, at_least, at_most, below, median_ratio, spread
from benchmarks.servers import Servers

NAME = "report_1.txt"
BAD_SHARE = 0.01
MEMORY_LIMIT_MIB = 700
AGAINST_FLOOR = 1.0
AGAINST_TO_SQL = 4
AGAINST_TENTH = 1.15


def measure_file(servers: Servers, engine: str, records: int, to_sql: int, pairs: int, show: Show) -> None:
    """Show a file's way through the platform, good and with 1 % of its records broken, each after a floor.

    Args:
        servers: where it runs.
        engine: the database.
        records: of the file.
        to_sql: of the file that ``read_csv`` and ``to_sql`` get: a million would take them minutes.
        pairs: how often each takes its turn.
        show: told each figure.
    """
    before_good: list[float] = []
    before_bad: list[float] = []
    good: list[Measured] = []
    bad: list[Measured] = []
    usual: list[float] = []
    _floor(servers, engine, 1000)
    for _ in range(pairs):
        before_good.append(_floor(servers, engine, records).seconds)
        good.append(_dispatch(servers, engine, records))
        before_bad.append(_floor(servers, engine, records).seconds)
        bad.append(_dispatch(servers, engine, records, bad_share=BAD_SHARE))
        usual.append(_to_sql(servers, engine, to_sql))
    show(_against_floor(f"{engine}: {records:,} records", records, good, before_good))
    show(
        _against_floor(
            f"{engine}: the same, {BAD_SHARE:.0%} broken", records, bad, before_bad, "floor: the good file's"
        )
    )
    show(_against_to_sql(engine, [run.seconds / records for run in good], [seconds / to_sql for seconds in usual]))
    if engine == "mysql":
        _show_without_local_infile(servers, engine, records, pairs, show)


def _show_without_local_infile(servers: Servers, engine: str, records: int, pairs: int, show: Show) -> None:
    floors, ours = [], []
    for _ in range(pairs):
        floors.append(_floor(servers, engine, records).seconds)
        with servers.database(engine).with_local_infile(on=False):
            ours.append(_dispatch(servers, engine, records))
    what = f"{engine}: {records:,} records, local_infile off for us"
    show(_against_floor(what, records, ours, floors, "floor: with it on", target=False))


def _against_floor(
    what: str, records: int, ours: list[Measured], floors: list[float], note: str = "", *, target: bool = True
) -> Figure:
    seconds = [mine.seconds for mine in ours]
    ratio = median_ratio(seconds, floors)
    peak = max(mine.peak_mib for mine in ours)
    cpu = statistics.median(mine.cpu_seconds for mine in ours)
    facts = f"{records / statistics.median(seconds):,.0f} records/s, peak {peak:.0f} MiB, {cpu:.1f} s of processor"
    return Figure(
        what,
        spread(seconds),
        spread(floors),
        ratio,
        at_most(ratio, AGAINST_FLOOR) if target else "",
        f"{facts}; {note}" if note else facts,
    )


def _against_to_sql(engine: str, ours: list[float], usual: list[float]) -> Figure:
    """Return how many times as fast as ``read_csv`` and ``to_sql`` a record is loaded."""
    ratio = median_ratio(usual, ours)
    return Figure(
        f"{engine}: a record, against read_csv and to_sql",
        f"{1 / statistics.median(ours):,.0f} records/s",
        f"{1 / statistics.median(usual):,.0f} records/s",
        ratio,
        at_least(ratio, AGAINST_TO_SQL),
        'theirs over ours; method="multi", chunksize 1000; no download, checks or visitors',
    )


def _to_sql(servers: Servers, engine: str, records: int) -> float:
    with installation(servers.sftp, servers.database(engine)) as place:
        write_report(place.folder / NAME, records)
        return to_sql_seconds(place.folder / NAME, place.database_url)


def _floor(servers: Servers, engine: str, records: int) -> Floor:
    with installation(servers.sftp, servers.database(engine)) as place:
        write_report(place.folder / NAME, records)
        return load_floor(servers.sftp, place.folder, [NAME], place.database_url, place.home)


def _dispatch(servers: Servers, engine: str, records: int, bad_share: float = 0) -> Measured:
    with installation(servers.sftp, servers.database(engine)) as place:
        write_report(place.folder / NAME, records, bad_share=bad_share)
        return place.visitas("dispatch")


def measure_memory(servers: Servers, engine: str, sizes: list[int], show: Show) -> None:
    """Show the memory at the peak by the file's size."""
    for records in sizes:
        run = _dispatch(servers, engine, records, bad_share=BAD_SHARE)
        show(
            Figure(
                f"{engine}: {records:,} record{'' if records == 1 else 's'}, 1 % broken",
                f"peak {run.peak_mib:.0f} MiB",
                target=below(run.peak_mib, MEMORY_LIMIT_MIB, " MiB"),
                note=f"{run.seconds:.1f} s",
            )
        )


def measure_ten(servers: Servers, engine: str, records: int, tenth: int, pairs: int, show: Show) -> None:
    """Show a very big file: its memory at the peak, and its time against that of a smaller one, record by record."""
    small, big = [], []
    for _ in range(pairs):
        small.append(_dispatch(servers, engine, tenth).seconds)
        big.append(_dispatch(servers, engine, records))
    times = records / tenth
    seconds = [run.seconds for run in big]
    ratio = median_ratio(seconds, [times * one for one in small])
    peak = max(run.peak_mib for run in big)
    what = f"{engine}: {records:,} records"
    show(
        Figure(f"{what}, memory", f"peak {peak:.0f} MiB", target=below(peak, MEMORY_LIMIT_MIB, " MiB"), note="the most")
    )
    show(
        Figure(
            f"{what}, time",
            spread(seconds),
            f"{times:g} x {spread(small)}",
            ratio,
            at_most(ratio, AGAINST_TENTH),
            f"against {times:g} times the time of {tenth:,} records",
        )
    )


def measure_profile(servers: Servers, engine: str, records: int, show: Show) -> None:
    """Show where the seconds of one good file go."""
    with installation(servers.sftp, servers.database(engine)) as place:
        write_report(place.folder / NAME, records)
        target = place.home / "found.json"
        run = measure([sys.executable, "-m", "benchmarks.traced", str(target)], place.environment())
        found = json.loads(target.read_text(encoding="utf-8"))
    for what, seconds in _parts(found["seconds"], run.seconds):
        peak = found["peaks"].get(what.strip())
        note = f"peak {peak:.0f} MiB" if peak else ""
        show(
            Figure(f"{engine}: {what.replace('  ', '– ')}", f"{seconds:.2f} s, {seconds / run.seconds:.1%}", note=note)
        )


def _parts(found: dict[str, float], whole: float) -> list[tuple[str, float]]:
    """Return the whole, its steps, and the parts of the load, each part under what it belongs to."""
    seconds = {name: value for name, value in found.items() if value >= 0.005}
    steps = [f"step: {step}" for step in ("descargar", "validar", "cargar", "archivar")]
    command = seconds["whole: visitas dispatch, imported"]
    into = {name: value for name, value in seconds.items() if name.startswith("sql: rows into")}
    statements = {name: value for name, value in seconds.items() if name.startswith("sql:") and name not in into}
    tally = seconds.get("load: tally per e-mail", 0)
    writing = max(0.0, seconds.get("load: rows, CSV and SQL", 0) - sum(into.values()))
    load = seconds.get("step: cargar", 0)
    known = sum(into.values()) + sum(statements.values()) + tally + writing
    return [
        ("whole process", whole),
        ("  Python's start, imports, end", whole - command),
        ("  Dagster, checks, listing", command - sum(seconds.get(step, 0) for step in steps)),
        *((f"  {step}", seconds.get(step, 0.0)) for step in steps[:3]),
        *((f"    {name}", value) for name, value in sorted(into.items())),
        *((f"    {name}", value) for name, value in sorted(statements.items())),
        ("    Arrow: tally per e-mail", tally),
        ("    Arrow: CSV in memory", writing),
        ("    Arrow: reading, sorting, merging", max(0.0, load - known)),
        (f"  {steps[3]}", seconds.get(steps[3], 0.0)),
    ]
