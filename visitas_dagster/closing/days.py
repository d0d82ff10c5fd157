"""Days and what falls due on them: which are to be closed, what is still kept, where one begins and ends.

Pure decisions belong here; reading clocks, folders and tables does not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

ONE_DAY = timedelta(days=1)


def bounds(day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return the day's beginning and the next one's, naive UTC, as the ledger keeps moments."""
    return _beginning(day, zone), _beginning(day + ONE_DAY, zone)


def _beginning(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC).replace(tzinfo=None)


def oldest_kept(today: date, keep_days: int) -> date:
    """Return the oldest day whose things are kept: ``keep_days`` whole days pass after it (contract §4)."""
    return today - timedelta(days=keep_days)


def is_kept(day: date, today: date, keep_days: int) -> bool:
    """Whether what belongs to ``day`` is still kept on ``today``."""
    return day >= oldest_kept(today, keep_days)


def days_to_close(
    today: date, pending: Collection[date], active: Collection[date], closed: Collection[date]
) -> list[date]:
    """Return the days that a close without a date closes, oldest first: yesterday, and every missed one before it.

    Args:
        today: the day in ``VISITAS_ZONA_HORARIA``; never closed by itself.
        pending: days with backups that no zip holds, or whose close was begun and not completed. They are closed
            whatever was closed before.
        active: days on which the ledger moved.
        closed: days whose close was completed after they had ended.
    """
    yesterday = today - ONE_DAY
    missed = {*pending, *(set(active) - set(closed))}
    return sorted({yesterday, *(day for day in missed if day < yesterday)})


def stamp(day: date) -> str:
    """Write a day as folders and files carry it: ``YYYYMMDD``."""
    return f"{day.year:04}{day.month:02}{day.day:02}"


def stamped(text: str) -> date | None:
    """Read it back; None for anything else, for a folder's names are not all our own."""
    if len(text) != 8 or not (text.isascii() and text.isdigit()):
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


def expired(days: Iterable[date], today: date, keep_days: int) -> list[date]:
    """Return those days whose things are kept no longer, oldest first."""
    return sorted(day for day in days if not is_kept(day, today, keep_days))
