"""Work that another process does meanwhile: its answer, its failures, its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from visitas_dagster.aside import Aside
from visitas_dagster.domain.failures import LayoutFailure, SettingsError, SystemFailure, TransientFailure, VisitasError


def test_another_process_does_the_work_and_what_it_returns_comes_back() -> None:
    with Aside(lambda: (os.getpid(), os.getppid(), ["ñ", None])) as asked:
        pid, parent, answer = asked.answer()
    assert (pid != os.getpid(), parent, answer) == (True, os.getpid(), ["ñ", None])
    assert not psutil.pid_exists(pid)


def test_the_work_goes_on_meanwhile(tmp_path: Path) -> None:
    sign = tmp_path / "done"
    with Aside(sign.touch):
        deadline = time.monotonic() + 20
        while not sign.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize(
    "failure",
    [
        TransientFailure("no responde", "espere"),
        LayoutFailure("línea 1"),
        SettingsError("VISITAS_SFTP_HOST", "falta", "escríbalo"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_a_failure_comes_back_as_it_was_raised(failure: VisitasError) -> None:
    def fail() -> None:
        raise failure

    with Aside(fail) as asked, pytest.raises(type(failure)) as caught:
        asked.answer()
    assert (str(caught.value), vars(caught.value)) == (str(failure), vars(failure))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_ended_is_told_as_one_line(end: signal.Signals) -> None:
    with Aside(lambda: os.kill(os.getpid(), end)) as asked, pytest.raises(SystemFailure) as caught:
        asked.answer()
    assert str(caught.value) == "un proceso de este comando terminó sin responder. repita el comando"


_KILLED = """
import os, signal, sys, time
from visitas_dagster.aside import Aside
parent = os.getpid()
def work():
    os.kill(parent, signal.SIGKILL)
    while os.getppid() == parent:
        time.sleep(0.01)
    return bytes(1 << 20)
with Aside(work) as asked:
    asked.answer()
"""


def test_whoever_asked_is_killed_and_nothing_is_said() -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED], capture_output=True, timeout=60, check=False)
    # Both ends of the pipes are closed: the other process has ended as well.
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGKILL, b"", b"")


def test_what_has_not_answered_is_ended_with_the_block() -> None:
    before = psutil.Process().children()
    with Aside(lambda: time.sleep(600)):
        (begun,) = [child for child in psutil.Process().children() if child not in before]
    assert not begun.is_running()
