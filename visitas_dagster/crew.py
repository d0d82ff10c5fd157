"""Further processes for the runs of a pass: started before Dagster comes in here, so that both begin side by side.

Starting, ending and talking to them belongs here; which run goes to which process, and executing it, does not.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from visitas_dagster import collector, spared
from visitas_dagster.domain.privacy import mask_addresses
from visitas_dagster.settings import Settings

log = logging.getLogger("visitas.pasada")

WORTH = 2
"""Full runs to each process: with fewer, starting another one, about 3 s of a processor, costs more than it saves."""


class Crew:
    """The further processes of a pass; a context manager that ends them, at once where the pass was broken off.

    Attributes:
        others: those that were started.
    """

    def __init__(self, settings: Settings, processes: int = 1, begin: Callable[[], None] | None = None) -> None:
        """Start nothing yet.

        Args:
            settings: the platform's.
            processes: how many the pass may use, this one included; never more than the machine has processors.
            begin: called first in each further one, a function of a module; for what goes to its stderr.
        """
        self._settings = settings
        self._most = min(processes, os.cpu_count() or 1) - 1
        self._begin = begin
        self.others: list[Other] = []

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End them."""
        if error is not None:
            self.interrupt()
        for other in self.others:
            other.dismiss()

    def hire(self, runs: int) -> None:
        """Start as many processes as so many full runs are worth, those that are there already counted."""
        while len(self.others) < min(self._most, runs // WORTH - 1):
            self.others.append(Other(self._settings, self._begin))

    def interrupt(self) -> None:
        """End them where they stand: what they leave half done the next pass finishes."""
        for other in self.others:
            other.interrupt()


class Other:
    """Another process that executes runs."""

    def __init__(self, settings: Settings, begin: Callable[[], None] | None) -> None:
        """Start it; it makes itself ready meanwhile."""
        # A new interpreter: this one has threads and connections, which a fork would share.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(settings, theirs, begin), name="visitas-corridas")
        with _interrupts_held():
            self._process.start()
        theirs.close()

    def execute(self, run: Any) -> Iterator[tuple[str, str, str]]:
        """Have it execute a run; yield each file's name, state and detail as they end.

        Raises:
            EOFError, OSError: the process is gone.
        """
        self._connection.send(run)
        while (told := self._connection.recv()) is not None:
            yield told

    def dismiss(self) -> None:
        """Tell it that there is no more, and wait for its end."""
        with suppress(OSError):
            self._connection.send(None)
        self._process.join()

    def interrupt(self) -> None:
        """End it where it stands; harmless twice. The next pass takes over from it as from any process that died."""
        # Not by a signal that becomes an exception: one that falls into a collection of garbage is dropped by Python,
        # and 6 of 6 were.
        self._process.kill()
        self._process.join()


def _work(settings: Settings, connection: Connection, begin: Callable[[], None] | None) -> None:
    """Execute what comes down the pipe, until there is no more or nobody at its other end."""
    try:
        if begin is not None:
            begin()
        spared.leave_out()
        with collector.resting():
            # Here, not at the top: it brings Dagster in.
            from visitas_dagster.runs import serve

        serve(settings, connection)
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:
        # One line here as everywhere: multiprocessing would print a traceback.
        log.warning(mask_addresses(f"un proceso de esta pasada no puede seguir: {type(error).__name__}: {error}"))
    finally:
        collector.spare_the_end()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let what starts here begin with Ctrl-C blocked: on a terminal it reaches every process, and one is to answer."""
    # Started with the first process it would let the signal through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
