"""Files made ready together are what each would be by itself, whatever is in them and in what order they come."""

from collections.abc import Sequence
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
from visitas_dagster.loading.tallies import SENT_ROWS, HeldTallies
from visitas_dagster.loading.visitors import Period
from visitas_dagster.loading.writers import LoadDataWriter, MultiRowWriter, RowWriter, SqliteWriter

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


def alone(file: Prepared, writer: RowWriter, dialect: str, folder: Path) -> tuple[bytes, list[dict[str, object]], str]:
    """The bytes, the rows and the visitors that the file's own load would send."""
    ((table,),) = ([*tables] for tables in in_order(file.ranges, file.place, 1000))
    packed = writer.pack(table)
    with HeldTallies(folder) as held:
        held.hold(tally(table, PERIOD.year, PERIOD.month))
        sql = ",".join(rows.sql for rows in held.rows(NOW, dialect))
    return b"" if packed.wire is None else packed.wire.to_pybytes(), packed.rows.to_pylist(), sql


@pytest.mark.parametrize(
    ("writer", "dialect"),
    [(LoadDataWriter(), "mysql"), (MultiRowWriter(), "mysql"), (SqliteWriter(), "sqlite")],
    ids=["load data", "multi-row", "sqlite"],
)
@given(files=FILES)
def test_together_is_as_alone(writer: RowWriter, dialect: str, files: list[Batches]) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        prepared = [prepared_in(folder, number, batches) for number, batches in enumerate(files)]
        made = ready_together(prepared, writer, PERIOD, dialect)
        assert len(made) == len(files)
        for file, ready in zip(prepared, made, strict=True):
            wire = ready.visits.wire
            sent = b"" if wire is None else wire.to_pybytes()
            sql = ",".join(rows.sql for rows in ready.rows(NOW))
            assert (sent, ready.visits.rows.to_pylist(), sql) == alone(file, writer, dialect, folder)
            assert ready.period == PERIOD


def test_many_visitors_take_several_statements(tmp_path: Path) -> None:
    names = [f"v{number:05}@example.com" for number in range(SENT_ROWS + 1)]
    file = prepared_in(tmp_path, 1, [[(name, NOW) for name in names]])
    (ready,) = ready_together([file], LoadDataWriter(), PERIOD, "mysql")
    assert [rows.count for rows in ready.rows(NOW)] == [SENT_ROWS, 1]
    assert [name in rows.sql for rows in ready.rows(NOW) for name in (names[0], names[-1])] == [
        True,
        False,
        False,
        True,
    ]
