"""Second step: the staged bytes become validated records, good and rejected, or a layout failure.

Running the domain over a file, or over many small ones at once, belongs here; the rules do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from visitas_dagster.domain.content import ContentFacts
from visitas_dagster.domain.layout import Layout
from visitas_dagster.domain.privacy import mask_addresses
from visitas_dagster.domain.report import BATCH_LINES, Batch, Slice, judge_together, open_report
from visitas_dagster.domain.sampling import sample_report
from visitas_dagster.loading.prepared import Prepared, hold, prepare
from visitas_dagster.loading.ranges import boundaries, rows_in
from visitas_dagster.resources.folders import disk_errors
from visitas_dagster.steps import story
from visitas_dagster.steps.groups import Limit, grouped
from visitas_dagster.steps.task import FileTask
from visitas_dagster.steps.tools import RunTools

SMALL_BYTES = 1 << 20
"""Files up to this size are judged together; above it, what a call costs is lost in what the records cost."""

GROUP_BYTES = 4 << 20
"""Bytes of the files that are judged together, at the most; the lines are at most :data:`BATCH_LINES`."""

HELD_BYTES = 8 << 20
"""Bytes of a run's small files whose records wait for their load in memory; those of more files wait on disk."""

Keep = Callable[[Iterable[Batch], Path], Prepared]


@dataclass(frozen=True)
class _Opened:
    """A small file whose lines have been read.

    Attributes:
        task: the file.
        staged, facts: its task's, there for certain.
        slices: its lines after the header.
    """

    task: FileTask
    staged: Path
    facts: ContentFacts
    slices: Sequence[Slice]

    @property
    def lines(self) -> int:
        """How many lines there are."""
        return sum(len(piece.lines) for piece in self.slices)


def validate_together(tools: RunTools, tasks: Sequence[FileTask]) -> None:
    """Set ``prepared`` of the small files that are to be loaded, the records of many judged in one pass.

    Most of what a small file costs is the call of the rules. Nothing is told here and nothing fails here: a file
    that cannot be served is left as it is, and `validate` finds out why, with its retries and its message.
    """
    sizes = {task.archivo: task.facts.size for task in tasks if task.needs_load and task.facts is not None}
    small = [task for task in tasks if sizes.get(task.archivo, SMALL_BYTES + 1) <= SMALL_BYTES]
    if len(small) > 1:
        keep = hold if sum(sizes[task.archivo] for task in small) <= HELD_BYTES else prepare
        opened = (_open(task, tools.platform.settings.aliases) for task in small)
        lines: Limit[_Opened] = Limit(lambda file: file.lines, BATCH_LINES)
        size: Limit[_Opened] = Limit(lambda file: file.facts.size, GROUP_BYTES)
        for group in grouped((file for file in opened if file is not None), lines, size):
            _prepare_together(tools, group, keep)


def _open(task: FileTask, aliases: Mapping[str, str]) -> _Opened | None:
    if task.staged is None or task.facts is None:
        return None
    with suppress(Exception), task.staged.open("rb") as stream:
        slices = list(open_report(stream, task.facts, aliases).slices())
        opened = _Opened(task, task.staged, task.facts, slices)
        return opened if opened.lines <= BATCH_LINES else None
    return None


def _prepare_together(tools: RunTools, group: Sequence[_Opened], keep: Keep) -> None:
    try:
        judged = iter(judge_together([piece for file in group for piece in file.slices]))
    except Exception as error:
        # Each file is judged alone after this, and a defect that comes back then is that file's failure.
        names = f"{group[0].task.archivo} a {group[-1].task.archivo}"
        tools.log.warning(mask_addresses(f"{names}: se validan uno por uno: {type(error).__name__}: {error}"))
        return
    for file in group:
        batches = [next(judged) for _ in file.slices]
        with suppress(Exception):
            file.task.prepared = keep((batch for batch in batches if batch.records), file.staged)


def validate(tools: RunTools, task: FileTask) -> None:
    """Set ``prepared``, unless `validate_together` has done so.

    Raises:
        LayoutFailure: the bytes or the header are no report's.
        SystemFailure: the disk failed.
    """
    entry = task.entry
    tools.platform.observer.step(task.archivo, "validar", task.facts.size if task.facts else None)
    if task.prepared is None:
        task.prepared = tools.retried("validar", entry, lambda: _prepare(tools, task))
    story.tell(story.validated(task, task.prepared))


def _prepare(tools: RunTools, task: FileTask) -> Prepared:
    if task.staged is None or task.facts is None:
        raise ValueError("the task was not downloaded")
    with disk_errors("validar"), task.staged.open("rb") as stream:
        report = open_report(stream, task.facts, tools.platform.settings.aliases)
        return prepare(report.batches(), task.staged, _cuts(tools, task.staged, task.facts, report.layout))


def _cuts(tools: RunTools, staged: Path, facts: ContentFacts, layout: Layout) -> Sequence[str]:
    """Where to cut a large file's visits, so that the load takes them in the order of their e-mails."""
    if facts.size <= SMALL_BYTES:
        return ()
    with staged.open("rb") as stream:
        sample = sample_report(stream, facts, layout)
    return boundaries(sample.emails, sample.lines, rows_in(tools.platform.settings.memoria_mib))
