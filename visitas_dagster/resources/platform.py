"""Everything a run works with, opened once and closed once: settings, folders, database, SFTP, clock.

Opening and closing belong here; what is done with the parts does not. Nothing connects before it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, date, datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from visitas_dagster.resources.erasure_key import ErasureKey
from visitas_dagster.resources.folders import Folders
from visitas_dagster.resources.logs import LogFiles, kept
from visitas_dagster.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from visitas_dagster.resources.sftp import SftpFolder

Clock = Callable[[], datetime]
"""Returns the current time, aware of its zone."""


def system_clock() -> datetime:
    """The machine's clock, in UTC."""
    return datetime.now(UTC)


class Observer(Protocol):
    """Is told how the files of a run come along, so that a terminal can show it."""

    def step(self, archivo: str, step: str, total: int | None = None) -> None:
        """A file enters a step of ``total`` units (bytes or records), where known."""

    def advance(self, archivo: str, amount: int) -> None:
        """So many more units are done."""

    def done(self, archivo: str, estado: str, detail: str = "") -> None:
        """The file's way through this run ended."""


class Silent:
    """An observer that nobody watches through."""

    def step(self, archivo: str, step: str, total: int | None = None) -> None:
        """See :class:`Observer`."""

    def advance(self, archivo: str, amount: int) -> None:
        """See :class:`Observer`."""

    def done(self, archivo: str, estado: str, detail: str = "") -> None:
        """See :class:`Observer`."""


class Platform:
    """The parts, opened at first use.

    Attributes:
        settings, folders, observer: as given.
        clock: see :data:`Clock`.
    """

    def __init__(self, settings: Settings, *, clock: Clock = system_clock, observer: Observer | None = None) -> None:
        """Remember the settings; nothing is opened yet."""
        self.settings = settings
        self.clock = clock
        self.observer: Observer = observer or Silent()
        self.folders = Folders(settings.home)
        self._keeping = ExitStack()

    def __enter__(self) -> Self:
        """Return itself; what is logged from here to the end goes to the logs under ``logs/``."""
        self._keeping.enter_context(kept(self.logs))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what was opened."""
        with self._keeping:
            self.close()

    @cached_property
    def engine(self) -> Engine:
        """The database's engine."""
        # Here and below: whoever asks one of the servers need not bring in what asks the other, 0.1 s each.
        from visitas_dagster.resources.database import open_engine

        return open_engine(self.settings)

    @cached_property
    def erasure_key(self) -> ErasureKey:
        """The key by which erased persons are known."""
        return ErasureKey(self.folders.erasure_key)

    @cached_property
    def logs(self) -> LogFiles:
        """The logs of files and of the orchestrator."""
        return LogFiles.of(self.settings, self.clock)

    @cached_property
    def sftp(self) -> SftpFolder:
        """The SFTP folder, over one connection."""
        from visitas_dagster.resources.sftp import SftpFolder

        return SftpFolder(self.settings)

    def now(self) -> datetime:
        """The current time as the ledger keeps it: naive UTC."""
        return self.clock().astimezone(UTC).replace(tzinfo=None)

    def today(self) -> date:
        """The current day in ``VISITAS_ZONA_HORARIA``."""
        return self.clock().astimezone(self.settings.zone).date()

    def close(self) -> None:
        """Close what was opened; harmless twice."""
        if "sftp" in self.__dict__:
            self.sftp.close()
        if "engine" in self.__dict__:
            self.engine.dispose()
