"""The views over months of a made-up ledger, against the same figures counted in Python with `zoneinfo`.

What a view returns belongs here; what Grafana asks of it does not.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from tests.support.command import Visitas
from tests.support.fixtures import Database, SftpFolder
from tests.support.history import VIEWS, plain, seed, view, view_differences
from tests.support.pipeline import Pipeline, SteppingClock, record, report, settings_for
from visitas_dagster.loading import tables
from visitas_dagster.loading.schema import VERSION_TABLE, newest, upgrade
from visitas_dagster.loading.statements import sql_folder
from visitas_dagster.loading.zone import keep_zone
from visitas_dagster.resources.database import open_engine

MEXICO = ZoneInfo("America/Mexico_City")


@pytest.fixture
def engine(database: Database, tmp_path: Path) -> Iterator[sa.Engine]:
    """Give an engine on a database with the tables and the views."""
    engine = open_engine(settings_for(database.url, {}, tmp_path))
    upgrade(engine)
    yield engine
    engine.dispose()


def test_the_views_are_these(engine: sa.Engine) -> None:
    files = {path.name.partition(".")[0] for path in (sql_folder() / "views").glob("*.sql")}
    assert files == set(VIEWS)
    assert set(sa.inspect(engine).get_view_names()) == files


@pytest.mark.parametrize(
    ("zone", "start"),
    [
        # Summer time in Mexico until 2022, none since: the changes of April and October.
        ("America/Mexico_City", date(2022, 9, 20)),
        # The year turns; clocks that never change.
        ("America/Mexico_City", date(2025, 11, 15)),
        # Both changes, at two in the morning.
        ("America/New_York", date(2026, 2, 20)),
        # The clocks go forward at midnight, which does not exist, and back from one to midnight, which comes twice.
        ("America/Havana", date(2025, 10, 10)),
        ("America/Havana", date(2026, 2, 20)),
        # They go back from midnight to eleven: the day before is the longer one.
        ("Asia/Beirut", date(2025, 10, 1)),
        # East of Greenwich, by half an hour, and a far future that no list of changes holds.
        ("Australia/Lord_Howe", date(2099, 9, 20)),
        # A day that never was: 30 December 2011.
        ("Pacific/Apia", date(2011, 12, 1)),
    ],
)
def test_every_view_counts_as_python_does(engine: sa.Engine, zone: str, start: date) -> None:
    own = ZoneInfo(zone)
    keep_zone(engine, own)
    seed(engine, own, start, days=70, number=start.toordinal())
    assert view_differences(engine, own) == []


def test_another_zone_dates_everything_anew(engine: sa.Engine) -> None:
    keep_zone(engine, MEXICO)
    seed(engine, MEXICO, date(2026, 1, 1), days=40)
    for zone in (ZoneInfo("Asia/Tokyo"), ZoneInfo("America/New_York"), MEXICO):
        assert keep_zone(engine, zone) is True
        assert keep_zone(engine, zone) is False
        assert view_differences(engine, zone) == []


def test_empty_tables_make_empty_views_and_six_states(engine: sa.Engine) -> None:
    keep_zone(engine, MEXICO)
    assert {name: len(view(engine, name)) for name in VIEWS} == dict.fromkeys(VIEWS, 0) | {"v_estados": 6}


@pytest.mark.parametrize(
    ("end", "day", "month"),
    [
        (datetime(2026, 3, 1, 5, 59, 59, 999999), date(2026, 2, 28), date(2026, 2, 1)),
        (datetime(2026, 3, 1, 6), date(2026, 3, 1), date(2026, 3, 1)),
        (datetime(2026, 1, 1, 5, 59, 59, 999999), date(2025, 12, 31), date(2025, 12, 1)),
        (datetime(2025, 12, 31, 23, 59, 59, 999999), date(2025, 12, 31), date(2025, 12, 1)),
        (datetime(1970, 1, 2), date(1970, 1, 1), date(1970, 1, 1)),
        (datetime(2100, 12, 31, 23, 59, 59), date(2100, 12, 31), date(2100, 12, 1)),
    ],
)
def test_a_file_counts_on_the_local_day_of_its_end(engine: sa.Engine, end: datetime, day: date, month: date) -> None:
    keep_zone(engine, MEXICO)
    with engine.begin() as connection:
        connection.execute(
            sa.insert(tables.bitacora_control).values(
                archivo="report_1.txt", estado="COMPLETADO", intentos=1, vigente=True, inicio=end, fin=end
            )
        )
    (row,) = view(engine, "v_archivos_por_dia")
    assert (plain(row)["dia"], plain(row)["mes"], row["archivos"]) == (day, month, 1)


def test_an_upgrade_that_died_between_two_views_goes_on(engine: sa.Engine) -> None:
    keep_zone(engine, MEXICO)
    seed(engine, MEXICO, date(2026, 1, 1), days=5)
    with engine.begin() as connection:
        for name in ("v_reporte_mensual", "v_duracion", "v_top_errores"):
            connection.execute(sa.text(f"DROP VIEW {name}"))
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '0004'"))
    assert upgrade(engine) == ("0004", newest())
    assert view_differences(engine, MEXICO) == []


@pytest.mark.databases("mysql", "mariadb")
def test_a_database_of_another_collation_has_the_same_views(database: Database, tmp_path: Path) -> None:
    with sa.create_engine(database.url).connect() as connection:
        name = sa.make_url(database.url).database
        connection.execute(sa.text(f"ALTER DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_spanish_ci"))
    engine = open_engine(settings_for(database.url, {}, tmp_path))
    upgrade(engine)
    keep_zone(engine, MEXICO)
    seed(engine, MEXICO, date(2026, 1, 1), days=10)
    assert view_differences(engine, MEXICO) == []
    engine.dispose()


# ------------------------------------------------------------------------------------- what the platform writes


def by_day(pipeline: Pipeline) -> dict[int, tuple[int, ...]]:
    """Files, loaded, duplicates, layout failures, those that wait, and records, by the day of the month."""
    wanted = ("archivos", "completados", "completados_con_errores", "duplicados", "fallos_layout", "en_cuarentena")
    days = map(plain, view(pipeline.platform.engine, "v_archivos_por_dia"))
    return {row["dia"].day: (*(row[name] for name in wanted), row["registros_total"]) for row in days}


def test_corrections_duplicates_redeliveries_and_failures_count_where_the_page_says(
    database: Database, sftp_folder: SftpFolder, tmp_path: Path
) -> None:
    clock = SteppingClock(datetime(2024, 3, 14, 18, tzinfo=UTC))
    first, second = report(record(), record("ana@example.org"), record("sin arroba")), report(record())
    with Pipeline(database, sftp_folder, tmp_path, clock) as pipeline:
        pipeline.deliver("report_1.txt", first)
        pipeline.run_pass()
        pipeline.deliver("report_2.txt", first)
        pipeline.deliver("report_3.txt", b"otra cosa\n")
        pipeline.run_pass()
        assert by_day(pipeline) == {14: (3, 0, 1, 1, 1, 1, 3)}

        # The next day by Mexico's clock, half an hour after its midnight.
        clock.set(datetime(2024, 3, 15, 6, 30, tzinfo=UTC))
        pipeline.deliver("report_1.txt", second)
        pipeline.deliver("report_3.txt", report(record("eva@example.net")))
        pipeline.run_pass()
        # The duplicate took the content over, and counts it on its own day; the failure was made good.
        assert by_day(pipeline) == {14: (3, 0, 2, 0, 1, 0, 6), 15: (2, 2, 0, 0, 0, 0, 2)}

        clock.set(datetime(2024, 3, 16, 18, tzinfo=UTC))
        pipeline.deliver("report_1.txt", second)
        pipeline.run_pass()
        # The same bytes again: the last attempt is this day's.
        assert by_day(pipeline) == {14: (3, 0, 2, 0, 1, 0, 6), 15: (1, 1, 0, 0, 0, 0, 1), 16: (1, 1, 0, 0, 0, 0, 1)}

        assert view_differences(pipeline.platform.engine, MEXICO) == []


@pytest.mark.databases("sqlite")
def test_init_writes_the_zone_that_the_setting_names(database: Database, tmp_path: Path) -> None:
    visitas = Visitas(tmp_path, {"VISITAS_DB_URL": database.url})
    engine = sa.create_engine(database.url)
    for changes, zone in (({}, "America/Mexico_City"), ({"VISITAS_ZONA_HORARIA": "Asia/Tokyo"}, "Asia/Tokyo")):
        assert visitas.run("init", **changes).code == 0
        with engine.connect() as connection:
            assert connection.execute(sa.text("SELECT DISTINCT zona FROM zona_cambios")).all() == [(zone,)]
    engine.dispose()
