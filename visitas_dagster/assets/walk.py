"""How an op goes through the files of its run: one by one, a file's failure is its own, the others go on.

Catching, recording and logging around a step belongs here; the steps do not.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import dagster as dg

from visitas_dagster.assets import metadata
from visitas_dagster.assets.telling import Teller
from visitas_dagster.domain.failures import PermanentFailure, SystemFailure, VisitasError
from visitas_dagster.domain.privacy import mask_addresses
from visitas_dagster.resources.logs import about, follow
from visitas_dagster.steps.archive import record_failure
from visitas_dagster.steps.task import FileTask, Source
from visitas_dagster.steps.tools import RunTools

ORIGIN_TAG = "visitas/origen"
"""Run tag: where the bytes may come from, a value of :class:`Source`. Without it, as in a backfill from the web UI,
a run is a replay."""

VERSION_TAG = "visitas/version"
"""Run tag: the digest of the only content that a replay of one file may take."""

BATCH_TAG = "visitas/tanda"
"""Run tag: which request of the sensor or of ``dispatch`` a run belongs to."""

TOOLS = "herramientas"
"""Key of the resource that holds the run's :class:`RunTools`."""


def run_tools(context: dg.OpExecutionContext) -> RunTools:
    """Return the run's tools, logging through the op; what is logged there goes to the platform's logs too."""
    tools: RunTools = getattr(context.resources, TOOLS)
    tools.log = context.log
    tools.step = context.op.name
    follow(context.log, tools.platform.logs, tools.step, tools.run_id)
    return tools


def new_tasks(context: dg.OpExecutionContext) -> list[FileTask]:
    """Return one task per partition of the run.

    A re-execution from the web UI is a person's or the daemon's second try: it may take a local copy, which a
    first request of the sensor must not.
    """
    source = Source(context.run.tags.get(ORIGIN_TAG, Source.REPLAY.value))
    if source is Source.SERVER and context.run.parent_run_id is not None:
        source = Source.RETRY
    version = context.run.tags.get(VERSION_TAG)
    return [FileTask(archivo, source, version) for archivo in context.partition_keys]


def walk(
    teller: Teller,
    tasks: Sequence[FileTask],
    step: Callable[[RunTools, FileTask], None],
    assets: Sequence[str],
) -> Iterator[FileTask]:
    """Run a step over the tasks that go on; yield those that it served. A failing one is marked and recorded.

    Args:
        teller: the op's, which is told of the failures.
        tasks: the files of the run, or some of them.
        step: what to do with each.
        assets: what the step makes: there the web UI shows a failed partition's reason.
    """
    tools = run_tools(teller.context)
    for task in [task for task in tasks if task.goes_on]:
        with contained(tools, task.archivo, partial(fail, tools, task)):
            step(tools, task)
        if task.skipped is not None:
            with about(archivo=task.archivo):
                tools.log.info(f"{task.archivo}: {task.skipped}")
        elif task.failure is None:
            yield task
        else:
            with teller.about(task):
                for asset in assets:
                    teller.tell(metadata.failure(asset, task, task.failure))


@contextmanager
def contained(tools: RunTools, archivo: str, failed: Callable[[VisitasError], None]) -> Iterator[None]:
    """Keep a file's failure from the other files of the run, and what is logged meanwhile in the file's own log.

    Args:
        tools: the run's.
        archivo: the file.
        failed: is handed the failure instead.
    """
    with about(archivo=archivo, step=tools.step, run_id=tools.run_id), _caught(tools, archivo, failed):
        yield


@contextmanager
def _caught(tools: RunTools, archivo: str, failed: Callable[[VisitasError], None]) -> Iterator[None]:
    try:
        yield
    except VisitasError as failure:
        failed(failure)
    except Exception as error:
        # A defect, or memory that ran out, on one file: the traceback goes to the log, the other files go on.
        # A library's message may quote a record.
        tools.log.error(mask_addresses(f"{archivo}: error inesperado\n{''.join(traceback.format_exception(error))}"))
        failed(PermanentFailure(mask_addresses(f"error inesperado: {type(error).__name__}: {error}")))


def fail(tools: RunTools, task: FileTask, failure: VisitasError) -> None:
    """Mark a file as failed, and record it in the ledger."""
    task.failure = failure
    try:
        record_failure(tools, task, failure)
    except SystemFailure as second:
        # The row stays EN_PROCESO without a holder, which is what the next pass takes over.
        tools.log.error(f"{task.archivo}: no se pudo anotar el fallo en la bitácora: {second}")
    tools.log.error(f"{task.archivo}: {task.ended or 'sin anotar'}: {failure}")
