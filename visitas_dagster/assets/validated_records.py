"""The asset ``validated_records``: a report's records, judged by the contract.

The op ``validar`` and its two checks belong here; the rules are ``domain/contract.py``.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from visitas_dagster.assets import checks, metadata
from visitas_dagster.assets.telling import Teller
from visitas_dagster.assets.walk import TOOLS, run_tools, walk
from visitas_dagster.domain.failures import LayoutFailure
from visitas_dagster.steps.task import FileTask
from visitas_dagster.steps.tools import RunTools
from visitas_dagster.steps.validate import validate, validate_together

_asset = dg.Out(dg.Nothing, is_required=False)


@dg.op(
    out={
        "validated_records": _asset,
        checks.LAYOUT.get_python_identifier(): _asset,
        checks.ERROR_RATE.get_python_identifier(): _asset,
        "validados": dg.Out(list),
    },
    required_resource_keys={TOOLS},
    description="Splits each file into records and judges them by the Pandera contract.",
)
def validar(context: dg.OpExecutionContext, descargados: list[Any]) -> Iterator[Any]:
    """Hand on every file; those with a wrong layout are marked as failed."""
    tasks: list[FileTask] = descargados
    tools = run_tools(context)
    threshold = tools.platform.settings.alerta_tasa_error
    validate_together(tools, tasks)
    with Teller(context) as teller:
        for task in walk(teller, tasks, _validate, ["validated_records"]):
            if task.prepared is not None:
                with teller.about(task):
                    teller.tell(metadata.materialization("validated_records", task, metadata.validated(task.prepared)))
                    teller.tell(checks.layout(task, None))
                    teller.tell(checks.error_rate(task, task.prepared, threshold))
        for task in tasks:
            if isinstance(task.failure, LayoutFailure):
                teller.tell(checks.layout(task, task.failure))
                teller.tell(checks.no_error_rate(task))
    yield dg.Output(tasks, "validados")


def _validate(tools: RunTools, task: FileTask) -> None:
    """Validate what is to be loaded, and what is known as well where it costs nothing: it is skipped."""
    if task.needs_load:
        validate(tools, task)
