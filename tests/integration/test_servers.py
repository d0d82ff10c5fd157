"""The test servers themselves, each proven by what it really answers.

The behaviour that other tests rely on belongs here: versions, keys, switches, cuts. What `visitas` does
with the servers does not.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import psutil
import pymysql
import pytest
import sqlalchemy as sa

from tests.support.fixtures import Database, SftpFolder
from tests.support.guardian import wait_for_end
from tests.support.ports import LOOPBACK, free_port
from tests.support.proxy import CuttingProxy
from tests.support.servers import LocalDatabaseServer, MariaDBServer, OpenSSHServer, available_engines

MakeProxy = Callable[[int], CuttingProxy]


@contextlib.contextmanager
def sftp_session(server: OpenSSHServer) -> Iterator[paramiko.SFTPClient]:
    with server.connect() as client, client.open_sftp() as sftp:
        yield sftp


@contextlib.contextmanager
def connection_to(url: str, **options: object) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=options)
    with engine.connect() as connection:
        yield connection


# ------------------------------------------------------------------------------------------------------ SFTP


def test_sftp_gives_back_what_it_was_given(sftp_folder: SftpFolder, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "sent").write_bytes(content)
    with sftp_session(sftp_folder.server) as sftp:
        sftp.put(str(tmp_path / "sent"), f"{sftp_folder.path}/report_7.txt")
        sftp.get(f"{sftp_folder.path}/report_7.txt", str(tmp_path / "received"))
        listed = [(entry.filename, entry.st_size) for entry in sftp.listdir_attr(str(sftp_folder.path))]
    assert (sftp_folder.path / "report_7.txt").read_bytes() == content
    assert (tmp_path / "received").read_bytes() == content
    assert listed == [("report_7.txt", 300_000)]


def test_an_sftp_session_starts_at_the_root(own_openssh_server: OpenSSHServer) -> None:
    (own_openssh_server.root / "report_1.txt").write_bytes(b"x")
    with sftp_session(own_openssh_server) as sftp:
        assert sftp.normalize(".") == str(own_openssh_server.root)
        assert sftp.listdir() == ["report_1.txt"]


def test_each_test_has_an_empty_sftp_folder(sftp_folder: SftpFolder) -> None:
    assert list(sftp_folder.path.iterdir()) == []
    assert sftp_folder.environment() == {
        "VISITAS_SFTP_HOST": "127.0.0.1",
        "VISITAS_SFTP_PORT": str(sftp_folder.server.port),
        "VISITAS_SFTP_USER": sftp_folder.server.user,
        "VISITAS_SFTP_KEY_FILE": str(sftp_folder.server.key_file),
        "VISITAS_SFTP_KNOWN_HOSTS": str(sftp_folder.server.known_hosts_file),
        "VISITAS_SFTP_DIR": str(sftp_folder.path),
    }


def test_sftp_refuses_another_key(own_openssh_server: OpenSSHServer) -> None:
    own_openssh_server.key_file.unlink()
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(own_openssh_server.key_file)],
        check=True,
        input=b"y\n",
        stdout=subprocess.DEVNULL,
    )
    with pytest.raises(paramiko.AuthenticationException):
        own_openssh_server.connect()


def test_a_rotated_host_key_is_refused_until_it_is_trusted(own_openssh_server: OpenSSHServer) -> None:
    port = own_openssh_server.port
    own_openssh_server.rotate_host_key()
    assert own_openssh_server.port == port
    with pytest.raises(paramiko.BadHostKeyException):
        own_openssh_server.connect()
    own_openssh_server.trust_host_key()
    with sftp_session(own_openssh_server) as sftp:
        assert sftp.listdir() == []


def test_a_stopped_sftp_server_drops_its_sessions_and_refuses(own_openssh_server: OpenSSHServer) -> None:
    with sftp_session(own_openssh_server) as sftp:
        own_openssh_server.stop()
        with pytest.raises((OSError, EOFError, paramiko.SSHException)):
            sftp.listdir()
    assert not own_openssh_server.running
    with pytest.raises(OSError, match="Unable to connect"):
        own_openssh_server.connect()
    own_openssh_server.start()
    with sftp_session(own_openssh_server) as sftp:
        assert sftp.listdir() == []


def test_a_paused_sftp_server_is_silent_until_it_is_woken(own_openssh_server: OpenSSHServer) -> None:
    with sftp_session(own_openssh_server) as sftp:
        channel = sftp.get_channel()
        assert channel is not None
        channel.settimeout(0.3)
        own_openssh_server.pause()
        assert own_openssh_server.running
        with pytest.raises(TimeoutError):
            sftp.listdir()
        own_openssh_server.resume()
    with sftp_session(own_openssh_server) as sftp:
        assert sftp.listdir() == []


# ------------------------------------------------------------------------------------------------- databases


def test_each_engine_answers_with_its_own_version(database: Database) -> None:
    with connection_to(database.url) as connection:
        function = "sqlite_version()" if database.engine == "sqlite" else "version()"
        version = str(connection.scalar(sa.text(f"SELECT {function}")))
    major = tuple(int(part) for part in version.split("-")[0].split(".")[:2])
    assert ("MariaDB" in version) == (database.engine == "mariadb")
    assert major >= {"mysql": (8, 4), "mariadb": (10, 6), "sqlite": (3, 24)}[database.engine]


def test_each_database_is_empty_and_keeps_rows(database: Database) -> None:
    with connection_to(database.url) as connection:
        assert sa.inspect(connection).get_table_names() == []
        connection.execute(sa.text("CREATE TABLE t (email VARCHAR(254))"))
        connection.execute(sa.text("INSERT INTO t VALUES ('josé🙂@example.com')"))
        connection.commit()
    with connection_to(database.url) as connection:
        assert connection.scalars(sa.text("SELECT email FROM t")).all() == ["josé🙂@example.com"]


def test_the_url_alone_is_enough(database_url: str) -> None:
    with connection_to(database_url) as connection:
        assert connection.scalar(sa.text("SELECT 6 * 7")) == 42


@pytest.mark.databases("mysql", "mariadb")
def test_a_database_s_user_sees_no_other_database(database: Database) -> None:
    assert database.server is not None
    other = database.server.create_database()
    try:
        name = sa.make_url(other).database
        with (
            connection_to(database.url) as connection,
            pytest.raises(sa.exc.OperationalError, match="denied"),
        ):
            connection.execute(sa.text(f"USE `{name}`"))
    finally:
        database.server.drop_database(other)


@pytest.mark.databases("mysql", "mariadb")
@pytest.mark.parametrize("on", [True, False])
def test_local_infile_is_switched_at_will(database: Database, tmp_path: Path, on: bool) -> None:
    assert database.server is not None
    assert database.server.local_infile() == (database.engine == "mariadb")
    (tmp_path / "rows.tsv").write_text("1\n2\n3\n")
    load = sa.text(f"LOAD DATA LOCAL INFILE '{tmp_path}/rows.tsv' INTO TABLE t")
    refused = contextlib.nullcontext() if on else pytest.raises(sa.exc.DatabaseError, match=r"1148|3948|not allowed")
    with database.server.with_local_infile(on), connection_to(database.url, local_infile=True) as connection:
        connection.execute(sa.text("CREATE TABLE t (n INT)"))
        with refused:
            connection.execute(load)
        assert connection.scalars(sa.text("SELECT n FROM t ORDER BY n")).all() == ([1, 2, 3] if on else [])
    assert database.server.local_infile() == (database.engine == "mariadb")


@pytest.mark.databases("mysql", "mariadb")
def test_killed_connections_are_gone(database: Database) -> None:
    assert database.server is not None
    with connection_to(database.url) as connection:
        connection.execute(sa.text("SELECT 1"))
        assert database.server.kill_connections(database.url) == 1
        with pytest.raises(sa.exc.OperationalError, match=r"2006|2013|1927|4031|killed"):
            connection.execute(sa.text("SELECT 1"))


def test_a_killed_mariadb_comes_back_with_what_was_committed(mariadb_server: MariaDBServer) -> None:
    url, port = mariadb_server.create_database(), mariadb_server.port
    process = psutil.Process(mariadb_server.pid)
    with connection_to(url) as connection:
        connection.execute(sa.text("CREATE TABLE t (n INT)"))
        connection.execute(sa.text("INSERT INTO t VALUES (1)"))
        connection.commit()
        connection.execute(sa.text("INSERT INTO t VALUES (2)"))
        mariadb_server.kill()
        connection.invalidate()
    # By the process, not by its number: that one is another's soon, on a machine where many are born.
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    with pytest.raises(sa.exc.OperationalError), connection_to(url):
        pass
    mariadb_server.start()
    assert mariadb_server.port == port
    with connection_to(url) as connection:
        assert connection.scalars(sa.text("SELECT n FROM t")).all() == [1]
    mariadb_server.drop_database(url)


@pytest.mark.databases("mysql", "mariadb")
def test_a_database_server_is_stalled_and_restarted(database: Database) -> None:
    if not isinstance(database.server, LocalDatabaseServer):
        return  # somebody else's server: it is not ours to stop
    with connection_to(database.url) as connection:
        connection.execute(sa.text("CREATE TABLE t (n INT)"))
        connection.execute(sa.text("INSERT INTO t VALUES (1)"))
        connection.commit()
    database.server.pause()
    with (
        pytest.raises(sa.exc.OperationalError, match="timed out"),
        connection_to(database.url, connect_timeout=1, read_timeout=1),
    ):
        pass
    database.server.resume()
    database.server.restart()
    with connection_to(database.url) as connection:
        assert connection.scalars(sa.text("SELECT n FROM t")).all() == [1]


def test_a_database_can_have_a_hostile_default(mariadb_server: MariaDBServer) -> None:
    url = mariadb_server.create_database("CHARACTER SET latin1 COLLATE latin1_swedish_ci")
    with connection_to(url) as connection:
        assert connection.scalar(sa.text("SELECT @@collation_database")) == "latin1_swedish_ci"
    mariadb_server.drop_database(url)


def test_the_list_of_engines_always_has_those_that_are_installed_here() -> None:
    assert available_engines()[-2:] == ("mariadb", "sqlite")


# ------------------------------------------------------------------------------------------------------ wire


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A server that sends back what it gets."""
    port = free_port()
    code = (
        "import socketserver as s\n"
        "class H(s.BaseRequestHandler):\n"
        "    def handle(self):\n"
        "        while data := self.request.recv(65536): self.request.sendall(data)\n"
        f"server = s.ThreadingTCPServer(('{LOOPBACK}', {port}), H)\n"
        "print(flush=True)\n"
        "server.serve_forever()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.readline()
    yield port
    process.kill()
    process.wait()
    process.stdout.close()


def receive(sock: socket.socket, count: int) -> bytes:
    """Receive up to `count` bytes, fewer when the connection ends or is reset."""
    received = b""
    while len(received) < count:
        try:
            data = sock.recv(count - len(received))
        except ConnectionResetError:
            break
        if not data:
            break
        received += data
    return received


def test_the_proxy_hands_on_every_byte(echo_port: int, cutting_proxy: MakeProxy) -> None:
    proxy = cutting_proxy(echo_port)
    sent = os.urandom(5000)
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as sock:
        sock.sendall(sent)
        assert receive(sock, 5000) == sent
    assert proxy.passed == {"server": 5000, "client": 5000}
    assert proxy.accepted == 1


@pytest.mark.parametrize("limit", [0, 1, 4096, 4999])
def test_the_proxy_cuts_at_the_byte(echo_port: int, cutting_proxy: MakeProxy, limit: int) -> None:
    proxy = cutting_proxy(echo_port)
    sent = os.urandom(5000)
    proxy.cut_after(limit, towards="client")
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as sock:
        sock.sendall(sent)
        assert receive(sock, 5000) == sent[:limit]
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as sock:
        sock.sendall(sent)
        assert receive(sock, 5000) == sent, "one cut only"


def test_the_proxy_cuts_what_goes_to_the_server_again_and_again(echo_port: int, cutting_proxy: MakeProxy) -> None:
    proxy = cutting_proxy(echo_port)
    proxy.cut_after(10, towards="server", times=2)
    echoed = []
    for _ in range(3):
        with socket.create_connection((proxy.host, proxy.port), timeout=10) as sock:
            sock.sendall(b"0123456789")
            assert receive(sock, 10) == b"0123456789"
            with contextlib.suppress(ConnectionError):
                sock.sendall(b"x")
            echoed.append(receive(sock, 1))
    assert echoed == [b"", b"", b"x"]


def test_the_proxy_cuts_on_demand(echo_port: int, cutting_proxy: MakeProxy) -> None:
    proxy = cutting_proxy(echo_port)
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as sock:
        sock.sendall(b"a")
        assert receive(sock, 1) == b"a"
        assert proxy.cut() == 1
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert proxy.cut() == 0


def test_the_proxy_pauses(echo_port: int, cutting_proxy: MakeProxy) -> None:
    proxy = cutting_proxy(echo_port)
    with socket.create_connection((proxy.host, proxy.port), timeout=0.3) as sock:
        proxy.pause()
        sock.sendall(b"a")
        with pytest.raises(TimeoutError):
            sock.recv(1)
        proxy.resume()
        sock.settimeout(10)
        assert receive(sock, 1) == b"a"


def test_the_proxy_refuses_new_connections_only(echo_port: int, cutting_proxy: MakeProxy) -> None:
    proxy = cutting_proxy(echo_port)
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as sock:
        sock.sendall(b"a")
        assert receive(sock, 1) == b"a"
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((proxy.host, proxy.port), timeout=10)
        sock.sendall(b"b")
        assert receive(sock, 1) == b"b"
    proxy.heal()
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as sock:
        sock.sendall(b"c")
        assert receive(sock, 1) == b"c"


def test_a_download_through_the_proxy_is_cut_in_the_middle(
    own_openssh_server: OpenSSHServer, cutting_proxy: MakeProxy, tmp_path: Path
) -> None:
    (own_openssh_server.root / "report_1.txt").write_bytes(bytes(1_000_000))
    proxy = cutting_proxy(own_openssh_server.port)
    own_openssh_server.trust_host_key(proxy.port)
    own_openssh_server.port = proxy.port
    with sftp_session(own_openssh_server) as sftp:
        proxy.cut_after(400_000)
        with pytest.raises((OSError, EOFError, paramiko.SSHException)):
            sftp.get("report_1.txt", str(tmp_path / "received"))
    assert (tmp_path / "received").stat().st_size < 400_000


@pytest.mark.databases("mysql", "mariadb")
def test_a_query_through_the_proxy_is_cut_in_the_middle(database: Database, cutting_proxy: MakeProxy) -> None:
    proxy = cutting_proxy(sa.make_url(database.url).port or 0)
    with connection_to(proxy.url(database.url)) as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
        proxy.cut_after(1000)
        with pytest.raises(sa.exc.OperationalError) as caught:
            connection.execute(sa.text("SELECT REPEAT('x', 100000)"))
    assert isinstance(caught.value.orig, pymysql.err.OperationalError)
    assert caught.value.orig.args[0] == 2013


# ------------------------------------------------------------------------------------------------- the end


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_server_outlives_its_session(how: signal.Signals, tmp_path: Path) -> None:
    code = (
        "import pathlib, time\n"
        "from tests.support.servers import OpenSSHServer\n"
        f"server = OpenSSHServer(pathlib.Path({str(tmp_path)!r}))\n"
        "server.start()\n"
        "print(server.pid, server.folder, flush=True)\n"
        "time.sleep(600)\n"
    )
    project = Path(__file__).resolve().parents[2]
    session = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=project,
    )
    assert session.stdout is not None
    try:
        pid, folder = session.stdout.readline().split()
        server = psutil.Process(int(pid))
        guardians = [child for child in psutil.Process(session.pid).children() if child.pid != server.pid]
        session.send_signal(how)
        session.wait(timeout=60)
    finally:
        session.kill()
        session.stdout.close()
    assert wait_for_end([server, *guardians], timeout=30) == []
    assert not Path(folder).exists()
