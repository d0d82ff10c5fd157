"""The SFTP folder: one connection, its verbs, and its errors in words an operator can act on.

Talking to the server belongs here; which files to take and what to do with their bytes does not.
"""

from __future__ import annotations

import logging
import socket
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import paramiko
from paramiko.sftp import CMD_NAME

from visitas_dagster.domain.arrivals import Listed
from visitas_dagster.domain.causes import cause
from visitas_dagster.domain.failures import FileGone, PermanentFailure, SystemFailure, TransientFailure
from visitas_dagster.resources.sftp_requests import look_at_all, read_pieces, read_ranges
from visitas_dagster.settings import Settings

# paramiko's default window stalls at random (0.7 s, then 12 s for the same 74 MB); these make it a steady 1 s,
# as fast as OpenSSH's own client.
WINDOW_BYTES = 2**27
PACKET_BYTES = 2**15
# Renegotiating keys mid-file stalls the transfer; OpenSSH itself rekeys by its own, later, limit.
REKEY_LIMIT = 2**40
TIMEOUT_S = 15


class _SftpClient(paramiko.SFTPClient):
    """paramiko's client, for folders that hold names which are no UTF-8: it would list none of their files."""

    def _request(self, t: Any, *args: Any) -> Any:
        kind, message = super()._request(t, *args)  # type: ignore[misc]  # the stubs leave it out
        if kind == CMD_NAME:
            message.get_text = lambda: message.get_string().decode("utf-8", "surrogateescape")
        return kind, message


class SftpFolder:
    """The folder ``VISITAS_SFTP_DIR``, over one connection that opens at first use and is kept.

    After a transient failure the connection is dropped, so that the next call opens a new one.
    """

    def __init__(self, settings: Settings) -> None:
        """Remember the settings; nothing is opened yet."""
        self._settings = settings
        self._client: paramiko.SSHClient | None = None
        self._sftp: paramiko.SFTPClient | None = None

    def __enter__(self) -> Self:
        """Return itself; the connection opens at first use."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection, if one is open; harmless twice."""
        client, self._client, self._sftp = self._client, None, None
        if client is not None:
            client.close()

    def list(self) -> list[Listed]:
        """Return the folder's regular files; sub-folders and links are left out (contract §1)."""
        with self._translated(f"la carpeta {self._settings.sftp_dir}") as sftp:
            try:
                entries = sftp.listdir_attr(self._settings.sftp_dir)
            except FileNotFoundError:
                raise PermanentFailure(
                    f"VISITAS_SFTP_DIR: la carpeta {self._settings.sftp_dir} no existe en el servidor",
                    "corrija el ajuste o cree la carpeta",
                ) from None
        return [
            Listed(entry.filename, entry.st_size or 0, entry.st_mtime or 0)
            for entry in entries
            if stat.S_ISREG(entry.st_mode or 0)
        ]

    def stat(self, archivo: str) -> Listed:
        """Return one file as the server sees it now; raise :class:`FileGone`."""
        with self._translated(archivo) as sftp:
            attributes = sftp.lstat(self._path(archivo))
        if not stat.S_ISREG(attributes.st_mode or 0):
            raise FileGone(archivo)
        return Listed(archivo, attributes.st_size or 0, attributes.st_mtime or 0)

    def stat_all(self, names: Sequence[str]) -> dict[str, Listed]:
        """Return those of the files that are there and regular, as the server sees them now; all asked for at once.

        What the server will not say of a file, :meth:`stat` tells.
        """
        with self._translated(f"la carpeta {self._settings.sftp_dir}") as sftp:
            found = look_at_all(sftp, [self._path(archivo) for archivo in names])
        return {
            archivo: Listed(archivo, attributes.st_size or 0, attributes.st_mtime or 0)
            for archivo, attributes in zip(names, found, strict=True)
            if attributes is not None and stat.S_ISREG(attributes.st_mode or 0)
        }

    def download(self, archivo: str, size: int, sink: Callable[[bytes], object]) -> int:
        """Feed the file's bytes to ``sink``, in order; return how many came.

        Args:
            archivo: file name.
            size: the size the server named: so many bytes are asked for ahead.
            sink: called with each piece.
        """
        received = 0
        with self._translated(archivo) as sftp, sftp.open(self._path(archivo), "rb") as remote:
            for piece in read_pieces(sftp, remote.handle, size):
                sink(piece)
                received += len(piece)
        return received

    def last_byte(self, archivo: str, size: int) -> bytes:
        """Return the last byte of a file of ``size`` bytes, none of an empty one; raise :class:`FileGone`."""
        if not size:
            return b""
        with self._translated(archivo) as sftp, sftp.open(self._path(archivo), "rb") as remote:
            remote.seek(size - 1)
            return remote.read(1)

    def last_bytes(self, files: Sequence[Listed]) -> dict[str, bytes]:
        """Return the last byte of each of the files, none of one that has none there; all asked for at once.

        Files of which the server does not give it are left out: :meth:`last_byte` tells why.
        """
        filled = {listed.archivo: (listed.bytes - 1, 1) for listed in files if listed.bytes}
        return {**{listed.archivo: b"" for listed in files if not listed.bytes}, **self._read_ranges(filled)}

    def read_all(self, files: Sequence[Listed]) -> dict[str, bytes]:
        """Return the bytes of each of the files, and one more where it has grown; all asked for at once.

        Files of which the server does not give them are left out: :meth:`download` tells why.

        Args:
            files: small ones, which are held in memory.
        """
        return self._read_ranges({listed.archivo: (0, listed.bytes + 1) for listed in files})

    def _read_ranges(self, ranges: Mapping[str, tuple[int, int]]) -> dict[str, bytes]:
        with self._translated(f"la carpeta {self._settings.sftp_dir}") as sftp:
            found = read_ranges(sftp, [(self._path(archivo), *place) for archivo, place in ranges.items()])
        return {archivo: data for archivo, data in zip(ranges, found, strict=True) if data is not None}

    def remove(self, archivo: str) -> None:
        """Remove the file; raise :class:`FileGone` where it is not there."""
        with self._translated(archivo) as sftp:
            sftp.remove(self._path(archivo))

    def put(self, archivo: str, source: BinaryIO) -> None:
        """Deliver a file as a careful sender does: to a temporary name, then renamed."""
        with self._translated(archivo) as sftp:
            temporary = self._path(archivo) + ".filepart"
            sftp.putfo(source, temporary)
            sftp.posix_rename(temporary, self._path(archivo))

    def _path(self, archivo: str) -> str:
        return f"{self._settings.sftp_dir.rstrip('/')}/{archivo}"

    @contextmanager
    def _translated(self, what: str) -> Iterator[paramiko.SFTPClient]:
        try:
            yield self._connected()
        except FileNotFoundError:
            raise FileGone(what) from None
        except PermissionError as error:
            raise PermanentFailure(
                f"el servidor SFTP no da permiso sobre {what}",
                f"dé al usuario {self._settings.sftp_user} permiso de leer y borrar en {self._settings.sftp_dir}",
            ) from error
        except (EOFError, OSError, paramiko.SSHException) as error:
            self.close()
            raise TransientFailure(f"se perdió la conexión SFTP con {what}: {describe(error)}") from error

    def _connected(self) -> paramiko.SFTPClient:
        if self._sftp is None:
            self._client, self._sftp = _opened(self._settings)
        return self._sftp


def _opened(settings: Settings) -> tuple[paramiko.SSHClient, paramiko.SFTPClient]:
    """Open a connection and its channel; raise what :func:`connect` raises, and the library's errors."""
    client = connect(settings)
    try:
        return client, _channel(client)
    except BaseException:
        client.close()
        raise


def _channel(client: paramiko.SSHClient) -> paramiko.SFTPClient:
    transport = client.get_transport()
    if transport is None:
        raise TransientFailure("el servidor SFTP cerró la conexión")
    sftp = _SftpClient.from_transport(transport, window_size=WINDOW_BYTES, max_packet_size=PACKET_BYTES)
    if sftp is None:
        raise TransientFailure("el servidor SFTP no abrió un canal")
    channel = sftp.get_channel()
    if channel is not None:
        channel.settimeout(4 * TIMEOUT_S)
    return sftp


def describe(error: BaseException) -> str:
    """One line for an error: its cause in Spanish where the system gave it, else the library's words or its kind."""
    if isinstance(error, paramiko.ssh_exception.NoValidConnectionsError):
        error = next(iter(error.errors.values()))
    if isinstance(error, OSError) and error.errno is not None:
        return cause(error)
    return " ".join(str(error).split()) or type(error).__name__


def connect(settings: Settings) -> paramiko.SSHClient:
    """Open a connection whose host key is in ``VISITAS_SFTP_KNOWN_HOSTS``.

    Raises:
        SettingsError: no host or user is set.
        PermanentFailure: unknown or changed host key, refused login, unreadable key or known_hosts file.
        TransientFailure: nobody answers, or the answer is not SSH.
    """
    host, _ = settings.require_sftp()
    client = paramiko.SSHClient()
    # paramiko prints its threads' tracebacks to stderr through this channel; the failure below says it in one line.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)
    _load_known_hosts(client, settings)
    client.set_missing_host_key_policy(_RefuseUnknown(settings))
    try:
        _open(client, settings)
    except SystemFailure:
        client.close()
        raise
    except Exception as error:
        client.close()
        raise _connection_failure(error, settings, host) from error
    return client


def _open(client: paramiko.SSHClient, settings: Settings) -> None:
    host, user = settings.require_sftp()
    password = settings.sftp_password.get_secret_value() if settings.sftp_password else None
    key = _private_key(settings)
    client.connect(
        host,
        settings.sftp_port,
        username=user,
        password=password,
        pkey=key,
        allow_agent=key is None and password is None,
        look_for_keys=key is None and password is None,
        timeout=TIMEOUT_S,
        banner_timeout=TIMEOUT_S,
        auth_timeout=TIMEOUT_S,
        transport_factory=_transport,  # type: ignore[arg-type]  # the stubs know one shape of it, paramiko calls another
    )


def _transport(sock: socket.socket, **options: Any) -> paramiko.Transport:
    # Where two packets go one after the other, the second would wait for the first one's receipt, which the server
    # holds back for 40 ms: a connection is open, and the folder listed, in 70 ms instead of 110 to 120.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = paramiko.Transport(
        sock,
        default_window_size=WINDOW_BYTES,
        default_max_packet_size=PACKET_BYTES,
        **options,
    )
    transport.packetizer.REKEY_BYTES = REKEY_LIMIT
    transport.packetizer.REKEY_PACKETS = REKEY_LIMIT
    return transport


def _load_known_hosts(client: paramiko.SSHClient, settings: Settings) -> None:
    path = settings.sftp_known_hosts
    try:
        client.load_host_keys(str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = cause(error) if isinstance(error, OSError) else "no es texto en UTF-8"
        raise PermanentFailure(
            f"VISITAS_SFTP_KNOWN_HOSTS: no se puede leer {path}: {reason}", _how_to_trust(settings)
        ) from error
    except paramiko.hostkeys.InvalidHostKey as error:
        raise PermanentFailure(
            f"VISITAS_SFTP_KNOWN_HOSTS: en {path} no se entiende la línea «{error.line.strip()[:60]}»",
            "corríjala o quítela",
        ) from error


def _how_to_trust(settings: Settings) -> str:
    return (
        "pida la llave del servidor a quien lo administra y agréguela; para verla: "
        f"ssh-keyscan -p {settings.sftp_port} {settings.sftp_host}"
    )


class _RefuseUnknown(paramiko.MissingHostKeyPolicy):
    """Nearly every peer accepts any key; whoever can answer on that address would then be handed the password."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        raise PermanentFailure(
            f"VISITAS_SFTP_KNOWN_HOSTS: la llave de {hostname} ({key.get_name()} {key.fingerprint}) "
            f"no está en {self._settings.sftp_known_hosts}",
            _how_to_trust(self._settings),
        )


def _connection_failure(error: Exception, settings: Settings, host: str) -> SystemFailure:
    address = f"{host}:{settings.sftp_port}"
    match error:
        case paramiko.BadHostKeyException():
            return PermanentFailure(
                f"VISITAS_SFTP_KNOWN_HOSTS: la llave de {address} no es la que está en {settings.sftp_known_hosts}",
                "no siga hasta saber por qué cambió; si el cambio es legítimo, sustituya la línea en el archivo",
            )
        case socket.gaierror():
            return TransientFailure(
                f"VISITAS_SFTP_HOST: no se encuentra el servidor {host}", "revise el nombre y el DNS"
            )
        case paramiko.BadAuthenticationType() if settings.sftp_key_file is None and settings.sftp_password:
            return PermanentFailure(
                f"VISITAS_SFTP_PASSWORD: {address} no admite contraseña, solo {', '.join(error.allowed_types)}",
                "use VISITAS_SFTP_KEY_FILE",
            )
        case paramiko.AuthenticationException():
            credential = _credential(settings)
            return PermanentFailure(
                f"{credential}: {address} no aceptó al usuario {settings.sftp_user}",
                f"revise VISITAS_SFTP_USER y {credential}",
            )
        case OSError() | EOFError():
            return TransientFailure(
                f"VISITAS_SFTP_HOST, VISITAS_SFTP_PORT: {address} no responde ({describe(error)})",
                "revise ambos ajustes y que el servidor esté encendido",
            )
        case paramiko.SSHException() if str(error) == "No authentication methods available":
            return PermanentFailure(
                "VISITAS_SFTP_PASSWORD, VISITAS_SFTP_KEY_FILE: faltan las dos",
                "escriba la contraseña, o la ruta de la llave privada",
            )
        case paramiko.ssh_exception.IncompatiblePeer():
            return PermanentFailure(
                f"VISITAS_SFTP_HOST: {address} y visitas no tienen un cifrado en común ({describe(error)})",
                "actualice el servidor SSH",
            )
        case paramiko.SSHException():
            return TransientFailure(
                f"VISITAS_SFTP_PORT: {address} no contesta como un servidor SFTP",
                "revise el puerto y que el servidor esté encendido",
            )
        case _:
            return PermanentFailure(
                f"VISITAS_SFTP_HOST: no se pudo entrar a {address}: {describe(error)}",
                "revise los ajustes VISITAS_SFTP_*",
            )


def _credential(settings: Settings) -> str:
    if settings.sftp_key_file is not None:
        return "VISITAS_SFTP_KEY_FILE"
    return "VISITAS_SFTP_PASSWORD" if settings.sftp_password else "VISITAS_SFTP_PASSWORD o VISITAS_SFTP_KEY_FILE"


def _private_key(settings: Settings) -> paramiko.PKey | None:
    """Read the private key; None where none is set.

    It is read here and not by paramiko, which tries a file as one kind of key after the other: the error it raises
    is the last kind's, also where an earlier one was read and the server refused it.
    """
    path = settings.sftp_key_file
    if path is None:
        return None
    password = settings.sftp_password.get_secret_value().encode() if settings.sftp_password else None
    try:
        return _load_key(path, password)
    except OSError as error:
        raise PermanentFailure(
            f"VISITAS_SFTP_KEY_FILE: no se puede leer {path}: {cause(error)}", "corrija la ruta o los permisos"
        ) from error
    except Exception as error:
        if password is None and "password" in str(error).lower():
            raise PermanentFailure(
                f"VISITAS_SFTP_KEY_FILE: la llave {path} pide contraseña", "escríbala en VISITAS_SFTP_PASSWORD"
            ) from error
        closed = " o VISITAS_SFTP_PASSWORD no la abre" if password is not None else ""
        raise PermanentFailure(
            f"VISITAS_SFTP_KEY_FILE: {path} no es una llave privada que se pueda leer{closed}",
            "corrija la ruta" + (" o la contraseña" if closed else ""),
        ) from error


def _load_key(path: Path, password: bytes | None) -> paramiko.PKey:
    try:
        return paramiko.PKey.from_path(path, password)  # type: ignore[arg-type]  # cryptography takes bytes
    except Exception as error:
        if password is None or "not encrypted" not in str(error):
            raise
        # The password is the user's own: it has nothing to open here.
        return paramiko.PKey.from_path(path)
