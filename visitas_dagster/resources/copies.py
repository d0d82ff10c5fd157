"""Where the bytes of a delivery are on this machine: quarantine, loose backups, sealed zips.

Finding and opening them belongs here; putting them there does not.
"""

from __future__ import annotations

import hashlib
import logging
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from visitas_dagster.resources.folders import Folders, disk_errors

log = logging.getLogger("visitas.respaldo")

_LOOKING = "buscar una copia"

UNREADABLE_ZIP = (zipfile.BadZipFile, zlib.error, EOFError)
"""What reading a damaged zip raises."""


@dataclass(frozen=True)
class LocalCopy:
    """One copy of one content of a name.

    Attributes:
        path: the file, or the zip that holds it.
        member: its name inside the zip; None for a loose file.
    """

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        """Where it is, as an operator would look for it."""
        return f"{self.path}" if self.member is None else f"{self.path} ({self.member})"

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open it for reading; errors of the disk pass through."""
        if self.member is None:
            with self.path.open("rb") as stream:
                yield stream
        else:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
                yield stream

    def sha256(self) -> str:
        """Read it all; return its digest."""
        with self.open() as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]  # a zip's stream will do


def copies(folders: Folders, archivo: str, sha256: str) -> Iterator[LocalCopy]:
    """Yield the places where one content of a name is kept: quarantine, loose backups, zips, the newest first.

    Raises:
        SystemFailure: the disk failed, or does not let them be read.
    """
    with disk_errors(_LOOKING):
        loose = (*folders.quarantine_copies(archivo, sha256), *folders.loose_backups(archivo, sha256))
        zips = folders.zips()
    for path in loose:
        yield LocalCopy(path)
    member = folders.name_in_zip(archivo, sha256)
    for path in zips:
        if _holds(path, member):
            yield LocalCopy(path, member)


def _holds(path: Path, member: str) -> bool:
    """Whether a zip has a member. A damaged one has none: the copy may be elsewhere, and the rest goes on."""
    try:
        with disk_errors(_LOOKING), zipfile.ZipFile(path) as archive:
            return member in archive.namelist()
    except zipfile.BadZipFile:
        log.warning(f"{path} está dañado, no se busca en él; restáurelo de una copia, o sáquelo de backup/")
        return False


def find_copy(
    folders: Folders, archivo: str, digests: Sequence[str], rewritten: Mapping[str, Set[str]]
) -> tuple[LocalCopy, str] | None:
    """Return the first copy whose bytes are what its digest says, and that digest.

    Args:
        folders: where to look.
        archivo: the file's name.
        digests: the contents wanted, the most wanted first.
        rewritten: by content, the digests of copies from which erased persons were taken: they stand for it too.

    Raises:
        SystemFailure: the disk failed, or does not let them be read.
    """
    for digest in digests:
        believed = {digest} | rewritten.get(digest, frozenset())
        for copy in copies(folders, archivo, digest):
            if _digest(copy) in believed:
                return copy, digest
    return None


def _digest(copy: LocalCopy) -> str | None:
    """The digest of a copy; None where it can no longer be read out of its zip."""
    try:
        with disk_errors(_LOOKING):
            return copy.sha256()
    except UNREADABLE_ZIP:
        log.warning(f"{copy} está dañado, no se toma; restáurelo de una copia, o sáquelo de backup/")
        return None
