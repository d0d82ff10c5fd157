"""The asset ``raw_file``: a report's bytes, whole and durable under ``staging/``.

The op ``descargar`` belongs here; how bytes are fetched is ``steps/download.py``.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from visitas_dagster.assets import metadata
from visitas_dagster.assets.telling import Teller
from visitas_dagster.assets.walk import TOOLS, new_tasks, run_tools, walk
from visitas_dagster.steps.download import download, identify
from visitas_dagster.steps.task import FileTask
from visitas_dagster.steps.together import begin_together, deliveries, fetch_together, identify_together

# Never yielded as an output: Dagster would then mark every partition of the run. Each file that made it is logged.
_asset = dg.Out(dg.Nothing, is_required=False)


@dg.op(
    out={"raw_file": _asset, "descargados": dg.Out(list)},
    required_resource_keys={TOOLS},
    pool="sftp",
    description="Reserves each file of the run and brings its bytes to staging/, whole and durable.",
)
def descargar(context: dg.OpExecutionContext) -> Iterator[Any]:
    """Hand every file of the run to the next op, each with what became of it."""
    tasks: list[FileTask] = new_tasks(context)
    tools = run_tools(context)
    tools.log.info(f"corrida iniciada: archivos: {len(tasks)}, origen: {tasks[0].source.value}")
    begin_together(tools, tasks)
    with Teller(context) as teller:
        for group in deliveries(tasks):
            fetch_together(tools, group)
            downloaded = list(walk(teller, group, download, ["raw_file"]))
            identify_together(tools, downloaded)
            for task in walk(teller, downloaded, identify, ["raw_file"]):
                with teller.about(task):
                    teller.tell(metadata.materialization("raw_file", task, metadata.raw_file(task)))
    yield dg.Output(tasks, "descargados")
