"""``visitantes`` kept equal to the aggregate of ``estadisticas``: adding, counting anew, turning the month.

The statements' order and locks belong here; when a load needs which does not.

Every load holds the row of ``periodo_visitantes`` shared, so that the month cannot turn beneath it; turning it
takes that row alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import date, datetime
from itertools import repeat
from typing import Any, Literal

from sqlalchemy import (
    Connection,
    CursorResult,
    DateTime,
    Select,
    TextClause,
    bindparam,
    column,
    insert,
    select,
    table,
    update,
)

from visitas_dagster.domain.failures import TransientFailure
from visitas_dagster.loading import batch
from visitas_dagster.loading.ahead import ahead
from visitas_dagster.loading.statements import statement
from visitas_dagster.loading.tables import periodo_visitantes as period_table
from visitas_dagster.loading.tallies import Rows
from visitas_dagster.resources.database import Escaped, quoted

_touched = table(batch.EMAILS, column("email"))

# What is known of a session, kept with it by SQLAlchemy for as long as it lives.
_PERIOD = "visitas_periodo"

Lock = Literal["alone", "shared"] | None

_LOOK = select(period_table.c.anio, period_table.c.mes).where(period_table.c.id == 1)
_PERIODS: Mapping[Lock, Select[Any]] = {
    None: _LOOK,
    "shared": _LOOK.with_for_update(read=True),
    "alone": _LOOK.with_for_update(),
}


@dataclass(frozen=True, order=True)
class Period:
    """The current year and month of ``VISITAS_ZONA_HORARIA``."""

    year: int
    month: int

    @classmethod
    def of(cls, day: date) -> Period:
        """The period that a day lies in."""
        return cls(day.year, day.month)

    def bounds(self) -> dict[str, datetime]:
        """The half-open intervals ``[anio_desde, anio_hasta)`` and ``[mes_desde, mes_hasta)``."""
        after = (self.year + 1, 1) if self.month == 12 else (self.year, self.month + 1)
        return {
            "anio_desde": datetime(self.year, 1, 1),
            "anio_hasta": datetime(self.year + 1, 1, 1),
            "mes_desde": datetime(self.year, self.month, 1),
            "mes_hasta": datetime(*after, 1),
        }


def _typed(clause: TextClause, values: dict[str, datetime]) -> TextClause:
    return clause.bindparams(*(bindparam(name, value, DateTime()) for name, value in values.items()))


@dataclass(frozen=True)
class _Sent:
    """Visitors of one statement, whose text never holds what was delivered.

    Attributes:
        count: how many there are.
        values: what stands behind ``VALUES``.
        parameters: the e-mails, in the form that `values` asks for.
    """

    count: int
    values: str
    parameters: tuple[str, ...] | tuple[Escaped]


class VisitorTables:
    """The statements over one connection, inside the transaction of a load or a close."""

    def __init__(self, connection: Connection, dialect: str, now: datetime) -> None:
        """Remember them; ``now`` (naive UTC) dates what changes."""
        self._connection = connection
        self._dialect = dialect
        self._now = now

    def turn_period(self, today: date, *, alone: bool = False) -> Period:
        """Bring "this year" and "this month" up to ``today`` where a new month began; hold the period.

        Clocks of two machines may differ over midnight: the later month stands.

        Args:
            today: the day in ``VISITAS_ZONA_HORARIA``.
            alone: wait for the loads under way and keep others out, instead of sharing the period with them.

        Raises:
            TransientFailure: the month turned back under a session that had seen it.
        """
        wanted = Period.of(today)
        # Without a lock first: two loads that share the row and both want it alone would deadlock. A session that
        # saw the month once need not look again, for it never turns back.
        if alone or (self._connection.info.get(_PERIOD) != wanted and self._period() < wanted):
            found = self._period("alone")
            if found < wanted:
                self._turn_to(wanted)
                return wanted
            if alone:
                return found
        held = self._period("shared")
        if held < wanted:
            self._connection.info.pop(_PERIOD, None)
            raise TransientFailure("el mes de los visitantes volvió atrás; se repite")
        self._connection.info[_PERIOD] = held
        return held

    def _turn_to(self, wanted: Period) -> None:
        self._connection.execute(
            update(period_table).where(period_table.c.id == 1).values(anio=wanted.year, mes=wanted.month)
        )
        self._connection.execute(
            _typed(statement("visitantes_periodo", self._dialect), {"ahora": self._now, **wanted.bounds()})
        )

    def _period(self, lock: Lock = None) -> Period:
        year, month = self._connection.execute(_PERIODS[lock]).one()
        return Period(year, month)

    def add(self, visitors: Iterator[Rows], *, many: bool = False) -> tuple[int, int]:
        """Add the visits of visitors, which were not counted before; return how many were new, and how many known.

        The servers say 1 for a row that went in and 2 for one that changed, and each known visitor's total changes:
        no second look at every visitor is needed (2 of 28 s a million on MariaDB). SQLite says 1 for both.

        Args:
            visitors: in the order of their e-mails, none of them twice.
            many: make a statement's visitors ready while those before them travel.
        """
        new = known = 0
        for sent in ahead(map(self._written, visitors), worth=many):
            before = self._send("visitantes_conocidos", sent).scalar_one() if self._dialect == "sqlite" else None
            done = self._send("visitantes_sumar", sent).rowcount
            found = done - sent.count if before is None else int(before)
            new, known = new + sent.count - found, known + found
        return new, known

    def _written(self, rows: Rows) -> _Sent:
        count = len(rows.emails)
        if self._dialect == "sqlite":
            return _Sent(count, rows.sql(repeat("?", count)), tuple(rows.emails))
        # One parameter: the driver would take 0.9 of 18 s a million to put the e-mails in one by one as it sends them.
        return _Sent(count, "%s", (Escaped(rows.sql(map(quoted, rows.emails))),))

    def _send(self, name: str, sent: _Sent) -> CursorResult[Any]:
        """Run a statement with its visitors, behind SQLAlchemy's back: it would keep a text of 0.25 MB."""
        dialect = "mariadb" if getattr(self._connection.dialect, "is_mariadb", False) else self._dialect
        return self._connection.exec_driver_sql(
            statement(name, dialect).text.replace(":visitantes", sent.values), sent.parameters
        )

    def touch(self, emails: Set[str]) -> None:
        """Note visitors by name."""
        batch.expect(self._connection, batch.EMAILS)
        self._connection.execute(insert(_touched), [{"email": email} for email in sorted(emails)])

    def recount(self, period: Period) -> None:
        """Count anew the visitors that were noted; those without a visit left lose their row."""
        if self._dialect == "mysql":
            self._connection.execute(_typed(statement("visitantes_reservar", self._dialect), {"ahora": self._now}))
        self._connection.execute(
            _typed(statement("visitantes_recalcular", self._dialect), {"ahora": self._now, **period.bounds()})
        )
        self._connection.execute(statement("visitantes_quitar", self._dialect))
