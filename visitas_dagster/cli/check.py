"""``visitas check``: what would happen to a local file, without writing anything.

The command's output belongs here; the rules are the domain's.
"""

from __future__ import annotations

import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from visitas_dagster.cli.console import counted, number, output, print_table, state, text
from visitas_dagster.domain.arrivals import is_report
from visitas_dagster.domain.causes import cause
from visitas_dagster.domain.content import ContentFacts, scan_file
from visitas_dagster.domain.failures import LayoutFailure, UsageError
from visitas_dagster.domain.layout import Layout
from visitas_dagster.domain.report import Batch, open_report
from visitas_dagster.domain.states import Estado, loaded_state
from visitas_dagster.settings import Settings, load_settings

SAMPLE = 10
_MAX_VALUE = 60


@dataclass
class _Verdict:
    """What the rules say of a whole file."""

    facts: ContentFacts
    layout: Layout
    valid: int = 0
    invalid: int = 0
    types: Counter[tuple[str, str]] = field(default_factory=Counter)
    sample: list[dict[str, Any]] = field(default_factory=list)

    def add(self, batch: Batch) -> None:
        rejected = batch.rejected
        self.valid += batch.valid.num_rows
        self.invalid += rejected.num_rows
        codes, columns = (rejected.column(name).to_pylist() for name in ("tipo_error", "campo"))
        self.types.update((code, column or "—") for code, column in zip(codes, columns, strict=True))
        self.sample += rejected.slice(0, SAMPLE - len(self.sample)).to_pylist()


def run(path: Path, *, against_database: bool = False) -> bool:
    """Validate the file; return whether it would need a person."""
    console = output()
    settings = load_settings()
    try:
        verdict = _judge(path, settings)
    except OSError as error:
        raise UsageError(f"ARCHIVO: no se puede leer {path}: {cause(error)}", "revise la ruta") from error
    except LayoutFailure as failure:
        console.print(Text.assemble(f"{text(path.name)}: quedaría ", state(Estado.FALLO_LAYOUT.value)))
        console.print(text(failure), soft_wrap=True)
        needs_person = True
    else:
        _show(console, path, verdict)
        if against_database:
            from visitas_dagster.cli.preview import show_change  # here: a plain check needs no database

            show_change(console, path, settings)
        needs_person = False
    if not is_report(path.name, settings.patron_archivo):
        console.print(
            f"Aviso: en el servidor no se tomaría: su nombre no sigue VISITAS_PATRON_ARCHIVO "
            f"({text(settings.patron_archivo)})",
            soft_wrap=True,
        )
    console.print("No se escribió nada.")
    return needs_person


def _judge(path: Path, settings: Settings) -> _Verdict:
    if not stat.S_ISREG(path.stat().st_mode):
        raise UsageError(f"ARCHIVO: {path} no es un archivo", "revise la ruta")
    facts = scan_file(path)
    with path.open("rb") as stream:
        report = open_report(stream, facts, settings.aliases)
        verdict = _Verdict(facts, report.layout)
        for batch in report.batches():
            verdict.add(batch)
    return verdict


def _show(console: Console, path: Path, verdict: _Verdict) -> None:
    facts, valid, invalid = verdict.facts, verdict.valid, verdict.invalid
    console.print(Text.assemble(f"{text(path.name)}: quedaría ", state(loaded_state(invalid).value)))
    console.print(
        f"{counted(facts.size, 'byte', 'bytes')}, {facts.encoding}; registros: {number(valid + invalid)} = "
        f"{counted(valid, 'válido', 'válidos')} + {number(invalid)} con error"
    )
    for delivered, canonical in verdict.layout.aliased:
        console.print(f"La columna «{text(delivered)}» se toma como «{canonical}» (VISITAS_ALIAS_COLUMNAS)")
    if invalid:
        print_table(
            console,
            "Errores por tipo",
            ("tipo_error", "campo", ">registros"),
            [(code, column, number(count)) for (code, column), count in verdict.types.most_common()],
        )
        print_table(
            console,
            f"Primeros {len(verdict.sample)} de {number(invalid)}",
            (">línea", "tipo_error", "campo", "valor"),
            [
                (str(row["linea"]), row["tipo_error"], row["campo"] or "—", _value(row["valor"]))
                for row in verdict.sample
            ],
        )


def _value(value: str | None) -> str:
    if value is None:
        return "—"
    return text(value if len(value) <= _MAX_VALUE else value[: _MAX_VALUE - 1] + "…")
