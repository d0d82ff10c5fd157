"""The page of a report: figures into one HTML file that needs no network, no script and no other file.

Wording, the order of the sections and which chart shows what belong here; the page's frame and colours stand in
``templates/reporte.html.j2``, the drawing in ``report_charts.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from visitas_dagster.closing.figures import Figures, Period, Tally
from visitas_dagster.closing.report_charts import Bar, Series, bars, columns, is_near, lines
from visitas_dagster.domain.states import Estado

_NARROW = "\N{NARROW NO-BREAK SPACE}"
_MONTHS = (
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre".split()  # noqa: SIM905
)
_WEEKDAYS = "lunes martes miércoles jueves viernes sábado domingo".split()  # noqa: SIM905

TOP_ERRORS = 10
"""Kinds of error that the page shows at the most."""

TONES = {
    Estado.COMPLETADO: "bien",
    Estado.COMPLETADO_CON_ERRORES: "aviso",
    Estado.DUPLICADO: "frio",
    Estado.FALLO_LAYOUT: "mal",
    Estado.FALLO_SISTEMA: "grave",
}
"""The colour of each state in which a file ends, by its name in the template."""

LABELS = {
    Estado.COMPLETADO: "Completado",
    Estado.COMPLETADO_CON_ERRORES: "Completado con errores",
    Estado.DUPLICADO: "Duplicado",
    Estado.FALLO_LAYOUT: "Fallo de layout",
    Estado.FALLO_SISTEMA: "Fallo de sistema",
}
"""What a person reads for each of them, in the order in which a report lists them."""


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
        rows: labels and values of the bars, for those who see no chart.
    """

    title: str
    said: str
    chart: Markup
    legend: tuple[tuple[str, str], ...] = ()
    rows: tuple[tuple[str, str], ...] = ()


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
    """A period's name as an axis shows it: ``24 nov``, or ``nov`` for a month."""
    name = _MONTHS[period.start.month - 1][:3]
    return name if period.monthly else f"{period.start.day} {name}"


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
        return "aviso", f"Se rechazó {share(rate)} de los registros; el umbral es {_threshold(figures)}"
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
        Tile("Tasa de éxito", share(now.success_rate), compared(lambda t: share(t.success_rate))),
        Tile("Registros procesados", number(now.total), compared(lambda t: number(t.total))),
        Tile(
            "Tasa de error",
            share(rate),
            f"{number(now.invalid)} rechazados; umbral {_threshold(figures)}",
            "mal" if rate is not None and rate > figures.threshold else "",
        ),
        Tile("Visitantes nuevos", number(now.new_visitors), f"de {number(figures.visitors)} en total"),
        Tile(
            "Por atender",
            number(waiting),
            "archivos fallidos, al hacer este reporte",
            "mal" if waiting else "",
        ),
    ]


# --------------------------------------------------------------------------------------------------------- cards


def cards(figures: Figures) -> list[Card]:
    """The charts, in their order: two a row on a wide screen, which is why their number is even."""
    return [
        _states(figures),
        _files(f"Archivos por estado, {_span(figures)}", figures.trend),
        *_day_by_day(figures),
        _records(f"Registros, {_span(figures)}", figures.trend),
        _visitors(figures),
        _success(figures),
        _errors(figures),
        _error_types(figures),
        _failures(figures),
        _slowest(figures),
        _busy(figures),
    ]


def _span(figures: Figures) -> str:
    return "últimos 12 meses" if figures.period.monthly else "últimos 30 días"


def _columns(name: str, said: str, tallies: Sequence[Tally], series: Sequence[Series]) -> Card:
    """A card of stacked columns; of several series those that count nothing are left out."""
    counted = [one for one in series if any(one.values)]
    labels = [short_name(tally.period) for tally in tallies]
    return Card(
        name,
        said,
        columns(labels, counted) if counted else Markup(""),
        tuple((one.colour, one.name) for one in counted) if len(series) > 1 else (),
    )


def _states(figures: Figures) -> Card:
    tally = figures.tally
    found = [(estado, label, tally.files[estado]) for estado, label in LABELS.items() if estado in tally.files]
    rows = tuple((label, f"{number(count)} · {share(count / tally.file_count)}") for _, label, count in found)
    drawn = [
        Bar(label, count, written, TONES[estado])
        for (estado, label, count), (_, written) in zip(found, rows, strict=True)
    ]
    return Card("Estados", _counted(tally.file_count, "archivo", "archivos"), bars(drawn), rows=rows)


def _files(name: str, tallies: Sequence[Tally]) -> Card:
    return _columns(
        name,
        _counted(sum(tally.file_count for tally in tallies), "archivo", "archivos"),
        tallies,
        [
            Series(label, TONES[estado], [tally.files.get(estado, 0) for tally in tallies])
            for estado, label in LABELS.items()
        ],
    )


def _records(name: str, tallies: Sequence[Tally]) -> Card:
    valid, invalid = sum(tally.valid for tally in tallies), sum(tally.invalid for tally in tallies)
    return _columns(
        name,
        f"{_counted(valid, 'válido', 'válidos')}, {_counted(invalid, 'rechazado', 'rechazados')}",
        tallies,
        [
            Series("Válidos", "acento", [tally.valid for tally in tallies]),
            Series("Rechazados", "mal", [tally.invalid for tally in tallies]),
        ],
    )


def _day_by_day(figures: Figures) -> list[Card]:
    if not figures.days:
        return []
    return [_files("Archivos, día por día", figures.days), _records("Registros, día por día", figures.days)]


def _visitors(figures: Figures) -> Card:
    gained = [tally.new_visitors for tally in figures.trend]
    return _columns(
        f"Visitantes nuevos, {_span(figures)}",
        _counted(sum(gained), "visitante nuevo", "visitantes nuevos"),
        figures.trend,
        [Series("Visitantes nuevos", "bien", gained)],
    )


def _failures(figures: Figures) -> Card:
    failed = sum(tally.failed for tally in figures.trend)
    return _columns(
        f"A cuarentena, {_span(figures)}",
        _counted(failed, "archivo fallido", "archivos fallidos"),
        figures.trend,
        [
            Series(LABELS[estado], TONES[estado], [tally.files.get(estado, 0) for tally in figures.trend])
            for estado in (Estado.FALLO_LAYOUT, Estado.FALLO_SISTEMA)
        ],
    )


def _busy(figures: Figures) -> Card:
    return _columns(
        f"Tiempo de proceso, {_span(figures)}",
        f"En el periodo: {seconds(figures.tally.busy_ms)}, sumados los archivos; la escala son segundos",
        figures.trend,
        [Series("Segundos", "acento", [tally.busy_ms / 1000 for tally in figures.trend])],
    )


def _success(figures: Figures) -> Card:
    rates = [tally.success_rate for tally in figures.trend]
    return Card(
        f"Tasa de éxito, {_span(figures)}",
        f"Archivos que no fallaron; en el periodo, {share(figures.tally.success_rate)}",
        _rate_chart(figures, Series("Tasa de éxito", "bien", rates)),
    )


def _errors(figures: Figures) -> Card:
    rates = [tally.error_rate for tally in figures.trend]
    legend = (("mal", "Registros rechazados"), ("tenue", "Umbral de alerta"))
    return Card(
        f"Tasa de error, {_span(figures)}",
        f"Registros rechazados; en el periodo, {share(figures.tally.error_rate)}; umbral, {_threshold(figures)}",
        _rate_chart(figures, Series("Tasa de error", "mal", rates), figures.threshold),
        legend if is_near(rates, figures.threshold) else (),
    )


def _rate_chart(figures: Figures, series: Series, limit: float | None = None) -> Markup:
    if all(value is None for value in series.values):
        return Markup("")
    return lines([short_name(tally.period) for tally in figures.trend], [series], limit)


def _error_types(figures: Figures) -> Card:
    total = sum(count for _, count in figures.error_types)
    shown = figures.error_types[:TOP_ERRORS]
    rows = tuple((code, f"{number(count)} · {share(count / total)}") for code, count in shown)
    drawn = [Bar(code, count, written, "mal") for (code, count), (_, written) in zip(shown, rows, strict=True)]
    return Card("Errores más frecuentes", _counted(total, "registro", "registros"), bars(drawn), rows=rows)


def _slowest(figures: Figures) -> Card:
    rows = tuple(
        (line.archivo, f"{seconds(line.took_ms)} · {_counted(line.records or 0, 'registro', 'registros')}")
        for line in figures.slowest
    )
    drawn = [
        Bar(line.archivo, (line.took_ms or 0) / 1000, seconds(line.took_ms), TONES[line.estado])
        for line in figures.slowest
    ]
    return Card("Archivos más lentos", "Del primer paso al último, en su último intento", bars(drawn), rows=rows)


def _counted(count: int, one: str, many: str) -> str:
    return f"{number(count)} {one if count == 1 else many}"


def _threshold(figures: Figures) -> str:
    return f"{figures.threshold * 100:g}{_NARROW}%"
