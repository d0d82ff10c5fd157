"""Visitors that are added up arrive as they were, on every engine, whatever stands in their addresses."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import Pipeline
from visitas_dagster.domain.visitors import TALLY_SCHEMA, merge
from visitas_dagster.loading import tables
from visitas_dagster.loading.statements import dialect_of
from visitas_dagster.loading.tallies import HeldTallies
from visitas_dagster.loading.visitors import VisitorTables

NOW = datetime(2024, 3, 1, 10, 0, 0, 5)
# Every character that the contract lets into an address, and those that mean something to SQL or to a driver.
ADDRESSES = st.one_of(
    st.sampled_from(("'", "''", "\\", "\\'", "'\\", "%", "%s", "%%", "%(ahora)s", ":visitantes", '"', "--", "/*")),
    st.text("abcXYZ019.!#$%&'*+/=?^_`{|}~-@\\\"áñ€😀", min_size=1, max_size=12),
)
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2099, 12, 31)).map(lambda at: at.replace(microsecond=0))
VISITORS = st.dictionaries(
    ADDRESSES,
    st.tuples(MOMENTS, MOMENTS, st.integers(1, 9), st.integers(0, 9), st.integers(0, 9)),
    max_size=8,
)
Visitors = dict[str, tuple[datetime, datetime, int, int, int]]


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path) as pipeline:
        yield pipeline


def tally(visitors: Visitors) -> pa.Table:
    rows = [dict(zip(TALLY_SCHEMA.names, (email, *figures), strict=True)) for email, figures in visitors.items()]
    return merge([pa.Table.from_pylist(rows, TALLY_SCHEMA)])


def add(pipeline: Pipeline, visitors: Visitors, folder: Path) -> tuple[int, int]:
    engine = pipeline.platform.engine
    with engine.begin() as connection, HeldTallies(folder) as held:
        held.hold(tally(visitors))
        return VisitorTables(connection, dialect_of(engine), NOW).add(held.rows(NOW))


def standing(pipeline: Pipeline) -> Visitors:
    rows = pipeline.rows(tables.visitantes)
    assert {row["actualizado_en"] for row in rows} <= {NOW}
    return {row["email"]: tuple(row[name] for name in TALLY_SCHEMA.names[1:]) for row in rows}


def together(before: Visitors, after: Visitors) -> Visitors:
    both = {email: (before[email], after[email]) for email in before.keys() & after.keys()}
    added = {
        email: (min(old[0], new[0]), max(old[1], new[1]), *(a + b for a, b in zip(old[2:], new[2:], strict=True)))
        for email, (old, new) in both.items()
    }
    return before | after | added  # type: ignore[return-value]  # five of each


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(before=VISITORS, after=VISITORS)
@example(before={}, after={})
def test_visitors_add_up(pipeline: Pipeline, tmp_path: Path, before: Visitors, after: Visitors) -> None:
    pipeline.clear()
    assert add(pipeline, before, tmp_path) == (len(before), 0)
    assert standing(pipeline) == before
    known = len(before.keys() & after.keys())
    assert add(pipeline, after, tmp_path) == (len(after) - known, known)
    assert standing(pipeline) == together(before, after)
