"""How MySQL and MariaDB run each statement of the hot path, as a table; a scan of a table that grows is marked.

The commands that are asked and the table belong here; asking the server does not (``explained.py``).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.explained import Plan
from benchmarks.files import change, write_report
from benchmarks.installation import Installation, installation
from benchmarks.past import analyze, remember_files, remember_visits
from benchmarks.process import measure
from benchmarks.report import print_row
from benchmarks.servers import Servers
from visitas_dagster.loading import tables
from visitas_dagster.resources.platform import Platform

GROWING: Final = (
    tables.estadisticas,
    tables.visitantes,
    tables.errores,
    tables.bitacora_control,
    tables.bitacora_intentos,
    tables.contenidos_cargados,
)
"""Tables that every delivery makes longer."""

_PAST_FILES, _PAST_RECORDS, _PAST_VISITORS = 2_000, 200_000, 40_000
_RECORDS = 500
_BAD_FILES = 20
_SHOWN = 150
_ALIAS = re.compile(rf"\b({'|'.join(table.name for table in GROWING)})\b(?:\s+(?:AS\s+)?(\w+))?", re.IGNORECASE)
_COLUMNS = re.compile(r"\bSELECT (?!count|COUNT)[^()]{40,}? FROM\b")

Found = dict[str, tuple[str, Plan]]
"""By statement, the command that sent it first, and the server's plan."""


def measure_explain(servers: Servers, engines: Sequence[str]) -> None:
    """Print the statements of a new file, a correction, a duplicate, a known file, a tick and ``status``."""
    found = {engine: _ask(servers, engine) for engine in engines}
    statements = list(dict.fromkeys(text for answers in found.values() for text in answers))
    scans = 0
    for text in statements:
        source = next(answers[text][0] for answers in found.values() if text in answers)
        plans = [found[engine][text][1] if text in found[engine] else [] for engine in engines]
        marks = sorted({table for plan in plans for table in scanned(text, plan)})
        scans += bool(marks)
        print_row(source, f"`{shortened(text)}`", *map(described, plans), ", ".join(marks))
    print(f"\n{len(statements)} statements, {scans} of them scan a table that grows")


def scanned(text: str, plan: Plan) -> Iterator[str]:
    """Yield the growing tables that a statement reads from one end to the other."""
    names = {(alias or table).lower(): table.lower() for table, alias in _ALIAS.findall(text)}
    names |= {table.name: table.name for table in GROWING}
    for step in plan:
        # MySQL lists the target of an INSERT as if it were read.
        if step["select_type"] != "INSERT" and step["type"] in {"ALL", "index"} and str(step["table"]) in names:
            yield names[str(step["table"])]


def described(plan: Plan) -> str:
    """Return a plan in short: table, way, key, rows, step by step."""
    steps = [step for step in plan if step["select_type"] != "INSERT" and step["table"]]
    return "; ".join(f"{step['table']}: {step['type']} {step['key'] or '–'} {step['rows']}" for step in steps) or "–"


def shortened(text: str) -> str:
    """Return a statement short enough for a table's cell."""
    text = _COLUMNS.sub("SELECT … FROM", text)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _ask(servers: Servers, engine: str) -> Found:
    found: Found = {}
    with installation(servers.sftp, servers.database(engine)) as place:
        _fill(place)
        report = place.folder / "report_1.txt"
        write_report(report, _RECORDS, bad_share=0.05, seed=1, returning=_PAST_VISITORS)
        delivered = report.read_bytes()
        _add(found, place, "new file", "dispatch")
        report.write_bytes(delivered)
        _add(found, place, "known file", "dispatch")
        report.with_name("report_2.txt").write_bytes(delivered)
        _add(found, place, "duplicate", "dispatch")
        # The one that carried the content moves on: the duplicate takes its place, and then moves on itself.
        report.write_bytes(delivered)
        change(report)
        _add(found, place, "correction", "dispatch")
        report.with_name("report_2.txt").write_bytes(delivered)
        change(report.with_name("report_2.txt"), 0.1)
        _add(found, place, "correction", "dispatch")
        write_report(report.with_name("report_3.txt"), _RECORDS, seed=3)
        _add(found, place, "tick", "tick")
        _add(found, place, "status", "status")
    return found


def _fill(place: Installation) -> None:
    with Platform(place.settings()) as platform:
        remember_files(platform.engine, _PAST_FILES, _PAST_RECORDS // _PAST_FILES, first=1000)
        remember_visits(platform, _PAST_FILES, _PAST_RECORDS, _PAST_VISITORS)
        for number in range(100, 100 + _BAD_FILES):
            write_report(place.folder / f"report_{number}.txt", _RECORDS, bad_share=0.5, seed=number)
        place.visitas("dispatch")
        analyze(platform.engine, *tables.metadata.sorted_tables)


def _add(found: Found, place: Installation, source: str, command: str) -> None:
    target = place.home / "explained.json"
    measure([sys.executable, "-m", "benchmarks.explained", str(target), command], place.environment())
    for text, plan in _read(target).items():
        found.setdefault(text, (source, plan))


def _read(path: Path) -> dict[str, Plan]:
    plans: dict[str, Plan] = json.loads(path.read_text(encoding="utf-8"))
    return plans
