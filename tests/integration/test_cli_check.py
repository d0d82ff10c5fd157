"""`visitas check`: what would happen to a local file, shown without writing anything.

The command as an operator calls it belongs here; the rules themselves are tested in `tests/cases`.
"""

from pathlib import Path

import pytest

from tests.support.command import Ended, Visitas
from tests.support.pipeline import HEADER, record, report
from tests.support.samples import RECORDS, WRONG_COLUMN, samples

NOTHING_WRITTEN = "No se escribió nada.\n"
ALIASES = "jk=jyv,fgh=jyv"


@pytest.fixture
def visitas(tmp_path: Path) -> Visitas:
    """Give an installation with folders, tables and nothing in them, and no server."""
    made = Visitas(tmp_path, {})
    assert made.run("init").code == 0
    return made


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time and bytes of every file and folder below."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }


def check(visitas: Visitas, data: bytes, name: str = "report_1.txt", **changes: str) -> Ended:
    """Check these bytes; the installation is the same before and after."""
    (visitas.folder / name).write_bytes(data)
    before = everything(visitas.folder)
    ended = visitas.run("check", name, **changes)
    assert everything(visitas.folder) == before
    return ended


def test_a_clean_report(visitas: Visitas) -> None:
    data = report(record(), record("eva@example.com"))
    assert check(visitas, data) == Ended(
        0,
        "report_1.txt: quedaría COMPLETADO\n"
        f"{len(data)} bytes, utf-8; registros: 2 = 2 válidos + 0 con error\n{NOTHING_WRITTEN}",
    )


def test_a_header_alone(visitas: Visitas) -> None:
    assert check(visitas, report()).out == (
        "report_1.txt: quedaría COMPLETADO\n"
        f"{len(report())} bytes, utf-8; registros: 0 = 0 válidos + 0 con error\n{NOTHING_WRITTEN}"
    )


def test_a_report_with_errors(visitas: Visitas) -> None:
    data = report(
        record(),
        record("-"),
        record("sin arroba"),
        record(fecha_open="31/02/2024 10:00"),
        record("tampoco"),
        record(jyv=f"[red]{'x' * 70}"),
        "uno,dos",
    )
    ended = check(visitas, data)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        "report_1.txt: quedaría COMPLETADO_CON_ERRORES\n"
        f"{len(data)} bytes, utf-8; registros: 7 = 1 válido + 6 con error\n"
        "Errores por tipo:\n"
        "  tipo_error         campo       registros\n"
        "  EMAIL_INVALIDO     email               2\n"
        "  EMAIL_NULO         email               1\n"
        "  FECHA_INVALIDA     Fecha open          1\n"
        "  LONGITUD_EXCEDIDA  jyv                 1\n"
        "  NUMERO_DE_CAMPOS   —                   1\n"
        "Primeros 6 de 6:\n"
        "  línea  tipo_error         campo       valor\n"
        "      3  EMAIL_NULO         email       —\n"
        "      4  EMAIL_INVALIDO     email       sin arroba\n"
        "      5  FECHA_INVALIDA     Fecha open  31/02/2024 10:00\n"
        "      6  EMAIL_INVALIDO     email       tampoco\n"
        f"      7  LONGITUD_EXCEDIDA  jyv         [red]{'x' * 54}…\n"
        "      8  NUMERO_DE_CAMPOS   —           —\n"
        f"{NOTHING_WRITTEN}"
    )


def test_only_the_first_rejects_are_listed(visitas: Visitas) -> None:
    ended = check(visitas, report(*["no"] * 1234))
    assert "registros: 1 234 = 0 válidos + 1 234 con error\n" in ended.out
    assert "  NUMERO_DE_CAMPOS  —          1 234\n" in ended.out
    listed = ended.out.split("Primeros 10 de 1 234:\n")[1].splitlines()
    assert [line.split()[0] for line in listed[1:-1]] == [str(number) for number in range(2, 12)]


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (report(record(jyv="Niñez")), "utf-8"),
        (b"\xef\xbb\xbf" + report(record()), "utf-8-sig"),
        (report(record(jyv="Niñez")).decode().encode("cp1252"), "windows-1252"),
    ],
)
def test_the_encoding_is_told(visitas: Visitas, data: bytes, encoding: str) -> None:
    assert f"{len(data):,} bytes, {encoding}; registros: 1 = 1 válido + 0 con error\n" in check(visitas, data).out


def test_a_report_that_would_be_quarantined(visitas: Visitas) -> None:
    assert check(visitas, report().replace(b",jyv,", b",jk,")) == Ended(
        1,
        "report_1.txt: quedaría FALLO_LAYOUT\n"
        "Faltan columnas: jyv. Columnas desconocidas: «jk» (¿quiso decir «jyv»?). Si «jk» es la columna jyv, declare "
        f'VISITAS_ALIAS_COLUMNAS="jk=jyv" y procese de nuevo el archivo.\n{NOTHING_WRITTEN}',
    )


@pytest.mark.parametrize("data", [b"", b" \n\t\n", HEADER.encode() + b"\0\n", b"PK\x03\x04\x00"])
def test_what_is_no_report_at_all(visitas: Visitas, data: bytes) -> None:
    ended = check(visitas, data)
    assert (ended.code, ended.err) == (1, "")
    assert ended.out.startswith("report_1.txt: quedaría FALLO_LAYOUT\nEl archivo ")


def test_a_header_that_an_alias_mends(visitas: Visitas) -> None:
    data = report(record()).replace(b",jyv,", b",JK ,")
    assert check(visitas, data, VISITAS_ALIAS_COLUMNAS="jk=jyv") == Ended(
        0,
        "report_1.txt: quedaría COMPLETADO\n"
        f"{len(data)} bytes, utf-8; registros: 1 = 1 válido + 0 con error\n"
        f"La columna «JK» se toma como «jyv» (VISITAS_ALIAS_COLUMNAS)\n{NOTHING_WRITTEN}",
    )


def test_the_samples(visitas: Visitas) -> None:
    for name, data in samples().items():
        assert check(visitas, data, name).code == (1 if name in WRONG_COLUMN else 0)
        mended = check(visitas, data, name, VISITAS_ALIAS_COLUMNAS=ALIASES)
        assert mended.code == 0
        assert f"registros: {RECORDS[name]} = {RECORDS[name]} válidos + 0 con error\n" in mended.out


def test_a_name_that_the_server_would_not_give_is_told(visitas: Visitas) -> None:
    ended = check(visitas, report(record()), "visitas [red].csv")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("visitas [red].csv: quedaría COMPLETADO\n")
    assert ended.out.endswith(
        "Aviso: en el servidor no se tomaría: su nombre no sigue VISITAS_PATRON_ARCHIVO (report_(\\d+)\\.txt)\n"
        f"{NOTHING_WRITTEN}"
    )


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nada.txt", "ARCHIVO: no se puede leer nada.txt: no existe"),
        ("persona", "ARCHIVO: persona no es un archivo"),
        ("/dev/null", "ARCHIVO: /dev/null no es un archivo"),
        ("nada/report_1.txt", "ARCHIVO: no se puede leer nada/report_1.txt: no existe"),
        ("x" * 300, f"ARCHIVO: no se puede leer {'x' * 300}: el nombre es demasiado largo"),
    ],
)
def test_a_path_that_leads_to_no_file_is_wrong_use(visitas: Visitas, path: str, said: str) -> None:
    assert visitas.run("check", path) == Ended(2, "", f"visitas: {said}. Revise la ruta\n")


def test_a_file_that_may_not_be_read_is_wrong_use(visitas: Visitas) -> None:
    path = visitas.folder / "report_1.txt"
    path.touch(mode=0o000)
    assert visitas.run_bound_by_permissions("check", "report_1.txt") == Ended(
        2, "", "visitas: ARCHIVO: no se puede leer report_1.txt: sin permiso. Revise la ruta\n"
    )


def test_nothing_is_made_where_nothing_is(tmp_path: Path) -> None:
    visitas = Visitas(tmp_path, {})
    assert check(visitas, report()).code == 0
    assert not visitas.home.exists()
