"""``zona_cambios``: the offsets of ``VISITAS_ZONA_HORARIA`` as rows, so that views can tell a moment's local day.

Working them out and writing them belong here; what is dated with them stands in ``sql/views``. The servers' own named
zones are no help: their tables are empty until an administrator loads them, and a view cannot read a setting.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, delete, insert, select

from visitas_dagster.loading.tables import zona_cambios
from visitas_dagster.resources.database import reading, writing

FIRST_YEAR, LAST_YEAR = 1970, 2100
"""UTC years that the table covers, both included."""


class Span(NamedTuple):
    """A stretch of one UTC year without a change of the offset.

    Attributes:
        anio: the year.
        desde, hasta: naive UTC, half-open.
        desfase_s: local time less UTC, in seconds.
        desfase_anterior_s: the same just before ``desde``; another one only where the clocks changed then.
        zona: the zone's name.
    """

    anio: int
    desde: datetime
    hasta: datetime
    desfase_s: int
    desfase_anterior_s: int
    zona: str


def keep_zone(engine: Engine, zone: ZoneInfo) -> bool:
    """Make the table say what ``zone`` says now; return whether anything had to be written.

    Cheap where nothing changed: one small query. Another setting, or new rules of the same zone, replace all rows in
    one transaction, so that a reader sees the old days or the new ones, never a mixture.

    Raises:
        SystemFailure: the database failed.
    """
    wanted = spans(zone)
    columns = [zona_cambios.c[name] for name in Span._fields]
    with reading(engine) as connection:
        found = connection.execute(select(*columns).order_by(zona_cambios.c.desde)).all()
    if [tuple(row) for row in found] == list(wanted):
        return False
    with writing(engine) as connection:
        connection.execute(delete(zona_cambios))
        connection.execute(insert(zona_cambios), [span._asdict() for span in wanted])
    return True


@cache
def spans(zone: ZoneInfo) -> tuple[Span, ...]:
    """Return the zone's offsets from :data:`FIRST_YEAR` to :data:`LAST_YEAR`, in order, without gaps."""
    found = []
    for year in range(FIRST_YEAR, LAST_YEAR + 1):
        start, end = datetime(year, 1, 1), datetime(year + 1, 1, 1)
        edges = [start, *_changes(zone, start, end), end]
        found += [
            Span(year, since, until, _offset(zone, since), _offset(zone, since - timedelta(seconds=1)), zone.key)
            for since, until in pairwise(edges)
        ]
    return tuple(found)


def _changes(zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[datetime]:
    """The moments strictly between ``start`` and ``end`` from which another offset holds.

    No zone ever changed twice within a day, so that a day whose two ends agree has no change.
    """
    day, offset = start, _offset(zone, start)
    while day < end:
        after = day + timedelta(days=1)
        new = _offset(zone, after)
        if new != offset:
            moment = _first_of_new(zone, day, after)
            if moment < end:
                yield moment
        day, offset = after, new


def _first_of_new(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The first second with the offset of ``after``, by halving."""
    low, high, old = 0, int((after - before).total_seconds()), _offset(zone, before)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, before + timedelta(seconds=middle)) == old:
            low = middle
        else:
            high = middle
    return before + timedelta(seconds=high)


def _offset(zone: ZoneInfo, moment: datetime) -> int:
    offset = moment.replace(tzinfo=UTC).astimezone(zone).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0
