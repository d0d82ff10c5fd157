"""Third step: the validated records go into the tables, in one transaction with their outcome.

Calling the transaction, with retries, belongs here, and making many small files ready for it at once; its body is
``loading/transaction.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from visitas_dagster.domain.privacy import mask_addresses
from visitas_dagster.loading.ranges import rows_in
from visitas_dagster.loading.ready import ready_together
from visitas_dagster.loading.transaction import Loaded, load_file
from visitas_dagster.loading.visitors import Period
from visitas_dagster.steps import story
from visitas_dagster.steps.groups import Limit, grouped
from visitas_dagster.steps.task import FileTask, Source
from visitas_dagster.steps.tools import RunTools

READY_RECORDS = 1 << 13
"""Records made ready at once, at the most."""


def in_groups(tasks: Iterable[FileTask]) -> Iterator[list[FileTask]]:
    """Yield the files in groups that may be made ready at once, in their order."""
    return grouped(tasks, Limit(lambda task: task.prepared.total if task.prepared else 0, READY_RECORDS))


def make_ready(tools: RunTools, group: Iterable[FileTask]) -> None:
    """Set ``ready`` of those files of a group that are to be loaded, where there are several.

    Nothing fails here: a file that was not made ready makes itself ready in its load.
    """
    wanted = [(task, task.prepared) for task in group if _is_first_load(task) and task.prepared is not None]
    if len(wanted) < 2:
        return
    period = Period.of(tools.platform.today())
    try:
        made = ready_together([prepared for _, prepared in wanted], tools.writer, period)
    except Exception as error:
        # What it is comes out again, with its file's retries and its message, if it lasts.
        tools.log.debug(mask_addresses(f"los archivos se cargan uno por uno: {type(error).__name__}: {error}"))
        return
    for (task, _), ready in zip(wanted, made, strict=True):
        task.ready = ready


def _is_first_load(task: FileTask) -> bool:
    """Whether it seems so: a replay finds its own visits in the tables."""
    return task.needs_load and task.source is not Source.REPLAY


def load(tools: RunTools, task: FileTask) -> None:
    """Set ``loaded``.

    Raises:
        SystemFailure: the database failed, or the ledger does not reconcile; nothing is loaded then.
    """
    prepared = task.prepared
    tools.platform.observer.step(task.archivo, "cargar", prepared.total if prepared else None)
    task.loaded = tools.retried("cargar", task.entry, lambda: _load(tools, task))
    task.ready = None
    story.tell(story.loaded(task))


def _load(tools: RunTools, task: FileTask) -> Loaded:
    if task.entry is None or task.prepared is None:
        raise ValueError("the task was not validated")
    observer = tools.platform.observer
    return load_file(
        tools.platform.engine,
        tools.writer,
        task.entry,
        task.prepared,
        now=tools.ledger.now,
        today=tools.platform.today(),
        key=tools.platform.erasure_key,
        held=rows_in(tools.platform.settings.memoria_mib),
        ready=task.ready,
        progress=lambda rows: observer.advance(task.archivo, rows),
    )
