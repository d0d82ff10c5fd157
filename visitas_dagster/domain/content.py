"""What can be told about a file's bytes before any line of it is read: size, hash, encoding, NUL bytes.

Facts that one pass over the bytes yields belong here; lines, fields and the header do not.
"""

import codecs
import hashlib
from dataclasses import dataclass
from os import PathLike

UTF8 = "utf-8"
UTF8_BOM = "utf-8-sig"
WINDOWS = "windows-1252"

BOM = codecs.BOM_UTF8

_SLICE = 1 << 20


@dataclass(frozen=True)
class ContentFacts:
    """What one pass over a file's bytes found (contract §1 *File*, §2 *Identity*).

    Attributes:
        size: length in bytes.
        sha256: hexadecimal digest of all bytes, 64 lower-case characters.
        encoding: ``utf-8``, ``utf-8-sig`` (a BOM and valid UTF-8 after it) or ``windows-1252`` (all else).
        has_nul: whether a NUL byte stands anywhere.
    """

    size: int
    sha256: str
    encoding: str
    has_nul: bool


class ContentScan:
    """One pass over a file's bytes, fed chunk by chunk in any sizes; memory does not grow with the file."""

    def __init__(self) -> None:
        """Start with no bytes seen."""
        self._size = 0
        self._digest = hashlib.sha256()
        self._decoder = codecs.getincrementaldecoder(UTF8)("strict")
        self._valid_utf8 = True
        self._has_nul = False
        self._head = b""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file; an empty chunk changes nothing."""
        self._head += chunk[: len(BOM) - len(self._head)]
        self._size += len(chunk)
        self._digest.update(chunk)
        self._has_nul = self._has_nul or b"\0" in chunk
        self._check_utf8(chunk)

    def finish(self) -> ContentFacts:
        """Return the facts about everything fed so far; a character left unfinished is no valid UTF-8."""
        self._check_utf8(b"", final=True)
        return ContentFacts(self._size, self._digest.hexdigest(), self._encoding(), self._has_nul)

    def _check_utf8(self, chunk: bytes, final: bool = False) -> None:
        # Decoded text takes up to four times the bytes: cut in slices, a big chunk costs no more memory.
        view = memoryview(chunk)
        try:
            for start in range(0, len(chunk), _SLICE):
                if self._valid_utf8:
                    self._decoder.decode(view[start : start + _SLICE])
            if final and self._valid_utf8:
                self._decoder.decode(b"", True)
        except UnicodeDecodeError:
            self._valid_utf8 = False

    def _encoding(self) -> str:
        if not self._valid_utf8:
            return WINDOWS
        return UTF8_BOM if self._head == BOM else UTF8


def scan_file(path: str | PathLike[str]) -> ContentFacts:
    """Scan a local file.

    Raises:
        OSError: the file cannot be read.
    """
    scan = ContentScan()
    with open(path, "rb") as stream:
        while chunk := stream.read(_SLICE):
            scan.feed(chunk)
    return scan.finish()
