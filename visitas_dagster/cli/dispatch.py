"""``visitas dispatch`` and ``visitas replay``: one pass, its progress and its final table.

The command's output belongs here; the pass is ``visitas_dagster/dispatch.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from visitas_dagster.cli.console import counted, number, output, print_notes, print_table, state, text
from visitas_dagster.cli.ending import Interrupted, notices_to_stderr
from visitas_dagster.cli.progress import Watch
from visitas_dagster.cli.release import operator
from visitas_dagster.crew import Crew
from visitas_dagster.domain.failures import UsageError
from visitas_dagster.loading import schema
from visitas_dagster.loading.ledger import record_audit
from visitas_dagster.resources.database import writing
from visitas_dagster.resources.platform import Platform
from visitas_dagster.settings import load_settings

if TYPE_CHECKING:
    from visitas_dagster.dispatch import Passes, PassResult


def run(limit: int | None, insisted: Sequence[str]) -> bool:
    """Take every pending file; return whether a file needs a person."""
    with _ready() as platform:
        # Before Dagster comes in, which takes seconds: a server that does not answer is said at once.
        present = len(platform.sftp.list())
        runs = min(present, limit or present) // platform.settings.archivos_por_corrida
        return _pass(platform, lambda passes: passes.pending(limit=limit, insisted=insisted), runs)


def replay(names: Sequence[str], version: int | None = None) -> bool:
    """Run loaded or failed files again, or go back to a version of one; return whether a file needs a person."""
    if version is not None and len(names) > 1:
        raise UsageError("--version: solo con un nombre", "repita la orden para cada archivo")
    with _ready() as platform:
        if version is None:
            return _pass(platform, lambda passes: passes.replay(names))
        needs_person = _pass(platform, lambda passes: passes.go_back(names[0], version))
        with writing(platform.engine) as connection:
            done = {"archivo": names[0], "version": version, "hecho": not needs_person}
            record_audit(connection, platform.now(), "REPONER_VERSION", operator(), done)
        return needs_person


@contextmanager
def _ready() -> Iterator[Platform]:
    settings = load_settings()
    settings.require_sftp()
    with Platform(settings) as platform:
        platform.folders.ensure()
        schema.require_current(platform.engine)
        yield platform


def _pass(platform: Platform, work: Callable[[Passes], PassResult], runs: int = 0) -> bool:
    """Do a pass and show it; return whether a file needs a person.

    Args:
        platform: the open parts.
        work: the pass.
        runs: how many full runs it looks like; processes for them start at once.
    """
    with Crew(platform.settings, platform.settings.procesos, notices_to_stderr) as crew:
        crew.hire(runs)
        result = _passed(platform, work, crew)
    return any(outcome.needs_person for outcome in result.outcomes)


def _passed(platform: Platform, work: Callable[[Passes], PassResult], crew: Crew) -> PassResult:
    from visitas_dagster.dispatch import Passes
    from visitas_dagster.instance import open_instance

    console = output()
    try:
        with open_instance(platform.settings, captures_output=False) as instance, Watch(console) as watch:
            result = work(Passes(platform, instance, watch, crew))
    except KeyboardInterrupt:
        raise Interrupted("interrumpido", "nada se perdió: la siguiente pasada termina lo que quedó a medias") from None
    _show(console, result)
    return result


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
        # Elsewhere than on a terminal each file's line has told it, where its run came to that.
        print_notes(
            console,
            [
                (outcome.archivo, outcome.detail)
                for outcome in result.outcomes
                if console.is_terminal or not outcome.reached
            ],
        )
    else:
        console.print("No hay archivos pendientes.")
    if result.arriving:
        names = ", ".join(text(archivo) for archivo in result.arriving)
        console.print(f"Siguen llegando, quedan para la siguiente pasada: {names}")
    if result.left:
        console.print(f"Para la siguiente pasada: {counted(result.left, 'archivo', 'archivos')}")
