"""Real servers that a test session starts for itself, on free loopback ports: OpenSSH, MariaDB, MySQL.

Starting, stopping, stalling and asking them belongs here; pytest's fixtures and the faults of the wire do
not. Each server is one process (with its children) that is only ever ended by pid; none touches a server of
the machine's own. `tools/install-test-servers` installs the programs.
"""

import contextlib
import fcntl
import getpass
import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paramiko
import psutil
import pymysql
from sqlalchemy.engine import URL, make_url

from tests.support.guardian import family, guardian, has_ended, kill_all, wait_for_end
from tests.support.ports import LOOPBACK, free_port

PROJECT = Path(__file__).resolve().parents[2]

# It carries signs that a URL must quote and that a careless configuration parser trips over.
_PASSWORD = "clave@de%prueba"

_START_TRIES = 3
_START_S = 60.0
_STOP_S = 20.0


class ServerError(RuntimeError):
    """A test server is not installed, or did not start; the message carries the end of its log."""


def program(name: str) -> str:
    """Return the path of an installed program, the system's folders included.

    Raises:
        ServerError: it is not installed.
    """
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    if found is None:
        raise ServerError(f"{name} is not installed: run tools/install-test-servers")
    return found


def running_as_root() -> bool:
    """Say whether the tests run as root, for which servers want to be told to stay root."""
    return os.geteuid() == 0


class Server(ABC):
    """One server process of ours; a context manager that starts it and in the end throws it away.

    Attributes:
        host: loopback.
        port: the same through every restart.
        folder: the server's own temporary folder, removed by `close`.
        log: the file with what the server prints.
    """

    name: str

    def __init__(self) -> None:
        """Take a port and a folder; nothing is started yet."""
        self.host = LOOPBACK
        self.port = free_port()
        self.folder = guardian().make_folder(f"visitas-{self.name}-")
        self.log = self.folder / "server.log"
        self._process: psutil.Process | None = None

    @abstractmethod
    def _launch(self) -> psutil.Process:
        """Start the program and return its process, without waiting for it to be ready."""

    @abstractmethod
    def _answers(self) -> bool:
        """Say whether the server answers on its port."""

    def __enter__(self) -> Self:
        """Start the server, unless it runs already."""
        self.ensure_running()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the server."""
        self.close()

    @property
    def pid(self) -> int:
        """The server's process id.

        Raises:
            ServerError: it does not run.
        """
        if self._process is None:
            raise ServerError(f"{self.name} does not run")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there and no zombie; a paused server runs."""
        return self._process is not None and not has_ended(self._process)

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            ServerError: it ended or stayed silent; the message carries the end of its log.
        """
        if self.running:
            return
        for _ in range(_START_TRIES):
            self._process = self._launch()
            guardian().watch(self._process.pid)
            if self._wait_until_ready():
                return
            self.kill()
            # Another program's probe may hold the port for a moment.
            if "in use" not in self._log_tail():
                break
            time.sleep(0.5)
        raise ServerError(f"{self.name} did not start on port {self.port}:\n{self._log_tail()}")

    def stop(self) -> None:
        """End the server the orderly way, open connections included."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server and its children with SIGKILL, as a power cut would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start, on the same port with the same data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Stall the server and its open connections (SIGSTOP): it takes connections and says nothing."""
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        """Wake a paused server."""
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def ensure_running(self) -> None:
        """Start the server if it does not run; wake it if it is paused."""
        if self.running:
            self.resume()
        self.start()

    def close(self) -> None:
        """Kill the server and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _family(self) -> list[psutil.Process]:
        return [] if self._process is None else family(self._process)

    def _end(self, how: signal.Signals) -> None:
        members = self._family()
        for process in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                if how is signal.SIGTERM:
                    process.resume()
                process.send_signal(how)
        left = wait_for_end(members, _STOP_S)
        kill_all(left)
        wait_for_end(left, _STOP_S)
        if self._process is not None:
            guardian().forget(self._process.pid)
            self._process = None

    def _wait_until_ready(self) -> bool:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if not self.running:
                return False
            if self._answers():
                return True
            time.sleep(0.02)
        return False

    def _log_tail(self) -> str:
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])

    def _spawn(self, command: Sequence[str]) -> psutil.Process:
        """Start a program that stays in the foreground, out of the terminal's reach."""
        with self.log.open("ab") as log:
            return psutil.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.folder,
            )


# ------------------------------------------------------------------------------------------------------ SFTP


class OpenSSHServer(Server):
    """OpenSSH that serves SFTP, and nothing else, to the current user by key.

    Attributes:
        root: where a session starts; paths in it are this machine's own, absolute or relative to it.
        user: the current user.
        key_file: the user's private key (ed25519, no passphrase).
        known_hosts_file: holds the host key of the last `trust_host_key`, or of the making.
    """

    name = "sshd"

    def __init__(self, root: Path) -> None:
        """Make the keys and the configuration; `root` must exist."""
        super().__init__()
        self.root = root
        self.user = getpass.getuser()
        self.key_file = self._make_key("user_key")
        self.known_hosts_file = self.folder / "known_hosts"
        self._host_key = self._make_key("host_key")
        authorized = self.folder / "authorized_keys"
        shutil.copy(self.key_file.with_suffix(".pub"), authorized)
        # sshd splits the command at blanks, quoted or not: a link keeps them out.
        start = self.folder / "start"
        start.symlink_to(root, target_is_directory=True)
        self._config = self.folder / "sshd_config"
        self._config.write_text(
            f"""\
Port {self.port}
ListenAddress {self.host}
HostKey {self._host_key}
PidFile none
AuthorizedKeysFile {authorized}
AllowUsers {self.user}
PermitRootLogin yes
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM {"yes" if _root_is_locked() else "no"}
UseDNS no
MaxStartups 200
MaxSessions 200
Subsystem sftp internal-sftp -d {start}
ForceCommand internal-sftp -d {start}
AllowTcpForwarding no
X11Forwarding no
PrintMotd no
LogLevel VERBOSE
"""
        )
        self.trust_host_key()

    def environment(self, folder: Path | None = None) -> dict[str, str]:
        """Return the `VISITAS_SFTP_*` settings for a folder on this server (default: its root)."""
        return {
            "VISITAS_SFTP_HOST": self.host,
            "VISITAS_SFTP_PORT": str(self.port),
            "VISITAS_SFTP_USER": self.user,
            "VISITAS_SFTP_KEY_FILE": str(self.key_file),
            "VISITAS_SFTP_KNOWN_HOSTS": str(self.known_hosts_file),
            "VISITAS_SFTP_DIR": str(folder or self.root),
        }

    def connect(self) -> paramiko.SSHClient:
        """Return a new connection, the host key checked against `known_hosts_file`."""
        client = paramiko.SSHClient()
        client.load_host_keys(str(self.known_hosts_file))
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        client.connect(
            self.host,
            self.port,
            self.user,
            key_filename=str(self.key_file),
            allow_agent=False,
            look_for_keys=False,
            timeout=10,
        )
        return client

    def rotate_host_key(self) -> None:
        """Give the server another host key and restart it; `known_hosts_file` keeps the old one."""
        self._host_key.unlink()
        self._make_key(self._host_key.name)
        self.restart()

    def trust_host_key(self, port: int | None = None) -> None:
        """Write the server's present host key to `known_hosts_file`, also for `port`, a proxy's."""
        kind, key = self._host_key.with_suffix(".pub").read_text().split()[:2]
        ports = [self.port] if port is None else [self.port, port]
        self.known_hosts_file.write_text("".join(f"[{self.host}]:{p} {kind} {key}\n" for p in ports))

    def _make_key(self, name: str) -> Path:
        path = self.folder / name
        path.with_suffix(".pub").unlink(missing_ok=True)
        subprocess.run(
            [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        return path

    def _launch(self) -> psutil.Process:
        if running_as_root():
            # sshd's own service makes this folder at boot; without the service nobody does.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        return self._spawn([program("sshd"), "-D", "-e", "-f", str(self._config)])

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=5) as sock:
                return sock.recv(4) == b"SSH-"
        except OSError:
            return False


def _root_is_locked() -> bool:
    """Say whether we are root with a locked password, which sshd refuses unless PAM decides."""
    if not running_as_root():
        return False
    entries = (line.split(":") for line in Path("/etc/shadow").read_text().splitlines())
    return any(entry[0] == "root" and entry[1].startswith("!") for entry in entries)


# ------------------------------------------------------------------------------------------------- databases


class DatabaseServer(ABC):
    """What tests ask of a MySQL-family server, whoever started it.

    Attributes:
        engine: "mysql" or "mariadb".
    """

    engine: str

    @abstractmethod
    def _admin(self) -> "pymysql.connections.Connection[Any]":
        """Return a new connection that may do everything."""

    @abstractmethod
    def _address(self) -> tuple[str, int]:
        """Return the host and port that a database's URL names."""

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement as the administrator; return its rows."""
        with contextlib.closing(self._admin()) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    def version(self) -> str:
        """Return the server's own `VERSION()`."""
        return str(self.execute("SELECT VERSION()")[0][0])

    def create_database(self, options: str = "") -> str:
        """Create an empty database with a user of its own, who may do everything in it and nothing elsewhere.

        Args:
            options: the rest of CREATE DATABASE, e.g. ``CHARACTER SET latin1``.

        Returns:
            Its SQLAlchemy URL, ``mysql+pymysql://user:password@host:port/name?charset=utf8mb4``.
        """
        name = f"visitas_{os.getpid()}_{time.time_ns():x}"
        host, port = self._address()
        url = URL.create("mysql+pymysql", name[:32], _PASSWORD, host, port, name, {"charset": "utf8mb4"})
        self.execute(f"CREATE DATABASE `{name}` {options}")
        self.execute("CREATE USER %s@'%%' IDENTIFIED BY %s", url.username, _PASSWORD)
        self.execute(f"GRANT ALL ON `{name}`.* TO '{url.username}'@'%'")
        return url.render_as_string(hide_password=False)

    def drop_database(self, url: str) -> None:
        """End the connections to a database of `create_database`, and drop it with its user."""
        parts = make_url(url)
        self.kill_connections(url)
        self.execute(f"DROP DATABASE IF EXISTS `{parts.database}`")
        self.execute(f"DROP USER IF EXISTS '{parts.username}'@'%'")

    def kill_connections(self, url: str) -> int:
        """End all connections of the database's user in the server; return how many there were."""
        user = make_url(url).username
        killed = 0
        for connection_id in (row[0] for row in self.execute("SHOW PROCESSLIST") if row[1] == user):
            # One that has just ended by itself is "unknown thread id".
            with contextlib.suppress(pymysql.err.OperationalError):
                self.execute(f"KILL {int(connection_id)}")
                killed += 1
        return killed

    def local_infile(self) -> bool:
        """Say whether the server takes LOAD DATA LOCAL."""
        return bool(self.execute("SELECT @@GLOBAL.local_infile")[0][0])

    def set_local_infile(self, on: bool) -> None:
        """Switch LOAD DATA LOCAL for the whole server; MySQL starts with it off, MariaDB with it on."""
        self.execute(f"SET GLOBAL local_infile = {int(on)}")

    @contextlib.contextmanager
    def with_local_infile(self, on: bool) -> Iterator[None]:
        """Switch LOAD DATA LOCAL within the block, and back after it."""
        before = self.local_infile()
        self.set_local_infile(on)
        try:
            yield
        finally:
            self.set_local_infile(before)


class LocalDatabaseServer(Server, DatabaseServer):
    """A MySQL-family server of ours; its administrator is root on the socket, without a password."""

    # The whole process may be killed, the machine's power is never cut: commits go to the kernel, which keeps
    # them through a kill, and the disk is spared.
    _OPTIONS = ("--innodb-flush-log-at-trx-commit=2", "--skip-name-resolve", "--skip-log-bin")

    def __init__(self, options: Sequence[str] = ()) -> None:
        """Take a port, a folder and further server options; the data are made at the first start."""
        super().__init__()
        self._socket = self.folder / "mysql.sock"
        self._options = (*self._OPTIONS, *options)

    def _admin(self) -> "pymysql.connections.Connection[Any]":
        return pymysql.connect(unix_socket=str(self._socket), user="root", charset="utf8mb4", autocommit=True)

    def _address(self) -> tuple[str, int]:
        return self.host, self.port

    def _answers(self) -> bool:
        try:
            self._admin().close()
        except pymysql.err.Error:
            return False
        return True


class MariaDBServer(LocalDatabaseServer):
    """MariaDB from the distribution's packages, with the character set that Debian configures."""

    name = engine = "mariadb"

    def _launch(self) -> psutil.Process:
        data = self.folder / "data"
        user = ["--user=root"] if running_as_root() else []
        # A server that starts sweeps its temporary folder: two that share one lose their tables in use. The one that
        # makes the system's tables is a server too.
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        if not data.exists():
            self._install(data, user, temporary)
        return self._spawn(
            [
                program("mariadbd"),
                "--no-defaults",
                *user,
                f"--tmpdir={temporary}",
                f"--datadir={data}",
                f"--socket={self._socket}",
                f"--pid-file={self.folder / 'mariadbd.pid'}",
                f"--bind-address={self.host}",
                f"--port={self.port}",
                "--character-set-server=utf8mb4",
                "--collation-server=utf8mb4_general_ci",
                *self._options,
            ]
        )

    def _install(self, data: Path, user: Sequence[str], temporary: Path) -> None:
        done = subprocess.run(
            [
                program("mariadb-install-db"),
                "--no-defaults",
                *user,
                f"--datadir={data}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
            ],
            env={**os.environ, "TMPDIR": str(temporary)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ServerError(f"mariadb-install-db failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


class MySQLServer(LocalDatabaseServer):
    """MySQL, by way of the script `real-mysql` that may stand beside the project (see `mysql_script`)."""

    name = engine = "mysql"

    def _launch(self) -> psutil.Process:
        script = mysql_script()
        if script is None:
            raise ServerError("the script real-mysql is not here")
        # A killed server leaves both behind. The script would take the first for the new one's; the second names a
        # process that may still be there as a zombie, or again as another.
        for left in ("mysqld.pid", "mysql.sock.lock"):
            (self.folder / left).unlink(missing_ok=True)
        # The script's caller may add server options of its own by the same variable.
        options = " ".join([*self._options, os.environ.get("MYSQLD_ARGS", "")])
        with _one_at_a_time("real-mysql"):
            done = subprocess.run(
                ["bash", str(script), "start", str(self.port), str(self.folder)],
                env={**os.environ, "MYSQLD_ARGS": options},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                # The server is the script's child: a Ctrl-C in the terminal must not reach it either.
                start_new_session=True,
            )
        if done.returncode:
            raise ServerError(f"real-mysql failed:\n{done.stdout[-2000:]}\n{self._log_tail()}")
        return psutil.Process(int((self.folder / "mysqld.pid").read_text()))


@contextlib.contextmanager
def _one_at_a_time(what: str) -> Iterator[None]:
    """Keep the processes of a test run apart: the script fetches its packages at the first call."""
    with open(Path(tempfile.gettempdir()) / f"visitas-{what}-{os.getuid()}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class ExternalDatabaseServer(DatabaseServer):
    """A server that somebody else runs, by the URL of an administrator of it; never stopped or stalled."""

    engine = "mysql"

    def __init__(self, url: str) -> None:
        """Take the administrator's SQLAlchemy URL."""
        self._url = make_url(url)

    def _admin(self) -> "pymysql.connections.Connection[Any]":
        host, port = self._address()
        return pymysql.connect(
            host=host,
            port=port,
            user=self._url.username or "root",
            password=self._url.password or "",
            charset="utf8mb4",
            autocommit=True,
        )

    def _address(self) -> tuple[str, int]:
        return self._url.host or LOOPBACK, self._url.port or 3306


def mysql_script() -> Path | None:
    """Return the script that runs a real MySQL, if it stands beside the project and serves this machine."""
    script = PROJECT.parent / "shared" / "tools" / "real-mysql"
    return script if script.is_file() and platform.machine() == "x86_64" else None


def available_engines() -> tuple[str, ...]:
    """Return the database engines that this machine can test.

    MySQL is among them when `VISITAS_TEST_MYSQL_URL` names an administrator of one, or the script is there.
    """
    has_mysql = bool(os.environ.get("VISITAS_TEST_MYSQL_URL")) or mysql_script() is not None
    return ("mysql", "mariadb", "sqlite") if has_mysql else ("mariadb", "sqlite")
