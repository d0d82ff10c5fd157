"""Which days the journal finds to have moved, and missed, over attempts at random on every engine.

Days and attempts belong here; what a close does with a day is tested in ``test_close.py``.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.closing import ONE_DAY, at
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import NOON, Pipeline, SteppingClock
from visitas_dagster.closing.days import bounds
from visitas_dagster.closing.journal import Journal
from visitas_dagster.domain.ladder import Resultado
from visitas_dagster.loading import tables

FIRST = NOON.date()
DAYS = 40
INSIDE = timedelta(microseconds=1)


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path, SteppingClock()) as pipeline:
        at(pipeline, FIRST + DAYS * ONE_DAY, 2)
        yield pipeline


def remember(pipeline: Pipeline, attempts: Sequence[Mapping[str, Any]]) -> None:
    """Write these attempts, and no others, in this order."""
    with pipeline.platform.engine.begin() as connection:
        connection.execute(sa.delete(tables.bitacora_intentos))
        connection.execute(sa.delete(tables.bitacora_control))
        entry = {"id": 1, "archivo": "report_1.txt", "estado": "COMPLETADO", "intentos": 1, "vigente": True}
        connection.execute(sa.insert(tables.bitacora_control).values(entry))
        for attempt in attempts:
            connection.execute(sa.insert(tables.bitacora_intentos).values(archivo_id=1, **attempt))


def close(pipeline: Pipeline, days: Sequence[date]) -> None:
    with pipeline.platform.engine.begin() as connection:
        connection.execute(sa.delete(tables.cierres))
        for day in days:
            begin = bounds(day, pipeline.settings.zone)[1] + timedelta(hours=2)
            row = {"fecha": day, "estado": "COMPLETADO", "intentos": 1, "inicio": begin}
            connection.execute(sa.insert(tables.cierres).values(row))


def attempt(begin: datetime, end: datetime | None, result: Resultado | None = Resultado.CARGADO) -> dict[str, Any]:
    return {"inicio": begin, "fin": end, "resultado": None if end is None else result}


def by_hand(pipeline: Pipeline, attempts: Sequence[Mapping[str, Any]]) -> set[date]:
    """The days, in the zone, of every beginning and every end."""
    moments = [moment for attempt in attempts for moment in (attempt["inicio"], attempt["fin"]) if moment is not None]
    return {moment.replace(tzinfo=UTC).astimezone(pipeline.settings.zone).date() for moment in moments}


@pytest.mark.parametrize("seed", range(3))
def test_the_days_of_attempts_at_random(pipeline: Pipeline, seed: int) -> None:
    chosen = random.Random(seed)
    start = bounds(FIRST, pipeline.settings.zone)[0]
    for count in (0, 1, 4, 12, 40):
        attempts = []
        for _ in range(count):
            begin = start + timedelta(seconds=chosen.randrange(DAYS * 86_400))
            end = chosen.choice([None, begin, begin + timedelta(seconds=chosen.randrange(200_000))])
            attempts.append(attempt(begin, end, chosen.choice([*Resultado])))
        closed = chosen.sample([FIRST + number * ONE_DAY for number in range(DAYS)], count // 2)
        remember(pipeline, attempts)
        close(pipeline, closed)
        today = pipeline.platform.today()
        expected = {day for day in by_hand(pipeline, attempts) - {*closed} if day < today}
        assert Journal(pipeline.platform).missed() == sorted(expected)


def test_a_day_begins_and_ends_at_midnight_in_the_zone(pipeline: Pipeline) -> None:
    first, last = FIRST + ONE_DAY, FIRST + 4 * ONE_DAY
    # Over midnight and the days between, of which only those of the two moments moved.
    over = attempt(bounds(first, pipeline.settings.zone)[1] - INSIDE, bounds(last, pipeline.settings.zone)[0])
    for attempts, expected in [
        ([over], [first, last]),
        ([{**over, "inicio": over["inicio"] + INSIDE}], [first + ONE_DAY, last]),
        ([{**over, "fin": over["fin"] - INSIDE}], [first, last - ONE_DAY]),
        ([{**over, "fin": None, "resultado": None}], [first]),
    ]:
        remember(pipeline, attempts)
        assert Journal(pipeline.platform).missed() == expected


def test_more_attempts_of_the_same_days_cost_no_more_statements(pipeline: Pipeline) -> None:
    asked: list[str] = []
    sa.event.listen(pipeline.platform.engine, "before_cursor_execute", lambda *event: asked.append(event[2]))
    start = bounds(FIRST, pipeline.settings.zone)[0]
    counts = []
    for each in (1, 30):
        begins = [start + timedelta(days=day, minutes=minute) for day in (2, 3, 9, 30) for minute in range(1, 1 + each)]
        remember(pipeline, [attempt(begin, begin + INSIDE) for begin in begins])
        asked.clear()
        assert len(Journal(pipeline.platform).missed()) == 4
        counts.append(sum("bitacora_intentos" in statement for statement in asked))
    # The first attempt; each day's first beginning, and that there is none later; the first end after each gap's begin.
    assert counts == [1 + 4 + 1 + 3] * 2
