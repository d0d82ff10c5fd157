"""What the ledger says: rows by name, by state, by need, attempts, and what stands in the tables.

Reading ``bitacora_control`` and ``bitacora_intentos`` belongs here; writing them does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, case, func, select

from visitas_dagster.domain.arrivals import Known
from visitas_dagster.domain.ladder import Attempt, Resultado
from visitas_dagster.domain.states import CURRENT, FAILED, Estado
from visitas_dagster.loading.tables import bitacora_control as ledger
from visitas_dagster.loading.tables import bitacora_intentos as tries
from visitas_dagster.loading.tables import errores, estadisticas
from visitas_dagster.resources.database import reading

_LOOKUP = 500
"""Names a query: well below SQLite's and the servers' limits on bound values."""


class History:
    """The ledger, for reading."""

    def __init__(self, engine: Engine, zone: ZoneInfo) -> None:
        """Remember the engine and ``VISITAS_ZONA_HORARIA``; nothing is read yet."""
        self.engine = engine
        self._zone = zone

    def newest(self, names: Iterable[str]) -> dict[str, Known]:
        """Return, by name, the row that was touched last; names without a row are left out."""
        return {archivo: _known(row) for archivo, row in self.newest_rows(names).items()}

    def newest_rows(self, names: Iterable[str]) -> dict[str, RowMapping]:
        """Return the same rows whole."""
        names = list(names)
        found: dict[str, RowMapping] = {}
        with reading(self.engine) as connection:
            for start in range(0, len(names), _LOOKUP):
                chunk = names[start : start + _LOOKUP]
                rows = connection.execute(
                    select(ledger).where(ledger.c.archivo.in_(chunk)).order_by(ledger.c.inicio, ledger.c.id)
                ).mappings()
                found.update((row["archivo"], row) for row in rows)
        return found

    def versions(self, archivo: str) -> Sequence[RowMapping]:
        """Return every row of a name, oldest first."""
        with reading(self.engine) as connection:
            return (
                connection.execute(select(ledger).where(ledger.c.archivo == archivo).order_by(ledger.c.id))
                .mappings()
                .all()
            )

    def totals(self) -> dict[Estado, tuple[int, int, int]]:
        """Return, by state, the files and the valid and invalid records that stand in the tables for them."""
        standing = case((ledger.c.vigente, 1), else_=0)
        with reading(self.engine) as connection:
            rows = connection.execute(
                select(
                    ledger.c.estado,
                    func.count(),
                    func.coalesce(func.sum(ledger.c.registros_validos * standing), 0),
                    func.coalesce(func.sum(ledger.c.registros_invalidos * standing), 0),
                ).group_by(ledger.c.estado)
            )
            return {Estado(state): (count, int(valid), int(invalid)) for state, count, valid, invalid in rows}

    def failed(self, limit: int) -> Sequence[RowMapping]:
        """Return up to ``limit`` failed rows that nothing newer of their name has made good, newest first."""
        with reading(self.engine) as connection:
            return (
                connection.execute(
                    select(ledger).where(*_waiting()).order_by(ledger.c.inicio.desc(), ledger.c.id.desc()).limit(limit)
                )
                .mappings()
                .all()
            )

    def failed_names(self) -> list[str]:
        """Return the names of the same rows, all of them, the oldest first."""
        with reading(self.engine) as connection:
            rows = connection.execute(
                select(ledger.c.archivo).where(*_waiting()).order_by(ledger.c.inicio, ledger.c.id)
            )
            return list(dict.fromkeys(row.archivo for row in rows))

    def failed_counts(self) -> dict[Estado, int]:
        """Count the same rows, all of them, by state."""
        with reading(self.engine) as connection:
            rows = connection.execute(
                select(ledger.c.estado, func.count()).where(*_waiting()).group_by(ledger.c.estado)
            )
            return {Estado(state): count for state, count in rows}

    def in_states(self, states: Iterable[Estado], limit: int) -> Sequence[RowMapping]:
        """Return up to ``limit`` rows in these states, the last touched first."""
        with reading(self.engine) as connection:
            return (
                connection.execute(
                    select(ledger)
                    .where(ledger.c.estado.in_([state.value for state in states]))
                    .order_by(ledger.c.inicio.desc(), ledger.c.id.desc())
                    .limit(limit)
                )
                .mappings()
                .all()
            )

    def standing(self, entry_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Count what stands in ``estadisticas`` and ``errores`` for each of these rows."""
        counts = {entry_id: [0, 0] for entry_id in entry_ids}
        with reading(self.engine) as connection:
            for place, table in enumerate((estadisticas, errores)):
                rows = connection.execute(
                    select(table.c.archivo_id, func.count())
                    .where(table.c.archivo_id.in_(list(entry_ids)))
                    .group_by(table.c.archivo_id)
                )
                for entry_id, count in rows:
                    counts[entry_id][place] = count
        return {entry_id: (valid, invalid) for entry_id, (valid, invalid) in counts.items()}

    def find_all(self, entry_ids: Sequence[int]) -> Sequence[RowMapping]:
        """Return rows by their keys."""
        with reading(self.engine) as connection:
            return connection.execute(select(ledger).where(ledger.c.id.in_(list(entry_ids)))).mappings().all()

    def attempts(self, entry_ids: Sequence[int]) -> dict[int, list[Attempt]]:
        """Return the attempts at each of these rows, oldest first."""
        with reading(self.engine) as connection:
            return attempts_of(connection, entry_ids, self._zone)

    def attempts_at(self, deliveries: Iterable[Known]) -> dict[int, list[Attempt]]:
        """Return the attempts at each of these deliveries, oldest first, by the row that was touched last.

        One whose content is known has another row for an attempt that failed before its bytes came: both are told.
        """
        wanted = {known.archivo: known for known in deliveries}
        names = list(wanted)
        rows_of: dict[int, int] = {}
        with reading(self.engine) as connection:
            for start in range(0, len(names), _LOOKUP):
                chunk = names[start : start + _LOOKUP]
                columns = (ledger.c.id, ledger.c.archivo, ledger.c.bytes, ledger.c.modificado_origen)
                for row in connection.execute(select(*columns).where(ledger.c.archivo.in_(chunk))):
                    known = wanted[row.archivo]
                    if row.id == known.id or (row.bytes, row.modificado_origen) == (known.bytes, known.modificado):
                        rows_of[row.id] = known.id
            return attempts_of(connection, rows_of, self._zone, rows_of)

    def attempt_rows(self, entry_ids: Sequence[int]) -> Sequence[RowMapping]:
        """Return the attempts' rows, oldest first."""
        with reading(self.engine) as connection:
            return (
                connection.execute(select(tries).where(tries.c.archivo_id.in_(list(entry_ids))).order_by(tries.c.id))
                .mappings()
                .all()
            )

    def unfinished(self) -> list[str]:
        """Return the names with a version ``EN_PROCESO``, whether a run has it or died over it."""
        with reading(self.engine) as connection:
            rows = connection.execute(
                select(ledger.c.archivo).where(ledger.c.estado == Estado.EN_PROCESO.value).order_by(ledger.c.id)
            )
            return list(dict.fromkeys(row.archivo for row in rows))

    def system_failures(self) -> list[RowMapping]:
        """Return, for each name whose newest row is ``FALLO_SISTEMA`` over bytes that had come, that row."""
        with reading(self.engine) as connection:
            rows = connection.execute(
                select(ledger.c.archivo)
                .where(ledger.c.estado == Estado.FALLO_SISTEMA.value, ledger.c.sha256.is_not(None))
                .distinct()
            )
            names = [row.archivo for row in rows]
        newest = self.newest_rows(names).values()
        return [row for row in newest if row["estado"] == Estado.FALLO_SISTEMA and row["sha256"] is not None]

    def released(self) -> list[str]:
        """Return the names that a person let go through again and that no run has taken yet."""
        with reading(self.engine) as connection:
            rows = connection.execute(
                select(ledger.c.archivo)
                .join(tries, tries.c.archivo_id == ledger.c.id)
                .where(tries.c.resultado == Resultado.LIBERADO.value, tries.c.fin.is_(None))
                .order_by(tries.c.id)
            )
            return list(dict.fromkeys(row.archivo for row in rows))


def attempts_of(
    connection: Connection, entry_ids: Iterable[int], zone: ZoneInfo, told_of: Mapping[int, int] | None = None
) -> dict[int, list[Attempt]]:
    """Return the attempts at each of these rows, oldest first, dated in ``zone``.

    Args:
        connection: to the ledger.
        entry_ids: keys of the rows.
        zone: of the days.
        told_of: by row, the key under which its attempts are returned; its own where not given.
    """
    told_of = told_of or {}
    found: dict[int, list[Attempt]] = {}
    rows = connection.execute(
        select(tries.c.archivo_id, tries.c.inicio, tries.c.resultado)
        .where(tries.c.archivo_id.in_(list(entry_ids)))
        .order_by(tries.c.id)
    )
    for entry_id, start, result in rows:
        day = start.replace(tzinfo=UTC).astimezone(zone).date()
        found.setdefault(told_of.get(entry_id, entry_id), []).append(
            Attempt(day, Resultado(result) if result else None)
        )
    return found


def _known(row: RowMapping) -> Known:
    return Known(
        row["id"],
        row["archivo"],
        row["bytes"],
        row["modificado_origen"],
        Estado(row["estado"]),
        row["fin"],
        row["mensaje"],
    )


def _waiting() -> tuple[ColumnElement[bool], ...]:
    """What tells a failed row that nothing newer of its name has made good."""
    newer = ledger.alias("newer")
    made_good = (
        select(newer.c.id)
        .where(
            newer.c.archivo == ledger.c.archivo,
            newer.c.inicio > ledger.c.inicio,
            newer.c.estado.in_([state.value for state in CURRENT]),
        )
        .exists()
    )
    return ledger.c.estado.in_([state.value for state in FAILED]), ~made_good
