"""The table ``cierres``: which days were closed, how often it was tried, and which days are owed a close.

Its rows belong here, with the ledger's days; what a close does does not.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Any

from sqlalchemy import Connection, and_, insert, or_, select, update

from visitas_dagster.closing.days import ONE_DAY, bounds, days_to_close, oldest_kept
from visitas_dagster.closing.sealing import loose_days
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
            active = {day for day in window if day not in closed and self._is_active(connection, day)}
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
        # Their keys rise as they begin: looking for the earliest time would read them all.
        first = connection.execute(select(tries.c.inicio).order_by(tries.c.id).limit(1)).scalar()
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

    def _is_active(self, connection: Connection, day: date) -> bool:
        start, end = bounds(day, self._platform.settings.zone)
        moved = or_(*(and_(column >= start, column < end) for column in (tries.c.inicio, tries.c.fin)))
        return connection.execute(select(tries.c.id).where(moved).limit(1)).first() is not None
