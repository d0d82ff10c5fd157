"""A server that cannot be used stops `dispatch` and `status` at once, with one line that names setting and cure.

Faults of the first connection belong here, on a real OpenSSH; those in the middle of a pass do not.
"""

import contextlib
import shutil
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.command import Ended, Visitas
from tests.support.fixtures import SftpFolder
from tests.support.pipeline import settings_for
from tests.support.ports import LOOPBACK, free_port
from tests.support.servers import OpenSSHServer, program
from visitas_dagster.loading.schema import upgrade
from visitas_dagster.resources.database import open_engine

EMPTY = "La bitácora está vacía: todavía no se ha procesado ningún archivo.\n"

# Retries are the steps' own: with these, a first listing that retried would take minutes.
PATIENT = {"VISITAS_REINTENTOS": "9", "VISITAS_REINTENTO_BASE_S": "60"}


@pytest.fixture
def server(sftp_folder: SftpFolder) -> OpenSSHServer:
    """Give the server."""
    return sftp_folder.server


@pytest.fixture
def visitas(tmp_path: Path, sftp_folder: SftpFolder) -> Visitas:
    """Give an installation that works, its tables made."""
    return installation(tmp_path, sftp_folder.environment())


def installation(folder: Path, sftp: dict[str, str]) -> Visitas:
    made = Visitas(folder, {**sftp, **PATIENT})
    made.home.mkdir()
    engine = open_engine(settings_for(f"sqlite:///{made.home / 'visitas.db'}", {}, made.home))
    upgrade(engine)
    engine.dispose()
    return made


def refuse(visitas: Visitas, line: str, **changes: str | None) -> None:
    """Both commands that ask the server end with this line; status shows what it knows before."""
    assert visitas.run("dispatch", **changes) == Ended(1, "", f"visitas: {line}\n")
    assert visitas.run("status", **changes) == Ended(1, EMPTY, f"visitas: {line}\n")


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    subprocess.run(
        [program("ssh-keygen"), "-q", "-t", kind, "-N", passphrase, "-C", "prueba", "-f", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return path


def test_all_is_well_to_begin_with(visitas: Visitas) -> None:
    assert visitas.run("dispatch") == Ended(0, "No hay archivos pendientes.\n")
    assert visitas.run("status") == Ended(0, f"{EMPTY}Servidor SFTP: 0 reportes, 0 pendientes\n")


# -------------------------------------------------------------------------------------------- who answers


def test_a_host_that_no_one_knows(visitas: Visitas) -> None:
    refuse(
        visitas,
        "VISITAS_SFTP_HOST: no se encuentra el servidor sftp.invalid. Revise el nombre y el DNS",
        VISITAS_SFTP_HOST="sftp.invalid",
    )


def test_a_port_where_nobody_listens(visitas: Visitas) -> None:
    port = free_port()
    refuse(
        visitas,
        f"VISITAS_SFTP_HOST, VISITAS_SFTP_PORT: {LOOPBACK}:{port} no responde (conexión rechazada). "
        "Revise ambos ajustes y que el servidor esté encendido",
        VISITAS_SFTP_PORT=str(port),
    )


class _Talk(socketserver.BaseRequestHandler):
    """Says something that no SSH server says, and waits for the client to go."""

    greeting = b""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.request.sendall(self.greeting)
            while self.request.recv(1024):
                pass


@contextlib.contextmanager
def talker(greeting: bytes) -> Iterator[int]:
    """A server that greets so; yield its port."""
    handler = type("Handler", (_Talk,), {"greeting": greeting})
    with socketserver.ThreadingTCPServer((LOOPBACK, 0), handler) as made:
        made.daemon_threads = True
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        yield made.server_address[1]
        made.shutdown()


@pytest.mark.parametrize(
    "greeting",
    [
        b"HTTP/1.0 400 Bad request\r\n\r\n" * 200,
        b"\x5b\x00\x00\x00\x0a11.4.2-MariaDB\x00" + bytes(60) + b"\n" * 200,
    ],
    ids=["web", "database"],
)
def test_a_port_where_something_else_listens(visitas: Visitas, greeting: bytes) -> None:
    with talker(greeting) as port:
        refuse(
            visitas,
            f"VISITAS_SFTP_PORT: {LOOPBACK}:{port} no contesta como un servidor SFTP. "
            "Revise el puerto y que el servidor esté encendido",
            VISITAS_SFTP_PORT=str(port),
        )


@pytest.fixture
def silent_port() -> Iterator[socket.socket]:
    """Give a port that takes connections and says nothing."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.setblocking(False)
        yield listener


def test_nobody_is_called_where_a_setting_is_wrong(visitas: Visitas, silent_port: socket.socket) -> None:
    port = {"VISITAS_SFTP_PORT": str(silent_port.getsockname()[1])}
    for changes in ({"VISITAS_DB_URL": "postgresql://u:c@127.0.0.1/b"}, {"VISITAS_PROCESOS": "0"}):
        assert visitas.run("status", **port, **changes).code == 2
        with pytest.raises(BlockingIOError):
            silent_port.accept()


def test_a_silent_server_does_not_hold_back_what_is_wrong_with_the_database(
    visitas: Visitas, silent_port: socket.socket
) -> None:
    line = "VISITAS_DB_URL: en la base de datos faltan las tablas. Ejecute: visitas init"
    port = str(silent_port.getsockname()[1])
    empty = f"sqlite:///{visitas.home / 'otra.db'}"
    assert visitas.run("status", VISITAS_SFTP_PORT=port, VISITAS_DB_URL=empty) == Ended(1, "", f"visitas: {line}\n")


def test_a_server_that_is_down_and_comes_back(tmp_path: Path, own_openssh_server: OpenSSHServer) -> None:
    server = own_openssh_server
    visitas = installation(tmp_path, server.environment())
    server.stop()
    refuse(
        visitas,
        f"VISITAS_SFTP_HOST, VISITAS_SFTP_PORT: {server.host}:{server.port} no responde (conexión rechazada). "
        "Revise ambos ajustes y que el servidor esté encendido",
    )
    server.start()
    assert visitas.run("dispatch").code == 0


# --------------------------------------------------------------------------------------------- who we are


class PasswordServer(OpenSSHServer):
    """The same server, letting in by password instead of by key."""

    def _launch(self) -> psutil.Process:
        text = self._config.read_text()
        text = text.replace("PasswordAuthentication no", "PasswordAuthentication yes")
        self._config.write_text(text.replace("PubkeyAuthentication yes", "PubkeyAuthentication no"))
        return super()._launch()


def test_a_wrong_password(tmp_path: Path) -> None:
    root = tmp_path / "sftp"
    root.mkdir()
    with PasswordServer(root) as server:
        refuse(
            installation(tmp_path, server.environment()),
            f"VISITAS_SFTP_PASSWORD: {server.host}:{server.port} no aceptó al usuario {server.user}. "
            "Revise VISITAS_SFTP_USER y VISITAS_SFTP_PASSWORD",
            VISITAS_SFTP_KEY_FILE=None,
            VISITAS_SFTP_PASSWORD="equivocada",
        )


def test_a_password_where_only_keys_are_taken(visitas: Visitas, server: OpenSSHServer) -> None:
    refuse(
        visitas,
        f"VISITAS_SFTP_PASSWORD: {server.host}:{server.port} no admite contraseña, solo publickey. "
        "Use VISITAS_SFTP_KEY_FILE",
        VISITAS_SFTP_KEY_FILE=None,
        VISITAS_SFTP_PASSWORD="cualquiera",
    )


def test_neither_password_nor_key(visitas: Visitas) -> None:
    refuse(
        visitas,
        "VISITAS_SFTP_PASSWORD, VISITAS_SFTP_KEY_FILE: faltan las dos. "
        "Escriba la contraseña, o la ruta de la llave privada",
        VISITAS_SFTP_KEY_FILE=None,
    )


def test_a_user_that_the_server_does_not_take(visitas: Visitas, server: OpenSSHServer) -> None:
    refuse(
        visitas,
        f"VISITAS_SFTP_KEY_FILE: {server.host}:{server.port} no aceptó al usuario nadie. "
        "Revise VISITAS_SFTP_USER y VISITAS_SFTP_KEY_FILE",
        VISITAS_SFTP_USER="nadie",
    )


@pytest.mark.parametrize("password", [None, "de otra cosa"])
def test_a_key_that_the_server_does_not_take(
    visitas: Visitas, server: OpenSSHServer, tmp_path: Path, password: str | None
) -> None:
    refuse(
        visitas,
        f"VISITAS_SFTP_KEY_FILE: {server.host}:{server.port} no aceptó al usuario {server.user}. "
        "Revise VISITAS_SFTP_USER y VISITAS_SFTP_KEY_FILE",
        VISITAS_SFTP_KEY_FILE=str(make_key(tmp_path / "otra")),
        VISITAS_SFTP_PASSWORD=password,
    )


def test_a_key_file_that_is_not_there(visitas: Visitas, tmp_path: Path) -> None:
    path = tmp_path / "llave"
    refuse(
        visitas,
        f"VISITAS_SFTP_KEY_FILE: no se puede leer {path}: no existe. Corrija la ruta o los permisos",
        VISITAS_SFTP_KEY_FILE=str(path),
    )


def test_a_key_file_that_is_a_folder(visitas: Visitas, tmp_path: Path) -> None:
    refuse(
        visitas,
        f"VISITAS_SFTP_KEY_FILE: no se puede leer {tmp_path}: es una carpeta. Corrija la ruta o los permisos",
        VISITAS_SFTP_KEY_FILE=str(tmp_path),
    )


def test_a_key_file_that_may_not_be_read(visitas: Visitas, tmp_path: Path) -> None:
    path = make_key(tmp_path / "llave")
    path.chmod(0o000)
    assert visitas.run_bound_by_permissions("dispatch", VISITAS_SFTP_KEY_FILE=str(path)) == Ended(
        1, "", f"visitas: VISITAS_SFTP_KEY_FILE: no se puede leer {path}: sin permiso. Corrija la ruta o los permisos\n"
    )


@pytest.mark.parametrize("what", ["public", "text", "empty"])
def test_a_key_file_that_holds_no_key(visitas: Visitas, server: OpenSSHServer, tmp_path: Path, what: str) -> None:
    path = tmp_path / "llave"
    if what == "public":
        shutil.copy(server.key_file.with_suffix(".pub"), path)
    else:
        path.write_text("hola\n" if what == "text" else "")
    refuse(
        visitas,
        f"VISITAS_SFTP_KEY_FILE: {path} no es una llave privada que se pueda leer. Corrija la ruta",
        VISITAS_SFTP_KEY_FILE=str(path),
    )


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_a_key_that_asks_for_its_passphrase(visitas: Visitas, tmp_path: Path, kind: str) -> None:
    path = make_key(tmp_path / "llave", kind, "abretesesamo")
    refuse(
        visitas,
        f"VISITAS_SFTP_KEY_FILE: la llave {path} pide contraseña. Escríbala en VISITAS_SFTP_PASSWORD",
        VISITAS_SFTP_KEY_FILE=str(path),
    )
    refuse(
        visitas,
        f"VISITAS_SFTP_KEY_FILE: {path} no es una llave privada que se pueda leer o VISITAS_SFTP_PASSWORD no la abre. "
        "Corrija la ruta o la contraseña",
        VISITAS_SFTP_KEY_FILE=str(path),
        VISITAS_SFTP_PASSWORD="ciérrate",
    )


@pytest.mark.parametrize("passphrase", ["", "abretesesamo"])
@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_keys_of_every_kind_enter(
    tmp_path: Path, own_openssh_server: OpenSSHServer, kind: str, passphrase: str
) -> None:
    server = own_openssh_server
    path = make_key(tmp_path / "llave", kind, passphrase)
    shutil.copy(path.with_suffix(".pub"), server.folder / "authorized_keys")
    visitas = installation(tmp_path, server.environment())
    # A password beside a key that needs none does no harm.
    ended = visitas.run("status", VISITAS_SFTP_KEY_FILE=str(path), VISITAS_SFTP_PASSWORD="abretesesamo")
    assert (ended.code, ended.err) == (0, "")


# -------------------------------------------------------------------------------------------- who they are


def how_to_trust(server: OpenSSHServer) -> str:
    return (
        "Pida la llave del servidor a quien lo administra y agréguela; para verla: "
        f"ssh-keyscan -p {server.port} {server.host}"
    )


def fingerprint(server: OpenSSHServer) -> str:
    shown = subprocess.run(
        [program("ssh-keygen"), "-l", "-f", str(server.known_hosts_file)], capture_output=True, text=True, check=True
    ).stdout
    return shown.split()[1]


def test_a_host_key_that_is_not_known(visitas: Visitas, server: OpenSSHServer, tmp_path: Path) -> None:
    path = tmp_path / "conocidos"
    path.touch()
    refuse(
        visitas,
        f"VISITAS_SFTP_KNOWN_HOSTS: la llave de [{server.host}]:{server.port} (ssh-ed25519 {fingerprint(server)}) "
        f"no está en {path}. {how_to_trust(server)}",
        VISITAS_SFTP_KNOWN_HOSTS=str(path),
    )


def test_a_line_of_known_hosts_that_is_no_key(visitas: Visitas, server: OpenSSHServer, tmp_path: Path) -> None:
    path = tmp_path / "conocidos"
    path.write_text(f"# una nota\n[{server.host}]:{server.port} ssh-ed25519 AAAAB\x1b\n", encoding="utf-8")
    refuse(
        visitas,
        f"VISITAS_SFTP_KNOWN_HOSTS: en {path} no se entiende la línea "
        f"«[{server.host}]:{server.port} ssh-ed25519 AAAAB�». "
        "Corríjala o quítela",
        VISITAS_SFTP_KNOWN_HOSTS=str(path),
    )


def test_a_host_key_that_changed(tmp_path: Path, own_openssh_server: OpenSSHServer) -> None:
    server = own_openssh_server
    visitas = installation(tmp_path, server.environment())
    server.rotate_host_key()
    refuse(
        visitas,
        f"VISITAS_SFTP_KNOWN_HOSTS: la llave de {server.host}:{server.port} no es la que está en "
        f"{server.known_hosts_file}. No siga hasta saber por qué cambió; si el cambio es legítimo, "
        "sustituya la línea en el archivo",
    )
    server.trust_host_key()
    assert visitas.run("status").code == 0


def test_a_known_hosts_file_that_is_not_there(visitas: Visitas, server: OpenSSHServer, tmp_path: Path) -> None:
    path = tmp_path / "conocidos"
    refuse(
        visitas,
        f"VISITAS_SFTP_KNOWN_HOSTS: no se puede leer {path}: no existe. {how_to_trust(server)}",
        VISITAS_SFTP_KNOWN_HOSTS=str(path),
    )
    # Without the setting it is the user's own.
    own = visitas.folder / "persona" / ".ssh" / "known_hosts"
    refuse(
        visitas,
        f"VISITAS_SFTP_KNOWN_HOSTS: no se puede leer {own}: no existe. {how_to_trust(server)}",
        VISITAS_SFTP_KNOWN_HOSTS=None,
    )


def test_a_known_hosts_file_that_is_no_text(visitas: Visitas, server: OpenSSHServer, tmp_path: Path) -> None:
    path = tmp_path / "conocidos"
    path.write_bytes(b"\xff\xfe\n")
    refuse(
        visitas,
        f"VISITAS_SFTP_KNOWN_HOSTS: no se puede leer {path}: no es texto en UTF-8. {how_to_trust(server)}",
        VISITAS_SFTP_KNOWN_HOSTS=str(path),
    )


# ----------------------------------------------------------------------------------------------- the folder


@pytest.mark.parametrize("made", [False, True], ids=["missing", "a file"])
def test_a_folder_that_is_not_there(visitas: Visitas, sftp_folder: SftpFolder, made: bool) -> None:
    path = sftp_folder.path / "entrada"
    if made:
        path.touch()
    refuse(
        visitas,
        f"VISITAS_SFTP_DIR: la carpeta {path} no existe en el servidor. Corrija el ajuste o cree la carpeta",
        VISITAS_SFTP_DIR=str(path),
    )


def test_a_stalled_server_is_given_up(tmp_path: Path, own_openssh_server: OpenSSHServer) -> None:
    server = own_openssh_server
    visitas = installation(tmp_path, server.environment())
    server.pause()
    # The client gives it 15 seconds.
    assert visitas.run("dispatch") == Ended(
        1,
        "",
        f"visitas: VISITAS_SFTP_PORT: {server.host}:{server.port} no contesta como un servidor SFTP. "
        "Revise el puerto y que el servidor esté encendido\n",
    )
