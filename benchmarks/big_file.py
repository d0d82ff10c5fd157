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
from benchmarks.report import Figure, Show, median_ratio, spread
from benchmarks.servers import Servers

NAME = "report_1.txt"
TO_SQL_RECORDS = 100_000
BAD_SHARE = 0.01
MEMORY_LIMIT_MIB = 700


def measure_file(servers: Servers, engine: str, records: int, pairs: int, show: Show) -> None:
    """Show a file's way through the platform against the floor, good and with 1 % of its records broken."""
    floors: list[float] = []
    ours: list[Measured] = []
    _floor(servers, engine, 1000)
    for _ in range(pairs):
        floors.append(_floor(servers, engine, records).seconds)
        ours.append(_dispatch(servers, engine, records))
    show(_file_figure(f"{engine}: {records:,} records", records, ours, floors))
    broken = _dispatch(servers, engine, records, bad_share=BAD_SHARE)
    again = _floor(servers, engine, records).seconds
    show(
        _file_figure(
            f"{engine}: the same, {BAD_SHARE:.0%} broken", records, [broken], [again], "floor: the good file's"
        )
    )
    if engine == "mysql":
        with servers.database(engine).with_local_infile(on=False):
            off = _dispatch(servers, engine, records)
        show(_file_figure(f"{engine}: the same, local_infile off for us", records, [off], [again], "floor: with it on"))
    _show_to_sql(servers, engine, records, ours, show)


def _file_figure(what: str, records: int, ours: list[Measured], floors: list[float], note: str = "") -> Figure:
    seconds = [mine.seconds for mine in ours]
    peak = max(mine.peak_mib for mine in ours)
    rate = records / statistics.median(seconds)
    cpu = statistics.median(mine.cpu_seconds for mine in ours)
    facts = f"{rate:,.0f} records/s, peak {peak:.0f} MiB, {cpu:.1f} s of processor"
    return Figure(
        what, spread(seconds), spread(floors), median_ratio(seconds, floors), f"{facts}; {note}" if note else facts
    )


def _show_to_sql(servers: Servers, engine: str, records: int, ours: list[Measured], show: Show) -> None:
    """Show the loader as most people write it, per record: a million of them would take minutes."""
    sample = min(TO_SQL_RECORDS, records)
    with installation(servers.sftp, servers.database(engine)) as place:
        write_report(place.folder / NAME, sample)
        seconds = to_sql_seconds(place.folder / NAME, place.database_url)
    mine = statistics.median(run.seconds for run in ours) / records
    show(
        Figure(
            f"{engine}: read_csv and to_sql, {sample:,} records",
            f"{seconds:.2f} s, {sample / seconds:,.0f} records/s",
            note=f"{seconds / sample / mine:.1f} times our seconds a record (ours: {records:,} records); "
            'method="multi", chunksize 1000; no download, checks or visitors',
        )
    )


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
        verdict = f"limit {MEMORY_LIMIT_MIB} MiB" if records == 1_000_000 else ""
        if verdict and run.peak_mib > MEMORY_LIMIT_MIB:
            verdict += ": EXCEEDED"
        show(
            Figure(
                f"{engine}: {records:,} records, 1 % broken",
                f"peak {run.peak_mib:.0f} MiB",
                note=f"{verdict}{'; ' if verdict else ''}{run.seconds:.1f} s",
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
        show(Figure(f"{engine}: {what}", f"{seconds:6.2f} s  {seconds / run.seconds:6.1%}", note=note))


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
