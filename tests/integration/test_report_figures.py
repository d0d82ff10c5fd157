"""A report's figures on every engine, against the same counted in Python, and against the views.

Numbers belong here; how they are written and drawn does not.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from tests.support.fixtures import Database
from tests.support.history import FAILED, History, Row, beginning, seed
from tests.support.pipeline import settings_for
from visitas_dagster.closing.figures import MAX_ROWS, SLOWEST, Figures, Tally, day, each_file, gather, month
from visitas_dagster.domain.states import Estado
from visitas_dagster.loading import tables
from visitas_dagster.loading.schema import upgrade
from visitas_dagster.loading.zone import keep_zone
from visitas_dagster.resources.platform import Platform

STATES = {
    "completados": Estado.COMPLETADO,
    "completados_con_errores": Estado.COMPLETADO_CON_ERRORES,
    "fallos_layout": Estado.FALLO_LAYOUT,
    "fallos_sistema": Estado.FALLO_SISTEMA,
    "duplicados": Estado.DUPLICADO,
}

# Mexico's last summer time ends on 30 October 2022; Havana's clocks go forward at midnight on 8 March 2026.
CASES = [("America/Mexico_City", date(2022, 9, 20)), ("America/Havana", date(2026, 2, 1))]
DAYS = 70


@pytest.fixture(params=CASES, ids=["mexico", "havana"])
def filled(database: Database, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Platform, date]]:
    """Give an installation with seventy days behind it, and the last of them."""
    zone, start = request.param
    last = start + timedelta(days=DAYS - 1)
    now = datetime(last.year, last.month, last.day, 20, tzinfo=UTC)
    settings = settings_for(database.url, {}, tmp_path / "etl", zona_horaria=zone)
    with Platform(settings, clock=lambda: now) as platform:
        upgrade(platform.engine)
        keep_zone(platform.engine, settings.zone)
        seed(platform.engine, settings.zone, start, DAYS, number=start.toordinal())
        yield platform, last


def history(platform: Platform) -> History:
    return History.read(platform.engine, platform.settings.zone)


def as_view(tally: Tally) -> Row:
    """A tally by the names of ``v_archivos_por_dia`` and ``v_reporte_mensual``."""
    return {
        "archivos": tally.file_count,
        **{name: tally.files.get(estado, 0) for name, estado in STATES.items()},
        "registros_total": tally.total,
        "registros_validos": tally.valid,
        "registros_invalidos": tally.invalid,
        "tasa_exito": tally.success_rate,
        "tasa_error": tally.error_rate,
        "visitantes_nuevos": tally.new_visitors,
        "bytes": tally.bytes,
    }


NOTHING: Row = as_view(Tally(day(date(2026, 1, 1))))


def expected(rows: list[Row], key: str, of: date) -> Row:
    """What was counted for a day or month; the same names as :func:`as_view`."""
    for row in rows:
        if row[key] == of:
            return {name: row[name] or (0 if name == "bytes" else row[name]) for name in NOTHING}
    return NOTHING


def rounded(row: Row) -> Row:
    return {name: round(value, 9) if isinstance(value, float) else value for name, value in row.items()}


def test_each_day_of_the_trend_is_what_python_counts(filled: tuple[Platform, date]) -> None:
    platform, last = filled
    counted = history(platform).por_dia()
    figures = gather(platform, day(last))
    assert [tally.period.start for tally in figures.trend] == [last - timedelta(days=ago) for ago in range(29, -1, -1)]
    for tally in figures.trend:
        assert rounded(as_view(tally)) == rounded(expected(counted, "dia", tally.period.start)), tally.period.name
    assert figures.tally is figures.trend[-1]
    assert figures.previous is figures.trend[-2]
    assert figures.days == ()


def test_each_month_and_each_of_its_days_is_what_python_counts(filled: tuple[Platform, date]) -> None:
    platform, last = filled
    of = last.replace(day=1) - timedelta(days=1)
    figures = gather(platform, month(of.year, of.month))
    counted = history(platform)
    assert len(figures.trend) == 12
    assert figures.trend[-1].period.start == of.replace(day=1)
    for tally in figures.trend:
        assert rounded(as_view(tally)) == rounded(expected(counted.mensual(), "mes", tally.period.start))
    assert [tally.period.start for tally in figures.days] == [
        of.replace(day=1) + timedelta(days=ahead) for ahead in range(of.day)
    ]
    for tally in figures.days:
        assert rounded(as_view(tally)) == rounded(expected(counted.por_dia(), "dia", tally.period.start))
    assert sum(tally.file_count for tally in figures.days) == figures.tally.file_count > 0


def test_the_views_say_the_same(filled: tuple[Platform, date]) -> None:
    platform, last = filled
    for period, view, key in (
        (day(last), "v_archivos_por_dia", "dia"),
        (month(last.year, last.month), "v_reporte_mensual", "mes"),
    ):
        with platform.engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(sa.text(f"SELECT * FROM {view}")).mappings()]
        dated = [{**row, key: _date(row[key])} for row in rows]
        for tally in gather(platform, period).trend:
            found = expected(dated, key, tally.period.start)
            plain = {name: value if value is None else float(value) for name, value in found.items()}
            assert rounded(plain) == rounded(as_view(tally))


def _date(value: Any) -> date:
    return date.fromisoformat(value) if isinstance(value, str) else value


def _of_period(counted: History, figures: Figures) -> list[Row]:
    period = figures.period
    return [row for row in counted.ended() if period.start <= counted.day_of(row) < period.end]


def test_kinds_of_error_slow_files_and_failures_of_a_month(filled: tuple[Platform, date]) -> None:
    platform, last = filled
    figures = gather(platform, month(last.year, last.month))
    counted = history(platform)
    rows = _of_period(counted, figures)
    ids = {row["id"] for row in rows}
    kinds = Counter(reject["tipo_error"] for reject in counted.rejects if reject["archivo_id"] in ids)
    assert list(figures.error_types) == sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    timed = sorted((row for row in rows if row["duracion_ms"] is not None), key=lambda row: -row["duracion_ms"])
    assert [line.took_ms for line in figures.slowest] == [row["duracion_ms"] for row in timed[:SLOWEST]]
    assert figures.slowest[0].archivo == timed[0]["archivo"]
    failed = sorted((row for row in rows if row["estado"] in FAILED), key=lambda row: (row["fin"], row["id"]))[::-1]
    assert [(line.archivo, line.estado) for line in figures.failures] == [
        (row["archivo"], row["estado"]) for row in failed[:MAX_ROWS]
    ]
    assert figures.failures[0].moment == failed[0]["fin"].replace(tzinfo=UTC)
    assert figures.tally.failed == len(failed)


def test_what_waits_is_told_as_it_stands_now(filled: tuple[Platform, date]) -> None:
    platform, last = filled
    figures = gather(platform, day(last))
    waiting = history(platform).quarantined()
    assert figures.waiting == Counter(row["estado"] for row in waiting)
    newest = sorted(waiting, key=lambda row: (row["inicio"], row["id"]))[::-1]
    assert [line.archivo for line in figures.waiting_files] == [row["archivo"] for row in newest[:MAX_ROWS]]


def test_each_file_of_a_day_is_listed_once_in_the_order_of_its_end(filled: tuple[Platform, date]) -> None:
    platform, last = filled
    for ago in range(10):
        of = day(last - timedelta(days=ago))
        listed = list(each_file(platform, of))
        counted = history(platform)
        rows = [row for row in counted.ended() if counted.day_of(row) == of.start]
        assert [row["id"] for row in listed] == [
            row["id"] for row in sorted(rows, key=lambda row: (row["fin"], row["id"]))
        ]


@pytest.fixture
def empty(database: Database, tmp_path: Path) -> Iterator[Platform]:
    settings = settings_for(database.url, {}, tmp_path / "etl")
    with Platform(settings, clock=lambda: datetime(2026, 3, 1, 5, 30, tzinfo=UTC)) as platform:
        upgrade(platform.engine)
        yield platform


def test_nothing_processed_is_nothing_counted(empty: Platform) -> None:
    for period, length in ((day(date(2026, 2, 28)), 30), (month(2026, 2), 12)):
        figures = gather(empty, period)
        assert [as_view(tally) for tally in figures.trend] == [NOTHING] * length
        assert (figures.error_types, figures.slowest, figures.failures, figures.waiting) == ((), (), (), {})
        assert figures.visitors == 0
        # Half past five in UTC is the evening before in Mexico City.
        assert figures.made_at.replace(tzinfo=None) == datetime(2026, 2, 28, 23, 30)


@pytest.mark.parametrize(
    ("moment", "counted"),
    [
        (beginning(date(2026, 2, 28), ZoneInfo("America/Mexico_City")), True),
        (beginning(date(2026, 2, 28), ZoneInfo("America/Mexico_City")) - timedelta(microseconds=1), False),
        (beginning(date(2026, 3, 1), ZoneInfo("America/Mexico_City")) - timedelta(microseconds=1), True),
        (beginning(date(2026, 3, 1), ZoneInfo("America/Mexico_City")), False),
    ],
)
def test_a_day_is_from_midnight_to_midnight_of_the_zone(empty: Platform, moment: datetime, counted: bool) -> None:
    with empty.engine.begin() as connection:
        connection.execute(
            sa.insert(tables.bitacora_control).values(
                archivo="report_1.txt", estado="DUPLICADO", intentos=1, inicio=moment, fin=moment, vigente=True
            )
        )
    assert gather(empty, day(date(2026, 2, 28))).tally.file_count == int(counted)
