"""Closes in processes of their own that die on the spot, at a named point.

Making a close die belongs here; what must stand afterwards does not. Started as a program it imports everything once,
and then serves each request, one JSON object a line, by a close in a fresh copy of itself.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from tests.faults.driver import POINTS as PASS_POINTS
from tests.faults.driver import die
from tests.support.pipeline import SteppingClock, settings_for
from tests.support.warm import WarmProgram
from visitas_dagster.closing import close, housekeeping, quarantine, sealing
from visitas_dagster.closing.close import close_days
from visitas_dagster.closing.journal import Journal
from visitas_dagster.instance import open_instance
from visitas_dagster.loading.visitors import VisitorTables
from visitas_dagster.nightly import DagsterSide
from visitas_dagster.partitions import ARCHIVOS
from visitas_dagster.resources.platform import Platform


def _after(owner: Any, name: str, times: int = 1) -> Callable[[], None]:
    """Die once this function has been called so many times."""
    return lambda: _patch(owner, name, times, dies_first=False)


def _before(owner: Any, name: str, times: int = 1) -> Callable[[], None]:
    """Die instead of the call of this function that would be the one of this number."""
    return lambda: _patch(owner, name, times, dies_first=True)


def _patch(owner: Any, name: str, times: int, *, dies_first: bool) -> None:
    original, calls = getattr(owner, name), 0

    def dying(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if dies_first and calls == times:
            die()
        result = original(*arguments, **options)
        if calls == times:
            die()
        return result

    setattr(owner, name, dying)


def _mid_member() -> None:
    """Die with half of a zip's third member in the temporary file, and on the disk."""
    original = sealing._copy_in

    def copy(archive: Any, member: str, size: int, stream: Any, day: Any) -> sealing.Bytes:
        if len(archive.namelist()) < 2:
            return original(archive, member, size, stream, day)
        with archive.open(sealing._info(member, day, size), "w") as writing:
            writing.write(stream.read(max(1, size // 2)))
            archive.fp.flush()
            os.fsync(archive.fp.fileno())
            return die()

    vars(sealing)["_copy_in"] = copy


def _mid_removal() -> None:
    original = sealing._remove_loose

    def remove(folder: Path, copies: list[Any]) -> int:
        if len(copies) > 1:
            copies[0].path.unlink()
            die()
        return original(folder, copies)

    vars(sealing)["_remove_loose"] = remove


def _mid_logs() -> None:
    def remove(folder: Path) -> NoReturn:
        next(folder.iterdir()).unlink()
        die()

    vars(housekeeping)["shutil"] = SimpleNamespace(rmtree=remove)


def _mid_partitions() -> None:
    def drop(side: DagsterSide, names: Sequence[str]) -> NoReturn:
        side._instance.delete_dynamic_partition(ARCHIVOS, names[0])
        die()

    DagsterSide.drop = drop  # type: ignore[method-assign,assignment]


_STEPS = (
    "limpieza",
    "cuarentena",
    "pendientes",
    "respaldo",
    "contadores",
    "logs_viejos",
    "respaldos_viejos",
    "particiones",
    "reportes",
)


def _ended(step: str) -> Callable[[], None]:
    """Die once this step has ended in the second close: that of the night, after that of a missed day."""

    def patch() -> None:
        original = close._Close._note
        seen: list[str] = []

        def note(self: Any, noted: Any) -> Any:
            result = original(self, noted)
            seen.append(noted.name)
            if seen.count(step) == 2:
                die()
            return result

        close._Close._note = note  # type: ignore[method-assign,assignment]

    return patch


POINTS: dict[str, Callable[[], None]] = {
    "begun": _after(Journal, "begin"),
    "mid-pass": PASS_POINTS["mid-load"],
    "mid-quarantine": _after(quarantine, "keep_copy"),
    "mid-zip": _after(sealing, "_copy_in", 3),
    "mid-member": _mid_member,
    "zip-written": _before(sealing, "_verify", 2),
    "zip-verified": _before(sealing, "_put_in_place", 2),
    "zip-renamed": _before(sealing, "sync_folder", 4),
    "zip-in-place": _before(sealing, "_remove_loose", 2),
    "one-loose-gone": _mid_removal,
    "all-loose-gone": _before(Path, "rmdir", 2),
    "mid-turn": _after(VisitorTables, "turn_period", 2),
    "mid-logs": _mid_logs,
    "mid-zips": _after(housekeeping, "zip_path"),
    "mid-partitions": _mid_partitions,
    "one-report": _after(close, "write_daily"),
    **{f"after-{step}": _ended(step) for step in _STEPS},
    "ended": _after(Journal, "end", 2),
}
"""What is patched so that a close dies there."""


def _one_close(request: dict[str, Any]) -> None:
    settings = settings_for(request["url"], request["sftp"], Path(request["home"]))
    clock = SteppingClock(datetime.fromisoformat(request["moment"]))
    with Platform(settings, clock=clock) as platform, open_instance(settings) as instance:
        side = DagsterSide(platform, instance)
        if request["point"]:
            POINTS[request["point"]]()
        failed = [closed.message for closed in close_days(platform, side) if closed.message]
        assert failed == [], failed


def _child(request: dict[str, Any]) -> NoReturn:
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    try:
        _one_close(request)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


def main() -> None:
    """Serve requests until standard input ends."""
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _child(json.loads(line))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


class ClosingDriver(WarmProgram):
    """The program, as a test calls it."""

    module = "tests.faults.dying_close"

    def run(self, request: dict[str, Any]) -> int:
        """Do one close; return its exit code, negative for a signal."""
        return int(self.ask(request))


if __name__ == "__main__":
    main()
