"""A small process that outlives the test session and ends what the session left running.

The session's side (`Guardian`) and the process's side (`main`) belong here; starting and stopping servers
does not. However the session ends, `kill -9` included, its end of the pipe closes: the guardian then kills
the watched processes by pid, with their descendants, and removes the session's temporary folders.
"""

import functools
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import psutil


class Guardian:
    """The session's end of the pipe; one per session, from `guardian()`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            # A Ctrl-C in the terminal is for the session alone.
            start_new_session=True,
            text=True,
        )

    def _tell(self, verb: str, value: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{verb} {value}\n")
        self._process.stdin.flush()

    def watch(self, pid: int) -> None:
        """Have the process killed at the session's end, if it still runs then."""
        self._tell("watch", pid)

    def forget(self, pid: int) -> None:
        """Take back `watch`: the process has ended."""
        self._tell("forget", pid)

    def make_folder(self, prefix: str) -> Path:
        """Return a new temporary folder with a short path (a socket's path holds 107 bytes)."""
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        self._tell("folder", folder)
        return folder


@functools.cache
def guardian() -> Guardian:
    """Return the session's guardian, started at the first call."""
    return Guardian()


def family(process: psutil.Process) -> list[psutil.Process]:
    """Return the process and all its descendants, as far as they still run."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """Send SIGKILL to each process that still runs under its pid."""
    for process in processes:
        # psutil compares the start time too: a pid that went to another program is left alone.
        if process.is_running():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue


def has_ended(process: psutil.Process) -> bool:
    """Say whether the process is gone; a zombie is, whether or not its parent ever asks after it."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for_end(processes: Iterable[psutil.Process], timeout: float) -> list[psutil.Process]:
    """Wait up to `timeout` seconds; return those that still run."""
    left = list(processes)
    deadline = time.monotonic() + timeout
    while left and time.monotonic() < deadline:
        left = [process for process in left if not has_ended(process)]
        time.sleep(0.01)
    return left


def main(lines: Iterable[str]) -> None:
    """Keep the list that `lines` dictate (``verb value``); at their end, clear up."""
    watched: dict[int, psutil.Process] = {}
    folders: list[str] = []
    for line in lines:
        verb, value = line.rstrip("\n").split(" ", 1)
        if verb == "folder":
            folders.append(value)
        elif verb == "forget":
            watched.pop(int(value), None)
        elif psutil.pid_exists(int(value)):
            watched[int(value)] = psutil.Process(int(value))
    for process in watched.values():
        members = family(process)
        kill_all(members)
        wait_for_end(members, timeout=10)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.stdin)
