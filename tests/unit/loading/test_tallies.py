"""Visitors on their way: held in memory or on disk, given back once, in order, and without an address in the text."""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visitas_dagster.domain.visitors import TALLY_SCHEMA
from visitas_dagster.loading.tallies import SENT_ROWS, HeldTallies, Rows, figures

NOW = datetime(2024, 3, 1, 10, 0, 0, 5)
FIRST, LAST = datetime(2023, 1, 2, 3, 4, 5), datetime(2024, 2, 3)


def tally(*emails: str) -> pa.Table:
    rows = [(email, FIRST, LAST, number, 1, 0) for number, email in enumerate(emails)]
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=TALLY_SCHEMA)


def written(number: int) -> str:
    return f"'2023-01-02 03:04:05.000000','2024-02-03 00:00:00.000000',{number},1,0"


def test_moments_and_counts_are_written_as_sql() -> None:
    (batch,) = tally("a'b@x", "\\'", "%s:n").to_batches()
    assert figures(batch.columns[1:]).to_pylist() == [written(number) for number in range(3)]


@pytest.mark.parametrize(("one", "other"), [("?", "?"), ("'a'", "'b\\'%s'")])
def test_a_statement_has_what_stands_for_an_address_and_a_moment_that_always_has_a_fraction(
    one: str, other: str
) -> None:
    rows = Rows(["a", "b"], ["1,2", "3,4"], NOW)
    assert rows.sql([one, other]) == f"({one},1,2,'{NOW}'),({other},3,4,'{NOW}')"
    whole = replace(rows, emails=["a"], figures=["1"], now=datetime(2024, 3, 1))
    assert whole.sql([one]) == f"({one},1,'2024-03-01 00:00:00.000000')"


@given(sizes=st.lists(st.sampled_from([0, 1, 3, SENT_ROWS, SENT_ROWS + 1, 3 * SENT_ROWS]), max_size=5))
def test_what_was_held_comes_back_once_and_in_order(sizes: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    names = [f"v{number:06}@example.com" for number in range(sum(sizes))]
    with HeldTallies(tmp_path_factory.getbasetemp()) as held:
        begin = 0
        for size in sizes:
            held.hold(tally(*names[begin : begin + size]) if size else TALLY_SCHEMA.empty_table())
            begin += size
        rows = list(held.rows(NOW))
    assert [email for row in rows for email in row.emails] == names
    expected = [written(number) for size in sizes for number in range(size)]
    assert [line for row in rows for line in row.figures] == expected
    assert all(0 < len(row.emails) == len(row.figures) <= SENT_ROWS for row in rows)


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
        assert sum(len(row.emails) for row in held.rows(NOW)) == 40_000


def test_none_make_no_statement(tmp_path: Path) -> None:
    with HeldTallies(tmp_path) as held:
        rows: list[Rows] = list(held.rows(NOW))
    assert rows == []
