"""A whole process under measurement: seconds from its start to its end, and the memory of its tree at the peak.

Starting, sampling and ending it belongs here; what it runs does not.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import psutil

PROJECT: Final = Path(__file__).resolve().parents[1]

_EVERY_S = 0.05
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
MIB: Final = 2**20


class ProcessError(RuntimeError):
    """The measured process did not do its work; the message carries the end of what it printed."""


@dataclass(frozen=True)
class Measured:
    """One run of a process.

    Attributes:
        seconds: wall clock, start-up included.
        cpu_seconds: processor time of the process and of those that it waited for; the rest of the wall clock it waited
            for servers.
        peak_mib: resident memory at the peak, MiB: the most that was seen of the whole tree, or the kernel's own
            high-water mark of the main process, whichever is more.
        output: what it printed.
    """

    seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str


def measure(command: Sequence[str], environment: Mapping[str, str]) -> Measured:
    """Run a command from the project's root and measure it.

    Raises:
        ProcessError: it did not exit with 0.
    """
    with tempfile.TemporaryFile("w+") as printed:
        begin = time.perf_counter()
        child = _begun(command, environment, PROJECT, printed)
        with _watched(child) as peak:
            # To its very end, those that it waited for included: a loop that looks from time to time is late.
            _, status, used = os.wait4(child.pid, 0)
            seconds = time.perf_counter() - begin
        code = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        output = printed.read()
    if code:
        raise ProcessError(f"{' '.join(command)} exited with {code}:\n{output[-3000:]}")
    return Measured(seconds, used.ru_utime + used.ru_stime, peak.bytes / MIB, output)


@dataclass
class _Peak:
    """The most memory seen so far, bytes."""

    bytes: int = 0


@contextmanager
def _watched(child: psutil.Popen) -> Iterator[_Peak]:
    """Look at the tree's memory from time to time within the block, in a thread."""
    peak, over = _Peak(), threading.Event()

    def watch() -> None:
        while not over.wait(_EVERY_S):
            peak.bytes = max(peak.bytes, _tree_bytes(child))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def _begun(command: Sequence[str], environment: Mapping[str, str], folder: Path, printed: IO[Any]) -> psutil.Popen:
    return psutil.Popen(
        list(command),
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=printed,
        stderr=subprocess.STDOUT,
    )


@contextmanager
def started(command: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path) -> Iterator[psutil.Popen]:
    """Run a server within the block; at its end it and all its children are ended."""
    with log.open("wb") as printed:
        child = _begun(command, environment, folder, printed)
    try:
        yield child
    finally:
        members = [child, *child.children(recursive=True)] if child.is_running() else []
        for member in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(members, timeout=20)


def _tree_bytes(process: psutil.Process) -> int:
    """Return the tree's memory now, or the main process's own high-water mark where that is more."""
    return max(sum(map(_resident, _tree(process.pid))), high_water(process.pid))


def _tree(pid: int) -> Iterator[int]:
    """Yield a process and all below it, as the kernel lists them.

    psutil would read every process of the machine for that.
    """
    yield pid
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in listed.read_text().split():
                yield from _tree(int(child))


def _resident(pid: int) -> int:
    """Return a process's resident memory, bytes; 0 if it is gone."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    return 0


def high_water(pid: int) -> int:
    """Return the most memory that a process has had resident, in bytes; 0 if it is gone."""
    # Not getrusage: its figure of a child begins with the parent's own, who holds pandas.
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def forget_high_water() -> None:
    """Have this process's own high-water mark begin anew from now, where the kernel lets us."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
