"""The page of a report: figures into one HTML file that needs no network, no script and no other file.

Wording, the order of the sections and which chart shows what belong here; the page's frame and colours stand in
``templates/reporte.html.j2``, the drawing in ``report_charts.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from visitas_dagster.closing.figures import Figures, FileLine, Period, Tally
from visitas_dagster.closing.report_charts import Series, bars, columns, lines
from visitas_dagster.domain.states import LOADED, Estado

_NARROW = "\N{NARROW NO-BREAK SPACE}"
_MONTHS = (
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre".split()  # noqa: SIM905
)
_WEEKDAYS = "lunes martes miércoles jueves viernes sábado domingo".split()  # noqa: SIM905

TONES = {
    Estado.COMPLETADO: "bien",
    Estado.COMPLETADO_CON_ERRORES: "aviso",
    Estado.DUPLICADO: "frio",
    Estado.FALLO_LAYOUT: "mal",
    Estado.FALLO_SISTEMA: "grave",
    Estado.EN_PROCESO: "tenue",
}
"""The colour of each state, by its name in the template."""

LABELS = {
    Estado.COMPLETADO: "Completado",
    Estado.COMPLETADO_CON_ERRORES: "Completado con errores",
    Estado.DUPLICADO: "Duplicado",
    Estado.FALLO_LAYOUT: "Fallo de layout",
    Estado.FALLO_SISTEMA: "Fallo de sistema",
    Estado.EN_PROCESO: "En proceso",
}
"""What a person reads for each state, in the order in which a report lists them."""


@dataclass(frozen=True)
class Tile:
    """One number that stands out.

    Attributes:
        name: what it is.
        value: as shown.
        note: a line below: what to compare it with.
        tone: a colour name, where it is good or bad.
    """

    name: str
    value: str
    note: str
    tone: str = ""


@dataclass(frozen=True)
class Card:
    """One chart with its title.

    Attributes:
        title: what it shows.
        said: the same in a sentence, for those who see no chart.
        chart: the drawing; empty where there is nothing to draw.
        legend: colour and name of each series.
        rows: a small table under it, each with a label and two values.
        wide: whether it takes the whole width.
    """

    title: str
    said: str
    chart: Markup
    legend: tuple[tuple[str, str], ...] = ()
    rows: tuple[tuple[str, str, str], ...] = ()
    wide: bool = False


def page(figures: Figures) -> str:
    """Return the page. Whatever came from outside stands in it as text (autoescape)."""
    return _template().render(
        title=title(figures.period),
        kind="Reporte mensual" if figures.period.monthly else "Reporte diario",
        when=in_words(figures.period),
        verdict=verdict(figures),
        tiles=tiles(figures),
        cards=cards(figures),
        failures=figures.failures,
        waiting_files=figures.waiting_files,
        waiting=sum(figures.waiting.values()),
        trend=figures.trend[::-1],
        figures=figures,
        labels=LABELS,
        tones=TONES,
        loaded=LOADED,
        Estado=Estado,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("visitas_dagster.closing"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        numero=number, parte=share, segundos=seconds, tamano=size, momento=moment, corto=short_name, largo=in_words
    )
    return environment.get_template("reporte.html.j2")


# ------------------------------------------------------------------------------------------------------- wording


def number(value: int | None) -> str:
    """A count with thousands apart."""
    return "—" if value is None else f"{value:,}".replace(",", _NARROW)


def share(rate: float | None) -> str:
    """A share in percent. Neither all nor nothing is said of what is only nearly so."""
    if rate is None:
        return "—"
    percent = rate * 100
    if 0 < percent < 0.1:
        return f"<{_NARROW}0.1{_NARROW}%"
    if 99.9 < percent < 100:
        return f">{_NARROW}99.9{_NARROW}%"
    return f"{percent:.0f}{_NARROW}%" if percent in (0, 100) else f"{percent:.1f}{_NARROW}%"


def seconds(milliseconds: int | None) -> str:
    """A duration."""
    if milliseconds is None:
        return "—"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f}{_NARROW}s"
    whole = round(milliseconds / 1000)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{_NARROW}h {minutes:02}{_NARROW}min" if hours else f"{minutes}{_NARROW}min {rest:02}{_NARROW}s"


def size(octets: int | None) -> str:
    """A size."""
    if octets is None:
        return "—"
    value = float(octets)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f}{_NARROW}{unit}" if unit == "B" else f"{value:.1f}{_NARROW}{unit}"
        value /= 1000
    return ""


def moment(of: datetime | None) -> str:
    """A moment of a list."""
    return f"{of:%d/%m %H:%M}" if of is not None else "—"


def in_words(period: Period) -> str:
    """A period's name as one would say it."""
    of = period.start
    name = _MONTHS[of.month - 1]
    return f"{name} de {of.year}" if period.monthly else f"{_WEEKDAYS[of.weekday()]} {of.day} de {name} de {of.year}"


def short_name(period: Period) -> str:
    """A period's name as an axis shows it."""
    return axis_label(period.start, monthly=period.monthly)


def axis_label(of: date, *, monthly: bool) -> str:
    """``24 nov``, or ``nov`` for a month; January says its year."""
    name = _MONTHS[of.month - 1][:3]
    if not monthly:
        return f"{of.day} {name}"
    return f"{name} {of:%y}" if of.month == 1 else name


def title(period: Period) -> str:
    """The page's title, as a browser's tab shows it."""
    return f"visitas · {'mes' if period.monthly else 'día'} {period.name}"


def verdict(figures: Figures) -> tuple[str, str]:
    """What somebody in a hurry has to know: a colour name and a sentence."""
    waiting = sum(figures.waiting.values())
    if waiting:
        files = "1 archivo fallido espera" if waiting == 1 else f"{number(waiting)} archivos fallidos esperan"
        return "mal", f"{files} a una persona"
    rate = figures.tally.error_rate
    if rate is not None and rate > figures.threshold:
        return "aviso", f"Se rechazó {share(rate)} de los registros; el umbral es {share(figures.threshold)}"
    if not figures.tally.file_count:
        return "tenue", "No se procesó ningún archivo"
    return "bien", "Nada espera a una persona"


# --------------------------------------------------------------------------------------------------------- tiles


def tiles(figures: Figures) -> list[Tile]:
    """The numbers on top."""
    now, before = figures.tally, figures.previous
    last = "el mes anterior" if figures.period.monthly else "el día anterior"

    def compared(shown: Callable[[Tally], str]) -> str:
        return f"{last}: {shown(before)}"

    rate = now.error_rate
    waiting = sum(figures.waiting.values())
    return [
        Tile("Archivos procesados", number(now.file_count), compared(lambda t: number(t.file_count))),
        Tile(
            "Tasa de éxito",
            share(now.success_rate),
            compared(lambda t: share(t.success_rate)),
            "" if now.success_rate in (None, 1) else "mal",
        ),
        Tile("Registros procesados", number(now.total), compared(lambda t: number(t.total))),
        Tile(
            "Tasa de error",
            share(rate),
            f"{number(now.invalid)} rechazados; umbral {share(figures.threshold)}",
            "mal" if rate is not None and rate > figures.threshold else "",
        ),
        Tile("Visitantes nuevos", number(now.new_visitors), f"de {number(figures.visitors)} en total"),
        Tile(
            "Por atender",
            number(waiting),
            "archivos fallidos o en cuarentena, al hacer este reporte",
            "mal" if waiting else "",
        ),
    ]


# --------------------------------------------------------------------------------------------------------- cards


def cards(figures: Figures) -> list[Card]:
    """The charts, in their order."""
    days = [_day_by_day(figures)] if figures.period.monthly else []
    return [
        _states(figures),
        _files(figures, figures.trend, "Archivos por estado"),
        *days,
        _records(figures),
        _visitors(figures),
        _success(figures),
        _errors(figures),
        _error_types(figures),
        _failures(figures),
        _slowest(figures),
    ]


def _span(figures: Figures) -> str:
    return "últimos 12 meses" if figures.period.monthly else "últimos 30 días"


def _axis(tallies: Sequence[Tally]) -> list[str]:
    return [short_name(tally.period) for tally in tallies]


def _legend(series: Sequence[Series]) -> tuple[tuple[str, str], ...]:
    return tuple((one.colour, one.name) for one in series)


def _states(figures: Figures) -> Card:
    tally = figures.tally
    rows = [(label, tally.files.get(estado, 0)) for estado, label in LABELS.items() if tally.files.get(estado)]
    return Card(
        "Estados",
        "Archivos del periodo en cada estado: "
        + (", ".join(f"{label} {number(count)}" for label, count in rows) or "ninguno"),
        bars(rows, "archivos", "acento"),
        rows=tuple((label, number(count), share(count / tally.file_count)) for label, count in rows),
    )


def _files(figures: Figures, tallies: Sequence[Tally], name: str) -> Card:
    used = [estado for estado in LABELS if any(tally.files.get(estado) for tally in tallies)]
    series = [
        Series(LABELS[estado], TONES[estado], [tally.files.get(estado, 0) for tally in tallies]) for estado in used
    ]
    return Card(
        f"{name}, {_span(figures)}",
        f"{number(sum(tally.file_count for tally in tallies))} archivos en total",
        columns(_axis(tallies), series) if series else Markup(""),
        _legend(series),
    )


def _day_by_day(figures: Figures) -> Card:
    card = _files(figures, figures.days, "Archivos")
    busiest = max(figures.days, key=lambda tally: tally.file_count)
    said = f"El día de más archivos fue el {busiest.period.start.day}, con {number(busiest.file_count)}"
    return Card(f"Día por día, {in_words(figures.period)}", said, card.chart, card.legend)


def _records(figures: Figures) -> Card:
    series = [
        Series("Válidos", "acento", [tally.valid for tally in figures.trend]),
        Series("Rechazados", "mal", [tally.invalid for tally in figures.trend]),
    ]
    valid, invalid = (sum(value or 0 for value in one.values) for one in series)
    return Card(
        f"Registros, {_span(figures)}",
        f"{number(int(valid))} válidos y {number(int(invalid))} rechazados",
        columns(_axis(figures.trend), series) if valid + invalid else Markup(""),
        _legend(series),
    )


def _visitors(figures: Figures) -> Card:
    series = [Series("Visitantes nuevos", "bien", [tally.new_visitors for tally in figures.trend])]
    gained = sum(tally.new_visitors for tally in figures.trend)
    return Card(
        f"Visitantes nuevos, {_span(figures)}",
        f"{number(gained)} visitantes nuevos",
        columns(_axis(figures.trend), series) if gained else Markup(""),
        _legend(series),
    )


def _success(figures: Figures) -> Card:
    rates = [tally.success_rate for tally in figures.trend]
    return Card(
        f"Tasa de éxito, {_span(figures)}",
        f"En el periodo: {share(figures.tally.success_rate)}",
        _rate_chart(figures, Series("Tasa de éxito", "bien", rates)),
        (("bien", "Archivos cargados o duplicados"),),
    )


def _errors(figures: Figures) -> Card:
    rates = [tally.error_rate for tally in figures.trend]
    return Card(
        f"Tasa de error, {_span(figures)}",
        f"En el periodo: {share(figures.tally.error_rate)}; umbral: {share(figures.threshold)}",
        _rate_chart(figures, Series("Tasa de error", "mal", rates), figures.threshold),
        (("mal", "Registros rechazados"), ("tenue", f"Umbral, {share(figures.threshold)}")),
    )


def _rate_chart(figures: Figures, series: Series, limit: float | None = None) -> Markup:
    if all(value is None for value in series.values):
        return Markup("")
    return lines(_axis(figures.trend), [series], limit)


def _error_types(figures: Figures) -> Card:
    total = sum(count for _, count in figures.error_types)
    shown = figures.error_types[:10]
    return Card(
        "Errores más frecuentes",
        f"{number(total)} registros rechazados siguen en la tabla errores" if total else "Ningún registro rechazado",
        bars(shown, "registros", "mal"),
        rows=tuple((code, number(count), share(count / total)) for code, count in shown),
    )


def _failures(figures: Figures) -> Card:
    series = [
        Series(LABELS[estado], TONES[estado], [tally.files.get(estado, 0) for tally in figures.trend])
        for estado in (Estado.FALLO_LAYOUT, Estado.FALLO_SISTEMA)
    ]
    failed = sum(tally.failed for tally in figures.trend)
    return Card(
        f"Archivos a cuarentena, {_span(figures)}",
        f"{number(failed)} archivos" if failed else "Ningún archivo falló",
        columns(_axis(figures.trend), series) if failed else Markup(""),
        _legend(series),
    )


def _slowest(figures: Figures) -> Card:
    return Card(
        "Archivos más lentos",
        _slowest_said(figures.slowest),
        bars([(line.archivo, (line.took_ms or 0) / 1000) for line in figures.slowest], "segundos", "acento", "s"),
        rows=tuple(
            (line.archivo, seconds(line.took_ms), f"{number(line.records)} registros") for line in figures.slowest
        ),
    )


def _slowest_said(slowest: Sequence[FileLine]) -> str:
    if not slowest:
        return "Ningún archivo"
    return f"El más lento: {slowest[0].archivo}, {seconds(slowest[0].took_ms)}"
