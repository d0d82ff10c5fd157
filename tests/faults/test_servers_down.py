"""Servers killed with SIGKILL in the middle of a pass, and started again: soon, for the second run, or much later.

Each test has servers of its own. Passes are Dagster's, in this process or in that of the real `visitas dispatch`.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Final

import pytest

from tests.oracle.oracle import World
from tests.support.command import Visitas
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import NOON, Pipeline, SteppingClock, record, report, sha256
from tests.support.servers import LocalDatabaseServer, MariaDBServer, MySQLServer, OpenSSHServer, Server, mysql_script
from visitas_dagster.dispatch import Passes, PassResult
from visitas_dagster.domain.failures import TransientFailure
from visitas_dagster.instance import open_instance
from visitas_dagster.loading import tables
from visitas_dagster.resources.platform import Silent

NAME: Final = "report_1.txt"
BIG: Final = report(*[record(f"v{number % 30_000}@example.com") for number in range(60_000)], record("sin arroba"))
ENGINES: Final[dict[str, type[LocalDatabaseServer]]] = {
    "mariadb": MariaDBServer,
    # One that somebody else runs is not ours to kill.
    **({"mysql": MySQLServer} if mysql_script() else {}),
}


@pytest.fixture(scope="module", params=list(ENGINES))
def own_server(request: pytest.FixtureRequest) -> Iterator[LocalDatabaseServer]:
    """Give a database server of this module's own."""
    with ENGINES[request.param]() as server:
        yield server


@pytest.fixture
def own_database(own_server: LocalDatabaseServer) -> Iterator[Database]:
    own_server.ensure_running()
    yield Database(own_server.engine, own_server.create_database(), own_server)
    own_server.ensure_running()


@pytest.fixture
def inbox(own_openssh_server: OpenSSHServer) -> SftpFolder:
    path = own_openssh_server.root / "inbox"
    path.mkdir()
    return SftpFolder(own_openssh_server, path)


class Saboteur(Silent):
    """Watches a pass; strikes at the first progress within a step, and mends before the second round of runs.

    Attributes:
        struck: how often it struck.
    """

    def __init__(self, step: str, strike: Callable[[], object], mend: Callable[[], object] = lambda: None) -> None:
        self.struck = 0
        self._wanted = step
        self._strike = strike
        self._mend = mend
        self._step = ""
        self._rounds = 0

    def waiting(self, seconds: float, files: int) -> None:
        """See `PassObserver`."""

    def planned(self, files: int, runs: int) -> None:
        """See `PassObserver`."""
        self._rounds += 1
        if self._rounds > 1:
            self._mend()

    def step(self, archivo: str, step: str, total: int | None = None) -> None:
        """See `Observer`."""
        self._step = step

    def advance(self, archivo: str, amount: int) -> None:
        """See `Observer`."""
        if self._step == self._wanted and not self.struck:
            self.struck += 1
            self._strike()


class Restarts:
    """Starts a server again behind the test's back, as a service manager does."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._thread = threading.Thread(target=server.start)

    def kill(self) -> None:
        """Kill it, and have it started again at once."""
        self._server.kill()
        self._thread.start()

    def join(self) -> None:
        """Wait until it answers."""
        self._thread.join()


def one_pass(pipeline: Pipeline, observer: Saboteur) -> PassResult:
    with open_instance(pipeline.settings, captures_output=False) as instance:
        return Passes(pipeline.platform, instance, observer).pending()


def attempts(pipeline: Pipeline) -> list[str | None]:
    """How every attempt ended, oldest first."""
    return [row["resultado"] for row in pipeline.rows(tables.bitacora_intentos)]


def told(pipeline: Pipeline) -> tuple[str, int, str | None]:
    """State, attempts and message of the only row."""
    (row,) = pipeline.rows(tables.bitacora_control)
    return row["estado"], row["intentos"], row["mensaje"]


def assert_loaded_once(pipeline: Pipeline) -> None:
    world = World([(NAME, BIG)])
    assert world.differences(pipeline.tables(), pipeline.platform.today()) == []
    assert pipeline.backups() == {sha256(BIG)}
    assert pipeline.quarantine("sistema") == set()
    assert pipeline.on_server() == set()
    assert pipeline.broken_promises() == []


# --------------------------------------------------------------------------------------------- the database


def database_pipeline(database: Database, folder: SftpFolder, tmp_path: Path, **settings: object) -> Pipeline:
    return Pipeline(database, folder, tmp_path, SteppingClock(), **settings)


def test_a_database_that_is_back_within_the_retries_costs_no_attempt(
    own_database: Database, own_server: LocalDatabaseServer, sftp_folder: SftpFolder, tmp_path: Path
) -> None:
    again = Restarts(own_server)
    with database_pipeline(own_database, sftp_folder, tmp_path, reintentos=6, reintento_base_s=1) as pipeline:
        pipeline.deliver(NAME, BIG)
        saboteur = Saboteur("cargar", again.kill)
        (outcome,) = one_pass(pipeline, saboteur).outcomes
        again.join()
        assert saboteur.struck == 1
        assert (outcome.estado, outcome.valid, outcome.invalid) == ("COMPLETADO_CON_ERRORES", 60_000, 1)
        assert told(pipeline) == ("COMPLETADO_CON_ERRORES", 1, None)
        assert attempts(pipeline) == ["CARGADO"]
        assert_loaded_once(pipeline)


def test_a_database_that_is_back_for_the_second_run_is_loaded_by_it(
    own_database: Database, own_server: LocalDatabaseServer, sftp_folder: SftpFolder, tmp_path: Path
) -> None:
    with database_pipeline(own_database, sftp_folder, tmp_path, reintentos=0) as pipeline:
        pipeline.deliver(NAME, BIG)
        saboteur = Saboteur("cargar", own_server.kill, own_server.start)
        (outcome,) = one_pass(pipeline, saboteur).outcomes
        assert (saboteur.struck, outcome.estado) == (1, "COMPLETADO_CON_ERRORES")
        assert told(pipeline) == ("COMPLETADO_CON_ERRORES", 2, None)
        # There was no ledger to write the failure into.
        assert attempts(pipeline) == ["INTERRUMPIDO", "CARGADO"]
        assert_loaded_once(pipeline)


def test_a_database_that_stays_away_ends_the_pass_and_the_next_one_loads(
    own_database: Database, own_server: LocalDatabaseServer, sftp_folder: SftpFolder, tmp_path: Path
) -> None:
    with database_pipeline(own_database, sftp_folder, tmp_path, reintentos=1) as pipeline:
        pipeline.deliver(NAME, BIG)
        with pytest.raises(TransientFailure, match=r"VISITAS_DB_URL: la base de datos \S+ no responde"):
            one_pass(pipeline, Saboteur("cargar", own_server.kill))
        assert (pipeline.on_server(), pipeline.staging()) == ({NAME}, [])
        with pytest.raises(TransientFailure, match="no responde"):
            one_pass(pipeline, Saboteur("", own_server.kill))
        own_server.start()
        assert told(pipeline)[:2] == ("EN_PROCESO", 1)
        assert pipeline.rows(tables.estadisticas) == pipeline.rows(tables.visitantes) == []
        (outcome,) = one_pass(pipeline, Saboteur("", own_server.kill)).outcomes
        assert outcome.estado == "COMPLETADO_CON_ERRORES"
        assert told(pipeline) == ("COMPLETADO_CON_ERRORES", 2, None)
        assert attempts(pipeline) == ["INTERRUMPIDO", "CARGADO"]
        assert_loaded_once(pipeline)


def test_a_database_killed_under_the_real_dispatch_is_waited_for(
    own_database: Database, own_server: LocalDatabaseServer, sftp_folder: SftpFolder, tmp_path: Path
) -> None:
    settings = {
        **sftp_folder.environment(),
        "VISITAS_DB_URL": own_database.url,
        "VISITAS_REINTENTOS": "6",
        "VISITAS_REINTENTO_BASE_S": "1",
    }
    visitas = Visitas(tmp_path, settings)
    with database_pipeline(own_database, sftp_folder, tmp_path) as pipeline:
        pipeline.deliver(NAME, BIG)
        process = visitas.start("dispatch")
        # Not by the rows of the transaction: MySQL looks at them ten times a second, and the whole load takes one.
        loading = (
            "SELECT COUNT(*) FROM information_schema.processlist "
            "WHERE info LIKE 'LOAD DATA%INTO TABLE estadisticas%' OR info LIKE 'INSERT INTO estadisticas%'"
        )
        while not own_server.execute(loading)[0][0]:
            assert process.poll() is None, process.communicate()
        own_server.kill()
        own_server.start()
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, (out, err)
        assert told(pipeline) == ("COMPLETADO_CON_ERRORES", 1, None)
        assert attempts(pipeline) == ["CARGADO"]
        # The process takes the day from the machine.
        today = datetime.now(pipeline.settings.zone).date()
        assert World([(NAME, BIG)]).differences(pipeline.tables(), today) == []
        assert pipeline.backups() == {sha256(BIG)}
        assert pipeline.on_server() == set()
        assert pipeline.broken_promises() == []


# ------------------------------------------------------------------------------------------------ the SFTP server


@pytest.fixture
def sftp_pipeline(tmp_path: Path, inbox: SftpFolder) -> Iterator[Callable[..., Pipeline]]:
    """Give a maker of a pipeline over a server that may die; SQLite keeps its ledger."""
    with ExitStack() as stack:

        def make(**settings: object) -> Pipeline:
            database = Database("sqlite", f"sqlite:///{tmp_path / 'visitas.db'}", None)
            pipeline = Pipeline(database, inbox, tmp_path, SteppingClock(), **settings)
            pipeline.deliver(NAME, BIG)
            return stack.enter_context(pipeline)

        yield make


def test_an_sftp_server_that_is_back_within_the_retries_costs_no_attempt(
    sftp_pipeline: Callable[..., Pipeline], own_openssh_server: OpenSSHServer
) -> None:
    pipeline = sftp_pipeline(reintentos=7, reintento_base_s=0.5)
    again = Restarts(own_openssh_server)
    saboteur = Saboteur("descargar", again.kill)
    (outcome,) = one_pass(pipeline, saboteur).outcomes
    again.join()
    assert (saboteur.struck, outcome.estado) == (1, "COMPLETADO_CON_ERRORES")
    assert told(pipeline) == ("COMPLETADO_CON_ERRORES", 1, None)
    assert attempts(pipeline) == ["CARGADO"]
    assert_loaded_once(pipeline)


def test_an_sftp_server_that_is_back_for_the_second_run_is_read_by_it(
    sftp_pipeline: Callable[..., Pipeline], own_openssh_server: OpenSSHServer
) -> None:
    pipeline = sftp_pipeline(reintentos=1)
    saboteur = Saboteur("descargar", own_openssh_server.kill, own_openssh_server.start)
    (outcome,) = one_pass(pipeline, saboteur).outcomes
    assert (saboteur.struck, outcome.estado) == (1, "COMPLETADO_CON_ERRORES")
    assert told(pipeline) == ("COMPLETADO_CON_ERRORES", 2, None)
    assert attempts(pipeline) == ["FALLO_PASAJERO", "CARGADO"]
    assert_loaded_once(pipeline)


def test_an_sftp_server_that_stays_away_is_a_system_failure_until_the_next_day(
    sftp_pipeline: Callable[..., Pipeline], own_openssh_server: OpenSSHServer
) -> None:
    pipeline = sftp_pipeline(reintentos=1)
    (outcome,) = one_pass(pipeline, Saboteur("descargar", own_openssh_server.kill)).outcomes
    assert outcome.estado == "FALLO_SISTEMA"
    state, tries, message = told(pipeline)
    assert (state, tries) == ("FALLO_SISTEMA", 2)
    address = f"{own_openssh_server.host}:{own_openssh_server.port}"
    assert (message or "").startswith(f"VISITAS_SFTP_HOST, VISITAS_SFTP_PORT: {address} no responde (")
    assert attempts(pipeline) == ["FALLO_PASAJERO"] * 2
    assert (pipeline.on_server(), pipeline.staging()) == ({NAME}, [])
    with pytest.raises(TransientFailure, match="no responde"):
        one_pass(pipeline, Saboteur("", own_openssh_server.kill))
    own_openssh_server.start()
    assert one_pass(pipeline, Saboteur("", own_openssh_server.kill)).outcomes == []
    assert isinstance(pipeline.clock, SteppingClock)
    pipeline.clock.set(NOON.replace(day=NOON.day + 1))
    one_pass(pipeline, Saboteur("", own_openssh_server.kill))
    assert told(pipeline) == ("COMPLETADO_CON_ERRORES", 3, None)
    assert attempts(pipeline) == [*["FALLO_PASAJERO"] * 2, "CARGADO"]
    assert_loaded_once(pipeline)
