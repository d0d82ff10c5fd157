"""`visitas close` as an operator calls it: what it says, its exit codes, and what the web interface shows of it.

The command belongs here; what a close does to folders and tables is `tests/integration/test_close.py`.
"""

import re
import zipfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from tests.support.command import Visitas
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import put, record, report, settings_for
from visitas_dagster.assets.closing import ASSET
from visitas_dagster.loading.schema import upgrade
from visitas_dagster.resources.database import open_engine

pytestmark = pytest.mark.databases("sqlite")

STEPS = (
    "limpieza",
    "cuarentena",
    "pendientes",
    "respaldo",
    "contadores",
    "logs_viejos",
    "respaldos_viejos",
    "particiones",
    "reportes",
)


@pytest.fixture
def visitas(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Visitas:
    """Give an installation with its tables."""
    made = Visitas(tmp_path, {"VISITAS_DB_URL": database.url, **sftp_folder.environment()})
    settings = settings_for(database.url, {}, made.home)
    engine = open_engine(settings)
    upgrade(engine)
    engine.dispose()
    return made


def today() -> date:
    return datetime.now(UTC).astimezone(settings_for("sqlite://", {}, Path()).zone).date()


def shown_steps(out: str) -> dict[str, str]:
    """What stands behind each step's name."""
    lines = [re.fullmatch(r"  (\w+) +(.+)", line) for line in out.splitlines()]
    return {line[1]: line[2] for line in lines if line is not None and line[1] in STEPS}


def test_today_is_closed_and_shown_in_dagster(visitas: Visitas, sftp_folder: SftpFolder) -> None:
    put(sftp_folder.path, "report_1.txt", report(record()))
    put(sftp_folder.path, "report_2.txt", report(record("sin arroba")))
    day = today()
    ended = visitas.run("close", "--fecha", day.isoformat())
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"Cierre del {day}\n")
    steps = shown_steps(ended.out)
    assert tuple(steps) == STEPS
    assert steps["pendientes"] == "listo  2 archivos: 1 COMPLETADO, 1 COMPLETADO_CON_ERRORES"
    assert steps["respaldo"] == f"listo  backup_{day:%Y%m%d}.zip: 2 en total, 2 agregados"
    assert steps["reportes"] == f"listo  diario_{day:%Y%m%d}.html, mensual_{day:%Y%m}.html"
    with zipfile.ZipFile(visitas.home / "backup" / f"backup_{day:%Y%m%d}.zip") as archive:
        assert len(archive.namelist()) == 3
    with dg.DagsterInstance.from_config(str(visitas.home / "dagster")) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey(ASSET)) == {day.isoformat()}


def test_without_a_date_yesterday_is_closed(visitas: Visitas) -> None:
    ended = visitas.run_in_terminal("close")
    assert ended.code == 0
    assert f"Cierre del {today() - timedelta(days=1)}" in ended.shown
    assert "no hay respaldos de ese día" in ended.shown


@pytest.mark.parametrize(
    ("fecha", "line"),
    [
        ("ayer", "visitas: --fecha: «ayer» no es una fecha. Escríbala como AAAA-MM-DD\n"),
        ("20240101", "visitas: --fecha: «20240101» no es una fecha. Escríbala como AAAA-MM-DD\n"),
        ("2024-02-30", "visitas: --fecha: «2024-02-30» no es una fecha. Escríbala como AAAA-MM-DD\n"),
    ],
)
def test_what_is_no_date_is_wrong_use(visitas: Visitas, fecha: str, line: str) -> None:
    ended = visitas.run("close", "--fecha", fecha)
    assert (ended.code, ended.out, ended.err) == (2, "", line)


def test_a_date_that_has_not_come_is_wrong_use(visitas: Visitas) -> None:
    ended = visitas.run("close", "--fecha", (today() + timedelta(days=2)).isoformat())
    assert (ended.code, ended.out) == (2, "")
    assert re.fullmatch(
        r"visitas: --fecha: el [-\d]{10} todavía no llega, hoy es [-\d]{10}\. Escriba una fecha de hoy o anterior\n",
        ended.err,
    )


def test_a_server_that_does_not_answer_fails_the_close_and_the_rest_is_done(visitas: Visitas) -> None:
    ended = visitas.run("close", VISITAS_SFTP_PORT="1", VISITAS_REINTENTOS="0")
    assert ended.code == 1
    steps = shown_steps(ended.out)
    assert [name for name in STEPS if steps[name].startswith("falló")] == ["pendientes"]
    assert "127.0.0.1:1 no responde" in steps["pendientes"]
    assert "pendientes: VISITAS_SFTP_HOST" in ended.err
    assert "Traceback" not in ended.err
    with dg.DagsterInstance.from_config(str(visitas.home / "dagster")) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey(ASSET)) == set()


def test_without_tables_nothing_begins(visitas: Visitas) -> None:
    ended = visitas.run("close", VISITAS_DB_URL=f"sqlite:///{visitas.folder / 'otra.db'}")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "visitas: VISITAS_DB_URL: en la base de datos faltan las tablas. Ejecute: visitas init\n"
