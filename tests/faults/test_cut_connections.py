"""Connections to the database that are cut while a report goes up, or when only the answer to COMMIT is missing.

Cuts at a byte and at a packet, and what the ledger says of them, belong here; servers that die are elsewhere.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa

from tests.oracle.oracle import World
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import NOON, Pipeline, SteppingClock, record, report, sha256
from tests.support.proxy import CuttingProxy
from visitas_dagster.domain.states import Estado
from visitas_dagster.loading import tables
from visitas_dagster.loading.transaction import load_file
from visitas_dagster.steps import load

# SQLite has no wire.
pytestmark = pytest.mark.databases("mysql", "mariadb")

NAME: Final = "report_1.txt"
BIG: Final = report(*[record(f"v{number}@example.com") for number in range(20_000)], record("sin arroba"))
"""About 1.5 MB, and as much on its way to the database."""

MIDDLE: Final = 400_000

# A packet of the plain protocol: three bytes of length, a number, the command "query", its text.
_COMMIT: Final = b"\x07\x00\x00\x00\x03COMMIT"
_CLIENT_SSL: Final = 0x0800


def without_tls(greeting: bytes) -> bytes:
    """A server's first packet, taking back the offer of TLS: the packets that follow can then be read."""
    # Four bytes of header, one of version, the server's name up to a zero; four of the session's number, nine of a
    # challenge, then the low half of what the server can do.
    at = greeting.index(b"\0", 5) + 1 + 4 + 9
    low = int.from_bytes(greeting[at : at + 2], "little") & ~_CLIENT_SSL
    return greeting[:at] + low.to_bytes(2, "little") + greeting[at + 2 :]


class CommitProxy(CuttingProxy):
    """Hands the COMMIT of a load on, waits for the server's answer, and cuts every connection in its place.

    Attributes:
        times: how many answers are still to be lost.
        lost: how many were.
        uploads: what is in a statement of a transaction whose answer is lost; a load's.
    """

    uploads: tuple[bytes, ...] = (b"INTO TABLE estadisticas", b"INSERT INTO estadisticas")

    def __init__(self, target_port: int) -> None:
        self.times = self.lost = 0
        self._loading: set[Any] = set()
        self._mute: set[Any] = set()
        self._greeted: set[Any] = set()
        super().__init__(target_port)

    def _send(self, connection: Any, writer: Any, data: memoryview) -> None:
        if writer is connection.sockets["server"]:
            sent = bytes(data)
            if any(upload in sent for upload in self.uploads):
                self._loading.add(connection)
            elif sent.endswith(_COMMIT) and connection in self._loading:
                self._loading.discard(connection)
                if self.times:
                    self.times -= 1
                    self._mute.add(connection)
        elif connection not in self._greeted:
            self._greeted.add(connection)
            data = memoryview(without_tls(bytes(data)))
        elif connection in self._mute:
            # The server has spoken: what it was asked to keep is kept.
            self._mute.discard(connection)
            self.lost += 1
            self.cut()
            return
        super()._send(connection, writer, data)


@pytest.fixture
def proxy(database: Database) -> Iterator[CommitProxy]:
    port = sa.make_url(database.url).port
    assert port is not None
    with CommitProxy(port) as proxy:
        yield proxy


@pytest.fixture(params=[True, False], ids=["local_infile", "insert"])
def infile(request: pytest.FixtureRequest, database: Database) -> Iterator[None]:
    """Both ways in which rows go up."""
    assert database.server is not None
    with database.server.with_local_infile(request.param):
        yield


Open = Callable[[int], Pipeline]


@pytest.fixture
def far(
    database: Database, sftp_folder: SftpFolder, tmp_path: Path, proxy: CommitProxy, infile: None
) -> Iterator[Open]:
    """Give a maker of a pipeline that reaches its database through the proxy and tries a step again so many times."""
    opened: list[Pipeline] = []

    def open_pipeline(retries: int) -> Pipeline:
        through = Database(database.engine, proxy.url(database.url), database.server)
        opened.append(Pipeline(through, sftp_folder, tmp_path, SteppingClock(), reintentos=retries))
        return opened[-1]

    yield open_pipeline
    for pipeline in opened:
        pipeline.platform.close()


@pytest.fixture
def notes(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """What the ledger says of the report at the beginning of each try of its load."""
    found: list[str | None] = []
    engine = sa.create_engine(database.url)

    def noting(*arguments: Any, **options: Any) -> Any:
        with engine.connect() as connection:
            found.extend(connection.execute(sa.select(tables.bitacora_control.c.mensaje)).scalars())
        return load_file(*arguments, **options)

    monkeypatch.setattr(load, "load_file", noting)
    return found


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


def lost_connection(proxy: CuttingProxy) -> str:
    return (
        f"VISITAS_DB_URL: se perdió la conexión con la base de datos {proxy.host}:{proxy.port}. "
        "revise que esté encendida y que conteste"
    )


# ------------------------------------------------------------------------------------- in the middle of the upload


def test_an_upload_that_is_cut_once_is_done_again(far: Open, proxy: CommitProxy, notes: list[str | None]) -> None:
    pipeline = far(2)
    pipeline.deliver(NAME, BIG)
    proxy.cut_after(MIDDLE, towards="server")
    (task,) = pipeline.process([NAME])
    assert task.estado is Estado.COMPLETADO_CON_ERRORES
    assert notes == [None, f"cargar: intento 1 de 3: {lost_connection(proxy)}; se repite en 0 s"]
    assert told(pipeline) == ("COMPLETADO_CON_ERRORES", 1, None)
    assert attempts(pipeline) == ["CARGADO"]
    assert_loaded_once(pipeline)


def test_an_upload_that_is_always_cut_climbs_the_ladder(far: Open, proxy: CommitProxy) -> None:
    pipeline = far(1)
    pipeline.deliver(NAME, BIG)
    proxy.cut_after(MIDDLE, towards="server", times=None)
    pipeline.run([NAME])
    reason = lost_connection(proxy)
    assert told(pipeline) == ("EN_PROCESO", 1, f"{reason} (la corrida se repite)")
    assert pipeline.quarantine("sistema") == set()
    pipeline.run([NAME])
    assert told(pipeline) == ("FALLO_SISTEMA", 2, reason)
    assert attempts(pipeline) == ["FALLO_PASAJERO"] * 2
    assert pipeline.rows(tables.estadisticas) == pipeline.rows(tables.visitantes) == pipeline.rows(tables.errores) == []
    assert pipeline.quarantine("sistema") == {sha256(BIG)}
    assert (pipeline.on_server(), pipeline.backups(), pipeline.staging()) == ({NAME}, set(), [])
    proxy.heal()
    assert pipeline.run_pass() == []
    assert isinstance(pipeline.clock, SteppingClock)
    pipeline.clock.set(NOON.replace(day=NOON.day + 1))
    pipeline.run_pass()
    assert told(pipeline) == ("COMPLETADO_CON_ERRORES", 3, None)
    assert attempts(pipeline) == [*["FALLO_PASAJERO"] * 2, "CARGADO"]
    assert_loaded_once(pipeline)


# ----------------------------------------------------------------------------------------- the answer to COMMIT


def test_an_answer_to_commit_that_is_lost_loads_once(far: Open, proxy: CommitProxy, notes: list[str | None]) -> None:
    pipeline = far(2)
    pipeline.deliver(NAME, BIG)
    proxy.times = 1
    (task,) = pipeline.process([NAME])
    assert proxy.lost == 1
    assert task.failure is None
    assert task.loaded is not None
    assert (task.loaded.valid, task.loaded.invalid, task.loaded.new_visitors) == (20_000, 1, 20_000)
    # The row that the lost answer ended says nothing of it: it has no fault.
    assert notes == [None, None]
    assert told(pipeline) == ("COMPLETADO_CON_ERRORES", 1, None)
    assert attempts(pipeline) == ["CARGADO"]
    assert_loaded_once(pipeline)


def test_an_answer_that_is_lost_beyond_the_retries_is_found_loaded(far: Open, proxy: CommitProxy) -> None:
    pipeline = far(0)
    pipeline.deliver(NAME, BIG)
    proxy.times = 1
    (task,) = pipeline.process([NAME])
    assert proxy.lost == 1
    assert (task.estado, task.failure is not None) == (Estado.COMPLETADO_CON_ERRORES, True)
    assert told(pipeline) == ("COMPLETADO_CON_ERRORES", 1, None)
    assert attempts(pipeline) == ["CARGADO"]
    assert pipeline.on_server() == {NAME}
    pipeline.run_pass()
    assert told(pipeline) == ("COMPLETADO_CON_ERRORES", 2, None)
    assert attempts(pipeline) == ["CARGADO", "SIN_CAMBIO"]
    assert_loaded_once(pipeline)


def test_a_lost_answer_to_a_correction_replaces_once(far: Open, proxy: CommitProxy) -> None:
    pipeline = far(2)
    earlier = report(record("v1@example.com"), record("antes@example.com"))
    pipeline.deliver(NAME, earlier)
    pipeline.run_pass()
    pipeline.deliver(NAME, BIG)
    proxy.times = 1
    pipeline.run_pass()
    assert proxy.lost == 1
    world = World([(NAME, earlier), (NAME, BIG)])
    assert world.differences(pipeline.tables(), pipeline.platform.today()) == []
    assert attempts(pipeline) == ["CARGADO", "CARGADO"]
    assert pipeline.backups() == {sha256(earlier), sha256(BIG)}
    assert pipeline.broken_promises() == []


# --------------------------------------------------------------------------------- many files that begin together


def test_an_answer_that_is_lost_where_many_files_begin_counts_each_attempt_once(far: Open, proxy: CommitProxy) -> None:
    pipeline = far(2)
    names = [f"report_{number}.txt" for number in range(3)]
    for number, name in enumerate(names):
        pipeline.deliver(name, report(record(f"v{number}@example.com")))
    proxy.uploads = (b"INSERT INTO bitacora_intentos",)
    proxy.times = 1
    tasks = pipeline.process(names)
    assert proxy.lost == 1
    assert [task.estado for task in tasks] == [Estado.COMPLETADO] * 3
    rows = pipeline.rows(tables.bitacora_control)
    assert [(row["archivo"], row["intentos"], row["mensaje"]) for row in rows] == [(name, 1, None) for name in names]
    assert attempts(pipeline) == ["CARGADO"] * 3
    assert pipeline.broken_promises() == []
