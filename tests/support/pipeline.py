"""The pipeline without Dagster: deliveries, passes over them, and what stands in the tables afterwards.

Driving the steps as the ops do belongs here, with reading the tables back; what must stand there does not.
"""

import hashlib
import itertools
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

import sqlalchemy as sa

from tests.oracle.oracle import COLUMNS, HEADERS, Tables
from tests.support.fixtures import Database, SftpFolder
from visitas_dagster.assets.tables import not_archived
from visitas_dagster.assets.walk import contained, fail
from visitas_dagster.domain.arrivals import settled
from visitas_dagster.domain.ladder import RUN_RETRIES, Resultado
from visitas_dagster.domain.states import FINISHED, Estado
from visitas_dagster.loading import tables
from visitas_dagster.loading.erasure import erase_rows
from visitas_dagster.loading.schema import upgrade
from visitas_dagster.loading.zone import keep_zone
from visitas_dagster.resources.platform import Clock, Platform
from visitas_dagster.settings import Settings, load_settings
from visitas_dagster.steps.archive import archive
from visitas_dagster.steps.arrivals import look, owed
from visitas_dagster.steps.download import download, identify
from visitas_dagster.steps.load import in_groups, load, make_ready
from visitas_dagster.steps.task import FileTask, Source
from visitas_dagster.steps.together import begin_together, deliveries, fetch_together, identify_together
from visitas_dagster.steps.tools import RunTools
from visitas_dagster.steps.validate import validate, validate_together

PROJECT: Final = Path(__file__).resolve().parents[2]

HEADER: Final = ",".join(HEADERS)

NOON: Final = datetime(2024, 3, 14, 18, tzinfo=UTC)
"""Noon in Mexico City, in the middle of a month."""

_log = logging.getLogger("visitas.pruebas")
_mtimes = itertools.count(1_700_000_000)

# Children before their parents.
_TABLES: Final = (
    tables.auditoria,
    tables.olvidados,
    tables.copias_olvidadas,
    tables.incidentes,
    tables.esperas,
    tables.cierres,
    tables.bitacora_intentos,
    tables.estadisticas,
    tables.errores,
    tables.contenidos_cargados,
    tables.visitantes,
    tables.bitacora_control,
)


class SteppingClock:
    """A clock that stands where a test puts it, and goes on a millisecond with each look."""

    def __init__(self, moment: datetime = NOON) -> None:
        """Stand at ``moment``, which is aware of its zone."""
        self._moment = moment
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        """Return the time."""
        with self._lock:
            self._moment += timedelta(milliseconds=1)
            return self._moment

    def set(self, moment: datetime) -> None:
        """Stand at another moment."""
        with self._lock:
            self._moment = moment

    def advance(self, seconds: float) -> None:
        """Go on by so many seconds."""
        with self._lock:
            self._moment += timedelta(seconds=seconds)


def record(email: str = "ana@example.com", envio: str = "01/03/2024 10:00", **others: str) -> str:
    """One line of a report in the order of the contract; ``others`` are raw fields by their table's column."""
    values = {"email": email, "fecha_envio": envio, **others}
    return ",".join(values.get(name, "-") for _, name in COLUMNS)


def report(*lines: str) -> bytes:
    """The bytes of a report with the contract's header and these lines."""
    return "".join(f"{line}\n" for line in (HEADER, *lines)).encode()


def settings_for(url: str, sftp: Mapping[str, str], home: Path, **others: Any) -> Settings:
    """Settings for tests: quick retries, no wait for files to settle, nothing read from a ``.env``.

    Args:
        url: the database's.
        sftp: the ``VISITAS_SFTP_*`` settings, by name.
        home: ``VISITAS_HOME``.
        others: further settings, by field.
    """
    defaults: dict[str, Any] = {
        "home": home,
        "db_url": url,
        "espera_estable_s": 0,
        "reintentos": 2,
        "reintento_base_s": 0.01,
        **{name.removeprefix("VISITAS_").lower(): value for name, value in sftp.items()},
    }
    return load_settings(_env_file=None, **{**defaults, **others})


def put(folder: Path, name: str, data: bytes, mtime: int | None = None) -> int:
    """Deliver a file as a careful sender does, by renaming; return its time, later than every one before."""
    mtime = next(_mtimes) if mtime is None else mtime
    temporary = folder / f"{name}.filepart"
    temporary.write_bytes(data)
    os.utime(temporary, (mtime, mtime))
    temporary.replace(folder / name)
    return mtime


class Pipeline:
    """One installation over a real SFTP folder and a real database, its tables made.

    Attributes:
        settings, clock, platform: what its runs work with; the connections stay open from pass to pass.
        folder: the SFTP folder on this machine.
    """

    def __init__(
        self,
        database: Database,
        sftp_folder: SftpFolder,
        tmp_path: Path,
        clock: Clock | None = None,
        **settings: Any,
    ) -> None:
        """Create the folders under ``tmp_path`` and the tables; ``settings`` are further ones, by field."""
        self.clock = clock or SteppingClock()
        self.folder = sftp_folder.path
        self.settings = settings_for(database.url, sftp_folder.environment(), tmp_path / "etl", **settings)
        self.platform = Platform(self.settings, clock=self.clock)
        self.platform.folders.ensure()
        upgrade(self.platform.engine)
        keep_zone(self.platform.engine, self.settings.zone)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.platform.close()

    # -- doing --------------------------------------------------------------------------------------------------

    def deliver(self, name: str, data: bytes, mtime: int | None = None) -> int:
        """Put a whole file on the server; see :func:`put`."""
        return put(self.folder, name, data, mtime)

    def run_pass(self, source: Source = Source.SERVER) -> list[FileTask]:
        """Take everything that stands on the server and is owed; return what became of each file."""
        observed = look(self.platform, {})
        files = settled(observed, 0, self.clock().timestamp())
        return self.process([listed.archivo for listed in owed(self.platform, files)], source)

    def process(self, names: Iterable[str], source: Source = Source.SERVER) -> list[FileTask]:
        """Take these files as a pass does; see :func:`process`."""
        return process(self.platform, names, source)

    def run(self, names: Iterable[str], source: Source = Source.SERVER) -> list[FileTask]:
        """Take these files through one run."""
        return run(self.platform, names, source)

    def replay(self, name: str) -> FileTask:
        """Run one file again, as ``visitas replay`` does."""
        return self.run([name], Source.REPLAY)[0]

    def tools(self) -> RunTools:
        """The tools of a new run; a context manager."""
        return new_tools(self.platform)

    def validated(self, tools: RunTools, name: str, source: Source = Source.SERVER) -> FileTask:
        """Take a file to the point before its transaction; a failure comes out."""
        task = FileTask(name, source)
        download(tools, task)
        identify(tools, task)
        validate(tools, task)
        return task

    def erase(self, address: str) -> None:
        """Erase a person from the tables, as ``visitas forget`` begins: no run is waited for, the copies stay."""
        platform = self.platform
        platform.erasure_key.create()
        erase_rows(
            platform.engine, platform.erasure_key, address, now=platform.now, today=platform.today(), who="operador"
        )

    def clear(self) -> None:
        """Forget everything: rows, server files, backups and quarantine."""
        with self.platform.engine.begin() as connection:
            for table in _TABLES:
                connection.execute(sa.delete(table))
        folders = self.platform.folders
        for root in (self.folder, folders.backup, folders.cuarentena):
            for path in root.rglob("*"):
                if path.is_file():
                    path.unlink()

    # -- looking ------------------------------------------------------------------------------------------------

    def rows(self, table: sa.Table, *columns: str) -> list[dict[str, Any]]:
        """The rows of a table in the order of its key, all columns or these."""
        wanted = [table.c[name] for name in columns] if columns else list(table.c)
        with self.platform.engine.connect() as connection:
            found = connection.execute(sa.select(*wanted).order_by(*table.primary_key.columns)).mappings()
            return [dict(row) for row in found]

    def tables(self) -> Tables:
        """The four tables as the oracle reads them."""
        return Tables(
            bitacora_control=self.rows(tables.bitacora_control),
            estadisticas=self.rows(tables.estadisticas),
            errores=self.rows(tables.errores),
            visitantes=self.rows(tables.visitantes),
        )

    def states(self) -> list[tuple[str, str, bool]]:
        """``(archivo, estado, vigente)`` of every ledger row, oldest first."""
        return [
            (row["archivo"], row["estado"], row["vigente"])
            for row in self.rows(tables.bitacora_control, "archivo", "estado", "vigente")
        ]

    def on_server(self) -> set[str]:
        """The names in the SFTP folder."""
        return {path.name for path in self.folder.iterdir()}

    def backups(self) -> set[str]:
        """The digests of the files in ``backup/``."""
        return _digests(self.platform.folders.backup)

    def quarantine(self, kind: str) -> set[str]:
        """The digests of the files in ``cuarentena/<kind>/``."""
        return _digests(self.platform.folders.cuarentena / kind)

    def staging(self) -> list[Path]:
        """What runs left under ``staging/``, beside the lock files."""
        folders = self.platform.folders
        return [path for path in folders.staging.rglob("*") if folders.locks not in (path, path.parent)]

    def broken_promises(self, unfinished: Collection[str] = ()) -> list[str]:
        """What the contract forbids after any pass, whatever was delivered; one line each (contract §2, §3).

        Args:
            unfinished: names that a pass has still to come to, or has failed: there a version may have no final
                state, its file may be on the server, and its backup may be to come.
        """
        found = [f"left in staging: {path}" for path in self.staging()]
        attempts = Counter(
            attempt["archivo_id"]
            for attempt in self.rows(tables.bitacora_intentos, "archivo_id", "resultado")
            if attempt["resultado"] != Resultado.LIBERADO
        )
        current: dict[str, int] = {}
        backups, names = self.backups(), self.on_server()
        # A copy from which an erased person was taken stands for the bytes that were delivered.
        backups |= {row["sha256"] for row in self.rows(tables.copias_olvidadas) if row["sha256_copia"] in backups}
        for row in self.rows(tables.bitacora_control):
            current[row["archivo"]] = current.get(row["archivo"], 0) + int(row["vigente"])
            if row["intentos"] != attempts[row["id"]]:
                found.append(f"{row['archivo']}: {row['intentos']} attempts, and {attempts[row['id']]} written down")
            is_open = row["archivo"] in unfinished
            if row["estado"] not in FINISHED:
                if not is_open:
                    found.append(f"{row['archivo']}: {row['estado']} ({row['mensaje']})")
                continue
            if row["sha256"] not in backups and not is_open:
                found.append(f"{row['archivo']}: {row['sha256']} is in no backup")
            if row["archivo"] in names and not is_open:
                found.append(f"{row['archivo']}: {row['estado']}, and still on the server")
            if row["fin"] is None:
                found.append(f"{row['archivo']}: {row['estado']} without an end")
            total, valid, invalid = (row[f"registros_{what}"] for what in ("total", "validos", "invalidos"))
            if row["estado"] != "FALLO_LAYOUT" and total != valid + invalid:
                found.append(f"{row['archivo']}: {total} is not {valid} + {invalid}")
        found += [f"{name}: {count} versions are vigente" for name, count in current.items() if count != 1]
        return found


def process(platform: Platform, names: Iterable[str], source: Source) -> list[FileTask]:
    """Take files as a pass does, each at most twice; return what became of each in the end."""
    tasks = {task.archivo: task for task in run(platform, names, source)}
    for _ in range(RUN_RETRIES):
        again = [name for name, task in tasks.items() if task.failure and task.estado is Estado.EN_PROCESO]
        if again:
            tasks.update((task.archivo, task) for task in run(platform, again, source))
    return list(tasks.values())


def _fetch_all(tools: RunTools, tasks: list[FileTask]) -> None:
    for group in deliveries(tasks):
        fetch_together(tools, group)


def _identify_all(tools: RunTools, tasks: list[FileTask]) -> None:
    for group in deliveries(tasks):
        identify_together(tools, [task for task in group if task.goes_on])


def _make_all_ready(tools: RunTools, tasks: list[FileTask]) -> None:
    for group in in_groups(tasks):
        make_ready(tools, group)


Step = Callable[[RunTools, FileTask], None]

_TOGETHER: Final[dict[Step, Callable[[RunTools, list[FileTask]], None]]] = {
    download: _fetch_all,
    identify: _identify_all,
    validate: validate_together,
    load: _make_all_ready,
}


def run(platform: Platform, names: Iterable[str], source: Source) -> list[FileTask]:
    """Take files through one run; return what became of each."""
    tasks = [FileTask(name, source) for name in names]
    with new_tools(platform) as tools:
        begin_together(tools, tasks)
        for step in (download, identify, validate, load):
            all_at_once(tools, tasks, step)
            for task in tasks:
                apply(tools, task, step)
        for task in tasks:
            finish(tools, task)
    return tasks


def all_at_once(tools: RunTools, tasks: list[FileTask], step: Step) -> None:
    """Do what the op of a step does for many files at once, before it takes each through the step."""
    if (together := _TOGETHER.get(step)) is not None:
        together(tools, tasks)


def new_tools(platform: Platform) -> RunTools:
    """Return the tools of a new run; a context manager."""
    return RunTools(platform, str(uuid4()), _log)


def apply(tools: RunTools, task: FileTask, step: Step) -> None:
    """Take a file through one step, as an op does."""
    if task.goes_on and (step in (download, identify) or task.needs_load):
        with contained(tools, task.archivo, partial(fail, tools, task)):
            step(tools, task)


def finish(tools: RunTools, task: FileTask) -> None:
    """Take a file through the last step, as its op does."""
    with contained(tools, task.archivo, partial(not_archived, tools, task)):
        archive(tools, task)


def sha256(data: bytes) -> str:
    """The digest of some bytes, as the ledger writes it."""
    return hashlib.sha256(data).hexdigest()


def _digests(folder: Path) -> set[str]:
    return {sha256(path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
