"""Visitors added up in ranges: the same figures as at one go, in the order of the key, whatever the ranges."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visitas_dagster.domain.contract import VALID_SCHEMA
from visitas_dagster.domain.report import REJECTED_SCHEMA, Batch
from visitas_dagster.domain.visitors import TALLY_SCHEMA, merge, tally
from visitas_dagster.loading import ranges
from visitas_dagster.loading.ahead import ahead
from visitas_dagster.loading.prepared import SAMPLE_EMAILS, prepare
from visitas_dagster.loading.ranges import VisitorRanges, boundaries

_email = st.text("abé@~", min_size=1, max_size=3)
_batches = st.lists(st.lists(st.tuples(_email, st.datetimes(datetime(2023, 11, 1), datetime(2024, 3, 31)))), max_size=4)


def visits(rows: list[tuple[str, datetime]]) -> pa.Table:
    return pa.table(
        [pa.array([row[0] for row in rows], pa.string()), pa.array([row[1] for row in rows], pa.timestamp("s"))],
        names=["email", "fecha_envio"],
    )


@given(_batches, st.lists(_email, max_size=5))
def test_any_ranges_give_the_visitors_in_the_order_of_their_bytes(
    batches: list[list[tuple[str, datetime]]], cuts: list[str]
) -> None:
    tallies = [tally(visits(rows), 2024, 3) for rows in batches]
    with TemporaryDirectory() as folder:
        held = VisitorRanges(sorted(set(cuts)), Path(folder) / "x.arrow")
        held.gather(iter(tallies))
        found = list(held.merged())
        assert list(Path(folder).iterdir()) == []
    assert len(found) == len(set(cuts)) + 1
    together = pa.concat_tables(found)
    assert together.equals(merge(tallies))
    emails = [email.encode() for email in together["email"].to_pylist()]
    assert emails == sorted(set(emails))


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
def test_a_file_is_cut_where_equal_parts_of_its_sample_end(
    monkeypatch: pytest.MonkeyPatch, sample: list[str], rows: int, cuts: list[str]
) -> None:
    monkeypatch.setattr(ranges, "RANGE_ROWS", 4)
    assert boundaries(sample, rows) == cuts


def batches_of(emails: list[str], size: int) -> Iterator[Batch]:
    for start in range(0, len(emails), size):
        part = emails[start : start + size]
        columns = [
            pa.array(part, field.type) if field.name == "email" else pa.nulls(len(part), field.type)
            for field in VALID_SCHEMA
        ]
        yield Batch(pa.table(columns, schema=VALID_SCHEMA), REJECTED_SCHEMA.empty_table())


@pytest.mark.parametrize("size", [7, 1000, 100_000])
@pytest.mark.parametrize("count", [0, 1, SAMPLE_EMAILS, SAMPLE_EMAILS + 1, 5 * SAMPLE_EMAILS + 3])
def test_the_sample_is_even_and_bounded(tmp_path: Path, count: int, size: int) -> None:
    emails = [f"{number:06}" for number in range(count)]
    prepared = prepare(batches_of(emails, size), tmp_path / "valid", tmp_path / "rejected")
    step = max(1, -(-count // SAMPLE_EMAILS))
    step = 1 << (step - 1).bit_length()
    assert prepared.emails == tuple(emails[::step])


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


def test_what_the_making_raises_comes_out_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("roto")

    taken = ahead(items())
    assert next(taken) == 1
    with pytest.raises(ValueError, match="roto"):
        next(taken)


def test_a_tally_schema_is_kept_by_empty_ranges(tmp_path: Path) -> None:
    held = VisitorRanges(["b"], tmp_path / "x.arrow")
    held.gather(iter([]))
    assert [part.schema for part in held.merged()] == [TALLY_SCHEMA] * 2
