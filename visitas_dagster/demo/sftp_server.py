"""An SFTP server on loopback, inside the caller's process, that serves one folder to one user.

Listening, the host key and the file operations of the demo's server belong here; the client that fetches
reports and what they contain do not.
"""

import contextlib
import errno
import hmac
import logging
import os
import posixpath
import socket
import stat
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paramiko import SFTPAttributes
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
)
from paramiko.sftp import SFTP_FAILURE, SFTP_NO_SUCH_FILE, SFTP_OK, SFTP_PERMISSION_DENIED

from visitas_dagster.domain.failures import PermanentFailure

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

HOST: Final = "127.0.0.1"
HOST_KEY_FILE: Final = "ssh_host_ed25519_key"
KNOWN_HOSTS_FILE: Final = "known_hosts"

_LOG_CHANNEL = "visitas.demo.sftp"
_BACKLOG = 128
_SSH_PORT = 22
_ACCEPT_POLL_S = 0.2
# Clients that connect at once share one interpreter with this server: the handshake of the last one may have
# to wait for all the others, far beyond paramiko's 15 s.
_HANDSHAKE_S = 120
_JOIN_S = 30
# A packet carries at most 32 KiB of data, so a longer request needs no longer answer.
_MAX_READ = 1 << 18
_NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR)
_DENIED = (errno.EACCES, errno.EPERM, errno.ELOOP, errno.EROFS)


class EmbeddedSftpServer:
    """Serves `root` as ``/`` by SFTP on 127.0.0.1, until the context ends.

    The host key (Ed25519) and ``known_hosts`` live in `state`; the key is made once and used again at every
    start, so what a client knows stays true. One user, password only. Symbolic links are never followed, not
    even those that stay within `root`.

    Attributes:
        host: ``127.0.0.1``.
        port: the port it listens on, known once started (the wished one until then).
        known_hosts: file with this server's line, in OpenSSH's format; written at the start.
    """

    def __init__(self, root: Path, state: Path, user: str, password: str, port: int = 0) -> None:
        """Prepare a server; nothing starts yet. Port 0 takes a free one.

        Raises:
            ValueError: `state` lies within `root`, which would serve the private key to the client.
        """
        if state.resolve().is_relative_to(root.resolve()):
            raise ValueError("state must lie outside root: it holds the private host key")
        self.host = HOST
        self.port = port
        self.known_hosts = state / KNOWN_HOSTS_FILE
        self._root = root
        self._state = state
        self._access = _Access(user, password)
        self._stopping = threading.Event()
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._connections: list[_Connection] = []

    def start(self) -> None:
        """Make or read the host key, listen, and write ``known_hosts``.

        Creates `root` and `state` where missing.

        Raises:
            PermanentFailure: the port is taken, the stored host key cannot be read, or a folder not written.
        """
        _silence_log()
        self._stopping.clear()
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            self._state.mkdir(parents=True, exist_ok=True, mode=0o700)
            key = _host_key(self._state / HOST_KEY_FILE)
            self._listener = _listen(self.port)
            self.port = self._listener.getsockname()[1]
            _write_private(self.known_hosts, _known_hosts_line(self.port, key))
        except OSError as error:
            self.stop()
            raise PermanentFailure(
                f"El servidor SFTP de la demostración no pudo iniciar: {error}",
                f"Revise los permisos y el espacio de {self._root} y {self._state}.",
            ) from error
        self._acceptor = threading.Thread(
            target=self._accept, args=(self._listener, key), name="visitas-demo-sftp", daemon=True
        )
        self._acceptor.start()

    def stop(self) -> None:
        """Close the port and every connection, and wait for all their threads. May be called twice."""
        self._stopping.set()
        if self._acceptor is not None:
            self._acceptor.join()
            self._acceptor = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        # Close all before waiting for any: each takes a moment to notice.
        for connection in self._connections:
            connection.close()
        for connection in self._connections:
            connection.join()
        self._connections = []

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()

    def _accept(self, listener: socket.socket, key: paramiko.PKey) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = listener.accept()
                connection = _Connection(client, key, self._access, self._root)
            except TimeoutError:
                continue
            except (OSError, RuntimeError):
                # The client gave up while it waited, or this process is out of descriptors or threads: the
                # next one may fare better.
                self._stopping.wait(_ACCEPT_POLL_S)
                continue
            self._connections = [known for known in self._connections if known.is_alive()]
            self._connections.append(connection)


class _Access:
    """Who may enter: one user with one password."""

    def __init__(self, user: str, password: str) -> None:
        self._user = user.encode()
        self._password = password.encode()

    def admits(self, user: str, password: str) -> bool:
        known = hmac.compare_digest(user.encode(errors="replace"), self._user)
        return hmac.compare_digest(password.encode(errors="replace"), self._password) and known


class _Connection:
    """One client's connection: its transport's thread and one thread per SFTP session in it."""

    def __init__(self, client: socket.socket, key: paramiko.PKey, access: _Access, root: Path) -> None:
        self._rules = _SessionRules(access, root)
        self._transport = paramiko.Transport(client)
        self._transport.set_log_channel(_LOG_CHANNEL)
        self._transport.banner_timeout = _HANDSHAKE_S
        self._transport.handshake_timeout = _HANDSHAKE_S
        self._transport.add_server_key(key)
        # With an event the call returns at once: a slow client must not hold up those behind it.
        self._transport.start_server(event=threading.Event(), server=self._rules)

    def is_alive(self) -> bool:
        threads: list[threading.Thread] = [self._transport, *self._rules.sessions]
        return any(thread.is_alive() for thread in threads)

    def close(self) -> None:
        self._transport.close()

    def join(self) -> None:
        # The transport first: only its thread opens sessions, so none is missed afterwards.
        self._transport.join(_JOIN_S)
        for session in self._rules.sessions:
            session.join(_JOIN_S)


class _SessionRules(paramiko.ServerInterface):
    """What a connection may do: enter with the password, and open SFTP sessions."""

    def __init__(self, access: _Access, root: Path) -> None:
        self._access = access
        self._root = root
        self.sessions: list[threading.Thread] = []

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_auth_password(self, username: str, password: str) -> int:
        return AUTH_SUCCESSFUL if self._access.admits(username, password) else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if kind == "session":
            return OPEN_SUCCEEDED
        return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_subsystem_request(self, channel: paramiko.Channel, name: str) -> bool:
        if name != "sftp":
            return False
        # Started here and not by paramiko's default, which keeps no track of the thread: `stop` waits for it.
        session = paramiko.SFTPServer(channel, "sftp", self, _Folder, self._root)
        self.sessions.append(session)
        session.start()
        return True


def _answering(operation: Callable[[], int | None]) -> int:
    """Run one operation and return its outcome as an SFTP status."""
    try:
        status = operation()
    except OSError as error:
        return _status(error)
    return SFTP_OK if status is None else status


def _status(error: OSError) -> int:
    if error.errno in _NO_SUCH_FILE:
        return SFTP_NO_SUCH_FILE
    if error.errno in _DENIED:
        return SFTP_PERMISSION_DENIED
    return SFTP_FAILURE


class _Folder(paramiko.SFTPServerInterface):
    """The served folder as one session sees it: ``/`` is `root`, and nothing lies above it.

    A client's path is first made canonical by its text alone (``..`` stops at ``/``), then walked from `root`
    one folder at a time, each opened relative to the one before and never through a symbolic link. So no link
    leads out, and none that appears between a check and its use can.
    """

    def __init__(self, server: paramiko.ServerInterface, root: Path) -> None:
        super().__init__(server)
        self._root = root

    def canonicalize(self, path: str) -> str:
        return _canonical(path)

    def list_folder(self, path: str) -> list[SFTPAttributes] | int:
        try:
            with self._opened_folder(_parts(path)) as folder:
                return _entries(folder)
        except OSError as error:
            return _status(error)

    def stat(self, path: str) -> SFTPAttributes | int:
        # A link is not followed; what it would lead to has nothing to tell.
        found = self.lstat(path)
        if isinstance(found, SFTPAttributes) and stat.S_ISLNK(found.st_mode or 0):
            return SFTP_PERMISSION_DENIED
        return found

    def lstat(self, path: str) -> SFTPAttributes | int:
        try:
            with self._parent(path) as (folder, name):
                return SFTPAttributes.from_stat(os.stat(name, dir_fd=folder, follow_symlinks=False))
        except OSError as error:
            return _status(error)

    def open(self, path: str, flags: int, attr: SFTPAttributes) -> paramiko.SFTPHandle | int:
        mode = 0o644 if attr.st_mode is None else attr.st_mode & 0o666
        try:
            with self._parent(path) as (folder, name):
                # Without O_NONBLOCK a named pipe would hold the session until somebody writes to it.
                return _File(os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, mode, dir_fd=folder))
        except OSError as error:
            return _status(error)

    def remove(self, path: str) -> int:
        def operation() -> None:
            with self._parent(path) as (folder, name):
                os.unlink(name, dir_fd=folder)

        return _answering(operation)

    def rename(self, oldpath: str, newpath: str) -> int:
        """Rename, but refuse to replace what has the new name already, as SFTP's own operation must."""

        def operation() -> int | None:
            with self._parent(oldpath) as (source, old), self._parent(newpath) as (target, new):
                if _exists(new, target):
                    return SFTP_FAILURE
                os.rename(old, new, src_dir_fd=source, dst_dir_fd=target)
            return None

        return _answering(operation)

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        """Rename and replace in one step (OpenSSH's extension)."""

        def operation() -> None:
            with self._parent(oldpath) as (source, old), self._parent(newpath) as (target, new):
                os.replace(old, new, src_dir_fd=source, dst_dir_fd=target)

        return _answering(operation)

    def mkdir(self, path: str, attr: SFTPAttributes) -> int:
        mode = 0o755 if attr.st_mode is None else attr.st_mode & 0o777

        def operation() -> None:
            with self._parent(path) as (folder, name):
                os.mkdir(name, mode, dir_fd=folder)

        return _answering(operation)

    @contextlib.contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        """Open the folder that holds `path`; yield its descriptor and the last name (``.`` for ``/``)."""
        parts = _parts(path)
        with self._opened_folder(parts[:-1]) as folder:
            yield folder, parts[-1] if parts else "."

    @contextlib.contextmanager
    def _opened_folder(self, parts: list[str]) -> Iterator[int]:
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in parts:
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)


class _File(paramiko.SFTPHandle):
    """One open regular file; reads and writes go to the offset asked for."""

    def __init__(self, descriptor: int) -> None:
        """Take over `descriptor`; raise `PermissionError`, and close it, when it is no regular file."""
        super().__init__()
        self._descriptor: int | None = descriptor
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            self.close()
            raise PermissionError(errno.EACCES, "not a regular file")

    def close(self) -> None:
        # paramiko closes a handle again at the session's end when the client's closing failed.
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def stat(self) -> SFTPAttributes | int:
        try:
            return SFTPAttributes.from_stat(os.fstat(self._open_descriptor()))
        except OSError as error:
            return _status(error)

    def read(self, offset: int, length: int) -> bytes | int:
        try:
            return os.pread(self._open_descriptor(), min(length, _MAX_READ), offset)
        except OSError as error:
            return _status(error)

    def write(self, offset: int, data: "ReadableBuffer") -> int:
        def operation() -> None:
            rest, position = memoryview(data), offset
            while rest:
                written = os.pwrite(self._open_descriptor(), rest, position)
                rest, position = rest[written:], position + written

        return _answering(operation)

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._descriptor


def _canonical(path: str) -> str:
    # Two leading slashes mean something else to POSIX, and normpath keeps them.
    return posixpath.normpath("/" + path.lstrip("/"))


def _parts(path: str) -> list[str]:
    if "\0" in path:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    return [part for part in _canonical(path).split("/") if part]


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _entries(folder: int) -> list[SFTPAttributes]:
    entries = []
    for name in sorted(os.listdir(folder)):
        # A file may be taken away between the listing and the look at it; paramiko sends names in UTF-8 only.
        with contextlib.suppress(FileNotFoundError, UnicodeEncodeError):
            name.encode()
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            entries.append(SFTPAttributes.from_stat(found, name))
    return entries


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Without it a demo that is started again has to wait for the kernel to forget the old connections.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise PermanentFailure(
            f"El servidor SFTP de la demostración no pudo abrir el puerto {port}: {error.strerror}",
            "Cierre el programa que lo ocupa o elija otro puerto.",
        ) from error
    listener.settimeout(_ACCEPT_POLL_S)
    return listener


def _host_key(path: Path) -> paramiko.PKey:
    """Read the host key, or make it; either way it ends with mode 0600."""
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        _write_private(path, made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode())
    try:
        path.chmod(0o600)
        return paramiko.Ed25519Key(filename=str(path))
    except (OSError, ValueError, IndexError, paramiko.SSHException) as error:
        raise PermanentFailure(
            f"La llave del servidor SFTP de la demostración no se puede leer: {path}",
            "Borre ese archivo: en el siguiente inicio se crea otra llave.",
        ) from error


def _known_hosts_line(port: int, key: paramiko.PKey) -> str:
    # OpenSSH writes its standard port without brackets and looks for it that way.
    host = HOST if port == _SSH_PORT else f"[{HOST}]:{port}"
    return f"{host} {key.get_name()} {key.get_base64()}\n"


def _write_private(path: Path, text: str) -> None:
    """Write a file whole or not at all, readable by its owner only from the first byte."""
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _silence_log() -> None:
    """Let nothing out that paramiko logs about this server's clients: to it a port scan is a traceback.

    Only this server's channel: the client side of the same process keeps paramiko's own.
    """
    logging.getLogger(_LOG_CHANNEL).setLevel(logging.CRITICAL + 1)
