"""What an operator asks for by name: an earlier version again, every failed file at once, what waits and is no report.

The commands over real servers belong here; corrections and the ladder as such have tests of their own.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.oracle.oracle import World
from tests.support.command import Visitas
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import Pipeline, SteppingClock, record, report, sha256
from visitas_dagster.loading import tables

NAME = "report_7.txt"
RIGHT = report(record("ana@example.com"), record("eva@example.org"), record("sin arroba"))
WRONG = report(record("luis@example.net"))


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path, SteppingClock(datetime.now(UTC))) as pipeline:
        yield pipeline


@pytest.fixture
def visitas(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Visitas:
    return Visitas(tmp_path, sftp_folder.environment() | {"VISITAS_DB_URL": database.url})


@pytest.mark.databases("mysql", "mariadb")
def test_a_wrong_correction_is_taken_back(pipeline: Pipeline, visitas: Visitas, sftp_folder: SftpFolder) -> None:
    for data in (RIGHT, WRONG):
        pipeline.deliver(NAME, data)
        pipeline.run_pass()
    today = pipeline.platform.today()
    assert World([(NAME, RIGHT), (NAME, WRONG)]).differences(pipeline.tables(), today) == []
    first, second = (row["id"] for row in pipeline.rows(tables.bitacora_control))

    # A delivery that waits on the server is another matter: it is neither taken nor removed.
    pipeline.deliver(NAME, b"nada\n")
    back = visitas.run("replay", NAME, "--version", str(first))
    assert back.code == 0, back
    assert re.search(rf"{NAME} +COMPLETADO_CON_ERRORES +2 +1", back.out)
    assert pipeline.on_server() == {NAME}
    (sftp_folder.path / NAME).unlink()
    world = World([(NAME, RIGHT), (NAME, WRONG), (NAME, RIGHT)])
    assert world.differences(pipeline.tables(), today) == []
    assert pipeline.broken_promises() == []
    assert pipeline.backups() == {sha256(RIGHT), sha256(WRONG)}
    (audit,) = pipeline.rows(tables.auditoria, "operacion", "detalle")
    assert audit == {"operacion": "REPONER_VERSION", "detalle": {"archivo": NAME, "version": first, "hecho": True}}

    again = visitas.run("replay", NAME, "--version", str(second))
    assert again.code == 0
    assert World([(NAME, RIGHT), (NAME, WRONG)]).differences(pipeline.tables(), today) == []


@pytest.mark.databases("sqlite")
def test_a_version_that_cannot_be_had_changes_nothing(pipeline: Pipeline, visitas: Visitas) -> None:
    for data in (RIGHT, WRONG):
        pipeline.deliver(NAME, data)
        pipeline.run_pass()
    for arguments, said in (
        ([NAME, "--version", "9"], f"«{NAME}» no tiene la versión 9; tiene: 1, 2. Véalas con: visitas explain {NAME}"),
        ([NAME, "report_8.txt", "--version", "1"], "--version: solo con un nombre. Repita la orden para cada archivo"),
        (
            ["report_8.txt", "--version", "1"],
            "nadie conoce «report_8.txt»: no está en el servidor ni en la bitácora. "
            "Escriba el nombre tal como lo muestra: visitas status",
        ),
    ):
        refused = visitas.run("replay", *arguments)
        assert (refused.code, refused.out, refused.err) == (2, "", f"visitas: {said}\n")

    (copy,) = pipeline.platform.folders.loose_backups(NAME, sha256(RIGHT))
    copy.unlink()
    gone = visitas.run("replay", NAME, "--version", "1")
    assert gone.code == 1
    assert f"esa versión de {NAME} no está en la cuarentena ni en los respaldos de esta máquina" in gone.out
    assert World([(NAME, RIGHT), (NAME, WRONG)]).differences(pipeline.tables(), pipeline.platform.today()) == []


@pytest.mark.databases("sqlite")
def test_the_status_tells_of_days_without_a_close_and_of_other_names(
    pipeline: Pipeline, visitas: Visitas, sftp_folder: SftpFolder
) -> None:
    plain = visitas.run("status")
    assert plain.out.splitlines()[1:] == ["Servidor SFTP: 0 reportes, 0 pendientes"]

    assert isinstance(pipeline.clock, SteppingClock)
    pipeline.clock.advance(-2 * 86_400)
    pipeline.deliver(NAME, RIGHT)
    pipeline.run_pass()
    day = pipeline.platform.today()
    (sftp_folder.path / "report_8.txt.filepart").write_bytes(b"email,jy")
    told = visitas.run("status").out.splitlines()
    assert f"Días sin cerrar: {day}. Los cierra la noche siguiente, o ya: visitas close" in told
    assert told[-2:] == ["En la carpeta hay además 1 archivo con otro nombre:", "  report_8.txt.filepart  no se toma"]
    assert visitas.run("close").code == 0
    assert "Días sin cerrar" not in visitas.run("status").out


@pytest.mark.databases("sqlite", "mariadb")
def test_every_failed_file_is_released_at_once(pipeline: Pipeline, visitas: Visitas) -> None:
    none = visitas.run("release", "--todos")
    assert (none.code, none.out, none.err) == (0, "No hay archivos fallidos.\n", "")
    for name, data in ((NAME, b"nada\n"), ("report_8.txt", RIGHT), ("report_9.txt", b""), ("report_6.txt", b"nada\n")):
        pipeline.deliver(name, data)
        pipeline.run_pass()
    # What a later delivery has made good waits for nobody.
    pipeline.deliver("report_6.txt", WRONG)
    pipeline.run_pass()
    for arguments in ([], [NAME, "--todos"]):
        refused = visitas.run("release", *arguments)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err == "visitas: NOMBRE: escriba los nombres, o --todos. Véalos con: visitas status\n"
    freed = visitas.run("release", "--todos")
    assert freed.out.splitlines() == [
        f"{name} (FALLO_LAYOUT) queda libre: la siguiente pasada lo toma." for name in (NAME, "report_9.txt")
    ]
    assert pipeline.rows(tables.auditoria, "operacion") == [{"operacion": "LIBERAR"}] * 2


@pytest.mark.databases("sqlite")
def test_a_copy_that_may_not_be_read_is_named_and_what_stands_stays(pipeline: Pipeline, visitas: Visitas) -> None:
    pipeline.deliver(NAME, RIGHT)
    pipeline.run_pass()
    (copy,) = pipeline.platform.folders.all_loose_backups()
    copy.chmod(0)
    ended = visitas.run_bound_by_permissions("replay", NAME)
    assert ended.code == 1
    assert (
        f"no hay permiso para buscar una copia en {copy}. revise el dueño y los permisos de VISITAS_HOME" in ended.out
    )
    assert "Traceback" not in ended.out + ended.err
    assert pipeline.states() == [(NAME, "COMPLETADO_CON_ERRORES", True)]
    copy.chmod(0o644)
    assert visitas.run("replay", NAME).code == 0
    assert pipeline.broken_promises() == []
