"""One installation as the operations manual describes it: its home, its settings file, its services, its two servers.

What a person at its terminal finds belongs here; what goes wrong with it is `incidents.py`.

What a test cannot have is played: `sudo` runs the command, `systemctl`, `journalctl`, `chown` and the editor ask this
process, which notes it and does what the installation's `services` say.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import dagster as dg
import psutil

from tests.oracle.oracle import World
from tests.support.fixtures import Database, SftpFolder
from tests.support.guardian import guardian
from tests.support.manual import Block
from tests.support.pipeline import Pipeline, SteppingClock, put
from tests.support.servers import LocalDatabaseServer, OpenSSHServer
from visitas_dagster.instance import open_instance
from visitas_dagster.settings import Settings, load_settings

PROJECT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
DAY = timedelta(days=1)

_TIMEOUT_S = 180
# Alembic knows one migration at a time in a process, and Dagster makes its own tables with it: a daemon's signs of life
# looked up beside the tables of another installation ended as "NoSuchTableError: errores" and "KeyError: 'script'".
_MAKING = threading.Lock()
_ASK = """\
#!/bin/sh
# Asks the process that plays this machine, and says what it answers.
ask="{asked}/$(date +%s%N).$$"
for word in "$(basename "$0")" "$@"; do printf '%s\\n' "$word"; done > "$ask.new"
mv "$ask.new" "$ask.ask"
while [ ! -e "$ask.answer" ]; do sleep 0.05; done
cat "$ask.answer"
"""
_SUDO = '#!/bin/sh\nexec "$@"\n'
_PLAYED = ("systemctl", "journalctl", "chown", "editor")
# Root passes every permission check; without these capabilities it is a user like any other.
_BOUND = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")

# The users of docs/settings.md, with what the page gives them; the second one also fills the tables for tests.
_USERS = (
    ("visitas", "clave", "SELECT, INSERT, UPDATE, DELETE, CREATE TEMPORARY TABLES"),
    ("visitas_init", "otra-clave", "ALL"),
)


class Site:
    """An installation and its servers; a context manager that throws it away.

    Attributes:
        home: what the manual calls `/home/etl`.
        inbox: the folder of the SFTP server.
        sftp, server: the two servers.
        world: what must stand in the tables once all is well.
        asked: what was asked of the machine's own programs, a line each.
        services: by such a line, what else is done.
        edits: what the next editing of the settings file changes; None takes a setting away.
        types: what is typed where a command asks for something.
        bound: whether commands are run as a user whom permissions bind.
    """

    def __init__(self, folder: Path, server: LocalDatabaseServer, disk: Path | None = None) -> None:
        """Make it; its home lies on ``disk`` where one is given."""
        self.folder = folder
        self.server = server
        self.home = (disk or folder) / "etl"
        # SQLite opens no database by the way that leads to a small disk.
        self._dagster = (folder if disk else self.home) / "dagster"
        self.inbox = folder / "sftp"
        self.inbox.mkdir()
        self.sftp = OpenSSHServer(self.inbox)
        self.world = World()
        self.asked: list[str] = []
        self.services: dict[str, Callable[[], object]] = {}
        self.edits: dict[str, str | None] = {}
        self.types = ""
        self.bound = False
        self._daemon: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()
        self._requests = folder / "asked"
        self._machine = threading.Thread(target=self._play, daemon=True)

    def __enter__(self) -> Self:
        """Start the SFTP server, make database, settings, folders and tables."""
        self.sftp.start()
        self._make_programs()
        self._make_database()
        (self.home / ".ssh").mkdir(parents=True)
        (self.folder / "respaldo-externo").mkdir()
        (self.home / "respaldo-externo").symlink_to(self.folder / "respaldo-externo")
        shutil.copy(self.sftp.key_file, self.home / ".ssh" / "id_ed25519")
        shutil.copy(self.sftp.known_hosts_file, self.home / ".ssh" / "known_hosts")
        self.set(
            VISITAS_HOME=str(self.home),
            VISITAS_DB_URL=self.url("visitas"),
            **self.sftp.environment(self.inbox),
            VISITAS_ESPERA_ESTABLE_S="0",
            VISITAS_REINTENTOS="1",
            VISITAS_REINTENTO_BASE_S="0.1",
            DAGSTER_HOME=str(self._dagster),
        )
        self.set(
            VISITAS_SFTP_KEY_FILE=str(self.home / ".ssh" / "id_ed25519"),
            VISITAS_SFTP_KNOWN_HOSTS=str(self.home / ".ssh" / "known_hosts"),
        )
        with self.pipeline():
            pass
        self._machine.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what was started, and drop the database."""
        self._over.set()
        self.stop_daemon()
        self.server.ensure_running()
        self._drop_database()
        self.sftp.close()

    # -- the world around it --------------------------------------------------------------------------------------

    def set(self, **settings: str | None) -> None:
        """Change the settings file."""
        path, values = self.home / "visitas.env", self.written()
        for name, value in settings.items():
            values.pop(name, None)
            if value is not None:
                values[name] = value
        path.write_text("".join(f"{name}={value}\n" for name, value in values.items()), "utf-8")

    def written(self) -> dict[str, str]:
        """The settings file as it stands."""
        path = self.home / "visitas.env"
        return dict(line.split("=", 1) for line in path.read_text("utf-8").splitlines()) if path.exists() else {}

    def settings(self, **others: Any) -> Settings:
        """The installation's settings as they should be, for a process of the tests."""
        sftp = self.sftp.environment(self.inbox)
        values = {name.removeprefix("VISITAS_").lower(): value for name, value in sftp.items()}
        home = {"home": self.home, "dagster_home": self._dagster, "db_url": self.url("visitas_init")}
        return load_settings(_env_file=None, **{**values, **home, "espera_estable_s": 0, "reintentos": 0, **others})

    def url(self, user: str) -> str:
        """The database's URL for a user of `docs/settings.md`."""
        password = next(password for name, password, _ in _USERS if name == user)
        return f"mysql+pymysql://{user}:{password}@{self.server.host}:{self.server.port}/visitas"

    def deliver(self, name: str, data: bytes, *, expected: bool = True) -> None:
        """Put a whole file on the SFTP server; it is to be loaded in the end where ``expected``."""
        put(self.inbox, name, data, int(time.time()))
        if expected:
            self.world.deliver(name, data)

    @contextmanager
    def pipeline(self, ago: timedelta = timedelta(), **settings: Any) -> Iterator[Pipeline]:
        """The steps in this process, at another time; ``settings`` are further ones, by field."""
        database = Database(self.server.engine, self.url("visitas_init"), self.server)
        folder = SftpFolder(self.sftp, self.inbox)
        clock = SteppingClock(datetime.now(UTC) - ago)
        options = {"reintentos": 0, "reintento_base_s": 0.01, **settings}
        with _MAKING:
            pipeline = Pipeline(database, folder, self.home.parent, clock, **options)
        with pipeline:
            yield pipeline

    def load(self, name: str, data: bytes, ago: timedelta = timedelta()) -> None:
        """Deliver a file and have it loaded, some time ago."""
        with self.pipeline(ago) as pipeline:
            self.deliver(name, data)
            pipeline.run_pass()

    def differences(self) -> list[str]:
        """What is not as it must be once all is well, one line each."""
        with self.pipeline() as pipeline:
            found = self.world.differences(pipeline.tables(), pipeline.platform.today())
            left = sorted(pipeline.on_server())
            failed = [archivo for archivo, estado, _ in pipeline.states() if estado == "EN_PROCESO"]
        return [
            *found,
            *(f"on the server: {name}" for name in left),
            *(f"not finished: {name}" for name in failed),
        ]

    # -- the daemon -----------------------------------------------------------------------------------------------

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """Dagster's instance in this process."""
        with _MAKING, open_instance(self.settings(), captures_output=False) as instance:
            yield instance

    def beat(self, ago: timedelta = timedelta()) -> None:
        """Let the daemon have given its last sign of life some time ago."""
        from dagster._daemon.types import DaemonHeartbeat

        with self.instance() as instance:
            for part in instance.get_required_daemon_types():
                moment = (datetime.now(UTC) - ago).timestamp()
                instance.add_daemon_heartbeat(DaemonHeartbeat(moment, part, "prueba", []))

    def start_daemon(self) -> None:
        """Run Dagster's own daemon, as its unit does; see `deploy/systemd`."""
        with (self.folder / "daemon.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                [str(PROGRAMS / "dagster-daemon"), "run", "-w", str(PROJECT / "workspace.yaml")],
                cwd=self.home,
                env=self.environment() | self.written(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        guardian().watch(self._daemon.pid)

    def stop_daemon(self) -> None:
        """End the daemon with all its children; harmless where none runs."""
        daemon, self._daemon = self._daemon, None
        if daemon is None:
            return
        members = [psutil.Process(daemon.pid), *psutil.Process(daemon.pid).children(recursive=True)]
        for process in members:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        daemon.wait()
        guardian().forget(daemon.pid)

    # -- the terminal ---------------------------------------------------------------------------------------------

    def execute(self, block: Block, *, strict: bool = False) -> str:
        """Type a block of the manual; return what was printed.

        Args:
            block: `sh` in a new terminal with the settings loaded, or `sql` as the database's administrator.
            strict: every command must end with 0.

        Raises:
            AssertionError: one did not, or a command is not there.
        """
        if block.kind == "sql":
            statements = [statement for statement in block.text.split(";") if statement.strip()]
            return "".join(f"{row}\n" for statement in statements for row in self.server.execute(self._here(statement)))
        text = "\n".join([*(["set -eo pipefail"] if strict else []), *self._login(), self._here(block.text)])
        done = subprocess.run(
            [*(_BOUND if self.bound and os.geteuid() == 0 else ()), "bash", "-c", text],
            env=self.environment(),
            cwd=self.home,
            input=self.types,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=_TIMEOUT_S,
            check=False,
        )
        told = f"{block.text}\n\n{done.returncode}: {done.stdout}"
        assert done.returncode in ((0,) if strict else range(126)), told
        assert "command not found" not in done.stdout, told
        return done.stdout

    def execute_strictly(self, block: Block) -> str:
        """Type a block all of whose commands must end with 0; return what was printed."""
        return self.execute(block, strict=True)

    def environment(self) -> dict[str, str]:
        """A terminal's environment before the settings are loaded."""
        return {
            "PATH": os.pathsep.join([str(self.folder / "bin"), str(PROGRAMS), os.environ.get("PATH", os.defpath)]),
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "EDITOR": "editor",
            # The command is that of the code under test, wherever the environment was installed from.
            "PYTHONPATH": str(PROJECT),
            # Nothing is to be installed over the code under test.
            "PIP_DRY_RUN": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def _login(self) -> list[str]:
        return [f"cd {self.home}", f"set -a; . {self.home}/visitas.env; set +a"]

    def _here(self, text: str) -> str:
        """A command of the manual with the places of this installation."""
        for there, here in (
            ("/opt/visitas/.venv/bin", str(PROGRAMS)),
            ("/opt/visitas", str(PROJECT)),
            ("/home/etl", str(self.home)),
            ("db.example.com:3306", f"{self.server.host}:{self.server.port}"),
        ):
            text = re.sub(rf"(?<![\w.]){re.escape(there)}(?![\w-])", here, text)
        return text

    # -- making it ------------------------------------------------------------------------------------------------

    def _make_database(self) -> None:
        self._drop_database()
        self.server.execute("CREATE DATABASE visitas CHARACTER SET utf8mb4")
        for user, password, privileges in _USERS:
            self.server.execute(f"CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'")
            self.server.execute(f"GRANT {privileges} ON visitas.* TO '{user}'@'%'")

    def _drop_database(self) -> None:
        self.server.execute("DROP DATABASE IF EXISTS visitas")
        for user in ("visitas", "visitas_init", "visitas_respaldo"):
            self.server.execute(f"DROP USER IF EXISTS '{user}'@'%'")

    def _make_programs(self) -> None:
        folder = self.folder / "bin"
        folder.mkdir()
        self._requests.mkdir()
        for name, text in (("sudo", _SUDO), *((name, _ASK.format(asked=self._requests)) for name in _PLAYED)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)

    def _play(self) -> None:
        """Answer what is asked of the machine, until it is over."""
        while not self._over.wait(0.05):
            for path in sorted(self._requests.glob("*.ask")):
                words = path.read_text("utf-8").splitlines()
                path.unlink()
                answer = self._answer(words)
                ready = path.with_suffix(".ready")
                ready.write_text(answer, "utf-8")
                ready.rename(path.with_suffix(".answer"))

    def _answer(self, words: Sequence[str]) -> str:
        line = " ".join(words)
        self.asked.append(line)
        if words[0] == "editor":
            edits, self.edits = self.edits, {}
            self.set(**edits)
        for asked, do in list(self.services.items()):
            if line.startswith(asked):
                do()
        return ""
