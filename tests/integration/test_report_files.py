"""A report's three files: names, JSON, CSV, text from outside, and what a fault leaves behind.

What is written belongs here; the numbers are tested apart, the page's looks in a browser.
"""

import csv
import json
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.fixtures import Database
from tests.support.pipeline import settings_for
from visitas_dagster.closing.figures import day, gather, month
from visitas_dagster.closing.report_files import ReportFiles, as_json, write_daily, write_monthly
from visitas_dagster.domain.failures import PermanentFailure
from visitas_dagster.loading import tables
from visitas_dagster.loading.schema import upgrade
from visitas_dagster.resources.platform import Platform

pytestmark = pytest.mark.databases("sqlite")

TODAY = date(2026, 11, 24)
NOON = datetime(2026, 11, 24, 18, tzinfo=UTC)

# Whatever the setting of the name's pattern lets in, and a message that quotes a line.
ROWS: list[dict[str, Any]] = [
    {"archivo": "=HYPERLINK(1).txt", "estado": "COMPLETADO", "registros_total": 4, "registros_validos": 4},
    {
        "archivo": "<script>alert(1)</script>.txt",
        "estado": "COMPLETADO_CON_ERRORES",
        "registros_total": 10,
        "registros_validos": 8,
        "registros_invalidos": 2,
        "visitantes_nuevos": 3,
    },
    {"archivo": "report_3.txt", "estado": "FALLO_LAYOUT", "mensaje": "+1, línea «ana@example.com, <img src=x>»\n=2"},
    {"archivo": "report_4.txt", "estado": "EN_PROCESO"},
]


@pytest.fixture
def platform(database: Database, tmp_path: Path) -> Iterator[Platform]:
    """Give an installation in which four files were taken today."""
    with Platform(settings_for(database.url, {}, tmp_path / "etl"), clock=lambda: NOON) as platform:
        upgrade(platform.engine)
        with platform.engine.begin() as connection:
            for key, row in enumerate(ROWS, 1):
                moment = datetime(2026, 11, 24, 15, key)
                connection.execute(
                    sa.insert(tables.bitacora_control).values(
                        id=key, intentos=1, inicio=moment, fin=moment, duracion_ms=1500 * key, vigente=True, **row
                    )
                )
            connection.execute(
                sa.insert(tables.errores),
                [
                    {"archivo_id": 2, "linea": line, "tipo_error": kind, "detalle": [], "fila_original": "x"}
                    for line, kind in ((2, "EMAIL_INVALIDO"), (3, "=COMILLAS"))
                ],
            )
        yield platform


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as reading:
        return list(csv.DictReader(reading))


def names(platform: Platform) -> list[str]:
    return sorted(path.name for path in platform.folders.reportes.iterdir())


def test_three_files_bear_the_day_or_the_month(platform: Platform) -> None:
    folder = platform.folders.reportes
    assert write_daily(platform, TODAY) == ReportFiles(
        folder / "diario_20261124.html", folder / "diario_20261124.json", folder / "diario_20261124.csv"
    )
    assert write_monthly(platform, 2026, 2) == ReportFiles(
        folder / "mensual_202602.html", folder / "mensual_202602.json", folder / "mensual_202602.csv"
    )
    stems = ("diario_20261124", "mensual_202602")
    assert names(platform) == sorted(f"{stem}.{suffix}" for stem in stems for suffix in ("html", "json", "csv"))


def test_the_json_says_what_was_counted(platform: Platform) -> None:
    found = json.loads(write_daily(platform, TODAY).json.read_text("utf-8"))
    assert found == json.loads(json.dumps(as_json(gather(platform, day(TODAY)))))
    assert {name: found[name] for name in ("periodo", "tipo", "archivos", "registros_total", "registros_validos")} == {
        "periodo": "2026-11-24",
        "tipo": "diario",
        "archivos": 3,
        "registros_total": 14,
        "registros_validos": 12,
    }
    assert found["estados"] == {
        "EN_PROCESO": 0,
        "COMPLETADO": 1,
        "COMPLETADO_CON_ERRORES": 1,
        "FALLO_LAYOUT": 1,
        "FALLO_SISTEMA": 0,
        "DUPLICADO": 0,
    }
    assert (found["tasa_exito"], found["tasa_error"]) == (0.666667, 0.142857)
    assert found["generado_en"] == "2026-11-24T12:00:00-06:00"
    assert [line["archivo"] for line in found["archivos_mas_lentos"]][:1] == ["report_3.txt"]
    assert found["por_atender"] == {"FALLO_LAYOUT": 1}
    assert (len(found["tendencia"]), found["dias"]) == (30, [])


def test_the_days_csv_has_a_row_a_file(platform: Platform) -> None:
    rows = rows_of(write_daily(platform, TODAY).csv)
    assert [row["estado"] for row in rows] == ["COMPLETADO", "COMPLETADO_CON_ERRORES", "FALLO_LAYOUT"]
    assert rows[1]["fin"] == "2026-11-24 09:02:00-06:00"
    assert [row["registros_invalidos"] for row in rows] == ["", "2", ""]


def test_the_months_csv_has_a_row_a_day(platform: Platform) -> None:
    rows = rows_of(write_monthly(platform, 2026, 11).csv)
    assert [row["fecha"] for row in rows] == [f"2026-11-{number:02}" for number in range(1, 31)]
    assert [row["archivos"] for row in rows] == ["0"] * 23 + ["3"] + ["0"] * 6
    assert (rows[23]["tasa_error"], rows[23]["FALLO_LAYOUT"], rows[0]["tasa_error"]) == ("0.142857", "1", "")


def test_no_cell_from_outside_begins_a_formula(platform: Platform) -> None:
    path = write_daily(platform, TODAY).csv
    rows = rows_of(path)
    assert rows[0]["archivo"] == "'=HYPERLINK(1).txt"
    assert rows[2]["mensaje"] == "'+1, línea «xxx@xxxxxxx.xxx, <img src=x>»\n=2"
    assert not [cell for row in rows for cell in row.values() if cell[:1] in set("=+-@")]
    assert path.read_text("utf-8").startswith('\ufeff"archivo","estado",')


def test_addresses_and_markup_stay_out_of_every_file(platform: Platform) -> None:
    for files in (write_daily(platform, TODAY), write_monthly(platform, 2026, 11)):
        for path in (files.html, files.json, files.csv):
            text = path.read_text("utf-8")
            assert "ana@" not in text
        page = files.html.read_text("utf-8")
        assert "<script" not in page
        assert "<img" not in page
        assert "&lt;script&gt;alert(1)" in page
        assert "xxx@xxxxxxx.xxx" in page


def test_the_page_refers_to_nothing_outside(platform: Platform) -> None:
    page = write_daily(platform, TODAY).html.read_text("utf-8")
    for sign in ("http:", "https:", "//cdn", "@import", "url(", "src=", "onload", "javascript:"):
        assert sign not in page.replace("&lt;img src=x&gt;", ""), sign
    assert page.count("href=") == page.count('href="data:,"') == 1
    assert "default-src 'none'" in page


def test_a_second_report_replaces_the_first(platform: Platform) -> None:
    first = write_daily(platform, TODAY)
    before = first.html.read_text("utf-8")
    with platform.engine.begin() as connection:
        connection.execute(sa.delete(tables.errores))
        connection.execute(sa.delete(tables.bitacora_control))
    assert write_daily(platform, TODAY) == first
    assert first.html.read_text("utf-8") != before
    assert json.loads(first.json.read_text("utf-8"))["archivos"] == 0
    assert len(names(platform)) == 3


def test_a_full_disk_leaves_the_earlier_report_whole(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_daily(platform, TODAY)
    before = {path: path.read_bytes() for path in (files.html, files.json, files.csv)}

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PermanentFailure, match="no hay espacio en disco para guardar el reporte"):
        write_daily(platform, TODAY)
    assert {path: path.read_bytes() for path in before} == before
    assert len(names(platform)) == 3


def test_no_such_month(platform: Platform) -> None:
    with pytest.raises(ValueError, match="month"):
        write_monthly(platform, 2026, 13)
    assert month(2026, 12).end == date(2027, 1, 1)
