"""`visitas report` as an operator calls it: the tables, the paths, and what is said of a wrong value.

The command's output and exit codes belong here; the figures and the files are tested without it.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from tests.support.command import Visitas
from visitas_dagster.loading import tables

ZONE = ZoneInfo("America/Mexico_City")
NAME = "report_[red]7[/].txt"


@pytest.fixture(scope="module")
def visitas(tmp_path_factory: pytest.TempPathFactory) -> Visitas:
    """Give an installation whose tables are made, with one file of now and one of 14 March 2024."""
    visitas = Visitas(tmp_path_factory.mktemp("reporte"), {})
    assert visitas.run("init").code == 0
    engine = sa.create_engine(f"sqlite:///{visitas.home / 'visitas.db'}")
    with engine.begin() as connection:
        for moment, estado, rejected in (
            (datetime(2024, 3, 14, 18), "COMPLETADO_CON_ERRORES", 20),
            (datetime.now(UTC).replace(tzinfo=None), "FALLO_LAYOUT", None),
        ):
            connection.execute(
                sa.insert(tables.bitacora_control).values(
                    archivo=NAME,
                    estado=estado,
                    intentos=1,
                    inicio=moment,
                    fin=moment,
                    duracion_ms=61_000,
                    registros_total=1200 if rejected else None,
                    registros_validos=1180 if rejected else None,
                    registros_invalidos=rejected,
                    visitantes_nuevos=7 if rejected else None,
                    mensaje=None if rejected else "faltan columnas, dice ana@example.com",
                    vigente=True,
                )
            )
    engine.dispose()
    return visitas


def written(visitas: Visitas) -> dict[str, int]:
    """The files under ``reportes/`` and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in (visitas.home / "reportes").iterdir()}


def cells(out: str) -> dict[str, list[str]]:
    """The lines of the tables, by their first cell."""
    split = [line.strip().split("  ") for line in out.splitlines() if line.startswith("  ")]
    return {row[0]: [cell.strip() for cell in row[1:] if cell.strip()] for row in split}


def test_a_day_and_the_day_before(visitas: Visitas) -> None:
    ended = visitas.run("report", "--dia", "2024-03-14")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("Reporte diario, jueves 14 de marzo de 2024:\n")
    found = cells(ended.out.replace("\N{NARROW NO-BREAK SPACE}", " "))
    assert found["dato"] == ["2024-03-14", "2024-03-13"]
    assert found["archivos procesados"] == ["1", "0"]
    assert found["registros procesados"] == ["1 200", "0"]
    assert found["tasa de error"] == ["1.7 %", "—"]
    assert found["visitantes nuevos"] == ["7", "0"]
    assert found["tiempo de proceso"] == ["1 min 01 s", "0.0 s"]
    assert found["COMPLETADO_CON_ERRORES"] == ["1"]
    assert ended.out.splitlines()[-3:] == [
        str(visitas.home / "reportes" / f"diario_20240314.{suffix}") for suffix in ("html", "json", "csv")
    ]
    assert all(Path(path).is_file() for path in ended.out.splitlines()[-3:])


def test_without_a_day_it_is_todays(visitas: Visitas) -> None:
    before = datetime.now(ZONE)
    ended = visitas.run("report")
    days = {f"diario_{moment:%Y%m%d}.html" for moment in (before, datetime.now(ZONE))}
    assert ended.code == 0
    assert Path(ended.out.splitlines()[-3]).name in days
    assert "Por atender, al hacer este reporte: 1\n" in ended.out
    assert f"  {NAME}: faltan columnas, dice xxx@xxxxxxx.xxx\n" in ended.out


def test_a_month(visitas: Visitas) -> None:
    ended = visitas.run("report", "--mes", "2024-03")
    assert ended.code == 0
    assert ended.out.startswith("Reporte mensual, marzo de 2024:\n")
    assert cells(ended.out)["dato"] == ["2024-03", "2024-02"]
    assert Path(ended.out.splitlines()[-1]).name == "mensual_202403.csv"


def test_on_a_terminal_no_path_is_broken(visitas: Visitas) -> None:
    ended = visitas.run_in_terminal("report", "--dia", "2024-03-14", columns=60)
    assert ended.code == 0
    assert str(visitas.home / "reportes" / "diario_20240314.html") in ended.shown.splitlines()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dia", "ayer"], "--dia: «ayer» no es un día. Escríbalo como AAAA-MM-DD, por ejemplo "),
        (["--dia", "2024-02-30"], "--dia: «2024-02-30» no es un día. "),
        (["--dia", "2024-W11-4"], "--dia: «2024-W11-4» no es un día. "),
        (["--mes", "2024-13"], "--mes: «2024-13» no es un mes. Escríbalo como AAAA-MM, por ejemplo 2026-01"),
        (["--mes", "2024-3"], "--mes: «2024-3» no es un mes. "),
        (["--mes", "1969-12"], "--mes: 1969-12 es de antes de 1970"),
        (["--dia", "0001-01-01"], "--dia: 0001-01-01 es de antes de 1970"),
        (["--dia", "2024-03-14", "--mes", "2024-03"], "--dia y --mes no van juntos. "),
        (["--dia", f"{datetime.now(ZONE) + timedelta(days=2):%Y-%m-%d}"], "--dia: "),
    ],
)
def test_a_wrong_value_is_one_line(visitas: Visitas, arguments: list[str], said: str) -> None:
    before = written(visitas)
    ended = visitas.run("report", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"visitas: {said}")
    assert ended.err.count("\n") == 1
    assert written(visitas) == before


def test_before_init_it_says_what_is_missing(tmp_path: Path) -> None:
    ended = Visitas(tmp_path, {}).run("report")
    assert ended.code == 1
    assert "visitas init" in ended.err
    assert ended.err.count("\n") == 1
