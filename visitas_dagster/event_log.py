"""Dagster's event log in SQLite, over connections that stay open.

How the log's files are reached belongs here; what is written into them is Dagster's own.

Dagster opens a connection for every statement, and closing the last one to a file makes SQLite fold its log back into
it. A file's way makes 13 events, each in two files: in a burst of 50 reports of 500 records 78 of 121 s went into
storing them, 51 of these into opening and closing, 25 into waiting for the disk at each commit.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import dagster as dg
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.sql import create_engine
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, text
from sqlalchemy.pool import NullPool

HELD = 8
"""Files held open at the most: the index, and those of the runs under way."""


class HeldEventLog(SqliteEventLogStorage):
    """Dagster's own storage, file for file, but for how long a connection lives.

    A commit is not waited for on the disk (``synchronous = NORMAL`` over SQLite's write-ahead log): a process that
    dies loses nothing, a machine that dies may lose the last events, never the file. Whether a report is loaded is
    told by the platform's ledger, not by this log.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        """Open nothing yet but what Dagster itself does."""
        self._held: OrderedDict[str, Connection] = OrderedDict()
        self._owner = os.getpid()
        super().__init__(base_dir, inst_data)

    @classmethod
    def config_type(cls) -> Any:
        """``home``: Dagster's home folder, in which the log stands where Dagster's default has it."""
        return {"home": dg.StringSource}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Called by Dagster with what ``dagster.yaml`` says."""
        return cls(str(Path(config_value["home"]) / "history" / "runs"), inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            connection = self._open(shard)
            with connection.begin():
                yield connection

    def _open(self, shard: str) -> Connection:
        if self._owner != os.getpid():
            # SQLite's connections do not outlive a fork, and closing one here would free the parent's locks.
            self._held, self._owner = OrderedDict(), os.getpid()
        if shard not in self._held:
            while len(self._held) >= HELD:
                self._held.popitem(last=False)[1].close()
            self._held[shard] = self._new(shard)
        self._held.move_to_end(shard)
        return self._held[shard]

    def _new(self, shard: str) -> Connection:
        engine = create_engine(
            self.conn_string_for_shard(shard),
            poolclass=NullPool,
            # The lock of this storage keeps its threads apart.
            connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        )
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        connection = engine.connect()
        connection.execute(text("PRAGMA synchronous = NORMAL"))
        connection.commit()
        return connection

    def wipe(self) -> None:
        """Remove every file; the connections to them first."""
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Close what is open."""
        super().dispose()
        self._close()

    def _close(self) -> None:
        with self._db_lock:
            held, self._held = self._held, OrderedDict()
            if self._owner == os.getpid():
                for connection in held.values():
                    connection.close()
