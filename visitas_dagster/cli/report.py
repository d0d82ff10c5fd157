"""``visitas report``: a day's or a month's figures as tables on the terminal, and where the report's files are.

The command's values and output belong here; the figures and the files are ``closing/``.
"""

from __future__ import annotations

import re
from datetime import date

from rich.console import Console

from visitas_dagster.cli.console import number, output, print_notes, print_table, state, text
from visitas_dagster.closing.figures import Figures, Period, day, gather, month
from visitas_dagster.closing.report_files import write
from visitas_dagster.closing.report_page import in_words, seconds, share
from visitas_dagster.domain.failures import UsageError
from visitas_dagster.domain.states import Estado
from visitas_dagster.loading import schema
from visitas_dagster.resources.platform import Platform
from visitas_dagster.settings import load_settings

FIRST_YEAR = 1970


def run(dia: str | None, mes: str | None) -> None:
    """Show the figures and write the report; today's, where neither a day nor a month is named.

    Raises:
        UsageError: a value is no day or month, lies in the future, or both were given.
        SystemFailure: the database or the disk failed.
    """
    console = output()
    with Platform(load_settings()) as platform:
        period = _period(dia, mes, platform.today())
        schema.require_current(platform.engine)
        figures = gather(platform, period)
        _show(console, figures)
        files = write(platform, figures)
        for path in (files.html, files.json, files.csv):
            console.print(text(path), soft_wrap=True)


def _period(dia: str | None, mes: str | None, today: date) -> Period:
    if dia is not None and mes is not None:
        raise UsageError("--dia y --mes no van juntos", "pida un reporte a la vez")
    if mes is not None:
        period = _month(mes)
    elif dia is not None:
        period = day(_date(dia, "--dia", "AAAA-MM-DD", dia, today))
    else:
        return day(today)
    if period.start > today:
        raise UsageError(f"{'--mes' if period.monthly else '--dia'}: {period.name} todavía no llega")
    return period


def _month(mes: str) -> Period:
    first = _date(f"{mes}-01", "--mes", "AAAA-MM", mes, None)
    return month(first.year, first.month)


def _date(whole: str, option: str, form: str, given: str, today: date | None) -> date:
    example = f"{today:%Y-%m-%d}" if today else "2026-01"
    try:
        # date.fromisoformat takes other forms too, such as weeks.
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", whole) is None:
            raise ValueError(whole)
        found = date.fromisoformat(whole)
    except ValueError:
        what = "un mes" if option == "--mes" else "un día"
        raise UsageError(f"{option}: «{given}» no es {what}", f"escríbalo como {form}, por ejemplo {example}") from None
    if found.year < FIRST_YEAR:
        raise UsageError(f"{option}: {given} es de antes de {FIRST_YEAR}")
    return found


def _show(console: Console, figures: Figures) -> None:
    tally, before = figures.tally, figures.previous
    print_table(
        console,
        f"Reporte {'mensual' if figures.period.monthly else 'diario'}, {in_words(figures.period)}",
        ("dato", f">{figures.period.name}", f">{before.period.name}"),
        [
            ("archivos procesados", number(tally.file_count), number(before.file_count)),
            ("tasa de éxito", share(tally.success_rate), share(before.success_rate)),
            ("registros procesados", number(tally.total), number(before.total)),
            ("registros válidos", number(tally.valid), number(before.valid)),
            ("registros rechazados", number(tally.invalid), number(before.invalid)),
            ("tasa de error", share(tally.error_rate), share(before.error_rate)),
            ("visitantes nuevos", number(tally.new_visitors), number(before.new_visitors)),
            ("tiempo de proceso", seconds(tally.busy_ms), seconds(before.busy_ms)),
        ],
    )
    if tally.files:
        rows = [(state(estado.value), number(tally.files[estado])) for estado in Estado if estado in tally.files]
        print_table(console, "Archivos por estado", ("estado", ">archivos"), rows)
    if figures.error_types:
        kinds = [(text(code), number(count)) for code, count in figures.error_types]
        print_table(console, "Registros rechazados por tipo de error", ("tipo_error", ">registros"), kinds)
    if figures.waiting_files:
        waiting = sum(figures.waiting.values())
        console.print(f"Por atender, al hacer este reporte: {number(waiting)}")
        print_notes(console, [(line.archivo, line.mensaje or line.estado.value) for line in figures.waiting_files])
