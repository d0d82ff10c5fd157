"""First steps: a name is reserved, its bytes come to ``staging/`` whole and durable, and the ledger knows them.

Getting the bytes belongs here; reading them as a report does not.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from visitas_dagster.domain.arrivals import Listed
from visitas_dagster.domain.content import ContentFacts, ContentScan, scan_file
from visitas_dagster.domain.failures import FileGone, PermanentFailure, SystemFailure, TransientFailure
from visitas_dagster.domain.states import CURRENT, FAILED, Estado
from visitas_dagster.loading.erasure import rewritten_copies
from visitas_dagster.loading.ledger import Entry
from visitas_dagster.resources.copies import LocalCopy, copies, find_copy
from visitas_dagster.resources.folders import disk_errors, sync_folder
from visitas_dagster.steps import story
from visitas_dagster.steps.arrivals import is_unfinished
from visitas_dagster.steps.task import AT_OTHERS, FileTask, Source
from visitas_dagster.steps.tools import RunTools

_FRESH_S = 2
"""A file whose time is this close to ours may be followed by another with the same time: SFTP v3 has whole seconds."""


def download(tools: RunTools, task: FileTask) -> None:
    """Reserve the name and fetch the bytes.

    What was begun with the rest of the run (``together.py``) has its ``entry`` already, and its name reserved; what
    was fetched with others, its bytes. Sets ``entry``, ``staged`` and ``facts``, or ``skipped`` where this run has
    nothing to do.

    Raises:
        SystemFailure: the server, the database or the disk failed.
    """
    if task.facts is not None:
        return
    copy = None
    if task.entry is None:
        copy = _begin(tools, task)
        if task.skipped is not None:
            return
    listed = task.listed
    tools.platform.observer.step(task.archivo, "descargar", listed.bytes if listed else None)
    task.staged = tools.platform.folders.staged(tools.run_id, task.archivo)
    if copy is None:
        # The server was asked just now; a try that comes after a wait asks again.
        looks = iter([listed])
        task.facts = tools.retried("descargar", task.entry, lambda: _fetch(tools, task, next(looks, None)))
    else:
        task.facts = _take_copy(*copy, task.staged)


def identify(tools: RunTools, task: FileTask) -> None:
    """Say in the ledger what the bytes are, unless that was said with those of others; sets ``entry``.

    Raises:
        SystemFailure: the database or the disk failed.
    """
    if not task.identified:
        entry, facts, staged = task.entry, task.facts, task.staged
        if entry is None or facts is None or staged is None:
            raise ValueError("the task was not downloaded")
        with disk_errors("guardar la descarga"):
            sync_folder(staged.parent)
        task.entry = tools.retried("identificar", entry, lambda: tools.ledger.identify(entry, facts))
        task.identified = True
    story.tell(story.downloaded(task))


def _begin(tools: RunTools, task: FileTask) -> tuple[LocalCopy, str] | None:
    """Reserve the name, find its bytes and open the attempt; return the copy to take where the server has none."""
    if not tools.retried("reservar", None, lambda: tools.reservations.take(task.archivo)):
        task.skipped = AT_OTHERS
        return None
    with _counted(tools, task):
        task.listed = None if task.version else _on_server(tools, task)
        waits = task.source is Source.SERVER and task.listed is not None and _may_go_on(tools, task.listed)
    if waits:
        task.skipped = "no termina en un fin de línea y es reciente: quizá sigue llegando; se toma más tarde"
        tools.reservations.free(task.archivo)
        return None
    if task.listed is None and task.source is Source.SERVER and not _is_left_open(tools, task):
        task.skipped = "ya no está en el servidor: otra corrida lo terminó"
        tools.reservations.free(task.archivo)
        return None
    with _counted(tools, task):
        copy = None if task.listed else _find_copy(tools, task)
    if copy is None and task.listed is None:
        task.entry = tools.retried("abrir", None, lambda: tools.ledger.claim_open(task.archivo, tools.run_id))
        raise _nowhere(task)
    listed, digest = task.listed, copy[1] if copy else None
    task.entry = tools.retried("abrir", None, lambda: tools.ledger.claim(task.archivo, tools.run_id, listed, digest))
    return copy


def _nowhere(task: FileTask) -> PermanentFailure:
    if task.version:
        return PermanentFailure(
            f"esa versión de {task.archivo} no está en la cuarentena ni en los respaldos de esta máquina",
            "pida que la entreguen otra vez con el mismo nombre",
        )
    return PermanentFailure(
        f"{task.archivo} no está en el servidor, ni en la cuarentena, ni en los respaldos",
        "pida que lo entreguen otra vez",
    )


def _on_server(tools: RunTools, task: FileTask) -> Listed | None:
    """What the server has under this name. A replay does without a server that is away, where a copy is at hand."""
    if task.source is not Source.REPLAY or not _has_copy(tools, task):
        return tools.retried("consultar", None, lambda: _look(tools, task.archivo))
    try:
        return _look(tools, task.archivo)
    except TransientFailure as failure:
        tools.log.warning(f"{task.archivo}: {failure}; se repite desde la copia de esta máquina")
        return None


@contextmanager
def _counted(tools: RunTools, task: FileTask) -> Iterator[None]:
    """Make what fails before the attempt is open an attempt like any other, so that the ladder counts it."""
    try:
        yield
    except SystemFailure:
        task.entry = _claim_unseen(tools, task)
        raise


def _claim_unseen(tools: RunTools, task: FileTask) -> Entry | None:
    if task.source is Source.SERVER:
        return tools.retried("abrir", None, lambda: tools.ledger.claim(task.archivo, tools.run_id, None))
    return tools.retried("abrir", None, lambda: tools.ledger.claim_open(task.archivo, tools.run_id))


def _has_copy(tools: RunTools, task: FileTask) -> bool:
    folders = tools.platform.folders
    return any(True for digest in _wanted_digests(tools, task) for _ in copies(folders, task.archivo, digest))


def _may_go_on(tools: RunTools, listed: Listed) -> bool:
    return tools.retried("mirar el final", None, lambda: is_unfinished(tools.platform, listed))


def _look(tools: RunTools, archivo: str) -> Listed | None:
    try:
        return tools.platform.sftp.stat(archivo)
    except FileGone:
        return None


def _is_left_open(tools: RunTools, task: FileTask) -> bool:
    """Whether an earlier attempt left the file ``EN_PROCESO``: since the name is ours, nobody else will end it."""
    return any(Estado(row["estado"]) is Estado.EN_PROCESO for row in tools.history.versions(task.archivo))


def _fetch(tools: RunTools, task: FileTask, seen: Listed | None) -> ContentFacts:
    """Download to a temporary name; keep it only if the server's file stood still since it was last seen."""
    sftp = tools.platform.sftp
    now = tools.platform.clock().timestamp()
    try:
        before = seen or sftp.stat(task.archivo)
        facts = _receive(tools, before, _staged(task))
        after = sftp.stat(task.archivo)
    except FileGone:
        raise TransientFailure(f"{task.archivo} desapareció del servidor durante la descarga") from None
    if after != before:
        raise TransientFailure(f"{task.archivo} cambió en el servidor durante la descarga")
    if facts.size != before.bytes:
        raise TransientFailure(
            f"{task.archivo} llegó incompleto: {facts.size} de {before.bytes} bytes; la descarga se repite entera"
        )
    task.listed, task.fresh = before, is_fresh(before, now)
    return facts


def is_fresh(listed: Listed, now: float) -> bool:
    """Whether what is delivered after ``now`` may have the same time as this file."""
    return now - listed.mtime < _FRESH_S


def _receive(tools: RunTools, listed: Listed, staged: Path) -> ContentFacts:
    def bring(sink: Sink) -> None:
        tools.platform.sftp.download(listed.archivo, listed.bytes, sink)

    return keep_download(staged, bring, lambda size: tools.platform.observer.advance(listed.archivo, size))


Sink = Callable[[bytes], None]


def keep_download(staged: Path, bring: Callable[[Sink], object], advance: Callable[[int], object]) -> ContentFacts:
    """Put a file's bytes under its name in ``staging/`` once all of them are there; return what they are.

    Args:
        staged: its place.
        bring: hands the bytes, piece by piece and in their order, to what it is given.
        advance: is told the size of each piece.
    """
    scan = ContentScan()
    partial = staged.with_name(staged.name + ".parcial")
    with disk_errors("guardar la descarga"):
        staged.parent.mkdir(parents=True, exist_ok=True)
    # Also what closing it finds: the bytes that a full disk had not taken are tried once more then.
    with disk_errors("guardar la descarga"), partial.open("wb") as writing:

        def keep(piece: bytes) -> None:
            # Here, not around the download: there an error of the disk would pass for one of the connection.
            with disk_errors("guardar la descarga"):
                writing.write(piece)
            scan.feed(piece)
            advance(len(piece))

        bring(keep)
        writing.flush()
        os.fsync(writing.fileno())
    with disk_errors("guardar la descarga"):
        partial.replace(staged)
    return scan.finish()


def _staged(task: FileTask) -> Path:
    if task.staged is None:
        raise ValueError("the task has no place in staging yet")
    return task.staged


def _find_copy(tools: RunTools, task: FileTask) -> tuple[LocalCopy, str] | None:
    wanted = _wanted_digests(tools, task)
    return find_copy(tools.platform.folders, task.archivo, wanted, rewritten_copies(tools.platform.engine, wanted))


def _take_copy(copy: LocalCopy, sha256: str, staged: Path) -> ContentFacts:
    """Bring a copy to ``staging/``; one that was rewritten for erased persons still is the content ``sha256``."""
    # Under its own name only once it is whole, as after a download: what a dead run left whole is backed up.
    partial = staged.with_name(staged.name + ".parcial")
    with disk_errors("leer la copia"):
        with copy.open() as reading, partial.open("wb") as writing:
            shutil.copyfileobj(reading, writing, 1 << 20)
        partial.replace(staged)
    return replace(scan_file(staged), sha256=sha256)


def _wanted_digests(tools: RunTools, task: FileTask) -> list[str]:
    if task.version:
        return [task.version]
    return [row["sha256"] for row in _wanted_versions(tools, task)]


def _wanted_versions(tools: RunTools, task: FileTask) -> list[dict[str, Any]]:
    versions = [dict(row) for row in tools.history.versions(task.archivo) if row["sha256"]]
    newest_first = sorted(versions, key=lambda row: (row["inicio"], row["id"]), reverse=True)
    current = [row for row in newest_first if row["vigente"] and Estado(row["estado"]) in CURRENT]
    if task.source is not Source.REPLAY:
        unfinished = FAILED | {Estado.EN_PROCESO}
        return [row for row in newest_first if Estado(row["estado"]) in unfinished] + current
    return current or newest_first
