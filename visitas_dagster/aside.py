"""Work that a process of its own does while this one goes on: one interpreter imports and computes on one processor.

Handing work over and its answer back belongs here; what is worth a process does not.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Generic, Self, TypeVar

from visitas_dagster.domain.failures import SystemFailure

Answer = TypeVar("Answer")


class Aside(Generic[Answer]):
    """A piece of work, begun at once in a process forked from this one; a context manager, whose end ends it.

    For a process without threads, which a fork would leave behind. The answer travels by pickle, and so does an
    exception, without its cause.
    """

    def __init__(self, work: Callable[[], Answer]) -> None:
        """Begin."""
        context = get_context("fork")
        self._answers, end = context.Pipe(duplex=False)
        self._process = context.Process(target=_answer, args=(work, end, self._answers))
        self._process.start()
        # Held by the other process alone, so that its end is seen.
        end.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process, whether it has answered or not."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._answers.close()

    def answer(self) -> Answer:
        """Wait for it, and return it once; raise what the work raised.

        Raises:
            SystemFailure: the process was ended from outside.
        """
        try:
            answer, error = self._answers.recv()
        except EOFError:
            raise SystemFailure("un proceso de este comando terminó sin responder", "repita el comando") from None
        if error is not None:
            raise error
        return answer  # type: ignore[no-any-return]  # whatever travels by pickle


def _answer(work: Callable[[], object], end: Connection, answers: Connection) -> None:
    # Else this process would wait for itself to read, once the one that asked was killed.
    answers.close()
    # Ctrl-C reaches both: the one that asked says so.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        answer, error = work(), None
    except Exception as raised:
        answer, error = None, raised
    with suppress(BrokenPipeError):
        end.send((answer, error))
