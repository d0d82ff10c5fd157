"""The assets ``errores``, ``estadisticas`` and ``visitantes``: the three tables, loaded in one transaction a file.

The ops ``cargar`` and ``archivar`` belong here; the transaction is ``loading/transaction.py``.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import dagster as dg

from visitas_dagster.assets import checks, metadata
from visitas_dagster.assets.telling import Teller
from visitas_dagster.assets.walk import TOOLS, contained, run_tools, walk
from visitas_dagster.domain.failures import VisitasError
from visitas_dagster.domain.states import CURRENT, Estado
from visitas_dagster.steps.archive import archive
from visitas_dagster.steps.load import in_groups, load, make_ready
from visitas_dagster.steps.task import SKIPPED, FileTask
from visitas_dagster.steps.tools import RunTools

_asset = dg.Out(dg.Nothing, is_required=False)


@dg.op(
    out={"errores": _asset, "estadisticas": _asset, "visitantes": _asset, "cargados": dg.Out(list)},
    required_resource_keys={TOOLS},
    pool="base_de_datos",
    description="Loads each file in one transaction: rejects, visits, visitors and the ledger's outcome.",
)
def cargar(context: dg.OpExecutionContext, validados: list[Any]) -> Iterator[Any]:
    """Hand on every file."""
    tasks: list[FileTask] = validados
    tools = run_tools(context)
    with Teller(context) as teller:
        for group in in_groups(tasks):
            make_ready(tools, group)
            for task in walk(teller, group, _load, ["errores", "estadisticas", "visitantes"]):
                with teller.about(task):
                    for asset, found in metadata.loaded(task).items():
                        teller.tell(metadata.materialization(asset, task, found))
    yield dg.Output(tasks, "cargados")


def _load(tools: RunTools, task: FileTask) -> None:
    if task.needs_load:
        load(tools, task)


@dg.op(
    out={checks.LEDGER.get_python_identifier(): _asset},
    required_resource_keys={TOOLS},
    pool="sftp",
    description="Backs up or quarantines each file and takes it off the server; fails if a file failed.",
)
def archivar(context: dg.OpExecutionContext, cargados: list[Any]) -> Iterator[Any]:
    """End the run: the bytes to their places, the ledger checked, and a failure that names the failed files."""
    tasks: list[FileTask] = cargados
    tools = run_tools(context)
    for task in tasks:
        with contained(tools, task.archivo, partial(not_archived, tools, task)):
            archive(tools, task)
        _tell(tools, task)
    with Teller(context) as teller:
        _check_ledger(teller, tools, [task for task in tasks if task.loaded is not None])
    tools.log.info(f"corrida terminada: {_summary(tasks)}")
    _raise_failures(tasks)
    # A generator without an output: the one for the check would speak for every partition of the run at once.
    yield from ()


def _summary(tasks: list[FileTask]) -> str:
    ended = Counter(SKIPPED if task.skipped else str(task.estado or Estado.EN_PROCESO) for task in tasks)
    return ", ".join(f"{state} {count}" for state, count in sorted(ended.items()))


def not_archived(tools: RunTools, task: FileTask, failure: VisitasError) -> None:
    """Note a faulty archive. It does not undo a load, so it is not the file's own failure."""
    tools.log.error(f"{task.archivo}: sin archivar: {failure}")
    if task.aviso is None:
        task.aviso = str(failure)


def _tell(tools: RunTools, task: FileTask) -> None:
    if task.skipped is not None:
        tools.platform.observer.done(task.archivo, SKIPPED, task.skipped)
        return
    detail = str(task.failure) if task.failure else task.aviso or ""
    # Without a state the ledger could not be asked: its row is still the attempt's.
    tools.platform.observer.done(task.archivo, (task.estado or Estado.EN_PROCESO).value, detail)


def _check_ledger(teller: Teller, tools: RunTools, tasks: list[FileTask]) -> None:
    entries = {task.entry.id: task for task in tasks if task.entry is not None}
    if not entries:
        return
    standing = tools.history.standing(list(entries))
    for row in tools.history.find_all(list(entries)):
        if row["estado"] in CURRENT:
            expected = (row["registros_total"], row["registros_validos"], row["registros_invalidos"])
            teller.tell(checks.ledger(entries[row["id"]], expected, standing[row["id"]]))


def _raise_failures(tasks: list[FileTask]) -> None:
    """Fail the run if a file failed. No retry by Dagster: the steps have retried, and a layout never heals itself."""
    failed = {
        task.archivo: str(task.failure or task.aviso)
        for task in tasks
        if task.failure is not None or task.aviso is not None
    }
    if failed:
        raise dg.Failure(
            description="\n".join(f"{archivo}: {reason}" for archivo, reason in failed.items()),
            metadata={archivo: dg.MetadataValue.text(reason) for archivo, reason in failed.items()},
            allow_retries=False,
        )
