"""The folders under ``VISITAS_HOME``: where a file's bytes wait, are kept and are set aside.

Durable writes, copies and look-ups of report files belong here; when a file moves and why does not.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from visitas_dagster.domain.causes import cause
from visitas_dagster.domain.content import scan_file
from visitas_dagster.domain.failures import PermanentFailure, SettingsError, SystemFailure, TransientFailure

LAYOUT = "layout"
SISTEMA = "sistema"
_PARTIAL = ".parcial"
_LONGEST = 225
"""Bytes of a report's name on disk: file systems take 255, and our own endings stand behind it."""
_LONGEST_SUFFIX = 32
_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


class Folders:
    """The folders of the contract's section 4. Nothing is created before :meth:`ensure`."""

    def __init__(self, home: Path) -> None:
        """Name the folders under ``home`` (``VISITAS_HOME``)."""
        self.home = home
        self.staging = home / "staging"
        self.backup = home / "backup"
        self.cuarentena = home / "cuarentena"
        self.logs = home / "logs"
        self.reportes = home / "reportes"
        self.locks = home / "staging" / ".reservas"
        self.erasure_key = home / "olvidos.llave"

    def ensure(self) -> None:
        """Create what is missing and prove that files can be written; raise :class:`SettingsError`."""
        try:
            for folder in (
                self.staging,
                self.backup,
                self.cuarentena / LAYOUT,
                self.cuarentena / SISTEMA,
                self.logs,
                self.reportes,
                self.locks,
            ):
                folder.mkdir(parents=True, exist_ok=True)
                if not os.access(folder, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        except OSError as error:
            raise SettingsError(
                "VISITAS_HOME",
                f"no se puede escribir en {error.filename or self.home} ({cause(error)})",
                "cree la carpeta, o dé permiso de escritura sobre ella al usuario que corre visitas",
            ) from error

    def staged(self, run_id: str, archivo: str) -> Path:
        """Where a run keeps a file's bytes between download and backup."""
        return self.staging / run_id / local_name(archivo)

    def backed_up(self, archivo: str, sha256: str, day: date) -> Path:
        """The loose backup of one content of a name, under the day of its backup.

        Two versions of a name may arrive on one day, so the name carries the content's first twelve digits.
        """
        return self.backup / day.strftime("%Y%m%d") / _with_digest(archivo, sha256)

    def quarantined(self, kind: str, archivo: str, sha256: str) -> Path:
        """The copy of a failed content; ``kind`` is :data:`LAYOUT` or :data:`SISTEMA`."""
        return self.cuarentena / kind / _with_digest(archivo, sha256)

    def quarantine_copies(self, archivo: str, sha256: str) -> list[Path]:
        """The quarantined copies of one content of a name."""
        return [path for kind in (LAYOUT, SISTEMA) if (path := self.quarantined(kind, archivo, sha256)).is_file()]

    def loose_backups(self, archivo: str, sha256: str) -> list[Path]:
        """The loose backups of one content of a name, newest first."""
        return sorted(self.backup.glob(f"????????/{glob.escape(_with_digest(archivo, sha256))}"), reverse=True)

    def all_quarantined(self) -> list[Path]:
        """Every copy in quarantine."""
        return sorted(path for path in self.cuarentena.glob("*/*") if path.is_file())

    def all_loose_backups(self) -> list[Path]:
        """Every backup that is not sealed yet."""
        return sorted(path for path in self.backup.glob("????????/*") if path.is_file())

    def zips(self) -> list[Path]:
        """The sealed backups, newest first."""
        return sorted(self.backup.glob("backup_????????.zip"), reverse=True)

    @staticmethod
    def name_in_zip(archivo: str, sha256: str) -> str:
        """What one content of a name is called inside a sealed backup."""
        return _with_digest(archivo, sha256)

    def partial_copies(self, run_id: str) -> list[Path]:
        """The copies to backup and quarantine that a run began and has not ended."""
        pattern = f"*/{glob.escape(run_id)}.*{_PARTIAL}"
        return [*self.backup.glob(pattern), *self.cuarentena.glob(pattern)]


class RunFolder:
    """A run's folder under ``staging/``, locked for as long as its process lives.

    A process that dies leaves the folder behind with a free lock: that is how the next pass tells a dead run
    from a slow one, without a clock and without asking for process ids, which are used again. Within one process
    it may be taken more than once; the last to close it removes it.
    """

    _held: ClassVar[dict[Path, tuple[int, int]]] = {}
    """By path, the descriptor that holds the lock and how many times this process has taken it."""

    def __init__(self, folders: Folders, run_id: str) -> None:
        """Create the folder and lock it; disk errors come out as failures."""
        self.path = folders.staging / run_id
        self._open = True
        held = self._held.get(self.path)
        with disk_errors("crear la carpeta de la corrida"):
            lock, times = held or (_create_locked(self.path), 0)
        self._held[self.path] = (lock, times + 1)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Remove the folder with all that is left in it, then free it; harmless twice."""
        if not self._open:
            return
        self._open = False
        lock, times = self._held.pop(self.path)
        if times > 1:
            self._held[self.path] = (lock, times - 1)
            return
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(lock)


def _create_locked(path: Path) -> int:
    """Create a folder and return the descriptor that locks it.

    Whoever clears dead runs may see it before it is locked, and remove it: then it is created once more.
    """
    while True:
        path.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        os.close(lock)


def dead_run_folders(folders: Folders) -> Iterator[Path]:
    """Yield the folders of runs whose process died, each locked while the caller has it."""
    for path in _run_folders(folders):
        with _locked(path, fcntl.LOCK_EX) as free:
            if free and path.is_dir():
                yield path


def runs_under_way(folders: Folders, among: Iterable[Path] | None = None) -> list[Path]:
    """Return the folders of runs whose process lives; of ``among`` those that are left, where it is given."""
    living = []
    with disk_errors("mirar qué corridas están en marcha"):
        for path in _run_folders(folders) if among is None else among:
            with _locked(path, fcntl.LOCK_SH) as free:
                if free is False:
                    living.append(path)
    return living


def _run_folders(folders: Folders) -> list[Path]:
    found = sorted(folders.staging.iterdir()) if folders.staging.is_dir() else []
    return [path for path in found if path != folders.locks and path.is_dir()]


@contextmanager
def _locked(path: Path, how: int) -> Iterator[bool | None]:
    """Try to lock a run's folder within the block; False where its run has it, None where there is none any more."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield _takes(lock, how)
    finally:
        os.close(lock)


def _takes(lock: int, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def local_name(archivo: str) -> str:
    """What a report is called on this machine's disk: as on the server, unless that leaves no room for our endings.

    A long name is cut and told apart by a digest of the whole of it. Doing it twice changes nothing.
    """
    if len(archivo.encode()) <= _LONGEST:
        return archivo
    stem, dot, suffix = archivo.rpartition(".")
    if not dot or len(suffix.encode()) > _LONGEST_SUFFIX:
        stem, ending = archivo, ""
    else:
        ending = f".{suffix}"
    ending = f"~{hashlib.sha256(archivo.encode()).hexdigest()[:12]}{ending}"
    return stem.encode()[: _LONGEST - len(ending.encode())].decode(errors="ignore") + ending


def _with_digest(archivo: str, sha256: str) -> str:
    name = local_name(archivo)
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}__{sha256[:12]}{dot}{suffix}" if dot else f"{name}__{sha256[:12]}"


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn the disk's errors into failures: a full or read-only disk is not cured by trying again."""
    try:
        yield
    except OSError as error:
        raise _disk_failure(error, what) from error


def _disk_failure(error: OSError, what: str) -> SystemFailure:
    where = f" en {error.filename}" if error.filename else ""
    if error.errno in _FULL:
        return PermanentFailure(f"no hay espacio en disco para {what}{where}", "libere espacio en VISITAS_HOME")
    if error.errno in _DENIED:
        return PermanentFailure(f"no hay permiso para {what}{where}", "revise el dueño y los permisos de VISITAS_HOME")
    return TransientFailure(f"el disco falló al {what}{where}: {cause(error)}")


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable: a rename is only safe once its folder is on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, content: bytes, *, what: str, mode: int = 0o644) -> None:
    """Put a small file in its place, whole or not at all; ``what`` names it in a failure of the disk."""
    with disk_errors(what):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_durably(path) as temporary:
            temporary.touch(mode)
            temporary.write_bytes(content)


@contextmanager
def replaced_durably(path: Path) -> Iterator[Path]:
    """Let the caller write a temporary file, which takes the place of ``path`` once it is on the disk.

    Where the caller fails, the temporary file goes and ``path`` stays as it was. Errors of the disk pass through.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.parcial")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def keep_copy(source: Path, target: Path, sha256: str, *, gives: bool = False) -> None:
    """Put a durable copy of ``source`` at ``target``; a copy with the right bytes that is there already stays.

    Args:
        source: the staged file; its folder's name, the run's, is in that of the unfinished copy.
        target: its full path in the backup or the quarantine; the folder is created.
        sha256: the content's digest; an existing copy is read back against it.
        gives: nobody writes to ``source`` any more, and it will go: its own bytes become the copy where both are on
            one file system. Never for two copies that are to stay: a hand that edits the one would change the other.
    """
    with disk_errors("copiar"):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_file() and scan_file(target).sha256 == sha256:
            return
        temporary = target.with_name(f"{source.parent.name}.{sha256[:12]}{_PARTIAL}")
        # To write into what an earlier try had linked would be to write into the source.
        temporary.unlink(missing_ok=True)
        try:
            if not (gives and _linked(source, temporary)):
                _copied(source, temporary)
            temporary.replace(target)
        except OSError:
            # On a full disk, what it takes is missed elsewhere.
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)


def _copied(source: Path, target: Path) -> None:
    with source.open("rb") as reading, target.open("wb") as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)
        writing.flush()
        os.fsync(writing.fileno())


def _linked(source: Path, target: Path) -> bool:
    """Give a file that is on the disk a second name; False where the file system does not."""
    with source.open("rb") as written:
        os.fsync(written.fileno())
    try:
        os.link(source, target)
    except OSError:
        # Another file system, or one without links: what else is wrong, a copy will tell.
        return False
    return True
