"""A disk that fills up under a pass, at each place where bytes are written, and what comes of it once there is room.

The disk is a small tmpfs in a name space of its own, which needs no root; it goes with the process that holds it.
Where no such name space may be made, `conftest.py` deselects these tests.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.oracle.oracle import World
from tests.support.command import Visitas
from tests.support.disks import BLOCK, SmallDisk
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import Pipeline, SteppingClock, record, report, sha256
from visitas_dagster.domain.failures import PermanentFailure
from visitas_dagster.domain.states import Estado
from visitas_dagster.loading import tables
from visitas_dagster.resources.platform import Silent
from visitas_dagster.steps.task import Source

# What a disk does is not the database's.
pytestmark = pytest.mark.databases("sqlite")

NAME: Final = "report_1.txt"
DATA: Final = report(*[record(f"v{number}@example.com") for number in range(20_000)], record("sin arroba"))
"""About 1.5 MB; its validated records take about twice as much."""


class Filler(Silent):
    """Fills the disk when a file enters a step.

    Attributes:
        at: the step.
    """

    def __init__(self, disk: SmallDisk, at: str) -> None:
        self.at = at
        self._disk = disk

    def step(self, archivo: str, step: str, total: int | None = None) -> None:
        """See `Observer`."""
        if step == self.at:
            self._disk.leave(0)


def another_disk(*_: object) -> None:
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, disk: SmallDisk) -> Iterator[Pipeline]:
    """An installation whose home is the small disk; its database is elsewhere."""
    with Pipeline(database, sftp_folder, disk.path, SteppingClock(), reintentos=1) as pipeline:
        yield pipeline


def told(pipeline: Pipeline) -> tuple[str, int, str | None]:
    """State, attempts and message of the only row."""
    (row,) = pipeline.rows(tables.bitacora_control)
    return row["estado"], row["intentos"], row["mensaje"]


def attempts(pipeline: Pipeline) -> list[str | None]:
    """How every attempt ended, oldest first."""
    return [row["resultado"] for row in pipeline.rows(tables.bitacora_intentos)]


def assert_done(pipeline: Pipeline, data: bytes = DATA) -> None:
    world = World([(NAME, data)])
    assert world.differences(pipeline.tables(), pipeline.platform.today()) == []
    assert pipeline.backups() == {sha256(data)}
    assert pipeline.quarantine("sistema") == set()
    assert pipeline.on_server() == set()
    assert pipeline.broken_promises() == []


@pytest.mark.parametrize(
    ("room", "what"),
    [(len(DATA) // 2, "guardar la descarga"), (len(DATA) + 8 * BLOCK, "validar")],
    ids=["download", "validation"],
)
def test_a_disk_that_is_full_stops_the_file_at_once(pipeline: Pipeline, disk: SmallDisk, room: int, what: str) -> None:
    pipeline.deliver(NAME, DATA)
    disk.leave(room)
    (task,) = pipeline.process([NAME])
    assert isinstance(task.failure, PermanentFailure)
    state, tries, message = told(pipeline)
    assert (state, tries) == ("FALLO_SISTEMA", 1)
    assert (message or "").startswith(f"no hay espacio en disco para {what}")
    assert (message or "").endswith("libere espacio en VISITAS_HOME")
    assert attempts(pipeline) == ["FALLO_DURADERO"]
    assert (pipeline.on_server(), pipeline.backups(), pipeline.staging()) == ({NAME}, set(), [])
    for table in (tables.estadisticas, tables.errores, tables.visitantes):
        assert pipeline.rows(table) == []
    # Nothing is tried again by itself today, also when there is room.
    disk.free()
    assert pipeline.run_pass() == []
    pipeline.process([NAME], Source.RETRY)
    assert told(pipeline) == ("COMPLETADO_CON_ERRORES", 2, None)
    assert attempts(pipeline) == ["FALLO_DURADERO", "CARGADO"]
    assert_done(pipeline)


def test_a_disk_that_is_full_before_the_backup_does_no_harm_where_staging_gives_its_bytes(
    pipeline: Pipeline, disk: SmallDisk
) -> None:
    pipeline.deliver(NAME, DATA)
    pipeline.platform.observer = Filler(disk, "archivar")
    pipeline.process([NAME])
    assert told(pipeline) == ("COMPLETADO_CON_ERRORES", 1, None)
    assert_done(pipeline)


def test_a_disk_that_is_full_before_the_backup_leaves_the_servers_copy(
    pipeline: Pipeline, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The backup on a disk of its own, which is as full.
    monkeypatch.setattr(os, "link", another_disk)
    pipeline.deliver(NAME, DATA)
    pipeline.platform.observer = Filler(disk, "archivar")
    (task,) = pipeline.process([NAME])
    assert task.estado is Estado.COMPLETADO_CON_ERRORES
    state, tries, message = told(pipeline)
    # The load stands: it was committed before.
    assert (state, tries) == ("COMPLETADO_CON_ERRORES", 1)
    assert (message or "").startswith("sigue en el servidor: no hay espacio en disco para copiar")
    assert len(pipeline.rows(tables.estadisticas)) == 20_000
    assert (pipeline.on_server(), pipeline.backups(), pipeline.staging()) == ({NAME}, set(), [])
    pipeline.platform.observer = Silent()
    disk.free()
    # A person has to say that there is room.
    assert pipeline.run_pass() == []
    pipeline.process([NAME], Source.RETRY)
    assert told(pipeline) == ("COMPLETADO_CON_ERRORES", 2, None)
    assert attempts(pipeline) == ["CARGADO", "SIN_CAMBIO"]
    assert_done(pipeline)


def test_a_disk_that_is_full_before_the_quarantine_of_a_layout_leaves_the_servers_copy(
    pipeline: Pipeline, disk: SmallDisk
) -> None:
    wrong = DATA.replace(b"jyv", b"jk", 1)
    pipeline.deliver(NAME, wrong)
    pipeline.platform.observer = Filler(disk, "archivar")
    (task,) = pipeline.process([NAME])
    assert task.estado is Estado.FALLO_LAYOUT
    state, tries, message = told(pipeline)
    assert (state, tries) == ("FALLO_LAYOUT", 1)
    assert (message or "").startswith("sigue en el servidor: no hay espacio en disco para copiar")
    assert "Faltan columnas: jyv" in (message or "")
    assert (pipeline.on_server(), pipeline.quarantine("layout")) == ({NAME}, set())
    pipeline.platform.observer = Silent()
    disk.free()
    assert pipeline.run_pass() == []
    pipeline.process([NAME], Source.RETRY)
    assert told(pipeline)[0] == "FALLO_LAYOUT"
    assert attempts(pipeline) == ["FALLO_LAYOUT"] * 2
    assert (pipeline.on_server(), pipeline.quarantine("layout")) == (set(), {sha256(wrong)})
    assert pipeline.backups() == {sha256(wrong)}
    assert pipeline.broken_promises() == []


def test_a_disk_that_is_full_before_the_quarantine_of_a_system_failure_keeps_the_first_reason(
    pipeline: Pipeline, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        disk.leave(0)
        raise PermanentFailure("la base de datos rechazó la operación")

    pipeline.deliver(NAME, DATA)
    with monkeypatch.context() as patch:
        patch.setattr("visitas_dagster.steps.load.load_file", refuse)
        pipeline.process([NAME])
    assert told(pipeline) == ("FALLO_SISTEMA", 1, "la base de datos rechazó la operación")
    assert (pipeline.on_server(), pipeline.quarantine("sistema"), pipeline.staging()) == ({NAME}, set(), [])
    disk.free()
    pipeline.process([NAME], Source.RETRY)
    assert told(pipeline) == ("COMPLETADO_CON_ERRORES", 2, None)
    assert_done(pipeline)


def test_the_real_command_says_what_to_do_and_finishes_when_there_is_room(
    database: Database, sftp_folder: SftpFolder, disk: SmallDisk, tmp_path: Path
) -> None:
    settings = {
        **sftp_folder.environment(),
        "VISITAS_DB_URL": database.url,
        "VISITAS_HOME": str(disk.path / "etl"),
        "DAGSTER_HOME": str(tmp_path / "dagster"),
    }
    visitas = Visitas(tmp_path, settings)
    with Pipeline(database, sftp_folder, disk.path, SteppingClock()) as pipeline:
        pipeline.deliver(NAME, DATA)
        disk.leave(len(DATA) // 2)
        full = visitas.run("dispatch")
        assert full.code == 1
        assert "no hay espacio en disco para guardar la descarga" in full.out
        assert "libere espacio en VISITAS_HOME" in full.out
        assert told(pipeline)[:2] == ("FALLO_SISTEMA", 1)
        assert pipeline.on_server() == {NAME}
        disk.free()
        assert visitas.run("release", NAME).code == 0
        done = visitas.run("dispatch")
        assert done.code == 0, done
        assert told(pipeline) == ("COMPLETADO_CON_ERRORES", 2, None)
        assert attempts(pipeline) == ["FALLO_DURADERO", "LIBERADO", "CARGADO"]
        assert len(pipeline.rows(tables.estadisticas)) == 20_000
        assert pipeline.backups() == {sha256(DATA)}
        assert pipeline.on_server() == set()
        assert pipeline.broken_promises() == []
