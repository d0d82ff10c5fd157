"""One operation erases a person: from the tables, then from every copy on disk that is not sealed.

The order of the parts and the search through files belong here; the tables are ``loading/erasure.py``'s.
"""

from __future__ import annotations

import logging
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import IO

from visitas_dagster.closing.lock import alone
from visitas_dagster.domain.content import scan_file
from visitas_dagster.domain.failures import PermanentFailure, TransientFailure, UsageError
from visitas_dagster.domain.privacy import FORM, MAX_ADDRESS, erased_in, mask_erased
from visitas_dagster.loading.erasure import close_audit, erase_rows, note_rewritten, written_forms
from visitas_dagster.resources.copies import UNREADABLE_ZIP
from visitas_dagster.resources.folders import disk_errors, replaced_durably, runs_under_way
from visitas_dagster.resources.platform import Platform

log = logging.getLogger("visitas.olvido")

MAX_WAIT_S = 3600
"""Seconds that an erasure waits for the runs under way."""

_LOOK_S = 0.2
_BLOCK = 1 << 20
_SEARCHED = 1 << 14
# Blanks, separators, quotes.
_NO_ADDRESS = re.compile(rb'[\s,;"<>]')
_ZIP_DAY = re.compile(r"backup_(\d{8})")


@dataclass(frozen=True)
class Sealed:
    """A sealed backup in which the person still stands.

    Attributes:
        path: the zip.
        until: the last day on which it is kept.
    """

    path: Path
    until: date


@dataclass(frozen=True)
class Erasure:
    """What one erasure did.

    Attributes:
        visits: visits that now stand under nobody's name.
        mentions: other visits whose texts named the person.
        rejects: rejected records emptied.
        copies: files rewritten, in quarantine, loose backups, logs and reports.
        sealed: where the person still stands.
    """

    visits: int
    mentions: int
    rejects: int
    copies: tuple[Path, ...]
    sealed: tuple[Sealed, ...]


def forget(platform: Platform, address: str, who: str = "") -> Erasure:
    """Erase a person; harmless when repeated, and to be repeated when it was interrupted.

    Records that come later, also with a replay from a sealed backup, are masked when they are loaded.

    Args:
        platform: the open parts.
        address: as the person writes it; case and blanks around it make no difference.
        who: who asks for it, for the audit trail.

    Raises:
        UsageError: it is no address.
        SystemFailure: the database or the disk failed, or a run does not end.
    """
    person = normalized(address)
    platform.erasure_key.create()
    rows = erase_rows(platform.engine, platform.erasure_key, person, now=platform.now, today=platform.today(), who=who)
    _wait_for_runs(platform)
    # No close may seal a copy between the look at the loose ones and the look at the sealed ones.
    with alone(platform.folders):
        copies = tuple(_rewrite_copies(platform, person))
        sealed = tuple(_sealed(platform, person))
    close_audit(platform.engine, rows, len(copies), [one.path.name for one in sealed])
    return Erasure(rows.visits, rows.mentions, rows.rejects, copies, sealed)


def _wait_for_runs(platform: Platform) -> None:
    """Wait for the runs that have bytes in ``staging/`` now: what they keep of them is looked through afterwards.

    Those that begin meanwhile take what the server delivers after the erasure.
    """
    living = runs_under_way(platform.folders)
    if living:
        log.warning(f"corridas en marcha: {len(living)}; se espera a que terminen, para revisar lo que guarden")
    deadline = time.monotonic() + MAX_WAIT_S
    while living := runs_under_way(platform.folders, living):
        if time.monotonic() > deadline:
            raise TransientFailure(
                f"una corrida sigue en marcha después de {MAX_WAIT_S:.0f} s ({living[0].name}): las tablas ya no "
                "nombran a la persona, y falta revisar las copias",
                "espere a que termine y repita: visitas forget",
            )
        time.sleep(_LOOK_S)


def normalized(address: str) -> str:
    """Return an address as it is compared: trimmed, in lower case; raise :class:`UsageError` if it is none."""
    person = address.strip().lower()
    if not FORM.fullmatch(person) or len(person) > MAX_ADDRESS:
        raise UsageError("CORREO: no es una dirección de correo", "escríbala como usuario@dominio")
    return person


def _rewrite_copies(platform: Platform, person: str) -> Iterator[Path]:
    """Take the person out of every file that is not sealed; yield those that were rewritten."""
    folders = platform.folders
    for path in (*folders.all_quarantined(), *folders.all_loose_backups()):
        if _rewritten(path, person, lambda before, after: note_rewritten(platform.engine, before, after)):
            yield path
    for folder in (folders.logs, folders.reportes):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            if _rewritten(path, person, lambda before, after: None):
                yield path


def _rewritten(path: Path, person: str, note: Callable[[str, str], None]) -> bool:
    """Rewrite one file without the person, if it names them; ``note`` is told both digests before it changes."""
    mask = _Mask(person)
    with disk_errors("olvidar en los archivos"):
        with path.open("rb") as reading:
            if not mask.is_named(reading):
                return False
        with replaced_durably(path) as temporary:
            with path.open("rb") as reading, temporary.open("wb") as writing:
                writing.writelines(mask.masked(reading))
            note(scan_file(path).sha256, scan_file(temporary).sha256)
    return True


def _sealed(platform: Platform, person: str) -> Iterator[Sealed]:
    mask = _Mask(person)
    kept = timedelta(days=platform.settings.retencion_backup_dias)
    with disk_errors("buscar en los respaldos"):
        for path in platform.folders.zips():
            if _zip_names(path, mask):
                yield Sealed(path, _day_of(path) + kept)


def _zip_names(path: Path, mask: _Mask) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(_member_names(archive, member, mask) for member in archive.namelist())
    except UNREADABLE_ZIP as error:
        # Whether the person stands in it cannot be told, so that the erasure is not done.
        raise PermanentFailure(
            f"{path} está dañado, no se puede buscar en él",
            "restáurelo de una copia, o sáquelo de backup/, y repita: visitas forget",
        ) from error


def _member_names(archive: zipfile.ZipFile, member: str, mask: _Mask) -> bool:
    with archive.open(member) as reading:
        return mask.is_named(reading)


def _day_of(path: Path) -> date:
    day = _ZIP_DAY.match(path.name)
    return datetime.strptime(day[1], "%Y%m%d").date() if day else date.max - timedelta(days=36_500)


class _Mask:
    """Finds and masks one person in files of any size and either encoding, byte by byte of the rest unchanged."""

    def __init__(self, person: str) -> None:
        # Bytes read as Latin-1 are characters one to one; the address is looked for as either encoding writes it.
        written = {person.encode().decode("latin-1")}
        written.add(person.encode("cp1252", "replace").decode("latin-1"))
        self._written = {form.lower() for form in written}
        self._forms = [form.encode("latin-1").lower() for one in self._written for form in written_forms(one)]

    def is_named(self, stream: IO[bytes]) -> bool:
        """Whether the person stands anywhere in the stream."""
        return any(self._stands_in(block) for block in _blocks(stream))

    def masked(self, stream: IO[bytes]) -> Iterator[bytes]:
        """The stream's bytes, as many as there were."""
        for block in _blocks(stream):
            if self._stands_in(block):
                yield mask_erased(block.decode("latin-1"), self._is_theirs).encode("latin-1")
            else:
                yield block

    def _stands_in(self, block: bytes) -> bool:
        small = block.lower()
        if not any(form in small for form in self._forms):
            return False
        return any(True for _ in erased_in(block.decode("latin-1"), self._is_theirs))

    def _is_theirs(self, address: str) -> bool:
        return address in self._written


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """Blocks of about 1 MiB, none of which ends inside an address."""
    rest = b""
    while piece := stream.read(_BLOCK):
        rest += piece
        end = _safe_end(rest)
        if end:
            yield rest[:end]
            rest = rest[end:]
    if rest:
        yield rest


def _safe_end(block: bytes) -> int:
    """Behind the last byte that no address has inside; the whole block where it has none such near its end."""
    near_end = len(block) - _SEARCHED
    ends = [found.end() for found in _NO_ADDRESS.finditer(block, max(0, near_end))]
    return ends[-1] if ends else len(block)
