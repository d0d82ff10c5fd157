"""How a run begins with its files: what can be asked or said of all of them at once is not, file by file.

Asking and saying together belongs here. What an answer means for a file is ``download.py``'s, which asks by itself for
every file that is not begun here: one that another run has, that is gone or unfinished, whose name the ledger knows
already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from visitas_dagster.domain.privacy import mask_addresses
from visitas_dagster.resources.folders import sync_folder
from visitas_dagster.steps.arrivals import finished_among
from visitas_dagster.steps.download import is_fresh, keep_download
from visitas_dagster.steps.groups import Limit, grouped
from visitas_dagster.steps.task import FileTask, Source
from visitas_dagster.steps.tools import RunTools

GROUP_BYTES = 1 << 22
"""Bytes of files that are downloaded before the ledger is told of any of them, at the most."""

SMALL_BYTES = 1 << 18
"""Bytes of a file that is asked for together with others, at the most: below, it is the answers that are waited for."""


def deliveries(tasks: Iterable[FileTask]) -> Iterator[list[FileTask]]:
    """Yield the files in groups that are to be downloaded before :func:`identify_together`."""

    def size(task: FileTask) -> int:
        # What was not begun together is of unknown size.
        return task.listed.bytes if task.entry and task.listed else GROUP_BYTES + 1

    return grouped(tasks, Limit(size, GROUP_BYTES))


def begin_together(tools: RunTools, tasks: Sequence[FileTask]) -> None:
    """Reserve the names of a run, look at their files, and open the attempts at those that are plainly new.

    Sets ``listed`` and ``entry`` of these. A fault is nobody's failure yet: it leaves the rest to be begun one by one,
    where each file has its retries and its place on the ladder.
    """
    wanted = [task for task in tasks if task.source is Source.SERVER and task.version is None]
    if len(wanted) < 2:
        # Nothing is saved, and one more fault would be waited for.
        return
    try:
        _begin(tools, {task.archivo: task for task in wanted})
    except Exception as error:
        # Also a defect: it must not cost all files of the run what it would cost one.
        tools.log.debug(mask_addresses(f"los archivos se empiezan uno por uno: {type(error).__name__}: {error}"))


def fetch_together(tools: RunTools, tasks: Sequence[FileTask]) -> None:
    """Download the small files of a group that were begun together, all asked for at once.

    Sets ``staged``, ``facts`` and ``fresh`` of those that stood still meanwhile and came whole. A fault is nobody's
    failure yet: ``download`` fetches what is missing, with its retries and its message.
    """
    small = {
        task.archivo: (task, task.listed)
        for task in tasks
        if task.entry is not None and task.listed is not None and task.listed.bytes <= SMALL_BYTES
    }
    if len(small) < 2:
        return
    sftp, now = tools.platform.sftp, tools.platform.clock().timestamp()
    try:
        brought = sftp.read_all([listed for _, listed in small.values()])
        stood = sftp.stat_all(list(brought))
        for archivo, data in brought.items():
            task, listed = small[archivo]
            if stood.get(archivo) == listed and len(data) == listed.bytes:
                _keep(tools, task, data)
                task.fresh = is_fresh(listed, now)
    except Exception as error:
        tools.log.debug(mask_addresses(f"los archivos se descargan uno por uno: {type(error).__name__}: {error}"))


def _keep(tools: RunTools, task: FileTask, data: bytes) -> None:
    observer = tools.platform.observer
    observer.step(task.archivo, "descargar", len(data))
    staged = tools.platform.folders.staged(tools.run_id, task.archivo)
    facts = keep_download(staged, lambda sink: sink(data), partial(observer.advance, task.archivo))
    task.staged, task.facts = staged, facts


def identify_together(tools: RunTools, tasks: Sequence[FileTask]) -> None:
    """Say in the ledger what the bytes of downloaded files are, where all of them came for the first time.

    Sets ``entry`` and ``identified``. A fault is nobody's failure yet: ``identify`` then speaks for each by itself.
    """
    found = [(task.entry, task.facts) for task in tasks if task.entry is not None and task.facts is not None]
    if len(found) < max(2, len(tasks)) or any(entry.sha256 for entry, _ in found):
        return
    try:
        sync_folder(tools.platform.folders.staging / tools.run_id)
        entries = tools.ledger.identify_new(found)
    except Exception as error:
        tools.log.debug(mask_addresses(f"los archivos se identifican uno por uno: {type(error).__name__}: {error}"))
        return
    for task, entry in zip(tasks, entries or (), strict=False):
        task.entry, task.identified = entry, True


def _begin(tools: RunTools, tasks: dict[str, FileTask]) -> None:
    taken = tools.reservations.take_all(list(tasks))
    there = tools.platform.sftp.stat_all([archivo for archivo in tasks if archivo in taken])
    ready = finished_among(tools.platform, list(there.values()))
    if ready:
        for archivo, entry in tools.ledger.claim_new(ready, tools.run_id).items():
            tasks[archivo].listed, tasks[archivo].entry = there[archivo], entry
