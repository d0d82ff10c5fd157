"""What ``visitas status`` shows: states, failures, incidents, missed closes, and what stands on the server.

The output belongs here; the ledger and the listing have their own modules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from sqlalchemy import RowMapping

from visitas_dagster.cli.console import counted, number, output, print_notes, print_table, state, text
from visitas_dagster.closing.journal import Journal
from visitas_dagster.domain.arrivals import Listed
from visitas_dagster.domain.incidents import Tipo, headline, local
from visitas_dagster.domain.states import Estado
from visitas_dagster.loading import schema
from visitas_dagster.loading.history import History
from visitas_dagster.loading.incidents import Incidents
from visitas_dagster.resources.platform import Platform
from visitas_dagster.steps.arrivals import owed, reports_among

MAX_ROWS = 20


def show(platform: Platform, listing: Callable[[], Sequence[Listed]]) -> None:
    """Print it: first what the database knows, which is shown even where the SFTP server does not answer."""
    console = output()
    schema.require_current(platform.engine)
    ledger = History(platform.engine, platform.settings.zone)
    _show_states(console, ledger)
    _show_rows(console, "En proceso", ledger.in_states([Estado.EN_PROCESO], MAX_ROWS))
    _show_rows(console, "Fallidos, esperan a una persona", ledger.failed(MAX_ROWS))
    _show_incidents(console, platform)
    _show_missed_closes(console, platform)
    _show_pending(console, platform, listing())


def _show_states(console: Console, ledger: History) -> None:
    totals = ledger.totals()
    if not totals:
        console.print("La bitácora está vacía: todavía no se ha procesado ningún archivo.")
        return
    print_table(
        console,
        "Bitácora",
        ("estado", ">archivos", ">válidos", ">con error"),
        [(state(estado.value), *map(number, totals[estado])) for estado in Estado if estado in totals],
    )


def _show_rows(console: Console, title: str, found: Sequence[RowMapping]) -> None:
    if not found:
        return
    print_table(
        console,
        title,
        ("archivo", "estado", ">intentos"),
        [(text(row["archivo"]), state(row["estado"]), number(row["intentos"])) for row in found],
    )
    print_notes(console, [(row["archivo"], row["mensaje"] or "") for row in found])
    if len(found) == MAX_ROWS:
        console.print(f"(los {MAX_ROWS} más recientes)")


def _show_incidents(console: Console, platform: Platform) -> None:
    """What only the alerts know; the failed files are shown already."""
    found = [
        incident
        for incident in Incidents(platform.engine, platform.now).open()
        if incident.subject.tipo not in (Tipo.FALLO_LAYOUT, Tipo.FALLO_SISTEMA)
    ]
    if found:
        zone = platform.settings.zone
        rows = [(text(incident.subject), local(incident.desde, zone), text(headline(incident))) for incident in found]
        print_table(console, "Incidentes abiertos", ("incidente", "desde", "qué pasa"), rows)


def _show_missed_closes(console: Console, platform: Platform) -> None:
    missed = Journal(platform).missed()
    if missed:
        days = ", ".join(day.isoformat() for day in missed[:MAX_ROWS])
        more = f" y {number(len(missed) - MAX_ROWS)} más" if len(missed) > MAX_ROWS else ""
        console.print(f"Días sin cerrar: {days}{more}. Los cierra la noche siguiente, o ya: visitas close")


def _show_pending(console: Console, platform: Platform, listing: Sequence[Listed]) -> None:
    observed = reports_among(platform, listing, {})
    pending = owed(platform, [seen.listed for seen in observed.values()])
    console.print(
        f"Servidor SFTP: {counted(len(observed), 'reporte', 'reportes')}, "
        f"{counted(len(pending), 'pendiente', 'pendientes')}"
    )
    for listed in pending[:MAX_ROWS]:
        console.print(f"  {text(listed.archivo)}  {counted(listed.bytes, 'byte', 'bytes')}")
    if len(pending) > MAX_ROWS:
        console.print(f"  … y {number(len(pending) - MAX_ROWS)} más")
    _show_others(console, [listed.archivo for listed in listing if listed.archivo not in observed])


def _show_others(console: Console, names: Sequence[str]) -> None:
    """What stands in the folder and is no report: half a delivery whose sender never renamed it, for instance."""
    if names:
        console.print(f"En la carpeta hay además {counted(len(names), 'archivo', 'archivos')} con otro nombre:")
        for archivo in sorted(names)[:MAX_ROWS]:
            console.print(f"  {text(archivo)}  no se toma", soft_wrap=True)
        if len(names) > MAX_ROWS:
            console.print(f"  … y {number(len(names) - MAX_ROWS)} más")
