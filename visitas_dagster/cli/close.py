"""``visitas close``: the daily close, its steps as they go, and where the reports are.

The command's output belongs here; the close is ``closing/``, and Dagster's side of it ``nightly.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from rich.console import Console
from rich.text import Text

from visitas_dagster.cli.console import counted, number, output, text
from visitas_dagster.cli.ending import Interrupted
from visitas_dagster.cli.progress import Watch
from visitas_dagster.closing.close import Closed, Step, close_days
from visitas_dagster.domain.failures import UsageError
from visitas_dagster.loading import schema
from visitas_dagster.resources.platform import Platform
from visitas_dagster.settings import load_settings


def run(fecha: str | None) -> bool:
    """Close the day, or yesterday and every missed one; return whether a close failed."""
    settings = load_settings()
    settings.require_sftp()
    with Platform(settings) as platform:
        day = _day(fecha, platform.today())
        platform.folders.ensure()
        schema.require_current(platform.engine)
        closes = _close(platform, day)
    return any(closed.message is not None for closed in closes)


def _day(fecha: str | None, today: date) -> date | None:
    if fecha is None:
        return None
    try:
        day = date.fromisoformat(fecha)
    except ValueError:
        day = None
    if day is None or day.isoformat() != fecha:
        raise UsageError(f"--fecha: «{fecha}» no es una fecha", "escríbala como AAAA-MM-DD")
    if day > today:
        raise UsageError(f"--fecha: el {fecha} todavía no llega, hoy es {today}", "escriba una fecha de hoy o anterior")
    return day


def _close(platform: Platform, day: date | None) -> Sequence[Closed]:
    # Here, not at the top: Dagster takes seconds, and a wrong date is said at once.
    from visitas_dagster.instance import open_instance
    from visitas_dagster.nightly import DagsterSide, tell_dagster

    console = output()
    try:
        with open_instance(platform.settings, captures_output=False) as instance:
            side = DagsterSide(platform, instance, lambda: Watch(console))
            closes = close_days(platform, side, day, _Shown(console))
            for closed in closes:
                tell_dagster(instance, closed)
    except KeyboardInterrupt:
        raise Interrupted("interrumpido", "nada se perdió: repita visitas close") from None
    return closes


class _Shown:
    """Prints each step as it ends, a line each."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def begun(self, day: date) -> None:
        """See :class:`visitas_dagster.closing.close.DayWatch`."""
        self._console.print(Text.assemble("Cierre del ", (day.isoformat(), "bold")))

    def stepped(self, day: date, step: Step) -> None:
        """See :class:`visitas_dagster.closing.close.DayWatch`."""
        failed = step.failure or step.skipped
        mark = (
            Text("falló", "red") if step.failure else Text("no se hizo", "yellow") if failed else Text("listo", "green")
        )
        said = text(failed) if failed else _said(step)
        self._console.print(Text.assemble("  ", f"{step.name:<18}", mark, f"  {said}"))


def _said(step: Step) -> str:
    facts = step.facts
    match step.name:
        case "pendientes":
            ended = ", ".join(f"{count} {estado}" for estado, count in sorted(facts["estados"].items()))
            more = (
                f"; {counted(facts['siguen_llegando'], 'sigue', 'siguen')} llegando" if facts["siguen_llegando"] else ""
            )
            return counted(facts["archivos"], "archivo", "archivos") + (f": {ended}" if ended else "") + more
        case "limpieza":
            return counted(facts["corridas_muertas"], "corrida muerta", "corridas muertas")
        case "cuarentena":
            return counted(facts["movidos"], "archivo movido", "archivos movidos")
        case "respaldo":
            if facts["zip"] is None:
                return "no hay respaldos de ese día"
            left = (
                f"; {counted(facts['quedan_sueltos'], 'queda suelto', 'quedan sueltos')}"
                if facts["quedan_sueltos"]
                else ""
            )
            return f"{facts['zip']}: {number(facts['miembros'])} en total, {number(facts['agregados'])} agregados{left}"
        case "contadores":
            return f"al mes {facts['anio']}-{facts['mes']:02}"
        case "logs_viejos" | "respaldos_viejos":
            return counted(facts["borrados"], "día borrado", "días borrados")
        case "particiones":
            return counted(facts["quitadas"], "quitada", "quitadas")
        case "reportes":
            return f"{facts['diario']}, {facts['mensual']}"
        case _:
            return ""
