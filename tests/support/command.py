"""The executable `visitas` as an operator calls it: a process of its own, its environment built from scratch.

Calling it, with or without a terminal, belongs here; what it should say does not.
"""

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
VISITAS = Path(sys.executable).with_name("visitas")

_TIMEOUT_S = 180
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

# Root passes every permission check; without these capabilities it is a user like any other.
_BOUND = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")


@dataclass(frozen=True)
class Ended:
    """What a command left behind.

    Attributes:
        code: its exit code.
        out, err: what it wrote; on a terminal both are `out`.
    """

    code: int
    out: str
    err: str = ""

    @property
    def shown(self) -> str:
        """What stands in `out` once the terminal's escape sequences are gone."""
        return _ESCAPES.sub("", self.out).replace("\r", "")


class Visitas:
    """One installation's command line.

    Attributes:
        folder: the working folder; nothing of the machine's own settings is seen from it.
        home: `VISITAS_HOME`.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        """Take the settings; `VISITAS_HOME` is ``folder/etl`` unless they say otherwise."""
        self.folder = folder
        user = folder / "persona"
        user.mkdir(exist_ok=True)
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(user),
            "LANG": "C.UTF-8",
            # The command is that of the code under test, wherever the environment was installed from.
            "PYTHONPATH": str(PROJECT),
            "VISITAS_HOME": str(folder / "etl"),
            "VISITAS_ESPERA_ESTABLE_S": "0",
            **settings,
        }
        self.home = Path(self._environment["VISITAS_HOME"])

    def run_behind(self, before: Sequence[str], *arguments: str) -> Ended:
        """Call it by another command, which is put before it."""
        return _wait(self._start([*before, str(VISITAS), *arguments], {}))

    def run(self, *arguments: str, **changes: str | None) -> Ended:
        """Call it and wait for its end; `changes` are settings of this call, None takes one away."""
        return _wait(self._start([str(VISITAS), *arguments], changes))

    def run_as_package(self, *arguments: str) -> Ended:
        """Call ``python -m visitas_dagster``."""
        return _wait(self._start([sys.executable, "-m", "visitas_dagster", *arguments], {}))

    def run_bound_by_permissions(self, *arguments: str, **changes: str | None) -> Ended:
        """Call it as a user whom the permissions of files bind, also where the tests run as root."""
        bound = _BOUND if os.geteuid() == 0 else ()
        return _wait(self._start([*bound, str(VISITAS), *arguments], changes))

    def start(self, *arguments: str, **changes: str | None) -> subprocess.Popen[str]:
        """Call it, its output in pipes; in a session of its own."""
        return self._start([str(VISITAS), *arguments], changes)

    def _start(self, command: Sequence[str], changes: Mapping[str, str | None]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            cwd=self.folder,
            env=self.environment(**changes),
            start_new_session=True,
        )

    def run_in_terminal(
        self, *arguments: str, columns: int = 100, ctrl_c_at: str | None = None, **changes: str | None
    ) -> Ended:
        """Call it on a terminal of its own.

        Args:
            arguments: the command line.
            columns: the terminal's width.
            ctrl_c_at: Ctrl-C is typed once, as soon as this is shown; the terminal sends it to every process on it.
            changes: as for `run`.
        """
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", str(VISITAS), *arguments],
            stdin=its,
            stdout=its,
            stderr=its,
            cwd=self.folder,
            env=self.environment(**{"TERM": "xterm-256color", **changes}),
        )
        os.close(its)
        shown = bytearray()
        waiting_for = ctrl_c_at
        # Linux ends a terminal that nobody writes to any more with an error.
        with contextlib.suppress(OSError):
            while piece := os.read(ours, 1 << 16):
                shown += piece
                if waiting_for is not None and waiting_for.encode() in shown:
                    os.write(ours, b"\x03")
                    waiting_for = None
        os.close(ours)
        return Ended(process.wait(_TIMEOUT_S), shown.decode())

    def environment(self, **changes: str | None) -> dict[str, str]:
        """Return the environment of a call, as `run` changes it."""
        merged = {**self._environment, **changes}
        return {name: value for name, value in merged.items() if value is not None}


def _wait(process: subprocess.Popen[str]) -> Ended:
    with process:
        try:
            out, err = process.communicate(timeout=_TIMEOUT_S)
        finally:
            # A command that hangs must not outlive its test.
            process.kill()
    return Ended(process.returncode, out, err)
