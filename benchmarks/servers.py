"""The real servers that the benchmarks run against: those of the tests, started once and ended by their pid.

Starting each at its first use, and telling its settings, belongs here; what runs against them does not.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

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

_SHOWN = ("innodb_buffer_pool_size", "innodb_flush_log_at_trx_commit", "log_bin", "local_infile")


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


def _variables(server: DatabaseServer) -> str:
    values = (server.execute(f"SELECT @@GLOBAL.{name}")[0][0] for name in _SHOWN)
    return ", ".join(f"{name}={value}" for name, value in zip(_SHOWN, values, strict=True))
