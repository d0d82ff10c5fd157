"""Which files of a run are made ready for their loads together; what a load does is tested on the databases."""

from pathlib import Path
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from visitas_dagster.loading.prepared import Prepared
from visitas_dagster.steps.load import READY_RECORDS, in_groups
from visitas_dagster.steps.task import FileTask


def of(records: int | None, number: int) -> FileTask:
    """A file with so many records; none where it was not validated."""
    task = FileTask(f"report_{number}.txt")
    if records is not None:
        rows = mock.Mock(rows=records)
        task.prepared = Prepared(Path(task.archivo), (rows,), mock.Mock(rows=0), {}, ())
    return task


SIZES = st.one_of(st.none(), st.integers(0, 10), st.integers(READY_RECORDS // 3, READY_RECORDS + 1))


@given(sizes=st.lists(SIZES, max_size=12))
def test_groups_hold_every_file_in_its_order_and_no_more_records_than_may_be_ready(sizes: list[int | None]) -> None:
    tasks = [of(records, number) for number, records in enumerate(sizes)]
    groups = list(in_groups(tasks))
    assert [task for group in groups for task in group] == tasks
    for group, following in zip(groups, [*groups[1:], []], strict=False):
        records = [task.prepared.total if task.prepared else 0 for task in group]
        assert sum(records) <= READY_RECORDS or len(records) == 1
        if following and following[0].prepared:
            # As large as it may be.
            assert sum(records) + following[0].prepared.total > READY_RECORDS
