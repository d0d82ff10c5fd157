"""Last step: a finished file's bytes go to the backup, a failed one's to quarantine, and the server copy goes.

The order of safety (contract §2) belongs here: the backup stands before anything is removed.
"""

from __future__ import annotations

from pathlib import Path

from visitas_dagster.domain.arrivals import UNREMOVED
from visitas_dagster.domain.content import ContentScan, scan_file
from visitas_dagster.domain.failures import FileGone, PermanentFailure, VisitasError
from visitas_dagster.domain.states import FAILED, FINISHED, Estado
from visitas_dagster.resources.copies import copies
from visitas_dagster.resources.folders import LAYOUT, SISTEMA, disk_errors, keep_copy
from visitas_dagster.steps import story
from visitas_dagster.steps.task import FileTask
from visitas_dagster.steps.tools import RunTools


def archive(tools: RunTools, task: FileTask) -> None:
    """Put the file's bytes where its state says, and take it off the server if it is finished.

    A fault here does not undo a load. A passing one leaves the file on the server, and the next pass finishes
    the job; a lasting one is written on the ledger row and in ``aviso``, for a person.

    Raises:
        SystemFailure: the fault.
    """
    if task.skipped is not None:
        return
    try:
        _archive(tools, task)
    except PermanentFailure as failure:
        task.aviso = f"{UNREMOVED}: {failure}"
        if task.entry is not None and task.estado in FINISHED:
            message = f"{task.aviso} ({task.failure})" if task.failure else task.aviso
            tools.ledger.note(task.entry, message)
        raise


def _archive(tools: RunTools, task: FileTask) -> None:
    if task.staged is None or task.facts is None or not task.staged.is_file():
        return
    if task.failure is not None and task.estado not in FAILED:
        # To be run again, or a replay that failed over a version that stands: nothing moves.
        return
    digest = task.facts.sha256
    folders = tools.platform.folders
    if task.estado is Estado.FALLO_SISTEMA:
        _keep(tools, task, folders.quarantined(SISTEMA, task.archivo, digest), digest)
        return
    tools.platform.observer.step(task.archivo, "archivar")
    _back_up(tools, task, digest)
    if task.estado is Estado.FALLO_LAYOUT:
        _keep(tools, task, folders.quarantined(LAYOUT, task.archivo, digest), digest)
    else:
        _leave_quarantine(folders.quarantine_copies(task.archivo, digest))
    tools.retried("quitar del servidor", None, lambda: _remove(tools, task))
    if task.is_known and task.entry is not None:
        tools.ledger.close_known(task.entry)


def _back_up(tools: RunTools, task: FileTask, digest: str) -> None:
    """Keep the bytes in the backup; where they are there already, under whatever day, one copy is enough."""
    folders = tools.platform.folders
    with disk_errors("leer los respaldos"):
        if any(scan_file(copy).sha256 == digest for copy in folders.loose_backups(task.archivo, digest)):
            return
    if task.listed is None and any(copy.member for copy in copies(folders, task.archivo, digest)):
        # Nothing was delivered: the bytes came from a copy on this machine, and a sealed backup has them.
        return
    _keep(tools, task, folders.backed_up(task.archivo, digest, tools.platform.today()), digest, gives=True)


def _keep(tools: RunTools, task: FileTask, place: Path, digest: str, *, gives: bool = False) -> None:
    if task.staged is not None:
        keep_copy(task.staged, place, digest, gives=gives)
        story.tell(story.kept(task, place, tools.platform.folders.home))


def _leave_quarantine(paths: list[Path]) -> None:
    with disk_errors("sacar de la cuarentena"):
        for path in paths:
            path.unlink(missing_ok=True)


def _remove(tools: RunTools, task: FileTask) -> None:
    """Remove the very file that was downloaded: another delivery under its name is left for the next pass."""
    if task.listed is None:
        return
    try:
        if _is_what_was_taken(tools, task):
            tools.platform.sftp.remove(task.archivo)
            story.tell(f"{task.archivo}: quitado del servidor")
        else:
            tools.log.info(f"{task.archivo}: llegó otra entrega con este nombre; se toma en la siguiente pasada")
    except FileGone:
        tools.log.info(f"{task.archivo}: ya no estaba en el servidor")


def _is_what_was_taken(tools: RunTools, task: FileTask) -> bool:
    listed = tools.platform.sftp.stat(task.archivo)
    if listed != task.listed:
        return False
    if not task.fresh or task.facts is None:
        return True
    # Another delivery of the same size within the same second looks the same: its bytes tell.
    scan = ContentScan()
    tools.platform.sftp.download(task.archivo, listed.bytes, scan.feed)
    return scan.finish().sha256 == task.facts.sha256


def record_failure(tools: RunTools, task: FileTask, failure: VisitasError) -> None:
    """Write a file's failure into the ledger, and take from it the state that follows; the bytes go in archive."""
    if task.entry is not None:
        task.ended = tools.ledger.fail(task.entry, failure)
