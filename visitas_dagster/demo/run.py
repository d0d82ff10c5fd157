"""The demo's parts put together: folders, SFTP server, tables, web UI and daemon, samples, and their end.

Starting, watching and ending them belongs here; what the terminal shows does not.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Self

from visitas_dagster.demo.samples import Drip, SampleReport, deliver, demo_reports
from visitas_dagster.demo.sftp_server import EmbeddedSftpServer
from visitas_dagster.domain.causes import cause
from visitas_dagster.domain.failures import PermanentFailure, TransientFailure, UsageError
from visitas_dagster.instance import open_instance
from visitas_dagster.loading import schema
from visitas_dagster.loading.zone import keep_zone
from visitas_dagster.resources.platform import Platform
from visitas_dagster.settings import Settings, load_settings

DRIP_S = 60
_MARK = ".visitas-demo"
_USER = "demo"
_PASSWORD = "demo"
_START_S = 120
_STOP_S = 20
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Demo:
    """One demo in one folder; a context manager that ends all it started.

    Attributes:
        folder: where everything of it stands; emptied at the start.
        reports: the samples on the server.
        address: of the web UI, once started.
        settings_file: its settings, in the shell's form.
        example: a sample with errors, kept for ``visitas check``.
    """

    def __init__(self, folder: Path, port: int | None, *, on_delivery: Callable[[SampleReport], None]) -> None:
        """Prepare a demo; nothing starts yet. ``port``: the web UI's, a free one for None."""
        self.folder = folder
        self.reports: list[SampleReport] = []
        self.settings_file = folder / "visitas.env"
        self.example = folder / "ejemplo" / "report_3.txt"
        self._port = port or _free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self._on_delivery = on_delivery
        self._stack = ExitStack()
        self._ended = threading.Event()
        self._dagster: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Take over the signals that end a program, so that nothing outlives it."""
        for number in _SIGNALS:
            self._stack.callback(signal.signal, number, signal.signal(number, self._on_signal))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything, the last started first."""
        self._stack.close()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._ended.set()

    def start(self) -> None:
        """Start everything; return when the web UI answers.

        Raises:
            UsageError: the folder is in use or is not a demo's, or the web UI's port is taken.
            TransientFailure: the web UI did not come up.
        """
        _require_free(self._port)
        self._stack.enter_context(_own_folder(self.folder))
        root = self.folder / "sftp"
        server = self._stack.enter_context(EmbeddedSftpServer(root, self.folder / "servidor", _USER, _PASSWORD))
        environment = self._environment(server)
        settings = self._apply(environment)
        with Platform(settings) as platform:
            platform.folders.ensure()
            schema.upgrade(platform.engine)
            keep_zone(platform.engine, settings.zone)
            today = platform.today()
        with open_instance(settings):
            pass
        self.reports = demo_reports(today)
        for report in self.reports:
            deliver(root, report)
        self.example.parent.mkdir()
        self.example.write_bytes(self.reports[2].data)
        self._start_dagster(environment)
        self._wait_for_web()
        self._stack.enter_context(Drip(root, DRIP_S, today=today, on_delivery=self._on_delivery))

    def wait(self) -> None:
        """Return when a signal asks for the end; raise :class:`PermanentFailure` when Dagster ends by itself."""
        while not self._ended.wait(0.5):
            self._check_dagster()

    def _environment(self, server: EmbeddedSftpServer) -> dict[str, str]:
        return {
            "VISITAS_HOME": str(self.folder / "home"),
            "VISITAS_SFTP_HOST": server.host,
            "VISITAS_SFTP_PORT": str(server.port),
            "VISITAS_SFTP_USER": _USER,
            "VISITAS_SFTP_PASSWORD": _PASSWORD,
            "VISITAS_SFTP_KNOWN_HOSTS": str(server.known_hosts),
            "VISITAS_SFTP_DIR": "/",
            "VISITAS_ESPERA_ESTABLE_S": "3",
            "VISITAS_INTERVALO_SENSOR_S": "5",
            "DAGSTER_HOME": str(self.folder / "home" / "dagster"),
        }

    def _apply(self, environment: dict[str, str]) -> Settings:
        """Make these the only settings, here and in what is started: the user's own must not leak in."""
        for name in [name for name in os.environ if name.startswith(("VISITAS_", "DAGSTER_"))]:
            del os.environ[name]
        os.environ.update(environment)
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in environment.items()]
        self.settings_file.write_text("".join(lines), encoding="utf-8")
        return load_settings(_env_file=None)

    def _start_dagster(self, environment: dict[str, str]) -> None:
        log = self._stack.enter_context((self.folder / "dagster.log").open("wb"))
        self._stack.callback(self._stop_dagster)
        self._dagster = subprocess.Popen(
            [
                *(sys.executable, "-m", "dagster", "dev", "-m", "visitas_dagster.definitions"),
                *("-h", "127.0.0.1", "-p", str(self._port), "--log-level", "warning"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Its own working folder, so that no .env of the user's is read; its own session, so that Ctrl-C
            # reaches it from here, in order, and all of its children can be found.
            cwd=self.folder,
            start_new_session=True,
            env={**os.environ, **environment},
        )

    def _wait_for_web(self) -> None:
        limit = time.monotonic() + _START_S
        while time.monotonic() < limit and not self._ended.is_set():
            self._check_dagster()
            if _answers(f"{self.address}/server_info"):
                return
            time.sleep(0.3)
        if not self._ended.is_set():
            raise TransientFailure(
                f"la web no contestó en {_START_S} s", f"lea {self.folder / 'dagster.log'} y pruebe otra vez"
            )

    def _check_dagster(self) -> None:
        if self._dagster is not None and self._dagster.poll() is not None:
            raise PermanentFailure(
                "la web o el demonio de Dagster terminaron solos", f"lea {self.folder / 'dagster.log'}"
            )

    def _stop_dagster(self) -> None:
        process = self._dagster
        if process is None:
            return
        _signal_session(process.pid, signal.SIGINT, only_leader=True)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
        # Runs under way and code servers live in the same session; what has not ended by itself is ended.
        _signal_session(process.pid, signal.SIGKILL)
        process.wait()


def _own_folder(folder: Path) -> IO[str]:
    """Empty the folder and hold it; only a folder that an earlier demo made is ever emptied."""
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).is_file():
        raise UsageError(
            f"{folder} no es de una demostración anterior", "muévala a otro lugar, o corra desde otra carpeta"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mark = (folder / _MARK).open("w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"no se puede escribir en {folder} ({cause(error)})", "corra desde otra carpeta") from error
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        mark.close()
        raise UsageError("ya corre otra demostración en esta carpeta", "termínela con Ctrl-C en su terminal") from None
    for entry in folder.iterdir():
        if entry.name == _MARK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    return mark


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _require_free(port: int) -> None:
    """Raise :class:`UsageError` unless the port can be listened on."""
    with socket.socket() as probe:
        # As the web server does it: a connection of an earlier demo that is still closing is in nobody's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UsageError(
                f"--puerto {port}: no se puede abrir ({cause(error)})", "elija otro, o ninguno para que sea uno libre"
            ) from error


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _signal_session(leader: int, number: int, *, only_leader: bool = False) -> None:
    """Send a signal to the leader, or to every process of its session (Linux keeps them in ``/proc``)."""
    for pid in [leader] if only_leader else _session(leader):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _session(leader: int) -> list[int]:
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # After the command's name in parentheses: state, parent, group, session.
            fields = (entry / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader:
            members.append(int(entry.name))
    return members
