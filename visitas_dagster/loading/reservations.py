"""Who works on a name: at most one run at a time, told by a lock that dies with its holder.

Taking and freeing the locks belongs here; what is done under them does not.

A row that says "run X has it" outlives a killed run. A server's named lock (MySQL's and MariaDB's ``GET_LOCK``)
and a file lock end with the connection or the process that holds them, so "is X still alive?" is never a guess.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, text

from visitas_dagster.domain.failures import SystemFailure
from visitas_dagster.loading.statements import dialect_of
from visitas_dagster.resources.database import database_errors
from visitas_dagster.resources.folders import disk_errors

_TOGETHER = 500
"""Names a round trip: a short statement for any server."""


class Reservations(Protocol):
    """The names that this process works on."""

    def take(self, archivo: str) -> bool:
        """Take a name without waiting; False where somebody else has it. Taking twice is harmless."""

    def take_all(self, names: Sequence[str]) -> set[str]:
        """Take those of the names that nobody else has, without waiting; return them."""

    def free(self, archivo: str) -> None:
        """Give a name back; harmless where it is not held."""

    def close(self) -> None:
        """Give all names back."""


def open_reservations(engine: Engine, folder: Path) -> Reservations:
    """Return the kind of locks that fits the database: the server's, or files in ``folder`` beside SQLite."""
    if dialect_of(engine) == "sqlite":
        return FileReservations(folder)
    return ServerReservations(engine)


def _digest(archivo: str) -> str:
    return hashlib.sha256(archivo.encode()).hexdigest()[:40]


class FileReservations:
    """File locks: for SQLite, whose database lives on one machine by nature."""

    def __init__(self, folder: Path) -> None:
        """Remember the folder of the lock files."""
        self._folder = folder
        self._held: dict[str, int] = {}

    def take(self, archivo: str) -> bool:
        """See :class:`Reservations`."""
        if archivo in self._held:
            return True
        with disk_errors("reservar un archivo"):
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._folder / _digest(archivo), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._held[archivo] = descriptor
        return True

    def take_all(self, names: Sequence[str]) -> set[str]:
        """See :class:`Reservations`."""
        return {archivo for archivo in names if self.take(archivo)}

    def free(self, archivo: str) -> None:
        """See :class:`Reservations`. The lock file stays: removing it would let two hold "the" lock."""
        descriptor = self._held.pop(archivo, None)
        if descriptor is not None:
            os.close(descriptor)

    def close(self) -> None:
        """See :class:`Reservations`."""
        for archivo in list(self._held):
            self.free(archivo)


class ServerReservations:
    """Named locks of the database server, on one connection of their own for as long as names are held."""

    def __init__(self, engine: Engine) -> None:
        """Remember the engine; the connection opens at the first name."""
        self._engine = engine
        self._connection: Connection | None = None
        self._held: set[str] = set()

    def take(self, archivo: str) -> bool:
        """See :class:`Reservations`."""
        return bool(self.take_all([archivo]))

    def take_all(self, names: Sequence[str]) -> set[str]:
        """See :class:`Reservations`."""
        wanted = [archivo for archivo in names if archivo not in self._held]
        try:
            with database_errors(self._engine):
                for start in range(0, len(wanted), _TOGETHER):
                    chunk = wanted[start : start + _TOGETHER]
                    answers = self._ask("GET_LOCK(:{}, 0)", chunk)
                    self._held.update(name for name, answer in zip(chunk, answers, strict=True) if answer == 1)
        except SystemFailure:
            # With the session its locks are gone. The ledger row's run_id still keeps a second run from loading.
            self._drop()
            raise
        return self._held.intersection(names)

    def free(self, archivo: str) -> None:
        """See :class:`Reservations`."""
        if archivo in self._held:
            self._free([archivo])

    def close(self) -> None:
        """See :class:`Reservations`. Each name is given back first: the server may notice a closed session late."""
        self._free(list(self._held))
        self._drop()

    def _free(self, names: Sequence[str]) -> None:
        self._held.difference_update(names)
        try:
            with database_errors(self._engine):
                for start in range(0, len(names), _TOGETHER):
                    self._ask("RELEASE_LOCK(:{})", names[start : start + _TOGETHER])
        except SystemFailure:
            self._drop()

    def _ask(self, call: str, names: Sequence[str]) -> Sequence[Any]:
        """Return the server's answer to the call for each of the names, in one round trip."""
        if self._connection is None:
            # Autocommit: an idle transaction would hold back the server's purge for the whole run.
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        values = {f"n{number}": self._name(archivo) for number, archivo in enumerate(names)}
        calls = ", ".join(call.format(key) for key in values)
        return self._connection.execute(text(f"SELECT {calls}"), values).one()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._held.clear()
        if connection is not None:
            # The pool would keep the session, and with it the locks.
            connection.invalidate()
            connection.close()

    def _name(self, archivo: str) -> str:
        # Lock names are the whole server's: the database's name keeps two installations apart.
        return f"visitas:{_digest(f'{self._engine.url.database}/{archivo}')}"
