"""What failed for a system's fault goes to quarantine, from wherever its bytes wait in the backup.

Moving them belongs here; a run that fails puts its own copy there itself (contract §2), and this is for those whose
run died before it could.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from sqlalchemy import RowMapping

from visitas_dagster.domain.content import scan_file
from visitas_dagster.domain.failures import TransientFailure
from visitas_dagster.domain.states import Estado
from visitas_dagster.loading.history import History
from visitas_dagster.loading.reservations import Reservations, open_reservations
from visitas_dagster.resources.folders import SISTEMA, disk_errors, keep_copy
from visitas_dagster.resources.platform import Platform


def quarantine_failures(platform: Platform) -> list[str]:
    """Move the loose backups of files in ``FALLO_SISTEMA`` to ``cuarentena/sistema/``; return their names.

    Only a name's last version: of an earlier one the ledger says that its bytes stay in the backup. A file that a
    run has is left alone, and so is what a zip holds already.

    Raises:
        SystemFailure: the database or the disk failed.
    """
    history = History(platform.engine, platform.settings.zone)
    waiting = [
        row for row in history.system_failures() if platform.folders.loose_backups(row["archivo"], row["sha256"])
    ]
    with closing(open_reservations(platform.engine, platform.folders.locks)) as reservations:
        return [row["archivo"] for row in waiting if _moved(platform, history, reservations, row)]


def _moved(platform: Platform, history: History, reservations: Reservations, row: RowMapping) -> bool:
    archivo, digest = row["archivo"], row["sha256"]
    if not reservations.take(archivo):
        return False
    try:
        # Asked again now that no run has it.
        newest = history.newest_rows([archivo])[archivo]
        if newest["id"] != row["id"] or newest["estado"] != Estado.FALLO_SISTEMA.value:
            return False
        for loose in platform.folders.loose_backups(archivo, digest):
            _move(loose, platform.folders.quarantined(SISTEMA, archivo, digest))
        return True
    finally:
        reservations.free(archivo)


def _move(loose: Path, target: Path) -> None:
    with disk_errors("mover a la cuarentena"):
        digest = scan_file(loose).sha256
        keep_copy(loose, target, digest)
        if scan_file(target).sha256 != digest:
            raise TransientFailure(f"la copia de {loose.name} en la cuarentena no salió igual; la del respaldo sigue")
        loose.unlink()
