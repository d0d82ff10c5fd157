"""What is kept no longer: old logs and zips, what lies about in ``staging/``, partitions nobody needs.

Finding and removing it belongs here; how long each thing is kept is a setting, and counting days is ``days.py``.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable
from datetime import UTC, date
from pathlib import Path

from visitas_dagster.closing.contents import copy_name
from visitas_dagster.closing.days import ONE_DAY, expired, is_kept, stamp, stamped
from visitas_dagster.closing.sealing import member_names, zip_path
from visitas_dagster.domain.states import FINISHED, Estado
from visitas_dagster.loading.history import History
from visitas_dagster.resources.folders import Folders, disk_errors, sync_folder
from visitas_dagster.resources.platform import Platform


def clear_loose_ends(folders: Folders) -> list[str]:
    """Remove files that lie in ``staging/`` itself; return their names. Runs, alive or dead, have folders there."""
    with disk_errors("vaciar staging"):
        found = [path for path in sorted(folders.staging.iterdir()) if path.is_symlink() or not path.is_dir()]
        for path in found:
            path.unlink(missing_ok=True)
    return [path.name for path in found]


def remove_old_logs(folders: Folders, today: date, keep_days: int) -> list[date]:
    """Remove the log folders of days that are kept no longer; return the days. Other names are left alone."""
    with disk_errors("borrar bitácoras viejas"):
        old = expired(_days(folders.logs, "", ""), today, keep_days)
        for day in old:
            shutil.rmtree(folders.logs / stamp(day))
    return old


def remove_old_zips(folders: Folders, today: date, keep_days: int) -> list[date]:
    """Remove the sealed backups of days that are kept no longer; return the days."""
    with disk_errors("borrar respaldos viejos"):
        old = expired(_days(folders.backup, "backup_", ".zip"), today, keep_days)
        for day in old:
            zip_path(folders, day).unlink()
        if old:
            sync_folder(folders.backup)
    return old


def _days(folder: Path, prefix: str, suffix: str) -> list[date]:
    found = []
    for path in folder.iterdir() if folder.is_dir() else []:
        if path.is_symlink() or not (path.name.startswith(prefix) and path.name.endswith(suffix)):
            continue
        day = stamped(path.name.removeprefix(prefix).removesuffix(suffix))
        if day is not None and path.is_dir() == (not suffix):
            found.append(day)
    return found


def clear_backup_folders(folders: Folders, today: date) -> None:
    """Remove what writes that died left in the backup's folders of the days before yesterday, and the empty ones."""
    with disk_errors("ordenar backup"):
        for day in _days(folders.backup, "", ""):
            if day >= today - ONE_DAY:
                continue
            folder = folders.backup / stamp(day)
            for half in folder.glob("*.parcial"):
                half.unlink()
            if not any(folder.iterdir()):
                folder.rmdir()


def names_kept(folders: Folders) -> set[str]:
    """Return the names of the reports of which this machine has a copy: sealed, loose or in quarantine.

    Raises:
        SystemFailure: the disk failed, or a zip cannot be read.
    """
    with disk_errors("buscar copias"):
        copies = {path.name for path in [*folders.backup.glob("????????/*"), *folders.cuarentena.glob("*/*")]}
        for path in folders.zips():
            copies |= member_names(path)
    return {parsed.archivo for name in copies if (parsed := copy_name(name)) is not None}


def forgettable(platform: Platform, partitions: Iterable[str], kept: Collection[str]) -> list[str]:
    """Return the partitions of files that are finished, and every backup of which is past its time.

    Args:
        platform: its ledger is asked.
        partitions: the names that Dagster knows.
        kept: the names of which a copy is kept.

    Raises:
        SystemFailure: the database failed.
    """
    settings, today = platform.settings, platform.today()
    rows = History(platform.engine, settings.zone).newest_rows(name for name in partitions if name not in kept)
    return [
        archivo
        for archivo, row in rows.items()
        if Estado(row["estado"]) in FINISHED
        and row["fin"] is not None
        and not is_kept(
            row["fin"].replace(tzinfo=UTC).astimezone(settings.zone).date(), today, settings.retencion_backup_dias
        )
    ]
