"""``visitas explain``: a file's whole story, and where its bytes are now.

The command's output belongs here; the ledger, the folders and the server have their own modules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.text import Text
from sqlalchemy import RowMapping

from visitas_dagster.cli.console import bold, number, output, state, text
from visitas_dagster.domain.failures import FileGone, SettingsError, SystemFailure, UsageError
from visitas_dagster.loading import schema
from visitas_dagster.loading.history import History
from visitas_dagster.resources.copies import copies
from visitas_dagster.resources.platform import Platform
from visitas_dagster.settings import load_settings


def run(archivo: str) -> None:
    """Tell everything that is known of one name; raise :class:`UsageError` where nothing is."""
    console = output()
    with Platform(load_settings()) as platform:
        schema.require_current(platform.engine)
        history = History(platform.engine, platform.settings.zone)
        versions = history.versions(archivo)
        server = _on_server(platform, archivo)
        if not versions and server is None:
            raise UsageError(
                f"nadie conoce «{archivo}»: no está en el servidor ni en la bitácora",
                "escriba el nombre tal como lo muestra: visitas status",
            )
        console.print(bold(archivo))
        _show_versions(console, versions, platform.settings.zone)
        _show_attempts(console, history.attempt_rows([row["id"] for row in versions]), platform.settings.zone)
        _show_places(console, platform, archivo, versions, server)


def _show_versions(console: Console, versions: Sequence[RowMapping], zone: ZoneInfo) -> None:
    for row in versions:
        current = Text.assemble(", ", bold("vigente")) if row["vigente"] else ""
        console.print(Text.assemble(f"\nVersión {row['id']}: ", state(row["estado"]), current))
        facts = [
            ("contenido", row["sha256"] or "todavía sin descargar"),
            ("bytes", number(row["bytes"])),
            ("codificación", row["codificacion"] or "—"),
            ("intentos", number(row["intentos"])),
            ("registros", _records(row)),
            ("inicio", _moment(row["inicio"], zone)),
            ("fin", _moment(row["fin"], zone)),
        ]
        if row["reemplaza_a"] is not None:
            facts.append(("reemplaza a", f"versión {row['reemplaza_a']}"))
        if row["mensaje"]:
            facts.append(("mensaje", text(row["mensaje"])))
        for name, value in facts:
            console.print(f"  {name + ':':<14}{value}", soft_wrap=True)


def _records(row: RowMapping) -> str:
    if row["registros_total"] is None:
        return "—"
    return (
        f"{number(row['registros_total'])} = {number(row['registros_validos'])} válidos + "
        f"{number(row['registros_invalidos'])} con error"
    )


def _show_attempts(console: Console, attempts: Sequence[RowMapping], zone: ZoneInfo) -> None:
    if not attempts:
        return
    console.print("\nIntentos")
    for row in attempts:
        console.print(
            Text.assemble(
                f"  {_moment(row['inicio'], zone)}  ",
                state(row["resultado"] or "EN_CURSO"),
                f"  versión {row['archivo_id']}, corrida {row['run_id'] or '—'}, fin {_moment(row['fin'], zone)}",
                f": {text(row['mensaje'])}" if row["mensaje"] else "",
            ),
            soft_wrap=True,
        )


def _show_places(
    console: Console, platform: Platform, archivo: str, versions: Sequence[RowMapping], server: str | None
) -> None:
    console.print("\nDónde están sus bytes")
    console.print(f"  servidor SFTP: {server or 'no está'}", soft_wrap=True)
    for row in versions:
        for place in _places(platform, archivo, row["sha256"]):
            console.print(f"  versión {row['id']}: {text(place)}", soft_wrap=True)


def _places(platform: Platform, archivo: str, sha256: str | None) -> Iterator[str]:
    if sha256 is not None:
        found = [str(copy) for copy in copies(platform.folders, archivo, sha256)]
        yield from found or ["sin copia en esta máquina (los respaldos se guardan VISITAS_RETENCION_BACKUP_DIAS)"]


def _on_server(platform: Platform, archivo: str) -> str | None:
    """What the server has under this name; its failure is told, the rest of the story does not depend on it."""
    try:
        platform.settings.require_sftp()
        listed = platform.sftp.stat(archivo)
    except FileGone:
        return None
    except (SettingsError, SystemFailure) as failure:
        return text(f"no se pudo preguntar: {failure}")
    return f"{number(listed.bytes)} bytes"


def _moment(value: datetime | None, zone: ZoneInfo) -> str:
    if value is None:
        return "—"
    return f"{value.replace(tzinfo=UTC).astimezone(zone):%Y-%m-%d %H:%M:%S}"
