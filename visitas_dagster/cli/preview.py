"""``visitas check --contra-base``: what a local file would change, were it delivered as a correction.

The command's output belongs here; comparing versions is the domain's, reading what stands is ``loading/standing.py``.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from visitas_dagster.cli.console import counted, text
from visitas_dagster.domain.comparison import Change, compare, fingerprints
from visitas_dagster.domain.content import scan_file
from visitas_dagster.domain.report import open_report
from visitas_dagster.loading import schema
from visitas_dagster.loading.standing import current_version, standing_records
from visitas_dagster.resources.platform import Platform
from visitas_dagster.settings import Settings


def show_change(console: Console, path: Path, settings: Settings) -> None:
    """Compare the file's valid records with those that stand for its name, and print the difference.

    Raises:
        SystemFailure: the database does not answer.
        LayoutFailure: the file is no report.
    """
    with Platform(settings) as platform:
        schema.require_current(platform.engine)
        standing = current_version(platform.engine, path.name)
        if standing is None:
            console.print(f"Contra la base: {text(path.name)} no tiene versión cargada; sería una entrega nueva.")
            return
        old = fingerprints(standing_records(platform.engine, standing))
    with path.open("rb") as stream:
        new = fingerprints(batch.valid for batch in open_report(stream, scan_file(path), settings.aliases).batches())
    _print(console, path, compare(old, new))


def _print(console: Console, path: Path, change: Change) -> None:
    if not (change.added or change.removed or change.changed):
        console.print(f"Contra la base: {text(path.name)} tiene las mismas visitas que la versión vigente.")
        return
    console.print(
        f"Contra la base: {counted(change.added, 'registro agregado', 'registros agregados')}, "
        f"{counted(change.removed, 'quitado', 'quitados')}, {counted(change.changed, 'cambiado', 'cambiados')}, "
        f"{counted(change.kept, 'igual', 'iguales')}; "
        f"{counted(change.visitors, 'visitante tocado', 'visitantes tocados')}."
    )
