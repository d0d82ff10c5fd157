"""A TCP proxy on loopback that fails on command: it cuts, pauses and refuses connections.

Faults of the wire belong here; what travels over it (SSH, the database's protocol) does not.
"""

import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Literal, Self

from sqlalchemy.engine import make_url

from tests.support.ports import LOOPBACK, free_port

Side = Literal["client", "server"]

# How often a waiting thread looks whether it has been told to end.
_POLL_S = 0.05
_CHUNK = 64 * 1024


class _Connection:
    """Two sockets, back to back, and the threads that carry bytes between them."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.sockets: dict[Side, socket.socket] = {"client": client, "server": server}
        self.dead = threading.Event()
        self.threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._pumps = 2
        for sock in self.sockets.values():
            sock.settimeout(_POLL_S)

    def pump_ended(self) -> bool:
        """Close both sockets with the second pump; say whether it was that one."""
        with self._lock:
            self._pumps -= 1
            if self._pumps:
                return False
        for sock in self.sockets.values():
            if self.dead.is_set():
                # Closing with a linger of zero sends a reset instead of a polite end.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        return True


class CuttingProxy:
    """A proxy to ``target_host:target_port`` that listens on ``host:port`` from its making to `close`.

    A cut is a TCP reset towards both sides. Bytes on their way to a side whose buffers are full are lost
    with it, as on a real wire.

    Attributes:
        host: loopback.
        port: a free port; it stays the same through `refuse` and `accept`.
        accepted: connections taken so far.
        passed: bytes handed on so far, by the side they went to.
    """

    def __init__(self, target_port: int, target_host: str = LOOPBACK) -> None:
        self.host = LOOPBACK
        self.port = free_port()
        self.accepted = 0
        self.passed: dict[Side, int] = {"client": 0, "server": 0}
        self._target = (target_host, target_port)
        self._lock = threading.Lock()
        self._connections: list[_Connection] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._budget: dict[Side, int | None] = {"client": None, "server": None}
        self._rearm: dict[Side, tuple[int, int | None]] = {"client": (0, 0), "server": (0, 0)}
        self._listening = threading.Event()
        self._listener: threading.Thread | None = None
        self.accept()

    def __enter__(self) -> Self:
        """Return the proxy, which listens already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the proxy."""
        self.close()

    def url(self, url: str) -> str:
        """Return the SQLAlchemy URL with this proxy in the place of its host and port."""
        return make_url(url).set(host=self.host, port=self.port).render_as_string(hide_password=False)

    # ------------------------------------------------------------------------------------------- commands

    def cut(self) -> int:
        """Reset every open connection now; return how many there were."""
        with self._lock:
            victims, self._connections = self._connections, []
        for connection in victims:
            connection.dead.set()
        for connection in victims:
            for thread in connection.threads:
                if thread is not threading.current_thread():
                    thread.join()
        return len(victims)

    def cut_after(self, count: int, *, towards: Side = "client", times: int | None = 1) -> None:
        """Reset every open connection once `count` more bytes have gone towards that side.

        Args:
            count: bytes over all connections from now on; the byte after them is not handed on.
            towards: the side the counted bytes go to.
            times: how often, the count starting anew after each cut; None for ever.
        """
        with self._lock:
            self._budget[towards] = count
            self._rearm[towards] = (count, times)

    def pause(self) -> None:
        """Let no byte through, in either direction, until `resume`; connections stay open."""
        self._flowing.clear()

    def resume(self) -> None:
        """Hand on what `pause` held back, and all that follows."""
        self._flowing.set()

    def refuse(self) -> None:
        """Close the listening port: new connections are refused, open ones go on."""
        self._listening.clear()
        if self._listener is not None:
            self._listener.join()
            self._listener = None

    def accept(self) -> None:
        """Open the listening port (again)."""
        if self._listener is not None:
            return
        listener = socket.create_server((self.host, self.port), backlog=64)
        listener.settimeout(_POLL_S)
        self._listening.set()
        self._listener = threading.Thread(target=self._listen, args=(listener,), daemon=True)
        self._listener.start()

    def heal(self) -> None:
        """Take back every fault: disarm `cut_after`, resume, accept."""
        with self._lock:
            self._budget = {"client": None, "server": None}
        self.resume()
        self.accept()

    def close(self) -> None:
        """Stop listening and cut what is open."""
        self.refuse()
        self.cut()

    # ------------------------------------------------------------------------------------------- threads

    def _listen(self, listener: socket.socket) -> None:
        with listener:
            while self._listening.is_set():
                try:
                    client, _ = listener.accept()
                except TimeoutError:
                    continue
                self._join(client)

    def _join(self, client: socket.socket) -> None:
        """Connect a new client to the target, or drop it when the target is away."""
        self.accepted += 1
        try:
            server = socket.create_connection(self._target, timeout=10)
        except OSError:
            client.close()
            return
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(client, server)
        directions: tuple[tuple[Side, Side], ...] = (("client", "server"), ("server", "client"))
        for source, sink in directions:
            connection.threads.append(threading.Thread(target=self._pump, args=(connection, source, sink), daemon=True))
        with self._lock:
            self._connections.append(connection)
        for thread in connection.threads:
            thread.start()

    def _pump(self, connection: _Connection, source: Side, sink: Side) -> None:
        try:
            self._carry(connection, source, sink)
        except OSError:
            # One side reset the connection: so does the proxy towards the other.
            connection.dead.set()
        if connection.pump_ended():
            with self._lock, contextlib.suppress(ValueError):
                self._connections.remove(connection)

    def _carry(self, connection: _Connection, source: Side, sink: Side) -> None:
        reader, writer = connection.sockets[source], connection.sockets[sink]
        while not connection.dead.is_set():
            try:
                data = reader.recv(_CHUNK)
            except TimeoutError:
                continue
            if not data:
                writer.shutdown(socket.SHUT_WR)
                return
            while not self._flowing.wait(_POLL_S):
                if connection.dead.is_set():
                    return
            allowed, cut = self._take(sink, len(data))
            self._send(connection, writer, memoryview(data)[:allowed])
            if cut:
                self.cut()

    def _take(self, sink: Side, length: int) -> tuple[int, bool]:
        """Return how many of the bytes may pass, and whether the connections are cut after them."""
        with self._lock:
            budget = self._budget[sink]
            allowed = length if budget is None else min(length, budget)
            self.passed[sink] += allowed
            if budget is None or length <= budget:
                self._budget[sink] = None if budget is None else budget - allowed
                return allowed, False
            count, times = self._rearm[sink]
            left = None if times is None else times - 1
            self._rearm[sink] = (count, left)
            self._budget[sink] = None if left == 0 else count
            return allowed, True

    def _send(self, connection: _Connection, writer: socket.socket, data: memoryview) -> None:
        while data and not connection.dead.is_set():
            try:
                data = data[writer.send(data) :]
            except TimeoutError:
                continue
