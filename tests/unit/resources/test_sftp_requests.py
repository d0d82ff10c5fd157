"""Reading ahead from servers of every temper: they answer in any order, give less than was asked for, or refuse.

How requests and answers pair up belongs here; a real server is `tests/integration/test_download.py`.
"""

import itertools
from collections.abc import Callable
from typing import Any, cast

import paramiko
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paramiko.message import Message
from paramiko.sftp import CMD_ATTRS, CMD_CLOSE, CMD_DATA, CMD_HANDLE, CMD_LSTAT, CMD_OPEN, CMD_READ, CMD_STATUS
from paramiko.sftp_attr import SFTPAttributes

from visitas_dagster.resources.sftp_requests import MAX_REQUESTS, READ_BYTES, look_at_all, read_pieces, read_ranges

EOF, GONE, FAILURE = 1, 2, 4
"""Codes of SFTP version 3."""

Answer = tuple[int, Message]


def status(code: int) -> Answer:
    message = Message()
    message.add_int(code)
    message.add_string("the server says no")
    return CMD_STATUS, Message(message.asbytes())


def told(kind: int, add: Callable[[Message], object]) -> Answer:
    message = Message()
    add(message)
    return kind, Message(message.asbytes())


class Server:
    """Holds files; answers what it was asked in an order that a test chooses.

    Attributes:
        files: content by path.
        asked: the requests so far, by kind.
        most: how many were under way at once at the most.
        opened: handles that are open.
    """

    def __init__(
        self,
        files: dict[str, bytes],
        choose: Callable[[int], int] = lambda waiting: 0,
        gives: Callable[[int], int] = lambda length: length,
    ) -> None:
        self.files = files
        self.asked: list[int] = []
        self.most = 0
        self.opened: set[bytes] = set()
        self._choose = choose
        self._gives = gives
        self._waiting: list[tuple[Any, int, tuple[int, Any]]] = []
        self._numbers = itertools.count()

    def _async_request(self, receiver: Any, kind: int, *arguments: Any) -> int:
        number = next(self._numbers)
        self.asked.append(kind)
        self._waiting.append((receiver, number, (kind, arguments)))
        self.most = max(self.most, len(self._waiting))
        return number

    def _read_response(self) -> None:
        receiver, number, (kind, arguments) = self._waiting.pop(self._choose(len(self._waiting)))
        receiver._async_response(*self._answer(kind, *arguments), number)

    def _convert_status(self, message: Message) -> None:
        paramiko.SFTPClient._convert_status(cast("Any", self), message)  # type: ignore[attr-defined]

    def _answer(self, kind: int, target: Any, *arguments: Any) -> Answer:
        match kind:
            case paramiko.sftp.CMD_READ:
                return self._read(target, *arguments)
            case paramiko.sftp.CMD_CLOSE:
                self.opened.discard(target)
                return status(0)
        if target not in self.files:
            return status(GONE)
        if kind == CMD_OPEN:
            self.opened.add(target.encode())
            return told(CMD_HANDLE, lambda message: message.add_string(target))
        attributes = SFTPAttributes()
        attributes.st_size, attributes.st_mode = len(self.files[target]), 0o100644
        return told(CMD_ATTRS, lambda message: attributes._pack(message))  # type: ignore[attr-defined]

    def _read(self, handle: bytes, offset: int, length: int) -> Answer:
        data = self.files[handle.decode()][int(offset) : int(offset) + self._gives(length)]
        return told(CMD_DATA, lambda message: message.add_string(data)) if data else status(EOF)

    @property
    def client(self) -> paramiko.SFTPClient:
        """Itself, as what it stands for."""
        return cast("paramiko.SFTPClient", self)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_bytes_come_in_order_whatever_the_server_does(data: st.DataObject) -> None:
    size = data.draw(st.sampled_from([0, 1, READ_BYTES - 1, READ_BYTES, READ_BYTES + 1, 3 * READ_BYTES, 100_000]))
    content = bytes(itertools.islice(itertools.cycle(range(251)), size))
    server = Server(
        {"a": content},
        choose=lambda waiting: data.draw(st.integers(0, waiting - 1)),
        gives=lambda length: max(1, length - data.draw(st.sampled_from([0, 0, 1, 20_000]))),
    )
    assert b"".join(read_pieces(server.client, b"a", size)) == content


@pytest.mark.parametrize("size", [10, READ_BYTES, 2 * READ_BYTES + 5])
def test_a_file_that_has_grown_is_longer_than_it_was_named(size: int) -> None:
    server = Server({"a": b"x" * (size + 7)})
    assert sum(map(len, read_pieces(server.client, b"a", size))) > size


@pytest.mark.parametrize("left", [0, 5, READ_BYTES, READ_BYTES + 5])
def test_a_file_that_was_cut_ends_where_it_ends(left: int) -> None:
    server = Server({"a": b"x" * left})
    assert sum(map(len, read_pieces(server.client, b"a", 3 * READ_BYTES))) == left


def test_a_small_file_takes_one_request_a_piece_and_a_big_one_no_more_than_it_may() -> None:
    server = Server({"a": b"x" * 40_000})
    assert sum(map(len, read_pieces(server.client, b"a", 40_000))) == 40_000
    assert server.asked == [CMD_READ] * 2
    server = Server({"a": b"x" * READ_BYTES * (MAX_REQUESTS + 44)})
    assert sum(map(len, read_pieces(server.client, b"a", len(server.files["a"])))) == len(server.files["a"])
    assert server.most == MAX_REQUESTS


def test_a_refusal_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server({"a": b"x"})
    monkeypatch.setattr(server, "_read", lambda *arguments: status(FAILURE))
    with pytest.raises(OSError, match="the server says no"):
        list(read_pieces(server.client, b"a", 1))


def test_all_are_looked_at_whatever_is_missing() -> None:
    names = [f"report_{number}" for number in range(MAX_REQUESTS + 10)]
    server = Server({name: b"x" * number for number, name in enumerate(names) if number % 7}, choose=lambda n: n - 1)
    found = look_at_all(server.client, names)
    assert [attributes and attributes.st_size for attributes in found] == [
        number if number % 7 else None for number in range(len(names))
    ]
    assert set(server.asked) == {CMD_LSTAT}
    assert server.most == MAX_REQUESTS


def test_the_last_bytes_are_read_and_every_file_closed() -> None:
    files = {f"report_{number}": bytes([number % 250]) * 3 + bytes([number % 199]) for number in range(120)}
    server = Server(files, choose=lambda waiting: waiting // 2)
    ends = [(name, len(content) - 1, 1) for name, content in files.items()]
    ends[5:5] = [("gone", 2, 1)]
    ends[80] = (ends[80][0], 98, 1)  # shorter by now
    found = read_ranges(server.client, ends)
    expected: list[bytes | None] = [bytes([number % 199]) for number in range(120)]
    expected[5:5] = [None]
    expected[80] = b""
    assert found == expected
    assert server.opened == set()
    assert (server.asked.count(CMD_OPEN), server.asked.count(CMD_CLOSE)) == (121, 120)
    assert server.most <= 50


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_many_files_come_whole_or_not_at_all(data: st.DataObject) -> None:
    sizes = st.sampled_from([0, 1, 500, READ_BYTES - 1, READ_BYTES, READ_BYTES + 1, 2 * READ_BYTES, 70_000])
    files = {
        f"report_{number}": bytes([number]) * size
        for number, size in enumerate(data.draw(st.lists(sizes, min_size=1, max_size=60)))
    }
    named = {name: data.draw(st.sampled_from([len(content), 1, 40_000])) for name, content in files.items()}
    refused = data.draw(st.sets(st.sampled_from(list(files)), max_size=3))
    server = Server(
        {name: content for name, content in files.items() if name not in refused},
        choose=lambda waiting: data.draw(st.integers(0, waiting - 1)) if waiting < 4 else waiting // 3,
        gives=lambda length: length,
    )
    found = read_ranges(server.client, [(name, 0, size + 1) for name, size in named.items()])
    assert found == [None if name in refused else files[name][: size + 1] for name, size in named.items()]
    assert server.opened == set()


@pytest.mark.parametrize("gives", [1, 100, READ_BYTES - 1])
def test_what_a_server_gives_in_smaller_pieces_is_not_taken_for_whole(gives: int) -> None:
    files = {"one": b"1" * (READ_BYTES + 10), "two": b"2" * (2 * READ_BYTES), "short": b"3" * gives}
    server = Server(files, gives=lambda length: min(length, gives))
    found = read_ranges(server.client, [(name, 0, len(content) + 1) for name, content in files.items()])
    assert found == [None, None, files["short"]]


def test_a_file_that_cannot_be_read_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server({"a": b"x", "b": b"y"})
    monkeypatch.setattr(server, "_read", lambda *arguments: status(FAILURE))
    assert read_ranges(server.client, [("a", 0, 2), ("b", 0, 2)]) == [None, None]
    assert server.opened == set()


def test_no_bytes_are_an_end_and_another_kind_of_answer_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server({"a": b"x"})
    monkeypatch.setattr(server, "_read", lambda *arguments: told(CMD_DATA, lambda message: message.add_string("")))
    assert list(read_pieces(server.client, b"a", 1)) == []
    monkeypatch.setattr(server, "_read", lambda *arguments: told(CMD_HANDLE, lambda message: message.add_string("h")))
    with pytest.raises(paramiko.SSHException):
        list(read_pieces(server.client, b"a", 1))
