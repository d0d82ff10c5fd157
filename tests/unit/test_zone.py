"""The offsets that go into `zona_cambios`, against `zoneinfo` at any moment of any zone.

What the rows say belongs here; what the views make of them is tested on real databases.
"""

from bisect import bisect_right
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

from hypothesis import given, settings
from hypothesis import strategies as st

from visitas_dagster.loading.zone import FIRST_YEAR, LAST_YEAR, Span, spans

ZONES = sorted(available_timezones())
MEXICO = ZoneInfo("America/Mexico_City")

moments = st.datetimes(datetime(FIRST_YEAR, 1, 1), datetime(LAST_YEAR, 12, 31, 23, 59, 59))

# Eight zones changed their clocks in the hours around a New Year of UTC, the last one in 2004: no ledger is so old.
recent = st.datetimes(datetime(2005, 1, 1), datetime(LAST_YEAR, 12, 31, 23, 59, 59))


def span_at(found: tuple[Span, ...], moment: datetime) -> Span:
    return found[bisect_right([span.desde for span in found], moment) - 1]


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(ZONES), st.lists(moments, min_size=20, max_size=60))
def test_every_moment_has_its_offset(key: str, found: list[datetime]) -> None:
    zone = ZoneInfo(key)
    rows = spans(zone)
    for moment in found:
        span = span_at(rows, moment)
        local = moment.replace(tzinfo=UTC).astimezone(zone)
        assert span.anio == moment.year
        assert span.desde <= moment < span.hasta
        assert timedelta(seconds=span.desfase_s) == local.utcoffset()
        before = (span.desde - timedelta(seconds=1)).replace(tzinfo=UTC).astimezone(zone)
        assert timedelta(seconds=span.desfase_anterior_s) == before.utcoffset()


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(ZONES), st.lists(recent, min_size=20, max_size=60))
def test_the_views_rule_for_a_days_beginning_is_right_in_every_zone(key: str, found: list[datetime]) -> None:
    zone = ZoneInfo(key)
    rows = spans(zone)
    for moment in found:
        span = span_at(rows, moment)
        local = moment.replace(tzinfo=UTC).astimezone(zone)
        midnight = datetime.combine(local.date(), time.min)
        begins = midnight.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None)
        # v_archivos.*.sql, "dia_desde_utc".
        earlier = midnight - timedelta(seconds=span.desfase_anterior_s)
        later = midnight - timedelta(seconds=span.desfase_s)
        assert (earlier if earlier < span.desde else max(later, span.desde)) == begins


def test_the_years_follow_each_other_without_gaps() -> None:
    rows = spans(MEXICO)
    assert (rows[0].desde, rows[-1].hasta) == (datetime(1970, 1, 1), datetime(2101, 1, 1))
    assert all(one.hasta == other.desde for one, other in pairwise(rows))


def test_a_change_begins_at_its_second() -> None:
    year = [span[1:5] for span in spans(ZoneInfo("America/New_York")) if span.anio == 2026]
    assert year == [
        (datetime(2026, 1, 1), datetime(2026, 3, 8, 7), -18_000, -18_000),
        (datetime(2026, 3, 8, 7), datetime(2026, 11, 1, 6), -14_400, -18_000),
        (datetime(2026, 11, 1, 6), datetime(2027, 1, 1), -18_000, -14_400),
    ]


def test_mexico_has_no_summer_time_any_more() -> None:
    assert [(span.desde.month, span.desfase_s) for span in spans(MEXICO) if span.anio == 2022] == [
        (1, -21_600),
        (4, -18_000),
        (10, -21_600),
    ]
    assert {span.desfase_s for span in spans(MEXICO) if span.anio > 2022} == {-21_600}
