"""The loose copies in the backup: which there are, and on which days, without the means to seal them.

Finding them belongs here, apart from the zips: ``visitas status`` counts the days. Sealing them does not.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

from visitas_dagster.closing.contents import copy_name
from visitas_dagster.closing.days import stamp, stamped
from visitas_dagster.resources.folders import Folders


def loose_copies(folders: Folders, day: date) -> list[Path]:
    """Return a day's loose backups by name; half-written ones, and what no run of ours put there, are none."""
    folder = folders.backup / stamp(day)
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.endswith(".parcial") and copy_name(path.name) and path.is_file() and not path.is_symlink()
    )


def loose_days(folders: Folders) -> set[date]:
    """Return the days with loose backups."""
    names = [path.name for path in folders.backup.iterdir()] if folders.backup.is_dir() else []
    return {day for name in names if (day := stamped(name)) is not None and loose_copies(folders, day)}
