"""Passes in processes of their own that die on the spot: by their own hand at a named point, or at a given moment.

Making a process die belongs here; what must stand afterwards does not. Started as a program it imports everything
once, and then serves each request, a JSON list of passes a line, by a fresh copy of itself for each, all at a time.
"""

import itertools
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import Engine, event

from tests.support.passes import RunningClock, whole_pass
from tests.support.pipeline import SteppingClock, settings_for
from tests.support.warm import WarmProgram
from visitas_dagster import dispatch
from visitas_dagster.cli.console import output
from visitas_dagster.cli.progress import Watch
from visitas_dagster.domain.arrivals import Listed, Observation
from visitas_dagster.instance import open_instance
from visitas_dagster.loading import transaction
from visitas_dagster.loading.ledger import Entry, Ledger
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
        return {}

    original = arrivals.look
    vars(dispatch)["look"] = arrivals.look = look


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

    vars(validate)["prepare"] = lambda batches, *where: prepare(one(batches), *where)


def _mid_load() -> None:
    original = transaction._Load._write

    def write(self: Any, target: str, packed: Any) -> None:
        original(self, target, packed)
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


def _mid_claims() -> None:
    original = Ledger.claim_new

    def claim(self: Ledger, files: Iterable[Listed], run_id: str) -> dict[str, Entry]:
        # Everything is written, nothing is kept.
        event.listen(self.engine, "commit", die)
        return original(self, files, run_id)

    Ledger.claim_new = claim  # type: ignore[method-assign]


def _after_claims() -> None:
    Ledger.claim_new = _then_die(Ledger.claim_new)  # type: ignore[method-assign]


JOINT_POINTS: dict[str, Callable[[], None]] = {"mid-claims": _mid_claims, "after-claims": _after_claims}
"""The same, for a pass with so many files that a run has several."""


def die_at_event(number: int, home: Path) -> None:
    """Die at the event of this number: a statement, a commit, a request to the server, a file of ours touched."""
    numbers = itertools.count(1)

    def tick(*_: object) -> None:
        if next(numbers) >= number:
            die()

    def audit(name: str, arguments: tuple[Any, ...]) -> None:
        if name in _FILE_EVENTS and str(arguments[0]).startswith(str(home)):
            tick()

    event.listen(Engine, "before_cursor_execute", tick)
    event.listen(Engine, "commit", tick)
    sys.addaudithook(audit)
    for verb in ("list", "stat", "download", "remove"):
        setattr(SftpFolder, verb, _between(tick, getattr(SftpFolder, verb)))


_FILE_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}


def _between(tick: Callable[[], object], call: Callable[..., Any]) -> Callable[..., Any]:
    def ticking(*arguments: Any, **options: Any) -> Any:
        tick()
        result = call(*arguments, **options)
        tick()
        return result

    return ticking


# ------------------------------------------------------------------------------------------------- the program


def _one_pass(request: dict[str, Any]) -> None:
    home = Path(request["home"])
    settings = settings_for(request["url"], request["sftp"], home, **request.get("settings", {}))
    if request.get("point"):
        (POINTS | JOINT_POINTS)[request["point"]]()
    if request.get("event"):
        die_at_event(request["event"], home)
    moment = datetime.fromisoformat(request["moment"])
    if "steps" in request:
        with Platform(settings, clock=RunningClock(moment, request["since"])) as platform:
            whole_pass(platform, **request["steps"])
        return
    with (
        Platform(settings, clock=SteppingClock(moment)) as platform,
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
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


class _Running:
    """A pass under way in a process of its own."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._start = time.monotonic()
        self._pid = os.fork()
        if self._pid == 0:
            _child(request)
        after_s = request.get("after_s")
        self._killer = threading.Timer(after_s, os.kill, (self._pid, signal.SIGKILL)) if after_s else None

    def arm(self) -> None:
        """Let the killer's time run: a thread, so not before every fork is done."""
        if self._killer:
            self._killer.start()

    def ended(self) -> tuple[int, float]:
        """Wait for its end; return exit code and seconds."""
        # Not reaped before the killer is called off: its number stays this process's own.
        os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        if self._killer:
            self._killer.cancel()
            self._killer.join()
        _, status = os.waitpid(self._pid, 0)
        return os.waitstatus_to_exitcode(status), time.monotonic() - self._start


def main() -> None:
    """Serve requests until standard input ends."""
    print("ready", flush=True)
    for line in sys.stdin:
        running = [_Running(request) for request in json.loads(line)]
        for one in running:
            one.arm()
        print(json.dumps([one.ended() for one in running]), flush=True)


# --------------------------------------------------------------------------------------------------- its client


class Driver(WarmProgram):
    """The program, as a test calls it."""

    module = "tests.faults.driver"

    def run(self, request: dict[str, Any]) -> tuple[int, float]:
        """Do one pass; return its exit code, negative for a signal, and the seconds that it took.

        The request names `url`, `sftp`, `home`, `log` and `moment`; `point`, `event` or `after_s` at which the pass
        dies; further `settings`; and `steps`, the arguments of `whole_pass`, with `since` for its clock, where
        the pass is to do without Dagster.
        """
        return self.run_together([request])[0]

    def run_together(self, requests: Sequence[dict[str, Any]]) -> list[tuple[int, float]]:
        """Do passes at the same time, each in a process of its own; see :meth:`run`."""
        return [(code, seconds) for code, seconds in self.ask(list(requests))]


if __name__ == "__main__":
    main()
