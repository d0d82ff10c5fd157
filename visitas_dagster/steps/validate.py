"""Second step: the staged bytes become validated records, good and rejected, or a layout failure.

Running the domain over a file belongs here; the rules do not.
"""

from __future__ import annotations

from visitas_dagster.domain.report import open_report
from visitas_dagster.loading.prepared import Prepared, prepare
from visitas_dagster.resources.folders import disk_errors
from visitas_dagster.steps import story
from visitas_dagster.steps.task import FileTask
from visitas_dagster.steps.tools import RunTools


def validate(tools: RunTools, task: FileTask) -> None:
    """Set ``prepared``.

    Raises:
        LayoutFailure: the bytes or the header are no report's.
        SystemFailure: the disk failed.
    """
    entry = task.entry
    tools.platform.observer.step(task.archivo, "validar", task.facts.size if task.facts else None)
    task.prepared = tools.retried("validar", entry, lambda: _prepare(tools, task))
    story.tell(story.validated(task, task.prepared))


def _prepare(tools: RunTools, task: FileTask) -> Prepared:
    if task.staged is None or task.facts is None:
        raise ValueError("the task was not downloaded")
    valid_path = task.staged.with_name(task.staged.name + ".validos.arrow")
    rejected_path = task.staged.with_name(task.staged.name + ".errores.arrow")
    with disk_errors("validar"), task.staged.open("rb") as stream:
        report = open_report(stream, task.facts, tools.platform.settings.aliases)
        return prepare(report.batches(), valid_path, rejected_path)
