"""A day's loose backups become one zip, read back and compared before a single loose copy goes.

Making, checking and putting the zip in its place belongs here; which day is sealed and when does not.

The zip of a day depends on its members alone, not on how many closes it took: names sorted, one date for all, old
members compressed anew. So a close that was killed and repeated ends in the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO

from visitas_dagster.closing.contents import copy_name, second_name
from visitas_dagster.closing.days import stamp
from visitas_dagster.closing.loose import loose_copies
from visitas_dagster.domain.failures import PermanentFailure, TransientFailure
from visitas_dagster.resources.copies import UNREADABLE_ZIP
from visitas_dagster.resources.folders import Folders, disk_errors, sync_folder

MANIFEST = "manifiesto.json"
"""The member that lists the others: archivo, miembro, sha256, bytes, estado. No copy has its name."""

States = Callable[[Iterable[str]], Mapping[str, str]]
"""Returns, by the copy's name, the state of its content."""

_PIECE = 1 << 20
# A zip of somebody else's making may also lack our manifest, or be packed in a way that zipfile does not know.
_DAMAGE = (*UNREADABLE_ZIP, KeyError, ValueError, NotImplementedError)


@dataclass(frozen=True)
class Bytes:
    """What a copy holds: its digest and its size."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Sealed:
    """What one sealing did.

    Attributes:
        path: the day's zip; None where the day has none.
        added: members that this sealing put in.
        members: all that stand in it now.
        left: loose copies that stay: they changed meanwhile, and the next close takes them.
    """

    path: Path | None
    added: int = 0
    members: int = 0
    left: int = 0


@dataclass(frozen=True)
class _Loose:
    """A loose copy on its way into the zip.

    Attributes:
        path: the file.
        member: its name in the zip.
        looked: what the file was when its bytes were read: device, inode, size, time.
    """

    path: Path
    member: str
    looked: tuple[int, int, int, int]


def zip_path(folders: Folders, day: date) -> Path:
    """Return where a day's sealed backup stands."""
    return folders.backup / f"backup_{stamp(day)}.zip"


def member_names(path: Path) -> set[str]:
    """Return the names of the copies that a sealed backup holds; raise :class:`PermanentFailure` if it is damaged."""
    with _opened(path) as archive:
        return {*archive.namelist()} - {MANIFEST}


def seal(folders: Folders, day: date, states: States) -> Sealed:
    """Seal a day's loose backups, adding to its zip where it has one; nothing that a zip holds is ever overwritten.

    The caller holds the closes' lock. Dying at any point leaves every byte where a repetition finds it.

    Args:
        folders: the folders.
        day: the day of the backups.
        states: for the manifest.

    Raises:
        TransientFailure: what was written does not read back as it should.
        PermanentFailure: the disk is full, or the day's zip is damaged.
    """
    target = zip_path(folders, day)
    temporary = target.with_name(target.name + ".parcial")
    with disk_errors("sellar el respaldo del día"):
        # A close that was killed left it.
        temporary.unlink(missing_ok=True)
        members = _members(target)
        copies = loose_copies(folders, day)
        sealed = _stand_already(target, members, copies)
        fresh = list(_named(members, [path for path in copies if path not in {done.path for done in sealed}]))
        if fresh:
            known = states({*members, *(loose.member for loose in fresh)})
            try:
                written = _write(temporary, target, members, fresh, day, known)
                _verify(temporary, written, fresh)
                _put_in_place(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)
        left = _remove_loose(folders.backup / stamp(day), [*sealed, *fresh])
        total = len(members) + len(fresh)
        return Sealed(target if total else None, len(fresh), total, left)


# ------------------------------------------------------------------------------------------------ what goes in


def _members(target: Path) -> set[str]:
    return member_names(target) if target.is_file() else set()


def _stand_already(target: Path, members: set[str], copies: list[Path]) -> list[_Loose]:
    """The loose copies whose very bytes the zip holds: a close died before it removed them."""
    found = []
    for path in copies if members else []:
        looked, facts = _looked(path), _read(path)
        for member in (path.name, second_name(path.name, facts.sha256)):
            if member in members and _stored(target, member) == facts:
                found.append(_Loose(path, member, looked))
                break
    return found


def _stored(target: Path, member: str) -> Bytes:
    with _opened(target) as archive:
        return _read_member(archive, member)


def _named(members: set[str], copies: list[Path]) -> Iterator[_Loose]:
    """Name the loose copies' members: other bytes under a member's name, as after an erasure, get a second one."""
    for path in copies:
        looked = _looked(path)
        yield _Loose(path, second_name(path.name, _read(path).sha256) if path.name in members else path.name, looked)


def _write(
    temporary: Path, old: Path, members: set[str], fresh: list[_Loose], day: date, states: Mapping[str, str]
) -> dict[str, Bytes]:
    """Write old members and fresh ones to the temporary zip, and flush it to the disk; return what went in."""
    sources = {loose.member: loose.path for loose in fresh}
    written: dict[str, Bytes] = {}
    with temporary.open("wb") as raw:
        with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
            for member in sorted({*sources, *members}):
                with _source(sources.get(member), old, member) as (stream, size):
                    written[member] = _copy_in(archive, member, size, stream, day)
            archive.writestr(_info(MANIFEST, day), _manifest(written, states))
        raw.flush()
        os.fsync(raw.fileno())
        # What is read back comes from the disk, not from what the system still remembers.
        os.posix_fadvise(raw.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return written


@contextmanager
def _source(loose: Path | None, old: Path, member: str) -> Iterator[tuple[IO[bytes], int]]:
    """Open a member's bytes, from its loose copy or else from the zip that stands; yield them with their size."""
    if loose is not None:
        with loose.open("rb") as stream:
            yield stream, os.fstat(stream.fileno()).st_size
        return
    with _opened(old) as archive, archive.open(member) as stream:
        yield stream, archive.getinfo(member).file_size


def _copy_in(archive: zipfile.ZipFile, member: str, size: int, stream: IO[bytes], day: date) -> Bytes:
    digest, copied = hashlib.sha256(), 0
    with archive.open(_info(member, day, size), "w") as writing:
        while piece := stream.read(_PIECE):
            writing.write(piece)
            digest.update(piece)
            copied += len(piece)
    return Bytes(digest.hexdigest(), copied)


def _info(member: str, day: date, size: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(member, (max(day.year, 1980), day.month, day.day, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o640 << 16
    # So that zipfile takes the long format for what needs it, and for nothing else.
    info.file_size = size
    return info


def _manifest(written: Mapping[str, Bytes], states: Mapping[str, str]) -> str:
    entries = []
    for member, facts in sorted(written.items()):
        parsed = copy_name(member)
        entries.append(
            {
                "archivo": parsed.archivo if parsed else member,
                "miembro": member,
                "sha256": facts.sha256,
                "bytes": facts.size,
                "estado": states.get(member),
            }
        )
    return json.dumps(entries, ensure_ascii=False, indent=1) + "\n"


# ------------------------------------------------------------------------------------------------- reading back


def _verify(temporary: Path, written: Mapping[str, Bytes], fresh: list[_Loose]) -> None:
    """Read the zip back: every member is what was read, and every fresh one is what its loose file holds now."""
    try:
        with zipfile.ZipFile(temporary) as archive:
            names = archive.namelist()
            sound = sorted(names) == sorted([*written, MANIFEST]) and all(
                _read_member(archive, member) == facts for member, facts in written.items()
            )
            listed = json.loads(archive.read(MANIFEST))
    except _DAMAGE as error:
        raise _unsound(temporary, f"{type(error).__name__}: {error}") from error
    if not sound or {entry["miembro"]: entry["sha256"] for entry in listed} != {
        member: facts.sha256 for member, facts in written.items()
    }:
        raise _unsound(temporary, "no tiene lo que se escribió")
    for loose in fresh:
        if _read(loose.path) != written[loose.member]:
            raise _unsound(temporary, f"{loose.path.name} cambió mientras se sellaba")


def _unsound(temporary: Path, why: str) -> TransientFailure:
    return TransientFailure(
        f"{temporary.name} no salió bien al leerlo de vuelta ({why}); las copias sueltas siguen en su lugar",
        "revise el disco y repita: visitas close",
    )


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except _DAMAGE as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> PermanentFailure:
    """The failure of a sealed backup that cannot be read."""
    return PermanentFailure(
        f"{path} está dañado ({type(error).__name__}: {error}); no se toca",
        "restáurelo de una copia, o sáquelo de backup/, y repita: visitas close",
    )


def _read_member(archive: zipfile.ZipFile, member: str) -> Bytes:
    with archive.open(member) as stream:
        return _digest(stream)


def _read(path: Path) -> Bytes:
    with path.open("rb") as stream:
        return _digest(stream)


def _digest(stream: IO[bytes]) -> Bytes:
    digest, size = hashlib.sha256(), 0
    while piece := stream.read(_PIECE):
        digest.update(piece)
        size += len(piece)
    return Bytes(digest.hexdigest(), size)


# --------------------------------------------------------------------------------------------------- what stays


def _put_in_place(temporary: Path, target: Path) -> None:
    temporary.replace(target)
    sync_folder(target.parent)


def _remove_loose(folder: Path, copies: list[_Loose]) -> int:
    """Remove the copies that the zip holds, then their folder; return how many stay because they changed since."""
    left = 0
    for loose in copies:
        if _looked(loose.path) == loose.looked:
            loose.path.unlink()
        else:
            left += 1
    if folder.is_dir():
        sync_folder(folder)
        if not any(folder.iterdir()):
            folder.rmdir()
            sync_folder(folder.parent)
    return left


def _looked(path: Path) -> tuple[int, int, int, int]:
    facts = path.stat()
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns
