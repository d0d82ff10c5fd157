"""Pytest fixtures over the real servers: each starts at its first use, once per session, and ends with it.

Handing servers, folders, databases and proxies to tests belongs here; how a server starts and fails does not.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.proxy import CuttingProxy
from tests.support.servers import (
    ExternalDatabaseServer,
    LocalDatabaseServer,
    MariaDBServer,
    MySQLServer,
    OpenSSHServer,
    available_engines,
)

# An engine that no machine has: stands for "none of those this test asks for", and is deselected.
_NO_ENGINE = "none"


@dataclass(frozen=True)
class Database:
    """An empty database of one test's own.

    Attributes:
        engine: "mysql", "mariadb" or "sqlite".
        url: SQLAlchemy URL, as `VISITAS_DB_URL` takes it.
        server: the server that holds it, None for SQLite; a `LocalDatabaseServer` may be stopped and stalled.
    """

    engine: str
    url: str
    server: LocalDatabaseServer | ExternalDatabaseServer | None


@dataclass(frozen=True)
class SftpFolder:
    """An empty folder on the SFTP server.

    Attributes:
        server: the server, shared by the whole session.
        path: the folder, on this machine and on the server alike.
    """

    server: OpenSSHServer
    path: Path

    def environment(self) -> dict[str, str]:
        """Return the `VISITAS_SFTP_*` settings for this folder."""
        return self.server.environment(self.path)


class DatabaseServers:
    """The session's database servers, each started at its first use."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        """Take the stack that ends them."""
        self._stack = stack
        self._started: dict[str, LocalDatabaseServer | ExternalDatabaseServer] = {}

    def get(self, engine: str) -> LocalDatabaseServer | ExternalDatabaseServer:
        """Return the running server of "mysql" or "mariadb", whatever an earlier test did to it."""
        if engine not in self._started:
            self._started[engine] = self._start(engine)
        server = self._started[engine]
        if isinstance(server, LocalDatabaseServer):
            server.ensure_running()
        return server

    def _start(self, engine: str) -> LocalDatabaseServer | ExternalDatabaseServer:
        external = os.environ.get("VISITAS_TEST_MYSQL_URL")
        if engine == "mysql" and external:
            return ExternalDatabaseServer(external)
        return self._stack.enter_context(MySQLServer() if engine == "mysql" else MariaDBServer())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that takes `database` once per engine, or once per engine of its `databases` mark."""
    if "database" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("databases")
    wanted = marker.args if marker else available_engines()
    engines = [engine for engine in available_engines() if engine in wanted] or [_NO_ENGINE]
    metafunc.parametrize("database", engines, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that ask only for engines that are not here."""
    absent = [
        item
        for item in items
        if isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and item.callspec.params.get("database") == _NO_ENGINE
    ]
    if absent:
        config.hook.pytest_deselected(items=absent)
        items[:] = [item for item in items if item not in absent]


# ------------------------------------------------------------------------------------------------------ SFTP


@pytest.fixture(scope="session")
def openssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSSHServer]:
    """Give the session's SFTP server; for tests that stop or stall it there is `own_openssh_server`."""
    with OpenSSHServer(tmp_path_factory.mktemp("sftp")) as server:
        yield server


@pytest.fixture
def own_openssh_server(tmp_path: Path) -> Iterator[OpenSSHServer]:
    """Give a running SFTP server of this test's own, to be stopped, stalled and re-keyed at will."""
    root = tmp_path / "sftp"
    root.mkdir()
    with OpenSSHServer(root) as server:
        yield server


@pytest.fixture
def sftp_folder(openssh_server: OpenSSHServer, request: pytest.FixtureRequest) -> SftpFolder:
    """Give an empty folder on the session's SFTP server."""
    openssh_server.ensure_running()
    name = re.sub(r"\W+", "_", request.node.name)[:60]
    taken = sum(1 for _ in openssh_server.root.iterdir())
    path = openssh_server.root / f"{taken}_{name}"
    path.mkdir()
    return SftpFolder(openssh_server, path)


# ------------------------------------------------------------------------------------------------- databases


@pytest.fixture(scope="session")
def database_servers() -> Iterator[DatabaseServers]:
    """Give the session's database servers; none is started yet."""
    with contextlib.ExitStack() as stack:
        yield DatabaseServers(stack)


@pytest.fixture
def mariadb_server(database_servers: DatabaseServers) -> Iterator[MariaDBServer]:
    """Give the session's MariaDB, running; it may be stopped, killed and stalled."""
    server = database_servers.get("mariadb")
    assert isinstance(server, MariaDBServer)
    yield server
    server.ensure_running()


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path, database_servers: DatabaseServers) -> Iterator[Database]:
    """Give an empty database, once per engine that this machine has; mark `databases(...)` narrows them.

    On the servers LOAD DATA LOCAL is as the engine ships it: off in MySQL, on in MariaDB.
    """
    engine: str = request.param
    if engine == "sqlite":
        yield Database(engine, f"sqlite:///{tmp_path / 'visitas.db'}", None)
        return
    server = database_servers.get(engine)
    url = server.create_database()
    yield Database(engine, url, server)
    # The test may have stopped the server or switched LOAD DATA LOCAL.
    server = database_servers.get(engine)
    server.set_local_infile(engine == "mariadb")
    server.drop_database(url)


@pytest.fixture
def database_url(database: Database) -> str:
    """Give the URL of an empty database, once per engine that this machine has."""
    return database.url


# ------------------------------------------------------------------------------------------------------ wire


@pytest.fixture
def cutting_proxy() -> Iterator[Callable[[int], CuttingProxy]]:
    """Give a maker of proxies to a port on loopback; they are closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(target_port: int) -> CuttingProxy:
            return stack.enter_context(CuttingProxy(target_port))

        yield make
