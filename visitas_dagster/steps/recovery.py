"""What dead runs left behind: their folders under ``staging/``, and the whole files in them.

Finding and clearing it belongs here; taking their files over is the claim's work, and telling Dagster is not.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from visitas_dagster.domain.arrivals import WORKING_SUFFIXES
from visitas_dagster.domain.content import scan_file
from visitas_dagster.loading.ledger import Ledger
from visitas_dagster.resources.folders import dead_run_folders, disk_errors, keep_copy
from visitas_dagster.resources.platform import Platform

log = logging.getLogger("visitas.recuperacion")


def clear_dead_runs(platform: Platform, bury: Callable[[str], None]) -> list[str]:
    """Empty ``staging/`` of what dead runs left, and close their attempts; return their run ids.

    A file that had arrived whole goes to the backup first: its sender may have put another under its name since.

    Args:
        platform: the folders.
        bury: told of each run id before its folder goes; dying in between, the next pass tells it again.

    Raises:
        SystemFailure: the disk or the database failed; what is left is cleared by the next call.
    """
    dead = []
    ledger = Ledger(platform.engine, platform.clock, platform.settings.zone)
    with disk_errors("limpiar staging"):
        for folder in dead_run_folders(platform.folders):
            for path in _whole_files(folder):
                digest = scan_file(path).sha256
                keep_copy(path, platform.folders.backed_up(path.name, digest, platform.today()), digest)
            for path in platform.folders.partial_copies(folder.name):
                path.unlink(missing_ok=True)
            bury(folder.name)
            ledger.close_interrupted(folder.name)
            shutil.rmtree(folder)
            dead.append(folder.name)
            log.warning(f"la corrida {folder.name} había muerto; su carpeta en staging quedó limpia")
    return dead


def _whole_files(folder: Path) -> list[Path]:
    """The downloads that were renamed into place; partial ones and intermediate files have other endings."""
    return [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.endswith(WORKING_SUFFIXES)]
