"""Interrupts that Python and Dagster drop: real signals, into real callbacks."""

import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._utils.interrupts import capture_interrupts, raise_interrupts_as

from visitas_dagster.interrupts import noticed, raised_again

LONG_S = 30
"""Nothing waits so long: whoever is not interrupted fails."""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Leave the signals as they were: Dagster's blocks make SIGTERM what SIGINT is, and keep it so."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Thing:
    """Something that can be referred to weakly."""


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def in_a_callback(work: Callable[[], None]) -> None:
    """Do something where Python drops what is raised."""
    thing = Thing()
    kept = weakref.ref(thing, lambda _: work())
    del thing
    assert kept() is None


def wait_after(*works: Callable[[], None]) -> None:
    for work in works:
        in_a_callback(work)
    time.sleep(LONG_S)


@pytest.mark.parametrize("times", [1, 3])
def test_what_a_callback_swallows_is_raised_again(times: int) -> None:
    swallowed = 0

    def swallow() -> None:
        nonlocal swallowed
        swallowed += 1
        if swallowed == 1:
            interrupt()
        # The next ones fall into a callback as well.
        time.sleep(LONG_S)

    with raised_again(), pytest.raises(KeyboardInterrupt):
        wait_after(*[swallow] * times)
    assert swallowed == times


def test_it_is_raised_as_whoever_executes_wants_it() -> None:
    with (
        raised_again(),
        pytest.raises(DagsterExecutionInterruptedError),
        raise_interrupts_as(DagsterExecutionInterruptedError),
    ):
        wait_after(interrupt)


def test_other_errors_go_where_they_went(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)

    def fail() -> None:
        raise ValueError("dropped")

    with raised_again():
        in_a_callback(fail)
    assert [(dropped.exc_type, str(dropped.exc_value)) for dropped in seen] == [(ValueError, "dropped")]
    assert sys.unraisablehook == seen.append


def test_nothing_is_raised_after_the_block() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with raised_again():
        in_a_callback(interrupt)
    time.sleep(0.1)
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_nobody_asked_for_again_is_raised_at_the_end(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), noticed(), capture_interrupts():
        os.kill(os.getpid(), number)


def test_other_signals_and_none_raise_nothing() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    with noticed():
        os.kill(os.getpid(), signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)
    with noticed():
        pass


def test_what_was_raised_within_is_not_raised_over() -> None:
    error = DagsterExecutionInterruptedError
    with pytest.raises(error), noticed(), raise_interrupts_as(error):
        interrupt()


def test_a_thread_has_no_signals_to_notice() -> None:
    ended = []

    def work() -> None:
        with noticed():
            ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == [True]
