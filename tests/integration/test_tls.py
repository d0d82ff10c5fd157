"""TLS to the database: a URL that asks for it gets it verified, or one line and no password on the wire.

Real servers with certificates of the test's own belong here; how a URL's parameters are read does not.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy.engine import make_url

from tests.support.certificates import Authority, write_key
from tests.support.command import Ended, Visitas
from tests.support.fixtures import SftpFolder
from tests.support.pipeline import put, record, report, settings_for
from tests.support.ports import LOOPBACK
from tests.support.servers import LocalDatabaseServer, MariaDBServer, MySQLServer, mysql_script
from visitas_dagster.resources.database import open_engine

ENGINES = ("mariadb", "mysql") if mysql_script() is not None else ("mariadb",)


@dataclass
class Encrypted:
    """A server with TLS.

    Attributes:
        server: it; its certificate is for 127.0.0.1 and db.example.com.
        ours: the authority that issued its certificate, and that it trusts itself.
        other: an authority that has nothing to do with it.
    """

    server: LocalDatabaseServer
    ours: Authority
    other: Authority

    def present(self, *hosts: str, lasts: timedelta = timedelta(days=10)) -> None:
        """Let the server show another certificate from now on."""
        files = self.ours.issue("nuevo", *hosts, lasts=lasts)
        for path, name in zip(files, ("servidor.pem", "servidor.key"), strict=True):
            path.replace(self.ours.folder / name)
        self.server.execute("FLUSH SSL" if self.server.engine == "mariadb" else "ALTER INSTANCE RELOAD TLS")


@pytest.fixture(scope="module", params=ENGINES)
def encrypted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    folder = tmp_path_factory.mktemp("tls")
    ours, other = Authority(folder / "nuestra", "Autoridad de prueba"), Authority(folder / "otra", "Otra autoridad")
    cert, key = ours.issue("servidor", LOOPBACK, "db.example.com")
    options = (f"--ssl-ca={ours.ca_file}", f"--ssl-cert={cert}", f"--ssl-key={key}")
    with (MariaDBServer if request.param == "mariadb" else MySQLServer)(options) as server:
        server.set_local_infile(True)
        yield Encrypted(server, ours, other)


@pytest.fixture
def url(encrypted: Encrypted) -> Iterator[str]:
    """Give an empty database, by a URL that asks for nothing, on a server with its first certificate."""
    made = encrypted.server.create_database()
    encrypted.present(LOOPBACK, "db.example.com")
    yield made
    encrypted.server.drop_database(made)


@pytest.fixture
def visitas(sftp_folder: SftpFolder, tmp_path: Path) -> Visitas:
    return Visitas(tmp_path, sftp_folder.environment())


def asking(url: str, **parameters: object) -> str:
    """The URL with these parameters."""
    return url + "".join(f"&{name}={quote(str(value), safe='/')}" for name, value in parameters.items())


def at(url: str, **parts: object) -> str:
    """The URL at another host or port."""
    return make_url(url).set(**parts).render_as_string(hide_password=False)  # type: ignore[arg-type]


def cipher(url: str) -> str:
    engine = open_engine(settings_for(url, {}, Path()))
    try:
        with engine.connect() as connection:
            row = connection.execute(sa.text("SHOW SESSION STATUS LIKE 'Ssl_cipher'")).one()
            return str(row[1])
    finally:
        engine.dispose()


def refused(visitas: Visitas, url: str, line: str, commands: tuple[str, ...] = ("init", "status")) -> None:
    for command in commands:
        assert visitas.run(command, VISITAS_DB_URL=url) == Ended(1, "", f"visitas: VISITAS_DB_URL: {line}\n"), command


# ------------------------------------------------------------------------------------------------- the way it goes


def test_a_verified_connection_takes_a_file_the_whole_way(
    encrypted: Encrypted, url: str, visitas: Visitas, sftp_folder: SftpFolder
) -> None:
    encrypted.server.execute(f"ALTER USER '{make_url(url).username}'@'%%' REQUIRE SSL" % ())
    put(sftp_folder.path, "report_1.txt", report(record(), record("beto@example.com"), record("mal")))
    settings = {"VISITAS_DB_URL": asking(url, ssl_ca=encrypted.ours.ca_file)}
    assert (visitas.run("init", **settings).code, visitas.run("dispatch", **settings).code) == (0, 0)

    name = make_url(url).database
    rows = encrypted.server.execute(f"SELECT email FROM `{name}`.estadisticas ORDER BY linea")
    assert [email for (email,) in rows] == ["ana@example.com", "beto@example.com"]
    assert encrypted.server.execute(f"SELECT estado FROM `{name}`.bitacora_control") == [("COMPLETADO_CON_ERRORES",)]
    assert visitas.run("status", **settings).code == 0


def test_rows_go_in_by_load_data(encrypted: Encrypted, url: str, visitas: Visitas, sftp_folder: SftpFolder) -> None:
    before = encrypted.server.execute("SHOW GLOBAL STATUS LIKE 'Com_load'")[0][1]
    put(sftp_folder.path, "report_1.txt", report(record()))
    settings = {"VISITAS_DB_URL": asking(url, ssl_ca=encrypted.ours.ca_file)}
    assert (visitas.run("init", **settings).code, visitas.run("dispatch", **settings).code) == (0, 0)
    after = encrypted.server.execute("SHOW GLOBAL STATUS LIKE 'Com_load'")[0][1]
    assert int(after) > int(before)


def test_whoever_asks_gets_a_cipher(encrypted: Encrypted, url: str) -> None:
    assert cipher(asking(url, ssl_ca=encrypted.ours.ca_file)) != ""
    assert cipher(asking(url, tls="1", ssl_ca=encrypted.ours.ca_file)) != ""


def test_the_name_may_be_left_out_with_a_private_authority(encrypted: Encrypted, url: str) -> None:
    encrypted.present("otra.example.com")
    assert cipher(asking(url, ssl_ca=encrypted.ours.ca_file, ssl_check_hostname="false")) != ""


# ------------------------------------------------------------------------------------------------------- refusals


def untrusted(url: str, reason: str, remedy: str) -> str:
    parts = make_url(url)
    return f"no se confía en {parts.host}:{parts.port}: {reason}; no se envió la clave. {remedy}"


def test_another_authority(encrypted: Encrypted, url: str, visitas: Visitas) -> None:
    refused(
        visitas,
        asking(url, ssl_ca=encrypted.other.ca_file),
        untrusted(
            url,
            "ninguna autoridad de confianza firma su certificado",
            "Revise ssl_ca: debe ser la autoridad del servidor",
        ),
        ("init", "status", "dispatch"),
    )


def test_an_authority_that_the_system_does_not_know(encrypted: Encrypted, url: str, visitas: Visitas) -> None:
    for name in ("tls", "ssl", "ssl_verify_cert", "ssl_verify_identity"):
        refused(
            visitas,
            asking(url, **{name: "true"}),
            untrusted(
                url,
                "ninguna autoridad de confianza firma su certificado",
                "Revise ssl_ca: debe ser la autoridad del servidor",
            ),
            ("status",),
        )


def test_another_host_name(encrypted: Encrypted, url: str, visitas: Visitas) -> None:
    encrypted.present("otra.example.com")
    refused(
        visitas,
        asking(url, ssl_ca=encrypted.ours.ca_file),
        untrusted(
            url,
            "su certificado es de otro nombre",
            "Use en la URL el nombre que está en el certificado",
        ),
    )
    elsewhere = at(url, host="localhost")
    refused(
        visitas,
        asking(elsewhere, ssl_ca=encrypted.ours.ca_file),
        untrusted(
            elsewhere,
            "su certificado es de otro nombre",
            "Use en la URL el nombre que está en el certificado",
        ),
    )


def test_an_expired_certificate(encrypted: Encrypted, url: str, visitas: Visitas) -> None:
    # MySQL takes no certificate that has ended already.
    encrypted.present(LOOPBACK, lasts=timedelta(seconds=3))
    time.sleep(4)
    refused(
        visitas,
        asking(url, ssl_ca=encrypted.ours.ca_file),
        untrusted(url, "su certificado ya venció", "Renuévelo en el servidor"),
    )


def test_whoever_asks_for_nothing_gets_what_the_server_offers(encrypted: Encrypted, url: str) -> None:
    # The driver takes TLS where it is offered, unverified.
    assert cipher(url) != ""


# ----------------------------------------------------------------------------------------------------- no TLS


@contextmanager
def without_tls(target: int) -> Iterator[tuple[int, list[bytes]]]:
    """Somebody in the middle who says that the server has no TLS; yield the port, and what clients sent to it."""
    heard: list[bytes] = []

    def serve(client: socket.socket) -> None:
        with client, socket.create_connection((LOOPBACK, target)) as server, suppress(OSError):
            greeting = bytearray(server.recv(4096))
            # Header, protocol, version, thread, the salt's first half and a zero; then the low half of what it can.
            place = greeting.index(b"\0", 5) + 1 + 4 + 8 + 1
            (can,) = struct.unpack_from("<H", greeting, place)
            assert can & 0x800
            struct.pack_into("<H", greeting, place, can & ~0x800)
            client.sendall(greeting)
            client.settimeout(5)
            while piece := client.recv(4096):
                heard.append(piece)

    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.settimeout(0.1)
        ended = threading.Event()

        def accept() -> None:
            while not ended.is_set():
                with suppress(TimeoutError):
                    serve(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1], heard
        finally:
            ended.set()
            thread.join()


def test_a_server_without_tls_hears_nothing(encrypted: Encrypted, url: str, visitas: Visitas) -> None:
    with without_tls(encrypted.server.port) as (port, heard):
        for asked in ({"tls": "1"}, {"ssl_ca": encrypted.ours.ca_file}):
            refused(
                visitas,
                asking(at(url, port=port), **asked),
                f"la URL pide TLS y {LOOPBACK}:{port} no lo ofrece; no se envió la clave. "
                "Encienda TLS en el servidor, o averigüe quién contesta en su lugar",
                ("status",),
            )
    assert heard == []


def test_a_certificate_that_is_not_trusted_sees_no_user_and_no_password(encrypted: Encrypted, url: str) -> None:
    """Before TLS stands only the request for it goes out: 4 bytes of header, 32 without a name in them."""
    sent: list[bytes] = []
    with socket.create_server((LOOPBACK, 0)) as listener:

        def listen() -> None:
            client, _ = listener.accept()
            with client, socket.create_connection((LOOPBACK, encrypted.server.port)) as server, suppress(OSError):
                client.settimeout(5)
                client.sendall(server.recv(4096))
                sent.append(client.recv(36))
                server.sendall(sent[0])
                threading.Thread(target=pump, args=(server, client), daemon=True).start()
                while piece := client.recv(4096):
                    sent.append(piece)
                    server.sendall(piece)

        thread = threading.Thread(target=listen)
        thread.start()
        asked = asking(at(url, port=listener.getsockname()[1]), ssl_ca=encrypted.other.ca_file)
        with pytest.raises(sa.exc.OperationalError):
            cipher(asked)
        thread.join()
    parts = make_url(url)
    assert len(sent[0]) == 36
    assert all(str(secret).encode() not in b"".join(sent) for secret in (parts.username, parts.password))


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(4096):
            target.sendall(piece)


# ------------------------------------------------------------------------------------------ the client's certificate


def test_a_client_certificate_that_the_server_asks_for(
    encrypted: Encrypted, url: str, visitas: Visitas, tmp_path: Path
) -> None:
    parts = make_url(url)
    encrypted.server.execute(f"ALTER USER '{parts.username}'@'%%' REQUIRE X509" % ())
    trusting = asking(url, ssl_ca=encrypted.ours.ca_file)
    refused(
        visitas,
        trusting,
        f"{LOOPBACK}:{parts.port} no aceptó al usuario {parts.username} en «{parts.database}». Revise usuario, clave, "
        "certificado de cliente, el nombre de la base y los permisos (docs/settings.md)",
    )
    cert, key = encrypted.ours.issue("cliente")
    assert visitas.run("init", VISITAS_DB_URL=asking(trusting, ssl_cert=cert, ssl_key=key)).code == 0

    strange = encrypted.other.issue("cliente")
    ended = visitas.run("status", VISITAS_DB_URL=asking(trusting, ssl_cert=strange[0], ssl_key=strange[1]))
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.startswith("visitas: VISITAS_DB_URL: ")

    locked = tmp_path / "con_clave.key"
    write_key(locked, ec.generate_private_key(ec.SECP256R1()), b"clave")
    refused(
        visitas,
        asking(trusting, ssl_cert=cert, ssl_key=locked),
        f"la llave {locked} pide contraseña. Use una llave sin contraseña",
        ("status",),
    )
    refused(
        visitas,
        asking(trusting, ssl_cert=cert, ssl_key=strange[1]),
        f"ssl_cert, ssl_key: {strange[1]} no es la llave del certificado, o no está en PEM. "
        "Corrija la ruta o el archivo",
        ("status",),
    )
    assert os.listdir(visitas.home)
