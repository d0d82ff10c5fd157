"""Third step: the validated records go into the tables, in one transaction with their outcome.

Calling the transaction, with retries, belongs here; its body is ``loading/transaction.py``.
"""

from __future__ import annotations

from visitas_dagster.loading.ranges import rows_in
from visitas_dagster.loading.transaction import Loaded, load_file
from visitas_dagster.steps import story
from visitas_dagster.steps.task import FileTask
from visitas_dagster.steps.tools import RunTools


def load(tools: RunTools, task: FileTask) -> None:
    """Set ``loaded``.

    Raises:
        SystemFailure: the database failed, or the ledger does not reconcile; nothing is loaded then.
    """
    prepared = task.prepared
    tools.platform.observer.step(task.archivo, "cargar", prepared.total if prepared else None)
    task.loaded = tools.retried("cargar", task.entry, lambda: _load(tools, task))
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
        progress=lambda rows: observer.advance(task.archivo, rows),
    )
