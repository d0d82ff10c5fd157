"""Loads that a second session stops: a deadlock forced upon each try (1213), a lock that is not given (1205).

The whole ladder over both belongs here: retries in a step, the run again, the next day.
"""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest
import sqlalchemy as sa

from tests.oracle.oracle import World
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import NOON, Pipeline, SteppingClock, record, report, sha256
from visitas_dagster.domain.states import Estado
from visitas_dagster.loading import tables
from visitas_dagster.loading.transaction import load_file
from visitas_dagster.steps import load

# SQLite has one writer at a time.
pytestmark = pytest.mark.databases("mysql", "mariadb")

NAME: Final = "report_1.txt"
DATA: Final = report(record(), record("eva@example.com"), record("sin arroba"))
_WAITING: Final = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"


class Rival:
    """A session that holds what a load wants.

    It holds the key of the content, for which the load waits with the period's row in its hand. With `crosses` it
    then wants that row too, and the server ends the transaction that changed less: the load.
    """

    def __init__(self, database: Database, engine: sa.Engine, digest: str, *, crosses: bool) -> None:
        assert database.server is not None
        self._server = database.server
        self._connection = engine.connect()
        row = {"estado": "COMPLETADO", "intentos": 1, "vigente": True}
        rows = [row | {"archivo": f"report_{number}.txt"} for number in range(1000, 1500)]
        self._connection.execute(sa.insert(tables.bitacora_control), rows)
        carrier = self._connection.execute(sa.select(sa.func.max(tables.bitacora_control.c.id))).scalar_one()
        self._connection.execute(sa.insert(tables.contenidos_cargados).values(sha256=digest, archivo_id=carrier))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._cross) if crosses else None

    def __enter__(self) -> Self:
        """Wait for the load, in a thread of its own."""
        if self._thread:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of everything."""
        self._ended.set()
        if self._thread:
            self._thread.join()
        self._connection.rollback()
        self._connection.close()

    def _cross(self) -> None:
        while self._server.execute(_WAITING)[0][0] == 0:
            if self._ended.wait(0.05):
                return
        self._connection.execute(sa.select(tables.periodo_visitantes).with_for_update())


class Trouble:
    """What happens to the next loads.

    Attributes:
        number: the server's error number.
        times: how many loads it befalls.
        notes: the message on the ledger's row at the beginning of each load.
    """

    def __init__(self, database: Database, number: int, patch: pytest.MonkeyPatch) -> None:
        self.number = number
        self.times = 0
        self.notes: list[str | None] = []
        self._database = database
        self._engine = sa.create_engine(database.url)
        patch.setattr(load, "load_file", self._load)

    @property
    def reason(self) -> str:
        """How it is told."""
        return f"la base de datos pide repetir la transacción ({self.number})"

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _load(self, engine: sa.Engine, writer: Any, entry: Any, prepared: Any, **options: Any) -> Any:
        with self._engine.connect() as connection:
            found = sa.select(tables.bitacora_control.c.mensaje).where(tables.bitacora_control.c.id == entry.id)
            self.notes.append(connection.execute(found).scalar_one())
        if not self.times:
            return load_file(engine, writer, entry, prepared, **options)
        self.times -= 1
        with Rival(self._database, self._engine, entry.sha256, crosses=self.number == 1213):
            return load_file(engine, writer, entry, prepared, **options)


@pytest.fixture(params=[1213, 1205], ids=["deadlock", "lock wait"])
def number(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def impatient(database: Database, number: int) -> Iterator[Database]:
    """Give the database, whose new sessions wait a second for a lock; longer where a deadlock is to be made of it."""
    assert database.server is not None
    (before,) = database.server.execute("SELECT @@GLOBAL.innodb_lock_wait_timeout")[0]
    database.server.execute("SET GLOBAL innodb_lock_wait_timeout = %s", 1 if number == 1205 else 30)
    yield database
    database.server.execute("SET GLOBAL innodb_lock_wait_timeout = %s", before)


@pytest.fixture
def pipeline(impatient: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(impatient, sftp_folder, tmp_path, SteppingClock(), reintentos=1) as pipeline:
        yield pipeline


@pytest.fixture
def trouble(number: int, impatient: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trouble]:
    trouble = Trouble(impatient, number, monkeypatch)
    yield trouble
    trouble.close()


def told(pipeline: Pipeline) -> tuple[str, int, str | None]:
    """State, attempts and message of the only row."""
    (row,) = pipeline.rows(tables.bitacora_control)
    return row["estado"], row["intentos"], row["mensaje"]


def attempts(pipeline: Pipeline) -> list[tuple[str | None, str | None]]:
    """How every attempt ended and what was said of it, oldest first."""
    return [(row["resultado"], row["mensaje"]) for row in pipeline.rows(tables.bitacora_intentos)]


def assert_loaded_once(pipeline: Pipeline) -> None:
    world = World([(NAME, DATA)])
    assert world.differences(pipeline.tables(), pipeline.platform.today()) == []
    assert pipeline.backups() == {sha256(DATA)}
    assert pipeline.quarantine("sistema") == set()
    assert pipeline.on_server() == set()
    assert pipeline.broken_promises() == []


def test_what_passes_within_the_step_is_noted_and_forgotten(pipeline: Pipeline, trouble: Trouble) -> None:
    pipeline.deliver(NAME, DATA)
    trouble.times = 1
    (task,) = pipeline.process([NAME])
    assert task.estado is Estado.COMPLETADO_CON_ERRORES
    assert trouble.notes == [None, f"cargar: intento 1 de 2: {trouble.reason}; se repite en 0 s"]
    assert told(pipeline) == ("COMPLETADO_CON_ERRORES", 1, None)
    assert attempts(pipeline) == [("CARGADO", None)]
    assert_loaded_once(pipeline)


def test_what_outlasts_the_step_is_run_again(pipeline: Pipeline, trouble: Trouble) -> None:
    pipeline.deliver(NAME, DATA)
    trouble.times = 3
    (task,) = pipeline.process([NAME])
    assert task.estado is Estado.COMPLETADO_CON_ERRORES
    noted = f"cargar: intento 1 de 2: {trouble.reason}; se repite en 0 s"
    assert trouble.notes == [None, noted, None, noted]
    assert told(pipeline) == ("COMPLETADO_CON_ERRORES", 2, None)
    assert attempts(pipeline) == [("FALLO_PASAJERO", trouble.reason), ("CARGADO", None)]
    assert_loaded_once(pipeline)


def test_what_outlasts_the_run_is_a_system_failure_until_the_next_day(pipeline: Pipeline, trouble: Trouble) -> None:
    pipeline.deliver(NAME, DATA)
    trouble.times = 4
    pipeline.run([NAME])
    assert told(pipeline) == ("EN_PROCESO", 1, f"{trouble.reason} (la corrida se repite)")
    (task,) = pipeline.run_pass()
    assert task.estado is Estado.FALLO_SISTEMA
    assert told(pipeline) == ("FALLO_SISTEMA", 2, trouble.reason)
    assert trouble.times == 0
    for table in (tables.estadisticas, tables.errores, tables.visitantes, tables.contenidos_cargados):
        assert pipeline.rows(table) == []
    assert (pipeline.quarantine("sistema"), pipeline.backups()) == ({sha256(DATA)}, set())
    assert (pipeline.on_server(), pipeline.staging()) == ({NAME}, [])
    # Nothing is in the way any more; the day is over first.
    assert pipeline.run_pass() == []
    assert isinstance(pipeline.clock, SteppingClock)
    pipeline.clock.set(NOON + timedelta(days=1))
    pipeline.run_pass()
    assert told(pipeline) == ("COMPLETADO_CON_ERRORES", 3, None)
    assert attempts(pipeline) == [*[("FALLO_PASAJERO", trouble.reason)] * 2, ("CARGADO", None)]
    assert_loaded_once(pipeline)
