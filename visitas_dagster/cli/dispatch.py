"""``visitas dispatch``: one pass, its progress and its final table.

The command's output belongs here; the pass is ``visitas_dagster/dispatch.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from visitas_dagster.cli.console import Watch, counted, number, output, print_notes, print_table, state, text
from visitas_dagster.cli.ending import Interrupted
from visitas_dagster.loading import schema
from visitas_dagster.resources.platform import Platform
from visitas_dagster.settings import Settings, load_settings

if TYPE_CHECKING:
    from visitas_dagster.dispatch import PassResult


def run(limit: int | None, insisted: Sequence[str]) -> bool:
    """Take every pending file; return whether a file needs a person."""
    console = output()
    settings = load_settings()
    settings.require_sftp()
    with Platform(settings) as platform:
        platform.folders.ensure()
        schema.require_current(platform.engine)
        # Before Dagster comes in, which takes seconds: a server that does not answer is said at once.
        platform.sftp.list()
        try:
            result = _pass(settings, platform, console, limit, insisted)
        except KeyboardInterrupt:
            raise Interrupted(
                "interrumpido", "nada se perdió: la siguiente pasada termina lo que quedó a medias"
            ) from None
    _show(console, result)
    return any(outcome.needs_person for outcome in result.outcomes)


def _pass(
    settings: Settings, platform: Platform, console: Console, limit: int | None, insisted: Sequence[str]
) -> PassResult:
    from visitas_dagster.dispatch import one_pass
    from visitas_dagster.instance import open_instance

    with open_instance(settings) as instance, Watch(console) as watch:
        return one_pass(settings, platform, instance, watch, limit=limit, insisted=insisted)


def _show(console: Console, result: PassResult) -> None:
    if result.outcomes:
        print_table(
            console,
            "Archivos de esta pasada",
            ("archivo", "estado", ">válidos", ">con error"),
            [
                (text(outcome.archivo), state(outcome.estado), number(outcome.valid), number(outcome.invalid))
                for outcome in result.outcomes
            ],
        )
        if console.is_terminal:
            # Elsewhere each file's line has told it.
            print_notes(console, [(outcome.archivo, outcome.detail) for outcome in result.outcomes])
    else:
        console.print("No hay archivos pendientes.")
    if result.arriving:
        names = ", ".join(text(archivo) for archivo in result.arriving)
        console.print(f"Siguen llegando, quedan para la siguiente pasada: {names}")
    if result.left:
        console.print(f"Para la siguiente pasada: {counted(result.left, 'archivo', 'archivos')}")
