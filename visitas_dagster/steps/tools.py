"""What the steps of one run share: the platform, the ledger, the reservations, the way rows go in, the log.

Opening and closing them belongs here, with the retries around a step; the steps do not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cached_property
from types import TracebackType
from typing import Self, TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from visitas_dagster.domain.failures import SystemFailure, TransientFailure
from visitas_dagster.loading.history import History
from visitas_dagster.loading.ledger import Entry, Ledger
from visitas_dagster.loading.reservations import Reservations, open_reservations
from visitas_dagster.loading.writers import RowWriter, choose_writer
from visitas_dagster.resources.folders import RunFolder
from visitas_dagster.resources.platform import Platform

T = TypeVar("T")

MAX_WAIT_S = 60
"""Seconds between two tries at the most."""


class RunTools:
    """The shared parts of one run.

    Attributes:
        platform: settings, folders, connections.
        run_id: the run's id, as the ledger keeps it.
        log: where the steps tell what they do, in Spanish.
        step: the op that runs now; empty outside of Dagster.
    """

    def __init__(self, platform: Platform, run_id: str, log: logging.Logger) -> None:
        """Remember them; nothing is opened yet."""
        self.platform = platform
        self.run_id = run_id
        self.log = log
        self.step = ""
        self._folder: RunFolder | None = None

    def __enter__(self) -> Self:
        """Create the run's folder: from here on the run counts as alive."""
        self._folder = RunFolder(self.platform.folders, self.run_id)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the names back and clear the run's staging folder."""
        self.close()

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger."""
        return Ledger(self.platform.engine, self.platform.clock, self.platform.settings.zone)

    @cached_property
    def history(self) -> History:
        """The ledger, for reading."""
        return History(self.platform.engine, self.platform.settings.zone)

    @cached_property
    def reservations(self) -> Reservations:
        """The names that this run works on."""
        return open_reservations(self.platform.engine, self.platform.folders.locks)

    @cached_property
    def writer(self) -> RowWriter:
        """The way rows go in."""
        return choose_writer(self.platform.engine)

    def close(self) -> None:
        """Give the names back and clear the run's staging folder; harmless twice."""
        if "reservations" in self.__dict__:
            self.reservations.close()
        if self._folder is not None:
            self._folder.close()

    def retried(self, what: str, entry: Entry | None, call: Callable[[], T]) -> T:
        """Call, and call again after a passing fault: ``VISITAS_REINTENTOS`` times, waiting longer each time.

        Args:
            what: the step, for the messages.
            entry: the file's ledger row; each retry is noted on it.
            call: safe to call again.

        Raises:
            SystemFailure: the last fault, or the first that no retry cures.
        """
        settings = self.platform.settings
        tries = settings.reintentos + 1

        def note(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            wait = state.next_action.sleep if state.next_action else 0
            message = f"{what}: intento {state.attempt_number} de {tries}: {error}; se repite en {wait:.0f} s"
            self.log.warning(message)
            self._note(entry, message)

        retrying = Retrying(
            retry=retry_if_exception_type(TransientFailure),
            stop=stop_after_attempt(tries),
            wait=wait_exponential_jitter(
                multiplier=settings.reintento_base_s, max=MAX_WAIT_S, jitter=settings.reintento_base_s / 2
            ),
            before_sleep=note,
            reraise=True,
        )
        return retrying(call)

    def _note(self, entry: Entry | None, message: str) -> None:
        if entry is None:
            return
        try:
            self.ledger.note_retry(entry, message)
        except SystemFailure as failure:
            # The ledger may be what is down; the log has the message.
            self.log.warning(f"no se pudo anotar en la bitácora: {failure}")
