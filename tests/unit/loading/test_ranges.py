"""Visits cut into ranges: every visit once, in the order of the key, whatever the cuts, and bounded in memory."""

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visitas_dagster.domain.arrivals import WORKING_SUFFIXES
from visitas_dagster.domain.contract import VALID_SCHEMA
from visitas_dagster.loading.ahead import ahead
from visitas_dagster.loading.ranges import Range, RangeFiles, boundaries, in_order

_EMAIL = st.text("abé@~", min_size=1, max_size=3)
_BATCHES = st.lists(
    st.lists(st.tuples(_EMAIL, st.datetimes(datetime(2023, 11, 1), datetime(2024, 3, 31))), max_size=12), max_size=6
)


def visits(rows: list[tuple[str, datetime]], first: int = 0) -> pa.Table:
    """Valid records; `linea` tells them apart."""
    columns = {
        "linea": pa.array(range(first, first + len(rows)), pa.int32()),
        "email": pa.array([row[0] for row in rows], pa.string()),
        "fecha_envio": pa.array([row[1] for row in rows], pa.timestamp("s")),
    }
    return pa.table(
        [columns.get(field.name, pa.nulls(len(rows), field.type)) for field in VALID_SCHEMA], schema=VALID_SCHEMA
    )


def stored_in(folder: Path, batches: list[list[tuple[str, datetime]]], cuts: list[str]) -> tuple[Range, ...]:
    with RangeFiles(cuts, folder / "x.validos.arrow") as files:
        first = 0
        for rows in batches:
            files.take(visits(rows, first))
            first += len(rows)
    return files.ranges()


def hidden(table: pa.Table) -> pa.Table:
    """Mask as an erasure does: `a` is nobody any more, and stands where no other is."""
    emails = [email.replace("a", "z") for email in table["email"].to_pylist()]
    return table.set_column(table.schema.get_field_index("email"), "email", pa.array(emails, pa.string()))


@given(_BATCHES, st.lists(_EMAIL, max_size=5), st.integers(1, 30), st.booleans())
def test_every_visit_comes_once_in_the_order_of_its_email(
    batches: list[list[tuple[str, datetime]]], cuts: list[str], held: int, masked: bool
) -> None:
    delivered = [row for rows in batches for row in rows]
    mask = hidden if masked else None
    with TemporaryDirectory() as folder:
        pieces = stored_in(Path(folder), batches, sorted(set(cuts)))
        groups = [list(group) for group in in_order(pieces, pieces[0].path, held, mask)]
        assert all(path.name.endswith(WORKING_SUFFIXES) for path in Path(folder).iterdir())

    assert sum(piece.rows for piece in pieces) == len(delivered)
    found = [row for group in groups for table in group for row in table.to_pylist()]
    expected = hidden(visits(delivered)) if masked else visits(delivered)
    assert sorted(found, key=lambda row: row["linea"]) == expected.to_pylist()
    for group in groups:
        for table in group:
            keys = [(row["email"].encode(), row["fecha_envio"]) for row in table.to_pylist()]
            assert keys == sorted(keys)
    emails = [{row["email"] for table in group for row in table.to_pylist()} for group in groups]
    for before, after in pairwise(emails):
        assert not before & after
    whole = [group for group in emails if group]
    for before, after in pairwise(whole):
        assert max(email.encode() for email in before) < min(email.encode() for email in after)


def test_cuts_that_do_not_fit_the_file_are_made_again(tmp_path: Path) -> None:
    rows = [(f"m{number:03}", datetime(2024, 1, 1)) for number in range(100)]
    pieces = stored_in(tmp_path, [rows[:50], rows[50:]], ["a", "b"])
    assert [piece.rows for piece in pieces] == [0, 0, 100]

    groups = [list(group) for group in in_order(pieces, pieces[0].path, 10)]

    assert [[table.num_rows for table in group] for group in groups] == [[0], [0], *[[10]] * 10]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"x.validos.arrow.{number}.validos.arrow" for number in range(3)
    ]


def test_one_email_with_most_of_the_file_is_held_in_parts(tmp_path: Path) -> None:
    rows = [("m", datetime(2024, 1, 1))] * 95
    (piece,) = stored_in(tmp_path, [rows[start : start + 10] for start in range(0, 95, 10)], [])

    groups = [list(group) for group in in_order([piece], piece.path, 10)]

    assert [[table.num_rows for table in group] for group in groups if group != [visits([])]] == [[20, 20, 20, 20, 15]]


@pytest.mark.parametrize(
    ("sample", "rows", "cuts"),
    [
        ([], 0, []),
        (["b", "a"], 4, []),
        (["d", "a", "c", "b"], 8, ["c"]),
        (list("hgfedcba"), 16, ["c", "e", "g"]),
        (["a"] * 9, 40, ["a"]),
    ],
)
def test_a_file_is_cut_where_equal_parts_of_its_sample_end(sample: list[str], rows: int, cuts: list[str]) -> None:
    assert boundaries(sample, rows, 4) == cuts


def test_the_next_item_is_made_while_one_is_used() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(4):
            made.append(number)
            yield number

    taken = ahead(items())
    assert next(taken) == 0
    taken.close()  # type: ignore[attr-defined]  # a generator
    assert made in ([0], [0, 1])
    assert list(ahead(items())) == [0, 1, 2, 3]
    assert list(ahead(items(), worth=False)) == [0, 1, 2, 3]


def test_what_the_making_raises_comes_out_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("roto")

    taken = ahead(items())
    assert next(taken) == 1
    with pytest.raises(ValueError, match="roto"):
        next(taken)
