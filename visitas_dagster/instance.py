"""Dagster's instance: its home folder, its ``dagster.yaml``, the limits of its pools, and the code location.

Opening and preparing the instance belongs here; what runs on it does not.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.instance import InstanceRef
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from visitas_dagster.domain.causes import cause
from visitas_dagster.domain.failures import SettingsError, SystemFailure, VisitasError
from visitas_dagster.event_log import BATCH, BATCH_SIZE
from visitas_dagster.settings import Settings

POOL_SFTP = "sftp"
POOL_DATABASE = "base_de_datos"

_STORAGE = """
# Runs, events and sensor ticks in MySQL or MariaDB: 390 to 950 small files a minute, against 140 to 680 in SQLite.
storage:
  mysql:
    mysql_url:
      env: VISITAS_DAGSTER_DB_URL
"""

_EVENT_LOG = """
# Dagster's own files, over connections that stay open: several times as many small files a minute.
event_log_storage:
  module: visitas_dagster.event_log
  class: HeldEventLog
  config:
    home: {home}
"""

_HOME = re.compile(r'^    home: ".*"$', re.MULTILINE)

_USES_URL = re.compile(r"^\s*env:\s*['\"]?VISITAS_DAGSTER_DB_URL['\"]?\s*$", re.MULTILINE)

_MAX_WORDS = 200

_NO_CAPTURE = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}


def prepare_home(settings: Settings) -> Path:
    """Create Dagster's home with its ``dagster.yaml`` where it is missing; return the folder.

    A file that nobody has touched follows ``VISITAS_DAGSTER_DB_URL`` where that is set later; an operator's own is
    left alone.

    Raises:
        SettingsError: the folder cannot be written, or an operator's file and the setting contradict each other.
    """
    home = settings.instance_dir
    path = home / "dagster.yaml"
    with _folder_errors(settings):
        home.mkdir(parents=True, exist_ok=True)
        plain = (files("visitas_dagster") / "dagster.yaml").read_text(encoding="utf-8")
        present = path.read_text(encoding="utf-8", errors="replace") if path.exists() else None
        if present is None or _is_untouched(present, plain):
            wanted = plain + (_STORAGE if settings.dagster_db_url else _event_log(home))
            if wanted != present:
                # Not each time: the daemon and the web server may be reading it.
                path.write_text(wanted, encoding="utf-8")
        else:
            _require_agreement(path, present, settings)
    return home


@contextmanager
def _folder_errors(settings: Settings) -> Iterator[None]:
    """Turn the disk's errors in Dagster's home into the one line that names its setting."""
    try:
        yield
    except OSError as error:
        raise SettingsError(
            "DAGSTER_HOME" if settings.dagster_home else "VISITAS_HOME",
            f"no se puede escribir en {settings.instance_dir} ({cause(error)})",
            "cree la carpeta, o dé permiso de escritura sobre ella al usuario que corre visitas",
        ) from error


def _event_log(home: Path) -> str:
    # JSON's strings are YAML's. Not by DAGSTER_HOME: an instance may be opened by its folder alone.
    return _EVENT_LOG.replace("{home}", json.dumps(str(home), ensure_ascii=False))


def _is_untouched(present: str, plain: str) -> bool:
    """Whether the file is as an earlier version wrote it, or this one, perhaps for a folder that was moved since."""
    added = present.removeprefix(plain)
    return present.startswith(plain) and (not added or _HOME.sub("    home: {home}", added) == _EVENT_LOG)


def _require_agreement(path: Path, text: str, settings: Settings) -> None:
    """Refuse a setting that the file does not use, and a file whose setting is missing: either would go unnoticed."""
    used = _USES_URL.search(text) is not None
    if settings.dagster_db_url and not used:
        raise SettingsError(
            "VISITAS_DAGSTER_DB_URL",
            f"{path} no la usa",
            "agregue al archivo la sección storage de docs/settings.md, o quite el ajuste",
        )
    if used and not settings.dagster_db_url:
        raise SettingsError(
            "VISITAS_DAGSTER_DB_URL",
            f"falta, y {path} la pide",
            "escriba la URL de la base de datos de Dagster, o quite del archivo la sección storage",
        )


@contextmanager
def open_instance(settings: Settings, *, captures_output: bool = True) -> Iterator[dg.DagsterInstance]:
    """Open the instance that the web UI, the daemon and ``dispatch`` share, with its pools capped.

    Args:
        settings: the platform's.
        captures_output: whether what the steps of runs in this process print goes to the web UI. A command that
            draws on the terminal wants it not: its bars would land there, and the processes that mirror the output
            die of the terminal's Ctrl-C with a traceback each.
    """
    # Runs started from here read the same instance; Dagster finds it by this variable only.
    wanted = {"DAGSTER_HOME": str(settings.instance_dir)}
    if settings.dagster_db_url is None:
        # The event log would set it, and leave it behind.
        wanted[BATCH_SIZE] = os.environ.get(BATCH_SIZE, BATCH)
    else:
        wanted["VISITAS_DAGSTER_DB_URL"] = settings.dagster_db_url.get_secret_value()
    with _environment(wanted):
        with _one_at_a_time(settings):
            instance = _opened(prepare_home(settings), settings, {} if captures_output else _NO_CAPTURE)
        with instance, _storage_errors(settings):
            yield instance


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process within the block: the next instance may be another's."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _opened(home: Path, settings: Settings, overrides: Mapping[str, Any]) -> dg.DagsterInstance:
    """Open it; raise :class:`SettingsError` or :class:`SystemFailure` in place of Dagster's pages of explanation."""
    try:
        with _storage_errors(settings):
            instance = dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides=overrides))
            cap_pools(instance, settings)
    except SystemFailure:
        raise
    except Exception as error:
        raise SettingsError(
            "DAGSTER_HOME",
            f"Dagster no entiende {home / 'dagster.yaml'} ({_in_short(error)})",
            "corrija el archivo, o bórrelo y ejecute: visitas init",
        ) from error
    return instance


@contextmanager
def _one_at_a_time(settings: Settings) -> Iterator[None]:
    """Keep other commands out while Dagster's files are made: two that made them at once left a schema that no
    version of Dagster reads any more ("more than one head present"). The lock dies with its process.
    """
    home = settings.instance_dir
    with _folder_errors(settings):
        home.mkdir(parents=True, exist_ok=True)
        file = (home / ".apertura").open("a")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _storage_errors(settings: Settings) -> Iterator[None]:
    """Turn an error of Dagster's storage into :class:`SystemFailure`; what is told apart already passes through."""
    try:
        yield
    except Exception as error:
        found = storage_error(error)
        if found is None:
            raise
        setting = "VISITAS_DAGSTER_DB_URL" if settings.dagster_db_url else "DAGSTER_HOME"
        raise SystemFailure(
            f"{setting}: la base de datos de Dagster no se puede usar ({found})",
            "revise que esté encendida, y usuario, clave y permisos" if settings.dagster_db_url else "revise el disco",
        ) from error


def storage_error(error: Exception) -> str | None:
    """Return in a few words the error of Dagster's storage that one comes from; None where it comes from none."""
    found = underlying(error)
    return _in_short(found) if isinstance(found, SQLAlchemyError) else None


def underlying(error: Exception) -> SQLAlchemyError | VisitasError | None:
    """Return the error that Dagster wraps in its own: one of its storage, or one of ours, whatever made that.

    Our database fails as a :class:`VisitasError` made by an error of SQLAlchemy, which is another server's.
    """
    under: BaseException | None = error
    while under is not None and not isinstance(under, SQLAlchemyError | VisitasError):
        under = under.__cause__
    return under


def _in_short(error: Exception) -> str:
    original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    words = " ".join(str(original).split()) or type(error).__name__
    return words if len(words) <= _MAX_WORDS else f"{words[:_MAX_WORDS]}…"


def heartbeats(instance: dg.DagsterInstance) -> dict[str, datetime]:
    """Return when each part of Dagster's daemon that this instance needs last gave a sign of life, naive UTC."""
    found = instance.get_daemon_heartbeats()
    return {
        part: datetime.fromtimestamp(found[part].timestamp, UTC).replace(tzinfo=None)
        for part in instance.get_required_daemon_types()
        if part in found
    }


def cap_pools(instance: dg.DagsterInstance, settings: Settings) -> None:
    """Set how many ops may hold an SFTP or a database connection at once, over all runs."""
    storage = instance.event_log_storage
    limits = {info.name: info.limit for info in storage.get_pool_limits()}
    for pool, limit in ((POOL_SFTP, settings.conexiones_sftp), (POOL_DATABASE, settings.conexiones_db)):
        if limits.get(pool) != limit:
            storage.set_concurrency_slots(pool, limit)
