"""Ctrl-C, so that none is lost: Python drops one that falls into a callback, Dagster one after a run's last op.

Noticing what was dropped and raising it again belongs here; what a command says and leaves behind does not.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

    _Hook = Callable[[UnraisableHookArgs], object]

_SOON_S = 0.02
"""Until it is raised again: by then the callback has ended, or the next one drops it once more."""

_NOTICED = frozenset({signal.SIGINT, signal.SIGTERM})
"""Both: Dagster makes SIGTERM an interrupt as well."""


@contextmanager
def raised_again() -> Iterator[None]:
    """Raise again, within the block, an interrupt that Python drops.

    What is raised in a weak reference's callback, or while an object is taken apart, goes to ``sys.unraisablehook`` and
    no further. SQLAlchemy has such callbacks at every collection of garbage: at least 4 of 120 interrupts amid passes
    were lost. For the main thread, where Python delivers signals.
    """
    hook, alarm = sys.unraisablehook, signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    sys.unraisablehook = partial(_dropped, hook)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, alarm)


def _dropped(hook: _Hook, dropped: UnraisableHookArgs) -> None:
    if issubclass(dropped.exc_type, Exception):
        hook(dropped)
    else:
        # KeyboardInterrupt, or Dagster's own. Not here, where it would be dropped as well; and not by a thread, which
        # takes locks that whoever was interrupted may hold.
        signal.setitimer(signal.ITIMER_REAL, _SOON_S)


@contextmanager
def noticed() -> Iterator[None]:
    """Raise at the end of the block where an interrupt came within and nothing was raised for it.

    Dagster holds interrupts back while it executes a run, raises them as the next op begins, and forgets one that comes
    after the last (``dagster/_utils/interrupts.py``).

    Raises:
        KeyboardInterrupt: it came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)
        with open(reader, "rb") as numbers:
            came = numbers.read()
    if not _NOTICED.isdisjoint(came):
        raise KeyboardInterrupt
