"""The real servers that the benchmarks run against: those of the tests, started once and ended by their pid.

Starting each at its first use, and telling its settings, belongs here; what runs against them does not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from benchmarks.process import MIB
from tests.support.servers import (
    DatabaseServer,
    LocalDatabaseServer,
    MariaDBServer,
    MySQLServer,
    OpenSSHServer,
    available_engines,
)

ENGINES = tuple(engine for engine in available_engines() if engine != "sqlite")
"""Those that this machine can start."""

_PAGE = 16384
_ROUNDED = 0.1
_RESIZE_S = 60

_SHOWN = ("innodb_buffer_pool_size", "innodb_flush_log_at_trx_commit", "log_bin", "local_infile")


class NotResized(RuntimeError):
    """A server did not take the memory that it was to have."""


class Servers:
    """OpenSSH, and a database server per engine.

    Attributes:
        folder: everything that they and the installations write lies in it.
    """

    def __init__(self, folder: Path) -> None:
        """Remember the folder; nothing is started yet."""
        self.folder = folder
        self._stack = ExitStack()
        self._databases: dict[str, LocalDatabaseServer] = {}
        self._sftp: OpenSSHServer | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what was started."""
        self._stack.close()

    @property
    def sftp(self) -> OpenSSHServer:
        """The SFTP server."""
        if self._sftp is None:
            root = self.folder / "reports"
            root.mkdir()
            self._sftp = self._stack.enter_context(OpenSSHServer(root))
        return self._sftp

    def database(self, engine: str) -> DatabaseServer:
        """The server of ``mysql`` or ``mariadb``, with LOAD DATA LOCAL on: MySQL's own default is off."""
        if engine not in self._databases:
            server = MySQLServer() if engine == "mysql" else MariaDBServer()
            self._databases[engine] = self._stack.enter_context(server)
            print(f"{engine} {server.version()}, as it starts: {_variables(server)}", flush=True)
            if not server.local_infile():
                server.set_local_infile(True)
                print(f"{engine}: local_infile is switched on for both sides, unless a line says otherwise", flush=True)
        return self._databases[engine]

    @contextmanager
    def buffer_pool(self, engine: str, mib: int) -> Iterator[None]:
        """Give the server of an engine so much memory for pages within the block, as its administrator does."""
        server = self.database(engine)
        before = int(server.execute("SELECT @@GLOBAL.innodb_buffer_pool_size")[0][0])
        _resize(server, mib * MIB)
        try:
            yield
        finally:
            _resize(server, before)

    def cpu_seconds(self, engine: str) -> float:
        """Processor seconds that the server of an engine has used since its start."""
        self.database(engine)
        times = psutil.Process(self._databases[engine].pid).cpu_times()
        return float(times.user + times.system)

    def deadlocks(self, engine: str) -> int:
        """Deadlocks that the server of an engine has ended since its start."""
        rows = self.database(engine).execute(
            "SELECT `COUNT` FROM information_schema.INNODB_METRICS WHERE NAME = 'lock_deadlocks'"
        )
        return int(rows[0][0])


def _resize(server: DatabaseServer, size: int) -> None:
    server.execute(f"SET GLOBAL innodb_buffer_pool_size = {size}")
    # It goes on in the background, and MySQL rounds up to what its chunks make.
    limit = time.monotonic() + _RESIZE_S
    status = "SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_total'"
    while abs(int(server.execute(status)[0][1]) * _PAGE / size - 1) > _ROUNDED:
        if time.monotonic() > limit:
            raise NotResized(f"the buffer pool does not become {size / MIB:.0f} MiB")
        time.sleep(0.2)


def _variables(server: DatabaseServer) -> str:
    values = (server.execute(f"SELECT @@GLOBAL.{name}")[0][0] for name in _SHOWN)
    return ", ".join(f"{name}={value}" for name, value in zip(_SHOWN, values, strict=True))
