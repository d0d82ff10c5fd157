"""How an op tells Dagster of its files: in order and in groups, since an event stored alone costs as much as ten.

Holding events back and handing them on belongs here; what an event says stands in ``metadata.py`` and ``checks.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from threading import RLock, Timer
from types import TracebackType
from typing import Self
from uuid import uuid4

import dagster as dg
from dagster._core.events import DagsterEventBatchMetadata
from dagster._core.log_manager import has_log_record_event, set_log_record_event_batch_metadata

from visitas_dagster.resources.logs import about
from visitas_dagster.steps.task import FileTask

Event = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation

MOST = 50
"""Events that wait at the most."""

PATIENCE_S = 1.0
"""Seconds that the oldest of them waits at the most."""


class Teller(logging.Filter):
    """Tells Dagster what becomes of the files of one op, for as long as the block that it opens.

    Dagster stores events of a batch once it is told that one of them is the last (where its batches are switched on:
    see :data:`visitas_dagster.event_log.BATCH_SIZE`; elsewhere it stores each as it comes). So the newest event is
    held back here, to be that last one when enough are waiting, when the oldest has waited for long enough, when the
    op logs a line, which must stand behind them, and when the block ends, however it does.

    What is only shown stops nothing that is done: an event that cannot be told costs a warning.
    """

    def __init__(self, context: dg.OpExecutionContext) -> None:
        """Tell nothing yet.

        Args:
            context: the op's.
        """
        super().__init__()
        self.context = context
        self._id = str(uuid4())
        self._lock = RLock()
        self._held: tuple[Context, Event] | None = None
        self._waiting = 0
        self._timer: Timer | None = None
        self._handing: DagsterEventBatchMetadata | None = None

    def __enter__(self) -> Self:
        """Watch the op's own logger, on which its events go to Dagster as well."""
        self.context.log.addFilter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell what waits."""
        try:
            self.flush()
        finally:
            self.context.log.removeFilter(self)

    @contextmanager
    def about(self, task: FileTask) -> Iterator[None]:
        """Keep what is only shown of a file from stopping what is done: a chart that cannot be drawn is a warning."""
        with about(archivo=task.archivo):
            try:
                yield
            except Exception as error:
                self._warn(task.archivo, error)

    def tell(self, event: Event) -> None:
        """Tell of an event, now or soon, behind those told before."""
        with self._lock:
            if self._held is not None:
                self._hand(is_last=False)
            # What is logged of it belongs to the file that it is told of, whichever is being worked on by then.
            self._held = (copy_context(), event)
            self._waiting += 1
            if self._waiting >= MOST:
                self.flush()
            elif self._timer is None:
                self._timer = Timer(PATIENCE_S, self.flush)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Have Dagster store what waits."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._waiting = 0
            if self._held is not None:
                self._hand(is_last=True)

    def filter(self, record: logging.LogRecord) -> bool:
        """Mark the records of our events as a batch's; have others wait until what came before them is stored."""
        with self._lock:
            if self._handing is not None and has_log_record_event(record):
                set_log_record_event_batch_metadata(record, self._handing)
            else:
                self.flush()
        return True

    def _hand(self, *, is_last: bool) -> None:
        if self._held is None:
            return
        (where, event), self._held = self._held, None
        self._handing = DagsterEventBatchMetadata(self._id, is_last)
        try:
            where.run(self._log, event)
        finally:
            self._handing = None

    def _log(self, event: Event) -> None:
        try:
            # It takes evaluations: the annotation is behind the code.
            self.context.log_event(event)  # type: ignore[arg-type]
        except Exception as error:
            self._warn(str(event.partition), error)

    def _warn(self, archivo: str, error: Exception) -> None:
        self.context.log.warning(f"{archivo}: no se pudo mostrar el resultado: {error}", exc_info=error)
