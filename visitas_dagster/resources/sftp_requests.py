"""Requests to an SFTP server that are sent before the answers to the ones before them are there.

How requests and answers travel belongs here; what a file is and what is done with its bytes does not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
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
    SFTP_EOF,
    SFTP_FLAG_READ,
    int64,
)
from paramiko.sftp_attr import SFTPAttributes

READ_BYTES = 2**15
"""Bytes asked for at once: what every server gives (SFTP version 3, section 3)."""
MAX_REQUESTS = 64
"""Requests under way at once, 2 MiB in flight, as OpenSSH's own client has: 256 took 1.6 s for 75 MB instead of 0.7."""

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


def read_ranges(sftp: paramiko.SFTPClient, ranges: Sequence[tuple[str, int, int]]) -> list[bytes | None]:
    """Return a piece of each of many files, shorter where the file ends in it; None where the server does not give it.

    Args:
        sftp: the connection.
        ranges: path, offset and length in bytes; all of it is held in memory.

    Raises:
        OSError, paramiko.SSHException: the server is gone.
    """
    found: list[bytes | None] = []
    for start in range(0, len(ranges), _OPEN_FILES):
        chunk = ranges[start : start + _OPEN_FILES]
        opened = _all_at_once(sftp, [(CMD_OPEN, path, SFTP_FLAG_READ, SFTPAttributes()) for path, _, _ in chunk])
        handles = [answer.get_string() if kind == CMD_HANDLE else None for kind, answer in opened]
        wanted = [
            [(CMD_READ, handle, int64(at), length) for at, length in _pieces(offset, length)] if handle else []
            for handle, (_, offset, length) in zip(handles, chunk, strict=True)
        ]
        read = iter(_all_at_once(sftp, [request for requests in wanted for request in requests]))
        _all_at_once(sftp, [(CMD_CLOSE, handle) for handle in handles if handle])
        for requests in wanted:
            pieces = [_given(*next(read)) for _ in requests]
            found.append(_joined(pieces) if requests else None)
    return found


def _pieces(offset: int, length: int) -> Iterator[tuple[int, int]]:
    """Yield offset and length of the pieces in which a server gives so much."""
    end = offset + length
    for at in range(offset, end, READ_BYTES):
        yield at, min(READ_BYTES, end - at)


def _given(kind: int, answer: Message) -> bytes | None:
    """The bytes of an answer to a request to read; none behind the file's end, None for a refusal."""
    if kind == CMD_DATA:
        return bytes(answer.get_string())
    return b"" if kind == CMD_STATUS and answer.get_int() == SFTP_EOF else None


def _joined(pieces: Sequence[bytes | None]) -> bytes | None:
    """The pieces as one; None where one was refused, or where bytes are missing between two."""
    whole = [piece for piece in pieces if piece is not None]
    if len(whole) < len(pieces) or any(later and len(piece) < READ_BYTES for piece, later in pairwise(whole)):
        return None
    return b"".join(whole)


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
