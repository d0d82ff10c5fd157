"""A correction touches what it changes: the rows that come again stay the rows they were, on every engine.

What is kept, what goes and what goes in belongs here; that the outcome is right is in `test_loading.py` as well.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import Pipeline, record, report
from visitas_dagster.loading import tables

NAME, OTHER = "report_1.txt", "report_2.txt"
OWN = {"id", "archivo_id", "linea"}

# What looks alike to a collation, to SQL's null, or to whoever joins values with a comma.
EMAILS = ("ana@example.com", "luis@example.org", "eva@example.net")
TEXTS = ("-", "NULL", "a", "A", "á", "'", "\\", "\\'", '"a,b"', "\\N", "a\u200b", "0")
RECORDS = st.builds(
    record,
    st.sampled_from(EMAILS),
    st.sampled_from(("01/03/2024 10:00", "02/03/2023 10:00")),
    jyv=st.sampled_from(TEXTS),
    badmail=st.sampled_from(TEXTS[:3]),
    opens=st.sampled_from(("-", "0", "1")),
    fecha_open=st.sampled_from(("-", "01/03/2024 10:00")),
)
VERSIONS = st.lists(RECORDS, max_size=8)


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path) as pipeline:
        yield pipeline


def take(pipeline: Pipeline, name: str, *lines: str) -> None:
    pipeline.deliver(name, report(*lines))
    assert [task.failure for task in pipeline.run_pass()] == [None]


def current(pipeline: Pipeline) -> list[dict[str, Any]]:
    """The visits of the name's current version."""
    owners = {row["id"] for row in pipeline.rows(tables.bitacora_control) if row["archivo"] == NAME and row["vigente"]}
    return [row for row in pipeline.rows(tables.estadisticas) if row["archivo_id"] in owners]


def said(row: dict[str, Any]) -> tuple[Any, ...]:
    """What a visit says: neither its key nor its owner nor its line."""
    return tuple(value for column, value in row.items() if column not in OWN)


def visits(pipeline: Pipeline) -> dict[int, tuple[Any, ...]]:
    """What the current visits say, by key."""
    return {row["id"]: said(row) for row in current(pipeline)}


def lines_of(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    """The same in the order of their lines, with these."""
    return sorted((row["linea"], *map(str, said(row))) for row in current(pipeline))


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(before=VERSIONS, after=VERSIONS, elsewhere=VERSIONS)
@example(before=[record()] * 3, after=[record()] * 2, elsewhere=[])
@example(before=[record(jyv="-"), record(jyv="NULL")], after=[record(jyv="NULL"), record(jyv="a")], elsewhere=[])
@example(before=[record(jyv="a", badmail="-")], after=[record(jyv="-", badmail="a")], elsewhere=[record()])
@example(before=[record(jyv="a"), record(links="á")], after=[record(jyv="A"), record(links="a")], elsewhere=[])
@example(before=[record(EMAILS[0]), record(EMAILS[1])], after=[record(EMAILS[1]), record(EMAILS[0])], elsewhere=[])
def test_a_correction_leaves_what_comes_again(
    pipeline: Pipeline, before: list[str], after: list[str], elsewhere: list[str]
) -> None:
    pipeline.clear()
    take(pipeline, NAME, *after)
    wanted = lines_of(pipeline)
    pipeline.clear()
    take(pipeline, OTHER, *elsewhere, record("otra@example.com"))
    take(pipeline, NAME, *before)
    stood = visits(pipeline)
    take(pipeline, NAME, *after)
    stands = visits(pipeline)

    assert lines_of(pipeline) == wanted
    alike = Counter(stood.values()) & Counter(stands.values())
    # By key and values: SQLite gives the key of a row that went to one that comes.
    assert len(stood.items() & stands.items()) == alike.total()
    assert pipeline.broken_promises() == []


OTHERWISE = {
    "email": "otra@example.com",
    "fecha_envio": "02/03/2024 10:00",
    **dict.fromkeys(("fecha_open", "fecha_click"), "02/03/2024 10:00"),
    **dict.fromkeys(("opens", "opens_virales", "clicks", "clicks_virales"), "3"),
    **dict.fromkeys(("jyv", "badmail", "baja", "links", "ips", "navegadores", "plataformas"), "x"),
}


@pytest.mark.parametrize("moved", [False, True], ids=["in its line", "in another line"])
def test_a_change_in_any_column_is_seen(pipeline: Pipeline, moved: bool) -> None:
    assert OTHERWISE.keys() == {column.name for column in tables.estadisticas.columns} - OWN
    for column, value in OTHERWISE.items():
        pipeline.clear()
        take(pipeline, NAME, record(), record("eva@example.net"))
        changed = [record(**{column: value}), record("eva@example.net")]
        take(pipeline, NAME, *(reversed(changed) if moved else changed))
        found = lines_of(pipeline)
        pipeline.clear()
        take(pipeline, NAME, *(reversed(changed) if moved else changed))
        assert found == lines_of(pipeline), column
        assert pipeline.broken_promises() == []


def test_a_replay_leaves_every_row_and_mends_one_that_was_changed(pipeline: Pipeline) -> None:
    take(pipeline, NAME, *(record(f"v{number}@example.com") for number in range(5)), record("v1@example.com"))
    before = visits(pipeline), lines_of(pipeline), pipeline.rows(tables.visitantes)
    pipeline.replay(NAME)
    assert (visits(pipeline), lines_of(pipeline), pipeline.rows(tables.visitantes)) == before

    changed = min(before[0])
    with pipeline.platform.engine.begin() as connection:
        connection.execute(
            tables.estadisticas.update().where(tables.estadisticas.c.id == changed).values(opens=7, linea=99)
        )
    pipeline.replay(NAME)
    assert lines_of(pipeline) == before[1]
    assert set(before[0]) - set(visits(pipeline)) == {changed}
    assert pipeline.broken_promises() == []


def test_visitors_that_a_correction_does_not_change_keep_their_date(pipeline: Pipeline) -> None:
    stay = [record(f"v{number}@example.com") for number in range(20)]
    take(pipeline, NAME, *stay, record("sale@example.com"), record("cambia@example.com"))
    dates = {row["email"]: row["actualizado_en"] for row in pipeline.rows(tables.visitantes)}
    take(pipeline, NAME, record("entra@example.com"), *stay, record("cambia@example.com", "02/03/2024 10:00"))
    now = {row["email"]: row["actualizado_en"] for row in pipeline.rows(tables.visitantes)}

    assert now.keys() - dates.keys() == {"entra@example.com"}
    assert dates.keys() - now.keys() == {"sale@example.com"}
    assert [email for email in now.keys() & dates.keys() if now[email] != dates[email]] == ["cambia@example.com"]
    (_, row) = [row for row in pipeline.rows(tables.bitacora_control) if row["archivo"] == NAME]
    assert (row["visitantes_nuevos"], row["visitantes_actualizados"]) == (1, 21)
    assert pipeline.broken_promises() == []
