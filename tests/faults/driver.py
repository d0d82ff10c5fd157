"""Passes in processes of their own that die on the spot: by their own hand at a named point, or at a given moment.

Making a process die belongs here; what must stand afterwards does not. Started as a program it imports everything
once, and then serves each request, one JSON object a line, by a pass in a fresh copy of itself.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from tests.support.pipeline import PROJECT, SteppingClock, settings_for
from visitas_dagster import dispatch
from visitas_dagster.cli.console import Watch, output
from visitas_dagster.domain.arrivals import Observation
from visitas_dagster.instance import open_instance
from visitas_dagster.loading import transaction
from visitas_dagster.loading.prepared import prepare
from visitas_dagster.resources.platform import Platform
from visitas_dagster.resources.sftp import SftpFolder
from visitas_dagster.steps import archive, arrivals, load, validate
from visitas_dagster.steps.tools import RunTools


def die(*_: object) -> NoReturn:
    """End this process as a power cut would: nothing is closed, flushed or said."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a killed process goes on")


def _then_die(call: Callable[..., Any]) -> Callable[..., Any]:
    def dying(*arguments: Any, **options: Any) -> NoReturn:
        call(*arguments, **options)
        die()

    return dying


# ------------------------------------------------------------------------------------------------------ points


def _after_listing() -> None:
    def look(platform: Platform, earlier: Any) -> dict[str, Observation]:
        if original(platform, earlier):
            die()
        raise AssertionError("nothing was listed")

    original = arrivals.look
    vars(dispatch)["look"] = look


def _mid_download() -> None:
    original = SftpFolder.download

    def download(folder: SftpFolder, archivo: str, size: int, keep: Callable[[bytes], object]) -> int:
        received = 0

        def keep_half(piece: bytes) -> None:
            nonlocal received
            half = max(0, size // 2 - received)
            keep(piece[:half])
            received += len(piece)
            if received >= size // 2:
                die()

        return original(folder, archivo, size, keep_half)

    SftpFolder.download = download  # type: ignore[method-assign,assignment]


def _before_rename() -> None:
    original = Path.replace

    def replace(path: Path, target: Any) -> Path:
        if path.name.endswith(".txt.parcial"):
            die()
        return original(path, target)

    Path.replace = replace  # type: ignore[method-assign,assignment]


def _mid_validation() -> None:
    def one(batches: Iterable[Any]) -> Iterator[Any]:
        for batch in batches:
            yield batch
            die()

    vars(validate)["prepare"] = lambda batches, *paths: prepare(one(batches), *paths)


def _mid_load() -> None:
    original = transaction._Load._write

    def write(self: Any, target: str, rows: Any) -> None:
        original(self, target, rows)
        if target == "estadisticas":
            die()

    transaction._Load._write = write  # type: ignore[method-assign]


def _before_commit() -> None:
    transaction._Load._close = _then_die(transaction._Load._close)  # type: ignore[method-assign]


def _after_commit() -> None:
    vars(load)["load_file"] = _then_die(transaction.load_file)


def _after_backup() -> None:
    archive._back_up = _then_die(archive._back_up)


def _mid_removal() -> None:
    SftpFolder.remove = _then_die(SftpFolder.remove)  # type: ignore[method-assign]


def _run_born() -> None:
    # Dagster knows of the run; nothing of it has begun.
    RunTools.__enter__ = die  # type: ignore[method-assign]


def _run_ended() -> None:
    # Everything is done; Dagster does not know yet.
    RunTools.__exit__ = _then_die(RunTools.__exit__)  # type: ignore[method-assign]


POINTS: dict[str, Callable[[], None]] = {
    "after-listing": _after_listing,
    "run-born": _run_born,
    "mid-download": _mid_download,
    "before-rename": _before_rename,
    "mid-validation": _mid_validation,
    "mid-load": _mid_load,
    "before-commit": _before_commit,
    "after-commit": _after_commit,
    "after-backup": _after_backup,
    "mid-removal": _mid_removal,
    "run-ended": _run_ended,
}
"""What is patched so that a pass dies there."""


# ------------------------------------------------------------------------------------------------- the program


def _one_pass(request: dict[str, Any]) -> None:
    settings = settings_for(request["url"], request["sftp"], Path(request["home"]))
    clock = SteppingClock(datetime.fromisoformat(request["moment"]))
    if request["point"]:
        POINTS[request["point"]]()
    with (
        Platform(settings, clock=clock) as platform,
        open_instance(settings) as instance,
        Watch(output()) as watch,
    ):
        dispatch.Passes(platform, instance, watch).pending()


def _child(request: dict[str, Any]) -> NoReturn:
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    try:
        _one_pass(request)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


def main() -> None:
    """Serve requests until standard input ends."""
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(request)
        killer = threading.Timer(request["after_s"], os.kill, (pid, signal.SIGKILL)) if request["after_s"] else None
        if killer:
            killer.start()
        start = time.monotonic()
        # Not reaped before the killer is called off: its number stays this process's own.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        if killer:
            killer.cancel()
            killer.join()
        _, status = os.waitpid(pid, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), time.monotonic() - start]), flush=True)


# --------------------------------------------------------------------------------------------------- its client


class Driver:
    """The program, as a test calls it."""

    def __init__(self) -> None:
        """Start it; it is ready once its imports are done."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )
        assert self._answer() == "ready\n"

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it: its input closes."""
        self._process.communicate(timeout=60)

    def run(self, request: dict[str, Any]) -> tuple[int, float]:
        """Do one pass; return its exit code, negative for a signal, and the seconds that it took."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        code, seconds = json.loads(self._answer())
        return code, seconds

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


if __name__ == "__main__":
    main()
