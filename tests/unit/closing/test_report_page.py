"""A report's wording: numbers, shares, durations and names as a person reads them, and the sentence on top.

Values into words belong here; the whole page is looked at in a browser.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visitas_dagster.closing.figures import Figures, FileLine, Period, Tally, day, month
from visitas_dagster.closing.report_page import in_words, number, page, seconds, share, short_name, size, verdict
from visitas_dagster.domain.states import Estado

OF = day(date(2026, 11, 24))


def tally(period: Period = OF, files: Mapping[Estado, int] | None = None, total: int = 0, invalid: int = 0) -> Tally:
    return Tally(period, files or {}, total=total, valid=total - invalid, invalid=invalid)


def figures(of: Tally, *, waiting: int = 0, lines: tuple[FileLine, ...] = ()) -> Figures:
    trend = tuple(tally(period) for period in of.period.trend()[:-1])
    return Figures(
        tally=of,
        trend=(*trend, of),
        days=tuple(tally(period) for period in of.period.days()) if of.period.monthly else (),
        error_types=(),
        slowest=lines,
        failures=lines,
        waiting={Estado.FALLO_LAYOUT: waiting} if waiting else {},
        waiting_files=lines,
        visitors=0,
        threshold=0.1,
        zone="America/Mexico_City",
        made_at=datetime(2026, 11, 24, 14, 30, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("rate", "shown"),
    [
        (None, "—"),
        (0, "0 %"),
        (1, "100 %"),
        (0.5, "50.0 %"),
        (0.123456, "12.3 %"),
        (0.0004, "< 0.1 %"),
        (0.99951, "> 99.9 %"),
    ],
)
def test_a_share(rate: float | None, shown: str) -> None:
    assert share(rate).replace("\N{NARROW NO-BREAK SPACE}", " ") == shown


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_neither_all_nor_nothing_is_said_of_what_is_nearly_so(rate: float) -> None:
    assert share(rate)[:2] not in {"0\N{NARROW NO-BREAK SPACE}", "0."} or rate >= 0.001
    assert not share(rate).startswith("100")


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (None, "—"),
        (0, "0.0 s"),
        (1234, "1.2 s"),
        (59_940, "59.9 s"),
        (60_000, "1 min 00 s"),
        (3_599_999, "1 h 00 min"),
        (7_260_000, "2 h 01 min"),
    ],
)
def test_a_duration(milliseconds: int | None, shown: str) -> None:
    assert seconds(milliseconds).replace("\N{NARROW NO-BREAK SPACE}", " ") == shown


@pytest.mark.parametrize(
    ("octets", "shown"),
    [(None, "—"), (999, "999 B"), (1500, "1.5 kB"), (2_000_000, "2.0 MB"), (3 * 10**12, "3000.0 GB")],
)
def test_a_size(octets: int | None, shown: str) -> None:
    assert size(octets).replace("\N{NARROW NO-BREAK SPACE}", " ") == shown


def test_names_of_days_and_months() -> None:
    assert in_words(OF) == "martes 24 de noviembre de 2026"
    assert in_words(month(2026, 1)) == "enero de 2026"
    assert [short_name(period) for period in (OF, month(2026, 12))] == ["24 nov", "dic"]
    assert number(1234567).replace("\N{NARROW NO-BREAK SPACE}", " ") == "1 234 567"


@pytest.mark.parametrize(
    ("of", "waiting", "shown"),
    [
        (tally(), 0, ("tenue", "No se procesó ningún archivo")),
        (tally(files={Estado.COMPLETADO: 2}, total=10), 0, ("bien", "Nada espera a una persona")),
        (tally(files={Estado.COMPLETADO: 2}, total=10), 1, ("mal", "1 archivo fallido espera a una persona")),
        (tally(), 12, ("mal", "12 archivos fallidos esperan a una persona")),
        (
            tally(files={Estado.COMPLETADO_CON_ERRORES: 1}, total=10, invalid=2),
            0,
            ("aviso", "Se rechazó 20.0 % de los registros; el umbral es 10 %"),
        ),
        (
            tally(files={Estado.COMPLETADO_CON_ERRORES: 1}, total=10, invalid=1),
            0,
            ("bien", "Nada espera a una persona"),
        ),
    ],
)
def test_the_sentence_on_top(of: Tally, waiting: int, shown: tuple[str, str]) -> None:
    tone, said = verdict(figures(of, waiting=waiting))
    assert (tone, said.replace("\N{NARROW NO-BREAK SPACE}", " ")) == shown


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.text(max_size=60))
def test_text_from_outside_opens_no_tag(archivo: str, mensaje: str) -> None:
    line = FileLine(f"<script>{archivo}", Estado.FALLO_LAYOUT, None, None, None, None, f"<img src=x>{mensaje}")
    made = page(figures(tally(files={Estado.FALLO_LAYOUT: 1}), waiting=1, lines=(line,)))
    assert "<script" not in made
    assert "<img" not in made
    assert "&lt;img src=x&gt;" in made


def test_every_state_and_both_kinds_make_a_page() -> None:
    every: dict[Estado, int] = {estado: 1 for estado in Estado if estado is not Estado.EN_PROCESO}
    daily = page(figures(replace(tally(files=every, total=1000, invalid=10), new_visitors=7)))
    monthly = page(figures(tally(month(2026, 11), every, 1000, 10)))
    assert daily.count('<section class="tarjeta">') == 10
    assert monthly.count('<section class="tarjeta">') == 12
    for made in (daily, monthly):
        assert made.startswith("<!doctype html>")
        assert made.count("<svg ") == made.count("</svg>") >= 4
        assert "Completado con errores" in made


def test_a_page_without_anything_says_so() -> None:
    made = page(figures(tally()))
    assert made.count("Sin datos") == 10
    assert "Por atender</h2>" not in made
