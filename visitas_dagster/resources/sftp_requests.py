"""Requests to an SFTP server that are sent before the answers to the ones before them are there.

How requests and answers travel belongs here; what a file is and what is done with its bytes does not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import paramiko
from paramiko.message import Message
from paramiko.sftp import (
    CMD_ATTRS,
    CMD_CLOSE,
    CMD_DATA,
    CMD_HANDLE,
    CMD_LSTAT,
    CMD_OPEN,
    CMD_READ,
    CMD_STATUS,
    SFTP_FLAG_READ,
    int64,
)
from paramiko.sftp_attr import SFTPAttributes

READ_BYTES = 2**15
"""Bytes asked for at once: what every server gives (SFTP version 3, section 3)."""
MAX_REQUESTS = 256
"""Requests under way at once: 8 MiB in flight, so memory stays bounded for any file size."""

_OPEN_FILES = 50
"""Files open at once on the server: some allow no more than a hundred."""


class _Answers:
    """The answers to requests that are under way, in whatever order the server gives them.

    paramiko hands an answer to whoever is named with its request; its own way to read ahead has a thread for the
    requests, which costs a small report more than all the rest.
    """

    def __init__(self, sftp: paramiko.SFTPClient) -> None:
        self._sftp = sftp
        self._arrived: dict[int, tuple[int, Message]] = {}

    def ask(self, kind: int, *arguments: object) -> int:
        """Send a request; return its number."""
        return int(self._sftp._async_request(self, kind, *arguments))  # type: ignore[attr-defined]

    def wait(self, number: int) -> tuple[int, Message]:
        """Return the kind of the answer to a request, and the answer.

        Raises:
            OSError, paramiko.SSHException: the server is gone.
        """
        while number not in self._arrived:
            self._sftp._read_response()  # type: ignore[attr-defined]
        return self._arrived.pop(number)

    def _async_response(self, kind: int, message: Message, number: int) -> None:
        """Called by paramiko with an answer."""
        self._arrived[number] = (kind, message)


def read_pieces(sftp: paramiko.SFTPClient, handle: object, size: int) -> Iterator[bytes]:
    """Yield the bytes of an open file in order; up to :data:`MAX_REQUESTS` pieces are asked for ahead.

    One byte more than ``size`` is asked for as well: a file that has grown shows it by its length.

    Args:
        sftp: the connection.
        handle: the open file's.
        size: the size that the server named.

    Raises:
        OSError, paramiko.SSHException: the server refuses, or is gone.
    """
    answers = _Answers(sftp)
    under_way: deque[tuple[int, int, int]] = deque()
    asked, end = 0, size + 1
    while under_way or asked < end:
        while asked < end and len(under_way) < MAX_REQUESTS:
            length = min(READ_BYTES, end - asked)
            under_way.append((answers.ask(CMD_READ, handle, int64(asked), length), asked, length))
            asked += length
        number, offset, length = under_way.popleft()
        kind, answer = answers.wait(number)
        if kind != CMD_DATA:
            _raise_refusal(sftp, kind, answer)
            return
        piece = answer.get_string()
        if not piece:
            return
        yield piece
        if len(piece) < length and offset + len(piece) != size:
            # A server may give less than was asked for: what is missing comes next.
            rest = offset + len(piece), length - len(piece)
            under_way.appendleft((answers.ask(CMD_READ, handle, int64(rest[0]), rest[1]), *rest))


def look_at_all(sftp: paramiko.SFTPClient, paths: Sequence[str]) -> list[SFTPAttributes | None]:
    """Return what the server says of each path, links not followed; None where it says nothing of it.

    Raises:
        OSError, paramiko.SSHException: the server is gone.
    """
    return [
        SFTPAttributes._from_msg(answer) if kind == CMD_ATTRS else None  # type: ignore[attr-defined]
        for kind, answer in _all_at_once(sftp, [(CMD_LSTAT, path) for path in paths])
    ]


def last_bytes(sftp: paramiko.SFTPClient, ends: Sequence[tuple[str, int]]) -> list[bytes | None]:
    """Return the byte at each path's end; None where the server does not give it.

    Args:
        sftp: the connection.
        ends: path and size of each file, which is not empty.

    Raises:
        OSError, paramiko.SSHException: the server is gone.
    """
    found: list[bytes | None] = []
    for start in range(0, len(ends), _OPEN_FILES):
        chunk = ends[start : start + _OPEN_FILES]
        opened = _all_at_once(sftp, [(CMD_OPEN, path, SFTP_FLAG_READ, SFTPAttributes()) for path, _ in chunk])
        handles = [answer.get_string() if kind == CMD_HANDLE else None for kind, answer in opened]
        wanted = [(handle, size) for handle, (_, size) in zip(handles, chunk, strict=True) if handle is not None]
        read = iter(_all_at_once(sftp, [(CMD_READ, handle, int64(size - 1), 1) for handle, size in wanted]))
        _all_at_once(sftp, [(CMD_CLOSE, handle) for handle, _ in wanted])
        for handle in handles:
            kind, answer = next(read) if handle is not None else (CMD_STATUS, None)
            found.append(answer.get_string() if answer is not None and kind == CMD_DATA else None)
    return found


def _all_at_once(sftp: paramiko.SFTPClient, requests: Sequence[tuple[Any, ...]]) -> list[tuple[int, Message]]:
    """Return the kind of the answer to each request, and the answer."""
    answers = _Answers(sftp)
    found = []
    for start in range(0, len(requests), MAX_REQUESTS):
        numbers = [answers.ask(*request) for request in requests[start : start + MAX_REQUESTS]]
        found += [answers.wait(number) for number in numbers]
    return found


def _raise_refusal(sftp: paramiko.SFTPClient, kind: int, answer: Message) -> None:
    """Raise what the server says instead of bytes; that the file ends here is no refusal."""
    if kind != CMD_STATUS:
        raise paramiko.SSHException("an answer of another kind than was asked for")
    try:
        sftp._convert_status(answer)  # type: ignore[attr-defined]
    except EOFError:
        # It has become shorter, or this was the byte too many.
        return
