"""How a run begins with its files: what can be asked for all of them at once is asked once, not file by file.

Asking together belongs here. What an answer means for a file is ``download.py``'s, which asks by itself for every file
that is not begun here: one that another run has, that is gone or unfinished, whose name the ledger knows already.
"""

from __future__ import annotations

from collections.abc import Sequence

from visitas_dagster.domain.privacy import mask_addresses
from visitas_dagster.steps.arrivals import finished_among
from visitas_dagster.steps.task import FileTask, Source
from visitas_dagster.steps.tools import RunTools


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


def _begin(tools: RunTools, tasks: dict[str, FileTask]) -> None:
    taken = tools.reservations.take_all(list(tasks))
    there = tools.platform.sftp.stat_all([archivo for archivo in tasks if archivo in taken])
    ready = finished_among(tools.platform, list(there.values()))
    if ready:
        for archivo, entry in tools.ledger.claim_new(ready, tools.run_id).items():
            tasks[archivo].listed, tasks[archivo].entry = there[archivo], entry
