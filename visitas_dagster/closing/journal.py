"""The table ``cierres``: which days were closed, how often it was tried, and which days are owed a close.

Its rows belong here, with the ledger's days; what a close does does not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import CompoundSelect, Connection, Select, func, insert, select, union_all, update

from visitas_dagster.closing.days import ONE_DAY, bounds, days_to_close, oldest_kept
from visitas_dagster.closing.loose import loose_days
from visitas_dagster.domain.ladder import Resultado
from visitas_dagster.loading.ledger import shorten
from visitas_dagster.loading.tables import bitacora_intentos as tries
from visitas_dagster.loading.tables import cierres
from visitas_dagster.resources.database import reading, writing
from visitas_dagster.resources.folders import disk_errors
from visitas_dagster.resources.platform import Platform

OPEN, DONE, FAILED = "EN_PROCESO", "COMPLETADO", "FALLO"
"""``cierres.estado``. A close that was killed stays ``EN_PROCESO``, and its day is owed."""


class Journal:
    """The closes of one installation."""

    def __init__(self, platform: Platform) -> None:
        """Remember it; nothing is read yet."""
        self._platform = platform

    def begin(self, day: date) -> None:
        """Open the day's row, or open it once more."""
        begun = {"estado": OPEN, "inicio": self._platform.now(), "fin": None, "mensaje": None}
        with writing(self._platform.engine) as connection:
            known = connection.execute(select(cierres.c.fecha).where(cierres.c.fecha == day).with_for_update()).first()
            if known is None:
                connection.execute(insert(cierres).values(fecha=day, intentos=1, **begun))
            else:
                connection.execute(
                    update(cierres).where(cierres.c.fecha == day).values(intentos=cierres.c.intentos + 1, **begun)
                )

    def end(self, day: date, message: str | None, detail: dict[str, Any]) -> None:
        """Write how the day's close ended: ``message`` is why it failed, None where it did not."""
        with writing(self._platform.engine) as connection:
            connection.execute(
                update(cierres)
                .where(cierres.c.fecha == day)
                .values(
                    estado=DONE if message is None else FAILED,
                    fin=self._platform.now(),
                    mensaje=shorten(message),
                    detalle=detail,
                )
            )

    def owed(self) -> list[date]:
        """Return the days to close now, oldest first: see :func:`~visitas_dagster.closing.days.days_to_close`.

        The ledger is asked about days whose backups would still be kept; loose backups, and closes that were begun
        and not completed, count however old they are.

        Raises:
            SystemFailure: the database or the disk failed.
        """
        return days_to_close(self._platform.today(), *self._signs())

    def _signs(self) -> tuple[set[date], set[date], set[date]]:
        """The days that are pending, active and not closed, and closed: see :func:`days_to_close`."""
        today, settings = self._platform.today(), self._platform.settings
        with disk_errors("buscar respaldos sin sellar"):
            pending = loose_days(self._platform.folders)
        with reading(self._platform.engine) as connection:
            window = self._window(connection, oldest_kept(today, settings.retencion_backup_dias), today)
            pending |= set(connection.scalars(select(cierres.c.fecha).where(cierres.c.estado != DONE)))
            closed = self._closed(connection, window)
            active = self._active(connection, [day for day in window if day not in closed])
        return pending, active, closed

    def missed(self) -> list[date]:
        """Return the days before today that were to be closed by now and are not, oldest first.

        Unlike :meth:`owed` without a day on which nothing happened, which a close need not have seen.

        Raises:
            SystemFailure: the database or the disk failed.
        """
        pending, active, _ = self._signs()
        return sorted(day for day in pending | active if day < self._platform.today())

    def _window(self, connection: Connection, oldest: date, today: date) -> list[date]:
        """The days before today, from the first attempt on."""
        first = connection.scalar(select(func.min(tries.c.inicio)))
        if first is None:
            return []
        days = [oldest + number * ONE_DAY for number in range((today - oldest).days)]
        return [day for day in days if bounds(day, self._platform.settings.zone)[1] > first]

    def _closed(self, connection: Connection, days: Collection[date]) -> set[date]:
        """Those that were closed after they had ended: a close on the day itself does not have all of it."""
        rows = connection.execute(
            select(cierres.c.fecha, cierres.c.inicio).where(cierres.c.estado == DONE, cierres.c.fecha.in_(list(days)))
        )
        return {row.fecha for row in rows if row.inicio >= bounds(row.fecha, self._platform.settings.zone)[1]}

    def _active(self, connection: Connection, days: Sequence[date]) -> set[date]:
        """Those of these days, the oldest first, on which an attempt began or ended."""
        began = self._reached(days, lambda since: connection.scalar(_next_begin(since)))
        others = [day for day in days if day not in began]
        return began | self._reached(others, lambda since: _earliest(connection.scalars(_next_ends(since))))

    def _reached(self, days: Sequence[date], following: Callable[[datetime], datetime | None]) -> set[date]:
        """Those of these days, the oldest first, in which a moment falls.

        Args:
            days: in the zone.
            following: gives the first moment from one on, naive UTC; None after the last. It is asked at most once a
                day, however many moments fall in it, and not for a day before the next moment.
        """
        found: set[date] = set()
        moment: datetime | None = datetime.min
        for day in days:
            start, end = bounds(day, self._platform.settings.zone)
            if moment is not None and moment < start:
                moment = following(start)
            if moment is not None and moment < end:
                found.add(day)
        return found


def _next_begin(since: datetime) -> Select[datetime | None]:
    return select(func.min(tries.c.inicio)).where(tries.c.inicio >= since)


def _next_ends(since: datetime) -> CompoundSelect[datetime | None]:
    """Select the next end with each result: each is where a range of the index over both begins."""
    ends = select(func.min(tries.c.fin)).where(tries.c.fin >= since)
    return union_all(*(ends.where(tries.c.resultado == result.value) for result in Resultado))


def _earliest(moments: Iterable[datetime | None]) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)
