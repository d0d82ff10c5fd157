"""Files made ready together are what each would be by itself, whatever is in them and in what order they come."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.loading.test_ranges import visits
from visitas_dagster.domain.report import REJECTED_SCHEMA, Batch
from visitas_dagster.domain.visitors import tally
from visitas_dagster.loading.prepared import Prepared, hold, prepare
from visitas_dagster.loading.ranges import in_order
from visitas_dagster.loading.ready import ready_together
from visitas_dagster.loading.tallies import SENT_ROWS, HeldTallies, Rows
from visitas_dagster.loading.visitors import Period
from visitas_dagster.loading.writers import LoadDataWriter, MultiRowWriter, Packed, RowWriter, SqliteWriter

NOW = datetime(2024, 3, 1, 10)
PERIOD = Period(2024, 3)
EMAILS = st.text("abé'\\\t\n%~", min_size=1, max_size=3)
FILES = st.lists(
    st.lists(
        st.lists(st.tuples(EMAILS, st.datetimes(datetime(2023, 11, 1), datetime(2024, 3, 31))), max_size=8), max_size=3
    ),
    min_size=1,
    max_size=5,
)
Batches = Sequence[Sequence[tuple[str, datetime]]]


def prepared_in(folder: Path, number: int, batches: Batches) -> Prepared:
    # One moment an e-mail and line each: what ties may come in any order.
    tables, first = [], 0
    for rows in batches:
        unlike = [(email, at.replace(second=line % 60, microsecond=0)) for line, (email, at) in enumerate(rows, first)]
        tables.append(visits(unlike, first))
        first += len(rows)
    good = (Batch(table, _NO_REJECTS) for table in tables)
    return (hold if number % 2 else prepare)(good, folder / f"report_{number}.txt")


_NO_REJECTS = REJECTED_SCHEMA.empty_table()


Sent = tuple[bytes, list[dict[str, object]], list[tuple[str, str]]]


def sent(visits: Packed, rows: Iterable[Rows]) -> Sent:
    """The bytes and rows of the visits, and the visitors."""
    visitors = [pair for some in rows for pair in zip(some.emails, some.figures, strict=True)]
    return b"" if visits.wire is None else visits.wire.to_pybytes(), visits.rows.to_pylist(), visitors


def alone(file: Prepared, writer: RowWriter, folder: Path) -> Sent:
    """What the file's own load would send."""
    ((table,),) = ([*tables] for tables in in_order(file.ranges, file.place, 1000))
    with HeldTallies(folder) as held:
        held.hold(tally(table, PERIOD.year, PERIOD.month))
        return sent(writer.pack(table), held.rows(NOW))


@pytest.mark.parametrize(
    "writer", [LoadDataWriter(), MultiRowWriter(), SqliteWriter()], ids=["load data", "multi-row", "sqlite"]
)
@given(files=FILES)
def test_together_is_as_alone(writer: RowWriter, files: list[Batches]) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        prepared = [prepared_in(folder, number, batches) for number, batches in enumerate(files)]
        made = ready_together(prepared, writer, PERIOD)
        assert len(made) == len(files)
        for file, ready in zip(prepared, made, strict=True):
            assert sent(ready.visits, ready.rows(NOW)) == alone(file, writer, folder)
            assert ready.period == PERIOD


def test_many_visitors_take_several_statements(tmp_path: Path) -> None:
    names = [f"v{number:05}@example.com" for number in range(SENT_ROWS + 1)]
    file = prepared_in(tmp_path, 1, [[(name, NOW) for name in names]])
    (ready,) = ready_together([file], LoadDataWriter(), PERIOD)
    assert [rows.emails for rows in ready.rows(NOW)] == [names[:-1], names[-1:]]
    assert [len(rows.figures) for rows in ready.rows(NOW)] == [SENT_ROWS, 1]
