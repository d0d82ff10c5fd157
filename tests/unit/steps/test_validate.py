"""Which files of a run are judged together, and that each one's outcome is the same as alone.

What the domain makes of lines that are judged together is tested there.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pipeline import new_tools, record, report, settings_for
from visitas_dagster.domain.content import scan_file
from visitas_dagster.domain.failures import LayoutFailure, PermanentFailure
from visitas_dagster.domain.report import Batch, judge_together
from visitas_dagster.loading.prepared import Prepared, prepare
from visitas_dagster.loading.ranges import Range
from visitas_dagster.resources.platform import Platform
from visitas_dagster.steps import validate as step
from visitas_dagster.steps.task import FileTask
from visitas_dagster.steps.tools import RunTools
from visitas_dagster.steps.validate import HELD_BYTES, validate, validate_together

GOOD = report(record("ana@example.com"), record("Luis@example.org"))
SOME_BAD = report(record("eva@example.net"), "", record("<b>@x"), record(opens="-1"))
EMPTY = report()
WRONG = report(record()).replace(b",jyv,", b",jk,", 1)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunTools]:
    home = tmp_path_factory.mktemp("casa")
    with Platform(settings_for(f"sqlite:///{home}/visitas.db", {}, home)) as platform, new_tools(platform) as tools:
        yield tools


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("staging")


def staged(folder: Path, *contents: bytes) -> list[FileTask]:
    """One downloaded file per content."""
    tasks = []
    for number, data in enumerate(contents, 1):
        path = folder / f"report_{number}.txt"
        path.write_bytes(data)
        tasks.append(FileTask(path.name, staged=path, facts=scan_file(path)))
    return tasks


def served(tasks: list[FileTask]) -> list[bool]:
    return [task.prepared is not None for task in tasks]


def contents(prepared: Prepared | None) -> tuple[Any, ...]:
    """What validation made of a file, its tables read back."""
    assert prepared is not None
    valid = [row for table in prepared.valid_batches() for row in table.to_pylist()]
    rejected = [row for table in prepared.rejected_batches() for row in table.to_pylist()]
    counts = (prepared.valid, prepared.invalid, dict(prepared.error_types), prepared.sample)
    return valid, rejected, counts, prepared.place


def on_disk(tasks: list[FileTask]) -> list[bool]:
    """Whether the records of each wait in a file."""
    return [isinstance(task.prepared.rejected, Range) for task in tasks if task.prepared is not None]


LINES = st.sampled_from(
    ["", " \t", record("ana@example.com"), record("Eva@example.net"), record("<b>@x"), record(opens="-1"), '"', "x,"]
)


@settings(deadline=None, max_examples=25)
@given(
    delivered=st.lists(st.lists(LINES, max_size=8), min_size=2, max_size=6),
    bound=st.integers(8, 20),
    held=st.sampled_from([0, HELD_BYTES]),
)
def test_files_judged_together_end_as_each_alone(
    tools: RunTools, folder: Path, delivered: list[list[str]], bound: int, held: int
) -> None:
    tasks = staged(folder, *(report(*lines) for lines in delivered))
    alone = []
    for task in tasks:
        validate(tools, task)
        alone.append(contents(task.prepared))
        task.prepared = None
    with mock.patch.object(step, "BATCH_LINES", bound), mock.patch.object(step, "HELD_BYTES", held):
        validate_together(tools, tasks)

    assert [contents(task.prepared) for task in tasks] == alone
    assert on_disk(tasks) == [not held] * len(tasks)


def test_what_waits_in_memory_is_bounded(tools: RunTools, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "HELD_BYTES", 2 * len(GOOD))
    for number, waits_on_disk in ((2, False), (3, True)):
        tasks = staged(folder, *[GOOD] * number)
        validate_together(tools, tasks)
        assert on_disk(tasks) == [waits_on_disk] * number


def test_a_file_that_cannot_be_served_is_left_to_its_own_way(tools: RunTools, folder: Path) -> None:
    tasks = staged(folder, GOOD, WRONG, SOME_BAD, b"", EMPTY, GOOD, GOOD + b"\0", GOOD)
    failed, changed = tasks[5], tasks[7]
    failed.failure = PermanentFailure("ya falló")
    assert changed.staged is not None
    changed.staged.write_bytes(GOOD[:-4])
    validate_together(tools, tasks)

    assert served(tasks) == [True, False, True, False, True, False, False, False]
    with pytest.raises(LayoutFailure, match="Faltan columnas: jyv"):
        validate(tools, tasks[1])


def test_large_files_go_alone(tools: RunTools, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "SMALL_BYTES", len(GOOD))
    tasks = staged(folder, GOOD, GOOD + b"\n", EMPTY)
    validate_together(tools, tasks)
    assert served(tasks) == [True, False, True]


def test_a_file_of_very_many_lines_goes_alone(tools: RunTools, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "BATCH_LINES", 2)
    tasks = staged(folder, GOOD, GOOD + b"\n", EMPTY)
    validate_together(tools, tasks)
    assert served(tasks) == [True, False, True]


def test_one_small_file_goes_alone(tools: RunTools, folder: Path) -> None:
    tasks = staged(folder, GOOD)
    validate_together(tools, tasks)
    assert served(tasks) == [False]


@pytest.mark.parametrize(("bound", "value"), [("BATCH_LINES", 4), ("GROUP_BYTES", 2 * len(GOOD))])
def test_what_is_judged_at_once_is_bounded(
    tools: RunTools, folder: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    monkeypatch.setattr(step, bound, value)
    judged = mock.Mock(side_effect=judge_together)
    monkeypatch.setattr(step, "judge_together", judged)
    tasks = staged(folder, *[GOOD] * 5)
    validate_together(tools, tasks)

    assert served(tasks) == [True] * 5
    assert [len(call.args[0]) for call in judged.call_args_list] == [2, 2, 1]


def test_a_group_that_cannot_be_judged_is_judged_one_by_one(
    tools: RunTools, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = staged(folder, GOOD, SOME_BAD)
    monkeypatch.setattr(step, "judge_together", mock.Mock(side_effect=MemoryError("ana@example.com")))
    with caplog.at_level(logging.WARNING):
        validate_together(tools, tasks)

    assert served(tasks) == [False, False]
    assert "report_1.txt a report_2.txt: se validan uno por uno: MemoryError: " in caplog.text
    assert "ana@example.com" not in caplog.text
    validate(tools, tasks[1])
    assert contents(tasks[1].prepared)[2][:2] == (1, 2)


def test_a_file_that_cannot_be_written_costs_the_others_nothing(
    tools: RunTools, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_once(batches: Iterator[Batch], place: Path, cuts: Sequence[str] = ()) -> Prepared:
        if "report_2" in place.name:
            raise OSError(28, "No space left on device")
        return prepare(batches, place, cuts)

    monkeypatch.setattr(step, "prepare", full_once)
    monkeypatch.setattr(step, "HELD_BYTES", 0)
    tasks = staged(folder, GOOD, SOME_BAD, GOOD)
    validate_together(tools, tasks)

    assert served(tasks) == [True, False, True]
    with pytest.raises(PermanentFailure, match="no hay espacio en disco"):
        validate(tools, tasks[1])
