"""What the ledger says of trouble: files that failed, that reject too much, when something last arrived, what waits.

The queries behind a look's signs belong here; what is a sign, and what follows from it, does not.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, delete, func, insert, select

from visitas_dagster.domain.incidents import NAMES, FailedFile, RejectingFile
from visitas_dagster.domain.ladder import FAILURES, Resultado
from visitas_dagster.domain.states import CURRENT, Estado
from visitas_dagster.loading.statements import or_ignore
from visitas_dagster.loading.tables import bitacora_control as ledger
from visitas_dagster.loading.tables import bitacora_intentos as tries
from visitas_dagster.loading.tables import esperas
from visitas_dagster.resources.database import reading, writing

_RESULTS = {
    Estado.FALLO_LAYOUT: frozenset({Resultado.FALLO_LAYOUT}),
    Estado.FALLO_SISTEMA: FAILURES,
}


class Failures:
    """The files in one of the two failed states.

    Attributes:
        total: how many nothing newer of their name has made good.
        first: the oldest few of them, and the newest as the last.
        ever: how many files have failed so since the incident began, or the oldest of them did.
        is_retried: none is left, but one that failed is being tried again: nobody can say yet.
    """

    def __init__(self, total: int, first: list[FailedFile], ever: int, is_retried: bool) -> None:
        """Remember them."""
        self.total = total
        self.first = first
        self.ever = ever
        self.is_retried = is_retried


def failures(engine: Engine, estado: Estado, since: datetime | None = None) -> Failures:
    """Return what stands in this state.

    Args:
        engine: the database.
        estado: ``FALLO_LAYOUT`` or ``FALLO_SISTEMA``.
        since: when an incident that is open about them began, naive UTC.

    Raises:
        SystemFailure: the database does not answer.
    """
    unresolved = [ledger.c.estado == estado.value, ledger.c.fin.is_not(None), ~_made_good()]
    columns = select(ledger.c.archivo, ledger.c.fin, ledger.c.mensaje).where(*unresolved)
    with reading(engine) as connection:
        total = connection.execute(select(func.count()).select_from(ledger).where(*unresolved)).scalar_one()
        if not total:
            return Failures(0, [], 0, _is_retried(connection, estado))
        oldest = connection.execute(columns.order_by(ledger.c.fin, ledger.c.id).limit(NAMES)).all()
        newest = connection.execute(columns.order_by(ledger.c.fin.desc(), ledger.c.id.desc()).limit(1)).all()
        files = [_failed(row) for row in oldest]
        if total > len(files):
            files += [_failed(row) for row in newest]
        ever = connection.execute(
            select(func.count(tries.c.archivo_id.distinct())).where(
                tries.c.resultado.in_(_values(estado)), tries.c.fin >= min(files[0].fin, since or files[0].fin)
            )
        ).scalar_one()
        return Failures(total, files, ever, False)


def _made_good() -> ColumnElement[bool]:
    newer = ledger.alias("newer")
    return (
        select(newer.c.id)
        .where(
            newer.c.archivo == ledger.c.archivo,
            newer.c.inicio > ledger.c.inicio,
            newer.c.estado.in_([state.value for state in CURRENT]),
        )
        .exists()
    )


def _is_retried(connection: Connection, estado: Estado) -> bool:
    """Whether a file that had failed so is at work right now."""
    found = connection.execute(
        select(ledger.c.id)
        .join(tries, tries.c.archivo_id == ledger.c.id)
        .where(ledger.c.estado == Estado.EN_PROCESO.value, tries.c.resultado.in_(_values(estado)))
        .limit(1)
    ).first()
    return found is not None


def _values(estado: Estado) -> list[str]:
    return [result.value for result in _RESULTS[estado]]


def _failed(row: Row[str, datetime, str | None]) -> FailedFile:
    return FailedFile(row.archivo, row.fin, row.mensaje or "")


def rejecting(engine: Engine, since: datetime) -> list[RejectingFile]:
    """Return the current versions loaded with rejected records since then (naive UTC)."""
    with reading(engine) as connection:
        rows = connection.execute(
            select(ledger.c.archivo, ledger.c.fin, ledger.c.registros_total, ledger.c.registros_invalidos).where(
                ledger.c.estado == Estado.COMPLETADO_CON_ERRORES.value, ledger.c.fin >= since, ledger.c.vigente
            )
        )
        return [RejectingFile(*row) for row in rows]


def last_arrival(engine: Engine) -> datetime | None:
    """Return when a delivery was last seen, naive UTC: taken, taken again unchanged, or waiting on the server.

    A retry and a replay are no deliveries: the newest row of the ledger tells by its first attempt.
    """
    newest = select(func.max(ledger.c.id)).scalar_subquery()
    queries: list[Select[Any]] = [
        select(func.min(tries.c.inicio)).where(tries.c.archivo_id == newest),
        select(func.max(tries.c.fin)).where(tries.c.resultado == Resultado.SIN_CAMBIO.value),
        select(func.max(esperas.c.desde)),
    ]
    with reading(engine) as connection:
        found: list[datetime | None] = [connection.execute(query).scalar() for query in queries]
    return max((moment for moment in found if moment is not None), default=None)


def first_seen(engine: Engine, present: Collection[str], now: datetime) -> dict[str, datetime]:
    """Write down which reports are on the server; return since when each has been found there, naive UTC.

    Args:
        engine: the database.
        present: the reports on the server.
        now: the moment of the listing, naive UTC.
    """
    with reading(engine) as connection:
        known = {row.archivo: row.desde for row in connection.execute(select(esperas))}
    gone, new = known.keys() - set(present), set(present) - known.keys()
    if gone or new:
        with writing(engine) as connection:
            for names in _chunks(gone):
                connection.execute(delete(esperas).where(esperas.c.archivo.in_(names)))
            for names in _chunks(new):
                # Another look may have seen them at the same moment.
                connection.execute(
                    or_ignore(insert(esperas)), [{"archivo": archivo, "desde": now} for archivo in names]
                )
    return {archivo: known.get(archivo, now) for archivo in present}


_CHUNK = 500
"""Names a statement: well below SQLite's and the servers' limits on bound values."""


def _chunks(names: Collection[str]) -> list[list[str]]:
    ordered = sorted(names)
    return [ordered[start : start + _CHUNK] for start in range(0, len(ordered), _CHUNK)]
