"""Visitors on their way: held in memory or on disk, given back once and in order, written as SQL reads them."""

from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visitas_dagster.domain.visitors import TALLY_SCHEMA
from visitas_dagster.loading.tallies import SENT_ROWS, HeldTallies, Rows, literals

NOW = datetime(2024, 3, 1, 10, 0, 0, 5)
FIRST, LAST = datetime(2023, 1, 2, 3, 4, 5), datetime(2024, 2, 3)


def tally(*emails: str) -> pa.Table:
    rows = [(email, FIRST, LAST, number, 1, 0) for number, email in enumerate(emails)]
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=TALLY_SCHEMA)


def written(email: str, number: int) -> str:
    return f"'{email}','2023-01-02 03:04:05.000000','2024-02-03 00:00:00.000000',{number},1,0"


@pytest.mark.parametrize(
    ("dialect", "names"),
    [("mysql", ("a''b@x", r"\\''", "%s:n")), ("sqlite", ("a''b@x", r"\''", "%s:n"))],
)
def test_rows_are_written_as_each_dialect_reads_them(dialect: str, names: tuple[str, ...]) -> None:
    (batch,) = tally("a'b@x", "\\'", "%s:n").to_batches()
    assert literals(batch.columns, dialect).to_pylist() == [written(name, number) for number, name in enumerate(names)]


def test_rows_end_with_their_moment_which_always_has_a_fraction() -> None:
    assert Rows.of(["'a',1", "'b',2"], NOW) == Rows(2, f"('a',1,'{NOW}'),('b',2,'{NOW}')")
    assert Rows.of(["1"], datetime(2024, 3, 1)) == Rows(1, "(1,'2024-03-01 00:00:00.000000')")


@given(sizes=st.lists(st.sampled_from([0, 1, 3, SENT_ROWS, SENT_ROWS + 1, 3 * SENT_ROWS]), max_size=5))
def test_what_was_held_comes_back_once_and_in_order(sizes: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    names = [f"v{number:06}@example.com" for number in range(sum(sizes))]
    with HeldTallies(tmp_path_factory.getbasetemp()) as held:
        begin = 0
        for size in sizes:
            held.hold(tally(*names[begin : begin + size]) if size else TALLY_SCHEMA.empty_table())
            begin += size
        rows = list(held.rows(NOW, "mysql"))
    assert [line.split("'")[1] for row in rows for line in row.sql.split("),(")] == names
    assert [row.count for row in rows] == [row.sql.count("@") for row in rows]
    assert all(0 < row.count <= SENT_ROWS for row in rows)


def open_in(folder: Path) -> list[str]:
    """Where this process's open files lie, of those that lie in the folder."""
    found = []
    for link in list(Path("/proc/self/fd").iterdir()):
        # That of the listing itself is gone by now.
        with suppress(FileNotFoundError):
            found.append(str(link.readlink()))
    return [place for place in found if place.startswith(str(folder))]


def test_many_wait_in_a_file_without_a_name(tmp_path: Path) -> None:
    names = [f"v{number:06}@example.com" for number in range(40_000)]
    with HeldTallies(tmp_path) as held:
        held.hold(tally(*names))
        assert len(open_in(tmp_path)) == 1
        assert list(tmp_path.iterdir()) == []
        assert sum(row.count for row in held.rows(NOW, "sqlite")) == 40_000


def test_none_make_no_statement(tmp_path: Path) -> None:
    with HeldTallies(tmp_path) as held:
        rows: list[Rows] = list(held.rows(NOW, "mysql"))
    assert rows == []
