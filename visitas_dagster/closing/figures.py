"""What a report tells of a day or a month, as numbers: queries over the tables into one frozen dataclass.

Counting belongs here; how the numbers are drawn and where they are written does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from sqlalchemy import Column, ColumnElement, Connection, RowMapping, and_, case, func, select

from visitas_dagster.domain.privacy import mask_addresses
from visitas_dagster.domain.states import FAILED, LOADED, Estado
from visitas_dagster.loading.history import History
from visitas_dagster.loading.tables import bitacora_control as ledger
from visitas_dagster.loading.tables import errores, visitantes
from visitas_dagster.resources.database import reading
from visitas_dagster.resources.platform import Platform

TREND_DAYS = 30
TREND_MONTHS = 12
SLOWEST = 10
MAX_ROWS = 20
"""Files that a list of a report shows at the most."""


@dataclass(frozen=True)
class Period:
    """A day or a month, by the calendar of ``VISITAS_ZONA_HORARIA``.

    Attributes:
        start: its first day.
        end: the first day after it.
        monthly: whether it is a month.
    """

    start: date
    end: date
    monthly: bool

    @property
    def name(self) -> str:
        """``2026-11-24`` or ``2026-11``."""
        return f"{self.start:%Y-%m}" if self.monthly else self.start.isoformat()

    def before(self) -> Period:
        """The period before it."""
        last = self.start - timedelta(days=1)
        return month(last.year, last.month) if self.monthly else day(last)

    def days(self) -> list[Period]:
        """Its days, in order."""
        return [day(self.start + timedelta(days=ahead)) for ahead in range((self.end - self.start).days)]

    def trend(self) -> list[Period]:
        """The last 30 days or 12 months, itself the last."""
        found = [self]
        while len(found) < (TREND_MONTHS if self.monthly else TREND_DAYS):
            found.append(found[-1].before())
        return found[::-1]


def day(of: date) -> Period:
    """The period of one day."""
    return Period(of, of + timedelta(days=1), monthly=False)


def month(year: int, number: int) -> Period:
    """The period of one month; raise :class:`ValueError` where there is none."""
    start = date(year, number, 1)
    return Period(start, date(year + number // 12, number % 12 + 1, 1), monthly=True)


@dataclass(frozen=True)
class Tally:
    """What was processed in one period: the ledger rows that came to their end (``fin``) in it, as they stand now.

    Attributes:
        period: which.
        files: how many, by state; states without a file are left out.
        total, valid, invalid: records of those that loaded.
        new_visitors, known_visitors: e-mails of the files without and with a row before, added up over the files.
        bytes: size of the files.
        busy_ms: how long they took, added up.
    """

    period: Period
    files: Mapping[Estado, int] = field(default_factory=dict)
    total: int = 0
    valid: int = 0
    invalid: int = 0
    new_visitors: int = 0
    known_visitors: int = 0
    bytes: int = 0
    busy_ms: int = 0

    @property
    def file_count(self) -> int:
        """All files, whatever their state."""
        return sum(self.files.values())

    @property
    def failed(self) -> int:
        """Files in a failed state."""
        return sum(count for estado, count in self.files.items() if estado in FAILED)

    @property
    def success_rate(self) -> float | None:
        """The share of files that did not fail, 0 to 1: they loaded, or what they bring is loaded already."""
        return (self.file_count - self.failed) / self.file_count if self.files else None

    @property
    def error_rate(self) -> float | None:
        """The share of records that were rejected, 0 to 1."""
        return self.invalid / self.total if self.total else None


@dataclass(frozen=True)
class FileLine:
    """One file in a list; addresses in its texts are masked.

    Attributes:
        archivo, estado, mensaje: as in the ledger.
        moment: when its last attempt ended, in the zone; None while one is under way.
        records, bytes, took_ms: as in the ledger, None where it has none.
    """

    archivo: str
    estado: Estado
    moment: datetime | None
    records: int | None
    bytes: int | None
    took_ms: int | None
    mensaje: str


@dataclass(frozen=True)
class Figures:
    """Everything a report shows.

    Attributes:
        tally: of the day or month itself.
        trend: the last 30 days or 12 months, itself the last.
        days: a month's days; empty for a day.
        error_types: rejected records by ``tipo_error``, the most frequent first.
        slowest: the files that took longest, the slowest first.
        failures: files of the period that failed, the last first, at most :data:`MAX_ROWS`.
        waiting: failed files that nothing newer has made good, by state, when the report was made.
        waiting_files: the last of them, at most :data:`MAX_ROWS`.
        visitors: rows of ``visitantes`` when the report was made.
        threshold: ``VISITAS_ALERTA_TASA_ERROR``.
        zone: the name of ``VISITAS_ZONA_HORARIA``.
        made_at: when it was made, in that zone.
    """

    tally: Tally
    trend: tuple[Tally, ...]
    days: tuple[Tally, ...]
    error_types: tuple[tuple[str, int], ...]
    slowest: tuple[FileLine, ...]
    failures: tuple[FileLine, ...]
    waiting: Mapping[Estado, int]
    waiting_files: tuple[FileLine, ...]
    visitors: int
    threshold: float
    zone: str
    made_at: datetime

    @property
    def period(self) -> Period:
        """The day or the month."""
        return self.tally.period

    @property
    def previous(self) -> Tally:
        """The day or month before."""
        return self.trend[-2]


def gather(platform: Platform, period: Period) -> Figures:
    """Count a day or a month.

    Raises:
        SystemFailure: the database does not answer.
    """
    zone = platform.settings.zone
    history = History(platform.engine, zone)
    with reading(platform.engine) as connection:
        trend = _tallies(connection, period.trend(), zone)
        days = _tallies(connection, period.days(), zone) if period.monthly else []
        within = _within(period, zone)
        error_types = _error_types(connection, within)
        slowest = _files(connection, within, zone, ledger.c.duracion_ms.is_not(None), limit=SLOWEST)
        failures = _failures(connection, within, zone)
        visitors = connection.execute(select(func.count()).select_from(visitantes)).scalar_one()
    return Figures(
        tally=trend[-1],
        trend=tuple(trend),
        days=tuple(days),
        error_types=tuple(error_types),
        slowest=tuple(slowest),
        failures=tuple(failures),
        waiting=history.failed_counts(),
        waiting_files=tuple(_line(row, zone) for row in history.failed(MAX_ROWS)),
        visitors=visitors,
        threshold=platform.settings.alerta_tasa_error,
        zone=platform.settings.zona_horaria,
        made_at=platform.clock().astimezone(zone),
    )


def each_file(platform: Platform, period: Period) -> Iterator[RowMapping]:
    """Yield the ledger rows of a period, in the order in which they ended."""
    statement = select(ledger).where(_within(period, platform.settings.zone)).order_by(ledger.c.fin, ledger.c.id)
    with reading(platform.engine) as connection:
        yield from connection.execution_options(yield_per=1000).execute(statement).mappings()


def begin(of: date, zone: ZoneInfo) -> datetime:
    """The moment at which a day of the zone begins, as the ledger keeps time: naive UTC."""
    return datetime.combine(of, time.min, zone).astimezone(UTC).replace(tzinfo=None)


def local(moment: datetime | None, zone: ZoneInfo) -> datetime | None:
    """A moment of the ledger in the zone."""
    return moment.replace(tzinfo=UTC).astimezone(zone) if moment is not None else None


def _within(period: Period, zone: ZoneInfo) -> ColumnElement[bool]:
    """Which rows are a period's: those that came to an end in it, as the view ``v_archivos`` counts them too."""
    return _between(begin(period.start, zone), begin(period.end, zone))


def _between(start: datetime, end: datetime) -> ColumnElement[bool]:
    # Of a file that is to be tried again an attempt has ended, the file has not.
    return and_(ledger.c.fin >= start, ledger.c.fin < end, ledger.c.estado != Estado.EN_PROCESO.value)


def _of_loaded(column: Column[int]) -> ColumnElement[int]:
    """Records count once, with the file that loaded them: a duplicate brings none, and a failed file has none."""
    return case((ledger.c.estado.in_([state.value for state in LOADED]), column), else_=0)


_SUMS: Mapping[str, ColumnElement[int]] = {
    "total": _of_loaded(ledger.c.registros_total),
    "valid": _of_loaded(ledger.c.registros_validos),
    "invalid": _of_loaded(ledger.c.registros_invalidos),
    "new_visitors": _of_loaded(ledger.c.visitantes_nuevos),
    "known_visitors": _of_loaded(ledger.c.visitantes_actualizados),
    "bytes": ledger.c.bytes,
    "busy_ms": ledger.c.duracion_ms,
}


def _tallies(connection: Connection, periods: Sequence[Period], zone: ZoneInfo) -> list[Tally]:
    """Count successive periods in one query: the database sees moments only, the calendar's zone stays here."""
    # MySQL's CONVERT_TZ needs tables that few servers have loaded, and SQLite knows no zones.
    bounds = [begin(period.start, zone) for period in periods] + [begin(periods[-1].end, zone)]
    place = case(
        *((ledger.c.fin < after, number) for number, (_, after) in enumerate(pairwise(bounds))),
    ).label("place")
    rows = connection.execute(
        select(
            place,
            ledger.c.estado,
            func.count().label("files"),
            *(func.coalesce(func.sum(column), 0).label(name) for name, column in _SUMS.items()),
        )
        .where(_between(bounds[0], bounds[-1]))
        .group_by("place", ledger.c.estado)
    ).mappings()
    by_place: dict[int, list[RowMapping]] = {}
    for row in rows:
        by_place.setdefault(int(row["place"]), []).append(row)
    return [
        Tally(
            period,
            {estado: int(row["files"]) for estado in Estado for row in found if row["estado"] == estado},
            **{name: sum(int(row[name]) for row in found) for name in _SUMS},
        )
        for number, period in enumerate(periods)
        for found in [by_place.get(number, [])]
    ]


def _error_types(connection: Connection, within: ColumnElement[bool]) -> list[tuple[str, int]]:
    count = func.count().label("count")
    rows = connection.execute(
        select(errores.c.tipo_error, count)
        .join(ledger, ledger.c.id == errores.c.archivo_id)
        .where(within)
        .group_by(errores.c.tipo_error)
        .order_by(count.desc(), errores.c.tipo_error)
    )
    return [(code, int(times)) for code, times in rows]


def _files(
    connection: Connection, within: ColumnElement[bool], zone: ZoneInfo, wanted: ColumnElement[bool], *, limit: int
) -> list[FileLine]:
    rows = connection.execute(
        select(ledger).where(within, wanted).order_by(ledger.c.duracion_ms.desc(), ledger.c.id).limit(limit)
    ).mappings()
    return [_line(row, zone) for row in rows]


def _failures(connection: Connection, within: ColumnElement[bool], zone: ZoneInfo) -> list[FileLine]:
    rows = connection.execute(
        select(ledger)
        .where(within, ledger.c.estado.in_([state.value for state in FAILED]))
        .order_by(ledger.c.fin.desc(), ledger.c.id.desc())
        .limit(MAX_ROWS)
    ).mappings()
    return [_line(row, zone) for row in rows]


def _line(row: RowMapping, zone: ZoneInfo) -> FileLine:
    return FileLine(
        mask_addresses(row["archivo"]),
        Estado(row["estado"]),
        local(row["fin"], zone),
        row["registros_total"],
        row["bytes"],
        row["duracion_ms"],
        mask_addresses(row["mensaje"] or ""),
    )
