"""The demo's SFTP server under two real clients: paramiko's and OpenSSH's.

What the server lets in, hands out and keeps in belongs here; the platform's own SFTP client does not.
"""

import contextlib
import hashlib
import os
import random
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import paramiko
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visitas_dagster.demo.sftp_server import EmbeddedSftpServer
from visitas_dagster.domain.failures import PermanentFailure

USER = "vinkos"
PASSWORD = "contraseña de prueba"
OPENSSH_SFTP = "/usr/bin/sftp"
PATIENCE_S = 120


@dataclass
class Places:
    """The folders of one test: `root` is served, `secret` lies outside of it."""

    root: Path
    state: Path
    secret: Path

    def server(self, port: int = 0) -> EmbeddedSftpServer:
        return EmbeddedSftpServer(self.root, self.state, USER, PASSWORD, port)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    found = Places(tmp_path / "raiz", tmp_path / "estado", tmp_path / "secreto")
    found.root.mkdir()
    found.secret.mkdir()
    (found.secret / "llave.txt").write_bytes(b"secreto")
    return found


@pytest.fixture
def server(places: Places) -> Iterator[EmbeddedSftpServer]:
    with places.server() as running:
        yield running


@contextlib.contextmanager
def connected(
    server: EmbeddedSftpServer, *, password: str = PASSWORD, known_hosts: Path | None = None
) -> Iterator[paramiko.SFTPClient]:
    """A client that refuses any server whose key it does not know; its thread ends with the block."""
    client = paramiko.SSHClient()
    client.load_host_keys(str(known_hosts or server.known_hosts))
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    try:
        client.connect(
            server.host,
            server.port,
            USER,
            password,
            allow_agent=False,
            look_for_keys=False,
            timeout=PATIENCE_S,
            banner_timeout=PATIENCE_S,
            auth_timeout=PATIENCE_S,
        )
        transport = client.get_transport()
        assert transport is not None
        sftp = client.open_sftp()
        yield sftp
        client.close()
        transport.join(PATIENCE_S)
    finally:
        client.close()


def openssh(
    server: EmbeddedSftpServer,
    folder: Path,
    *commands: str,
    password: str = PASSWORD,
    known_hosts: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run OpenSSH's `sftp -b` over the commands; a script answers its question for the password."""
    batch = folder / "lote"
    batch.write_text("".join(f"{command}\n" for command in commands))
    answer = folder / "responde"
    answer.write_text('#!/bin/sh\nprintf "%s\\n" "$CLAVE"\n')
    answer.chmod(0o700)
    options = {
        # -b forbids questions; the first value of an option wins.
        "BatchMode": "no",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(known_hosts or server.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "PreferredAuthentications": "password",
        "NumberOfPasswordPrompts": "1",
    }
    arguments = [argument for name, value in options.items() for argument in ("-o", f"{name}={value}")]
    return subprocess.run(
        [
            *(OPENSSH_SFTP, "-F", "/dev/null", *arguments),
            *("-P", str(server.port), "-b", str(batch), f"{USER}@{server.host}"),
        ],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "SSH_ASKPASS": str(answer),
            "SSH_ASKPASS_REQUIRE": "force",
            "CLAVE": password,
        },
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def other_host_key(server: EmbeddedSftpServer, file: Path) -> Path:
    """A known_hosts file that names another key for this server."""
    host, kind, key = server.known_hosts.read_text().split()
    with EmbeddedSftpServer(file.parent / "vacio", file.parent / "otro", USER, PASSWORD) as made:
        _, _, other = made.known_hosts.read_text().split()
    assert other != key
    file.write_text(f"{host} {kind} {other}\n")
    return file


# --- what it serves -------------------------------------------------------------------------------------


def test_a_client_lists_reads_writes_renames_and_removes(places: Places, server: EmbeddedSftpServer) -> None:
    (places.root / "report_1.txt").write_bytes(b"uno")
    os.utime(places.root / "report_1.txt", (1_700_000_000, 1_700_000_000))
    with connected(server) as sftp:
        found = sftp.stat("report_1.txt")
        assert (found.st_size, found.st_mtime) == (3, 1_700_000_000)
        sftp.mkdir("/entrada")
        with sftp.open("/entrada/report_2.txt.filepart", "wb") as file:
            file.write(b"do")
            file.write(b"s")
        sftp.rename("/entrada/report_2.txt.filepart", "/entrada/report_2.txt")
        with sftp.open("entrada/report_2.txt", "r+b") as file:
            file.seek(1)
            file.write(b"iez")
        with sftp.open("entrada/report_2.txt", "ab") as file:
            file.write(b"!")
        assert sorted(sftp.listdir("/")) == ["entrada", "report_1.txt"]
        assert stat.S_ISDIR(sftp.stat("/entrada").st_mode or 0)
        with sftp.open("/entrada/../report_1.txt", "rb") as file:
            assert file.read() == b"uno"
            assert file.stat().st_size == 3
        sftp.remove("/report_1.txt")
    assert [path.name for path in places.root.iterdir()] == ["entrada"]
    assert (places.root / "entrada" / "report_2.txt").read_bytes() == b"diez!"


def test_openssh_lists_gets_puts_renames_and_removes(
    places: Places, server: EmbeddedSftpServer, tmp_path: Path
) -> None:
    (places.root / "report_1.txt").write_bytes(b"uno" * 100_000)
    (tmp_path / "subida").write_bytes(b"dos" * 100_000)
    done = openssh(
        server,
        tmp_path,
        "pwd",
        "ls -1",
        "get report_1.txt bajada",
        "mkdir entrada",
        "put subida entrada/report_2.txt.filepart",
        "rename entrada/report_2.txt.filepart entrada/report_2.txt",
        "rm report_1.txt",
        "ls -1 entrada",
    )
    assert done.returncode == 0, done.stderr
    shown = [line for line in done.stdout.splitlines() if not line.startswith("sftp> ")]
    assert shown == ["Remote working directory: /", "report_1.txt", "entrada/report_2.txt"]
    assert (tmp_path / "bajada").read_bytes() == b"uno" * 100_000
    assert (places.root / "entrada" / "report_2.txt").read_bytes() == b"dos" * 100_000
    assert not (places.root / "report_1.txt").exists()


def test_a_plain_rename_replaces_nothing_and_a_posix_rename_does(places: Places, server: EmbeddedSftpServer) -> None:
    (places.root / "nuevo").write_bytes(b"nuevo")
    (places.root / "viejo").write_bytes(b"viejo")
    with connected(server) as sftp:
        with pytest.raises(OSError, match="Failure"):
            sftp.rename("nuevo", "viejo")
        assert (places.root / "viejo").read_bytes() == b"viejo"
        sftp.posix_rename("nuevo", "viejo")
    assert {path.name: path.read_bytes() for path in places.root.iterdir()} == {"viejo": b"nuevo"}


def test_what_is_not_there_or_not_a_file_is_said_so(places: Places, server: EmbeddedSftpServer) -> None:
    (places.root / "carpeta").mkdir()
    os.mkfifo(places.root / "tubo")
    with connected(server) as sftp:
        for ask in (sftp.stat, sftp.lstat, sftp.listdir, sftp.open, sftp.remove):
            with pytest.raises(FileNotFoundError):
                ask("no_existe")
        with pytest.raises(FileNotFoundError):
            sftp.stat("carpeta\0")
        for name in ("carpeta", "tubo", "/"):
            with pytest.raises(PermissionError):
                sftp.open(name, "rb")
        with pytest.raises(OSError, match="Failure"):
            sftp.mkdir("carpeta")
        assert sorted(sftp.listdir()) == ["carpeta", "tubo"]


def test_a_file_that_is_removed_while_it_is_read_is_read_to_its_end(places: Places, server: EmbeddedSftpServer) -> None:
    data = random.Random(1).randbytes(300_000)
    (places.root / "report_1.txt").write_bytes(data)
    with connected(server) as sftp, sftp.open("report_1.txt", "rb") as file:
        start = file.read(1000)
        sftp.remove("report_1.txt")
        assert start + file.read() == data


def test_fifty_clients_at_once_get_the_same_bytes(places: Places, server: EmbeddedSftpServer) -> None:
    digests = {}
    for number in range(50):
        data = random.Random(number).randbytes(150_000 + number)
        (places.root / f"report_{number}.txt").write_bytes(data)
        digests[f"report_{number}.txt"] = hashlib.sha256(data).hexdigest()
    together = threading.Barrier(50)

    def download(name: str) -> str:
        together.wait(PATIENCE_S)
        with connected(server) as sftp, sftp.open(name, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()

    with ThreadPoolExecutor(50) as pool:
        assert dict(zip(digests, pool.map(download, digests), strict=True)) == digests


# --- what it keeps in -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["../..", "/../..", "../../..//", "x/../../../..", "//", "", "."])
def test_no_path_leads_above_the_root(places: Places, server: EmbeddedSftpServer, path: str) -> None:
    (places.root / "report_1.txt").write_bytes(b"uno")
    with connected(server) as sftp:
        assert sftp.normalize(path) == "/"
        assert sftp.listdir(path) == ["report_1.txt"]
        assert sftp.stat(f"{path}/report_1.txt").st_size == 3
        with pytest.raises(FileNotFoundError):
            sftp.open(f"{path}/secreto/llave.txt")


def test_every_path_becomes_an_absolute_one_without_dots(server: EmbeddedSftpServer) -> None:
    with connected(server) as sftp:

        @given(path=st.lists(st.sampled_from(["/", "..", ".", "a", "\\", "é", " ", "~"])).map("".join))
        @settings(deadline=None)
        def check(path: str) -> None:
            canonical = sftp.normalize(path)
            assert canonical.startswith("/")
            assert not {"..", ".", ""} & set(canonical[1:].split("/")) or canonical == "/"

        check()


def test_no_symbolic_link_leads_out(places: Places, server: EmbeddedSftpServer) -> None:
    (places.root / "report_1.txt").write_bytes(b"uno")
    (places.root / "enlace").symlink_to(places.secret / "llave.txt")
    (places.root / "salida").symlink_to(places.secret, target_is_directory=True)
    (places.root / "arriba").symlink_to("..", target_is_directory=True)
    with connected(server) as sftp:
        assert sorted(sftp.listdir()) == ["arriba", "enlace", "report_1.txt", "salida"]
        assert stat.S_ISLNK(sftp.lstat("enlace").st_mode or 0)
        refused = (
            lambda: sftp.open("enlace", "rb"),
            lambda: sftp.open("enlace", "wb"),
            lambda: sftp.open("salida/llave.txt", "rb"),
            lambda: sftp.open("salida/nuevo.txt", "wb"),
            lambda: sftp.open("arriba/secreto/llave.txt", "rb"),
            lambda: sftp.stat("enlace"),
            lambda: sftp.stat("salida/llave.txt"),
            lambda: sftp.lstat("salida/llave.txt"),
            lambda: sftp.listdir("salida"),
            lambda: sftp.listdir("arriba"),
            lambda: sftp.remove("salida/llave.txt"),
            lambda: sftp.mkdir("salida/nueva"),
            lambda: sftp.rename("report_1.txt", "salida/report_1.txt"),
            lambda: sftp.posix_rename("report_1.txt", "salida/llave.txt"),
            lambda: sftp.rename("salida/llave.txt", "llave.txt"),
            lambda: sftp.symlink("/etc", "otro"),
            lambda: sftp.readlink("enlace"),
        )
        for ask in refused:
            with pytest.raises(OSError, match=r"Permission denied|No such file|Operation unsupported"):
                ask()
        sftp.remove("enlace")
    assert {path.name: path.read_bytes() for path in places.secret.iterdir()} == {"llave.txt": b"secreto"}
    assert sorted(path.name for path in places.root.iterdir()) == ["arriba", "report_1.txt", "salida"]


def test_openssh_cannot_leave_the_root(places: Places, server: EmbeddedSftpServer, tmp_path: Path) -> None:
    (places.root / "salida").symlink_to(places.secret, target_is_directory=True)
    for command in ("get ../../secreto/llave.txt robado", "get salida/llave.txt robado"):
        done = openssh(server, tmp_path, command)
        assert done.returncode == 1
        assert not (tmp_path / "robado").exists()


def test_only_sftp_is_offered(server: EmbeddedSftpServer) -> None:
    with connected(server) as sftp:
        transport = sftp.get_channel().get_transport()  # type: ignore[union-attr]
        with pytest.raises(paramiko.SSHException):
            transport.open_session().exec_command("id")
        with pytest.raises(paramiko.SSHException):
            transport.open_session().invoke_shell()
        with pytest.raises(paramiko.ChannelException):
            transport.open_channel("direct-tcpip", ("127.0.0.1", server.port), ("127.0.0.1", 1))
        assert sftp.listdir() == []


# --- whom it lets in, and how it is known ---------------------------------------------------------------


def test_a_wrong_password_is_refused(server: EmbeddedSftpServer, tmp_path: Path) -> None:
    for password in ("otra", "", PASSWORD + " "):
        with pytest.raises(paramiko.AuthenticationException), connected(server, password=password):
            pass
    done = openssh(server, tmp_path, "ls", password="otra")
    assert done.returncode == 255
    assert "Permission denied" in done.stderr


def test_a_client_that_knows_another_key_refuses_the_server(server: EmbeddedSftpServer, tmp_path: Path) -> None:
    wrong = other_host_key(server, tmp_path / "conocidos")
    with pytest.raises(paramiko.BadHostKeyException), connected(server, known_hosts=wrong):
        pass
    done = openssh(server, tmp_path, "ls", known_hosts=wrong)
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_a_client_that_knows_no_key_refuses_the_server(server: EmbeddedSftpServer, tmp_path: Path) -> None:
    empty = tmp_path / "conocidos"
    empty.touch()
    unknown = pytest.raises(paramiko.SSHException, match="not found in known_hosts")
    with unknown, connected(server, known_hosts=empty):
        pass
    assert openssh(server, tmp_path, "ls", known_hosts=empty).returncode == 255


def test_the_host_key_is_private_and_outlives_a_restart(places: Places, tmp_path: Path) -> None:
    with places.server() as first:
        line = first.known_hosts.read_text()
        port = first.port
    assert line.startswith(f"[127.0.0.1]:{port} ssh-ed25519 ")
    key = places.state / "ssh_host_ed25519_key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(places.state.stat().st_mode) == 0o700
    assert sorted(path.name for path in places.state.iterdir()) == ["known_hosts", "ssh_host_ed25519_key"]
    kept = tmp_path / "conocidos"
    kept.write_text(line)
    key.chmod(0o644)
    with places.server(port) as second:
        assert second.known_hosts.read_text() == line
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        with connected(second, known_hosts=kept) as sftp:
            assert sftp.listdir() == []


def test_a_key_that_cannot_be_read_and_a_taken_port_are_told_in_one_line(places: Places) -> None:
    with places.server() as server, pytest.raises(PermanentFailure) as taken:
        places.server(server.port).start()
    assert str(taken.value).startswith(f"El servidor SFTP de la demostración no pudo abrir el puerto {server.port}: ")
    (places.state / "ssh_host_ed25519_key").write_text("no es una llave")
    with pytest.raises(PermanentFailure) as unreadable:
        places.server().start()
    assert str(unreadable.value) == (
        "La llave del servidor SFTP de la demostración no se puede leer: "
        f"{places.state / 'ssh_host_ed25519_key'}. "
        "Borre ese archivo: en el siguiente inicio se crea otra llave."
    )


def test_a_folder_that_cannot_be_made_is_told_in_one_line(places: Places) -> None:
    places.state.write_text("un archivo donde va la carpeta")
    with pytest.raises(PermanentFailure, match="El servidor SFTP de la demostración no pudo iniciar: "):
        places.server().start()


def test_the_state_may_not_lie_in_what_is_served(places: Places) -> None:
    for state in (places.root, places.root / "estado", places.root / ".." / "raiz" / "estado"):
        with pytest.raises(ValueError, match="state must lie outside root"):
            EmbeddedSftpServer(places.root, state, USER, PASSWORD)


def test_it_listens_on_loopback_only(server: EmbeddedSftpServer) -> None:
    wanted = f":{server.port:04X}"
    listening = [
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[1].endswith(wanted) and line.split()[3] == "0A"
    ]
    assert listening == [f"0100007F{wanted}"]


# --- how it ends ----------------------------------------------------------------------------------------


def test_stopping_ends_every_connection_thread_and_descriptor(places: Places) -> None:
    (places.root / "report_1.txt").write_bytes(b"x" * 5_000_000)
    threads = set(threading.enumerate())
    descriptors = set(os.listdir("/proc/self/fd"))
    server = places.server()
    server.start()
    port = server.port
    with contextlib.ExitStack() as clients:
        # One has a file open and half read, one is idle, one never says a word.
        reader = clients.enter_context(connected(server))
        clients.enter_context(connected(server))
        silent = clients.enter_context(socket.create_connection((server.host, port)))
        file = reader.open("report_1.txt", "rb")
        assert file.read(10) == b"x" * 10
        server.stop()
        server.stop()
        # Which of the two depends on whether the client has noticed before it asks.
        with pytest.raises((OSError, paramiko.SSHException)):
            file.read()
        silent.settimeout(PATIENCE_S)
        with contextlib.suppress(ConnectionResetError):
            while silent.recv(1000):
                pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, port))
    assert set(threading.enumerate()) <= threads
    del reader, file
    assert set(os.listdir("/proc/self/fd")) <= descriptors


def test_a_server_whose_block_fails_is_stopped_and_can_start_again(places: Places) -> None:
    threads = set(threading.enumerate())
    server = places.server()
    with pytest.raises(KeyError), server:
        raise KeyError
    assert set(threading.enumerate()) <= threads
    with server, connected(server) as sftp:
        assert sftp.listdir() == []


def test_a_client_that_speaks_nonsense_disturbs_nobody_and_prints_nothing(
    places: Places, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with places.server() as server:
        for nonsense in (b"GET / HTTP/1.0\r\n\r\n" * 200, b"SSH-2.0-x\r\n" + b"\xff" * 5000, b""):
            # The server may hang up before the last byte is sent.
            hung_up = contextlib.suppress(ConnectionError)
            with hung_up, socket.create_connection((server.host, server.port)) as client:
                client.sendall(nonsense)
        with connected(server) as sftp:
            assert sftp.listdir() == []
    # Stopped: all its threads have said what they had to say.
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name.startswith("visitas")] == []
