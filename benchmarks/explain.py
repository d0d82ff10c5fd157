"""How MySQL and MariaDB run each statement of the hot path, as a table; a scan of a table that grows is marked.

The commands that are asked and the table belong here; asking the server does not (``explained.py``).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import func, select

from benchmarks.explained import Plan, rows_of, rows_read
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
_SHOWN = 120
_LOADS = ("new file", "known file", "duplicate", "correction")
_PREFIX = re.compile(rf"\b({'|'.join(tables.metadata.tables)})\.(?=\w)")
_ALIAS = re.compile(rf"\b({'|'.join(table.name for table in GROWING)})\b(?:\s+(?:AS\s+)?(\w+))?", re.IGNORECASE)
_COLUMNS = re.compile(r"\bSELECT (?!count|COUNT)[^()]{40,}? FROM\b")


@dataclass
class Answer:
    """What is known of a statement on one engine.

    Attributes:
        plan: the server's, of several the one that reads the most rows.
        sources: which commands sent it.
    """

    plan: Plan
    sources: list[str]


@dataclass
class Answers:
    """What one engine said.

    Attributes:
        sizes: rows of each growing table before the first command.
        found: by statement.
    """

    sizes: dict[str, int]
    found: dict[str, Answer] = field(default_factory=dict)

    def add(self, source: str, plans: dict[str, Plan]) -> None:
        """Keep what a command's statements were answered."""
        for text, plan in plans.items():
            answer = self.found.setdefault(text, Answer(plan, []))
            if source not in answer.sources:
                answer.sources.append(source)
            if rows_read(plan) > rows_read(answer.plan):
                answer.plan = plan

    def scans(self, text: str) -> list[str]:
        """Return the growing tables that a statement reads whole, or half of them at least."""
        return sorted(set(scanned(text, self.found[text].plan, self.sizes))) if text in self.found else []

    def described(self, text: str) -> str:
        """Return a plan in short: table, way, key, rows, step by step."""
        plan = self.found[text].plan if text in self.found else []
        steps = [step for step in plan if step["select_type"] != "INSERT" and step["table"]]
        return (
            "; ".join(f"{step['table']}: {step['type']} {step['key'] or '–'} {rows_of(step)}" for step in steps) or "–"
        )


def measure_explain(servers: Servers, engines: Sequence[str]) -> None:
    """Print the statements of a new file, a correction, a duplicate, a known file, a tick and ``status``."""
    answers = [_ask(servers, engine) for engine in engines]
    statements = list(dict.fromkeys(text for engine in answers for text in engine.found))
    marked = 0
    for text in statements:
        sources = list(
            dict.fromkeys(source for one in answers if text in one.found for source in one.found[text].sources)
        )
        scans = sorted({table for one in answers for table in one.scans(text)})
        marked += bool(scans)
        plans = (one.described(text) for one in answers)
        print_row(senders(sources), f"`{shortened(text)}`", *plans, ", ".join(scans))
    print(f"\n{len(statements)} statements, {marked} of them scan a table that grows")


def scanned(text: str, plan: Plan, sizes: dict[str, int]) -> Iterator[str]:
    """Yield the growing tables that a statement reads from one end to the other, or half of which it reads."""
    names = {(alias or table).lower(): table.lower() for table, alias in _ALIAS.findall(text)}
    names |= {table.name: table.name for table in GROWING}
    for step in plan:
        name = names.get(str(step["table"]).lower())
        # MySQL lists the target of an INSERT as if it were read.
        if name is None or step["select_type"] == "INSERT":
            continue
        if step["type"] in {"ALL", "index"} or rows_of(step) > sizes[name] / 2:
            yield name


def senders(sources: Sequence[str]) -> str:
    """Return which commands send a statement, in short where every file's way does."""
    if set(_LOADS) <= set(sources):
        sources = ["every file", *(source for source in sources if source not in _LOADS)]
    return ", ".join(sources)


def shortened(text: str) -> str:
    """Return a statement short enough for a table's cell: no lists of columns, no table's name before a column's."""
    text = _PREFIX.sub("", _COLUMNS.sub("SELECT … FROM", text))
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _ask(servers: Servers, engine: str) -> Answers:
    with installation(servers.sftp, servers.database(engine)) as place:
        answers = Answers(_fill(place))
        report, other = place.folder / "report_1.txt", place.folder / "report_2.txt"
        write_report(report, _RECORDS, bad_share=0.05, seed=1, returning=_PAST_VISITORS)
        delivered = report.read_bytes()
        answers.add("new file", _explained(place, "dispatch"))
        report.write_bytes(delivered)
        answers.add("known file", _explained(place, "dispatch"))
        other.write_bytes(delivered)
        answers.add("duplicate", _explained(place, "dispatch"))
        # The one that carried the content moves on: the duplicate takes its place, and then moves on itself.
        for name, share in ((report, 0.01), (other, 0.1)):
            name.write_bytes(delivered)
            change(name, share)
            answers.add("correction", _explained(place, "dispatch"))
        write_report(place.folder / "report_3.txt", _RECORDS, seed=3)
        for command in ("tick", "status"):
            answers.add(command, _explained(place, command))
    return answers


def _fill(place: Installation) -> dict[str, int]:
    """Make the history, rejects too; return the rows of each growing table."""
    with Platform(place.settings()) as platform:
        remember_files(platform.engine, _PAST_FILES, _PAST_RECORDS // _PAST_FILES, first=1000)
        remember_visits(platform, _PAST_FILES, _PAST_RECORDS, _PAST_VISITORS)
        for number in range(100, 100 + _BAD_FILES):
            write_report(place.folder / f"report_{number}.txt", _RECORDS, bad_share=0.5, seed=number)
        place.visitas("dispatch")
        analyze(platform.engine, *tables.metadata.sorted_tables)
        with platform.engine.connect() as connection:
            return {
                table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in GROWING
            }


def _explained(place: Installation, command: str) -> dict[str, Plan]:
    target = place.home / "explained.json"
    measure([sys.executable, "-m", "benchmarks.explained", str(target), command], place.environment())
    plans: dict[str, Plan] = json.loads(target.read_text(encoding="utf-8"))
    return plans
