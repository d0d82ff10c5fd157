"""Which days are closed, and what is kept on which.

The pure decisions belong here; what is removed from the disk does not.
"""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visitas_dagster.closing.days import bounds, days_to_close, expired, is_kept, oldest_kept, stamp, stamped

TODAY = date(2024, 3, 15)

near = st.dates(date(2024, 2, 1), date(2024, 4, 15))
some_days = st.sets(near)
any_day = st.dates(date(1000, 1, 1), date(9998, 1, 1))


@given(pending=some_days, active=some_days, closed=some_days)
def test_what_is_closed(pending: set[date], active: set[date], closed: set[date]) -> None:
    found = days_to_close(TODAY, pending, active, closed)
    assert found == sorted(set(found))
    assert found[-1] == TODAY - timedelta(days=1)
    for day in pending | active | closed:
        missed = day < TODAY and (day in pending or (day in active and day not in closed))
        assert (day in found) == (missed or day == TODAY - timedelta(days=1))


@given(pending=some_days, active=some_days, closed=some_days)
def test_after_all_were_closed_only_yesterday_is_left(pending: set[date], active: set[date], closed: set[date]) -> None:
    done = days_to_close(TODAY, pending, active, closed)
    left = {day for day in pending if day not in done}
    assert days_to_close(TODAY, left, active, closed | set(done)) == [TODAY - timedelta(days=1)]


def test_the_last_day_kept() -> None:
    assert oldest_kept(date(2024, 3, 31), 30) == date(2024, 3, 1)
    assert is_kept(date(2024, 3, 1), date(2024, 3, 31), 30)
    assert not is_kept(date(2024, 2, 29), date(2024, 3, 31), 30)


@given(day=any_day, today=any_day, keep=st.integers(1, 4000))
def test_a_day_is_kept_for_so_many_whole_days_after_it(day: date, today: date, keep: int) -> None:
    assert is_kept(day, today, keep) == ((today - day).days <= keep)


@given(days=some_days, today=near, keep=st.integers(1, 40))
def test_what_expired_is_what_is_not_kept_in_order(days: set[date], today: date, keep: int) -> None:
    assert expired(days, today, keep) == sorted(day for day in days if not is_kept(day, today, keep))


@given(today=near, keep=st.integers(1, 40))
def test_each_day_expires_once(today: date, keep: int) -> None:
    days = [today - timedelta(days=number) for number in range(100)]
    kept = [day for day in days if is_kept(day, today, keep)]
    assert expired(kept, today + timedelta(days=1), keep) == [oldest_kept(today, keep)]


@given(day=st.dates(date(1, 1, 1)))
def test_stamps_are_read_back(day: date) -> None:
    assert stamped(stamp(day)) == day


@pytest.mark.parametrize(
    "name", ["", "2024031", "20240230", "20241301", "backup_x", "²0240301", "2024-3-1", " 0240301"]
)
def test_other_names_are_no_days(name: str) -> None:
    assert stamped(name) is None


@pytest.mark.parametrize(
    ("zone", "day", "begins", "hours"),
    [
        ("America/Mexico_City", date(2024, 3, 14), datetime(2024, 3, 14, 6), 24),
        ("Europe/Madrid", date(2024, 3, 31), datetime(2024, 3, 30, 23), 23),
        ("Europe/Madrid", date(2024, 10, 27), datetime(2024, 10, 26, 22), 25),
        ("Asia/Kathmandu", date(2024, 3, 14), datetime(2024, 3, 13, 18, 15), 24),
    ],
)
def test_a_day_is_the_zones(zone: str, day: date, begins: datetime, hours: int) -> None:
    start, end = bounds(day, ZoneInfo(zone))
    assert start == begins
    assert end - start == timedelta(hours=hours)


@given(day=near, seconds=st.integers(0, 86_399))
def test_every_moment_of_a_day_lies_in_its_bounds(day: date, seconds: int) -> None:
    zone = ZoneInfo("America/Mexico_City")
    start, end = bounds(day, zone)
    moment = start + timedelta(seconds=seconds)
    assert start <= moment < end
    assert moment.replace(tzinfo=UTC).astimezone(zone).date() == day
