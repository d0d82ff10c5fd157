"""``bitacora_control``: which content of which name is where on its way, and what came of it.

Reads and writes of the ledger outside the load's transaction belong here; the rows of a file do not.

A name has at most one *open* row: one that a run has (``EN_PROCESO``) or whose content is still unknown. A new
attempt takes the open row over, or opens one; once the content is known, the row of that content is the one that
goes on, and the attempt is counted there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Connection,
    CursorResult,
    Engine,
    RowMapping,
    and_,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from visitas_dagster.domain.arrivals import Known, Listed, is_unremoved
from visitas_dagster.domain.content import ContentFacts
from visitas_dagster.domain.failures import PermanentFailure, TransientFailure
from visitas_dagster.domain.states import CURRENT, FAILED, Estado
from visitas_dagster.loading.tables import bitacora_control as ledger
from visitas_dagster.loading.tables import errores, estadisticas
from visitas_dagster.resources.database import reading, writing

MAX_MESSAGE = 4000
"""Characters kept of a message."""

_LOOKUP = 500
"""Names a query: well below SQLite's and the servers' limits on bound values."""


@dataclass(frozen=True)
class Entry:
    """A row of the ledger, as far as the way of a file needs it.

    Attributes:
        id: its key.
        archivo, sha256: the name and, once known, the content's digest.
        estado, vigente, intentos: as in the contract.
        run_id: the run that has it, or had it last.
        mensaje: what the ledger says of it.
    """

    id: int
    archivo: str
    sha256: str | None
    estado: Estado
    vigente: bool
    intentos: int
    run_id: str | None
    mensaje: str | None

    @classmethod
    def of(cls, row: RowMapping) -> Entry:
        """Read it from a row."""
        return cls(
            row["id"],
            row["archivo"],
            row["sha256"],
            Estado(row["estado"]),
            bool(row["vigente"]),
            row["intentos"],
            row["run_id"],
            row["mensaje"],
        )

    @property
    def is_loaded(self) -> bool:
        """Whether this content is its name's current version, so that there is nothing to load."""
        return self.vigente and self.estado in CURRENT


class Ledger:
    """The ledger over an engine, with the clock that dates its entries (naive UTC)."""

    def __init__(self, engine: Engine, now: Callable[[], datetime]) -> None:
        """Remember both; nothing is read yet."""
        self.engine = engine
        self._now = now

    def now(self) -> datetime:
        """The clock's time, naive UTC, as the ledger stores it."""
        return self._now().astimezone(UTC).replace(tzinfo=None)

    # -- reading ------------------------------------------------------------------------------------------------

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
        with reading(self.engine) as connection:
            return (
                connection.execute(
                    select(ledger)
                    .where(ledger.c.estado.in_([state.value for state in FAILED]), ~made_good)
                    .order_by(ledger.c.inicio.desc(), ledger.c.id.desc())
                    .limit(limit)
                )
                .mappings()
                .all()
            )

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

    # -- an attempt ---------------------------------------------------------------------------------------------

    def claim(self, archivo: str, run_id: str, listed: Listed | None) -> Entry:
        """Open an attempt: take the name's open row over from a dead run, or open one.

        The caller holds the name's reservation, so that no other run does the same.
        """
        delivery: dict[str, Any] = {"bytes": listed.bytes, "modificado_origen": listed.modificado} if listed else {}
        attempt = {
            "estado": Estado.EN_PROCESO.value,
            "run_id": run_id,
            "inicio": self.now(),
            "fin": None,
            "duracion_ms": None,
            "mensaje": None,
        }
        with writing(self.engine) as connection:
            open_row = (
                connection.execute(
                    select(ledger)
                    .where(
                        ledger.c.archivo == archivo,
                        or_(ledger.c.estado == Estado.EN_PROCESO.value, ledger.c.sha256.is_(None)),
                    )
                    .order_by(ledger.c.id.desc())
                    .limit(1)
                )
                .mappings()
                .first()
            )
            if open_row is not None:
                entry_id = open_row["id"]
                connection.execute(
                    update(ledger)
                    .where(ledger.c.id == entry_id)
                    .values(**attempt, **delivery, intentos=ledger.c.intentos + 1)
                )
            else:
                entry_id = _inserted(
                    connection.execute(
                        insert(ledger).values(archivo=archivo, intentos=1, vigente=False, **attempt, **delivery)
                    )
                )
            _settle_current(connection, archivo, entry_id)
            return _entry(connection, entry_id)

    def identify(self, entry: Entry, facts: ContentFacts) -> Entry:
        """Say what the attempt's content is; return the row that goes on.

        Bytes that the name had before go on in their own row, where the attempt is counted. Other bytes than
        those a dead run had downloaded under this row are another delivery, with a row of its own.
        """
        content = {"sha256": facts.sha256, "bytes": facts.size, "codificacion": facts.encoding}
        with writing(self.engine) as connection:
            if entry.sha256 == facts.sha256:
                connection.execute(update(ledger).where(ledger.c.id == entry.id).values(**content))
                return _entry(connection, entry.id)
            known = (
                connection.execute(
                    select(ledger).where(ledger.c.archivo == entry.archivo, ledger.c.sha256 == facts.sha256)
                )
                .mappings()
                .first()
            )
            if known is not None:
                return self._go_on_in(connection, entry, Entry.of(known), content)
            if entry.sha256 is None:
                connection.execute(update(ledger).where(ledger.c.id == entry.id).values(**content))
                return _entry(connection, entry.id)
            return self._split_off(connection, entry, content)

    def _go_on_in(self, connection: Connection, entry: Entry, known: Entry, content: dict[str, Any]) -> Entry:
        """Count the attempt in the row of the content that came again."""
        attempt = connection.execute(select(ledger).where(ledger.c.id == entry.id)).mappings().one()
        values = {
            name: attempt[name] for name in ("run_id", "inicio", "modificado_origen") if attempt[name] is not None
        } | content
        if not known.is_loaded:
            values |= {"estado": Estado.EN_PROCESO.value, "fin": None, "duracion_ms": None, "mensaje": None}
        own_attempts = attempt["intentos"]
        if entry.sha256 is None:
            connection.execute(delete(ledger).where(ledger.c.id == entry.id))
        else:
            own_attempts = 1
            self._supersede(connection, entry)
        connection.execute(
            update(ledger).where(ledger.c.id == known.id).values(intentos=ledger.c.intentos + own_attempts, **values)
        )
        _settle_current(connection, entry.archivo, known.id)
        return _entry(connection, known.id)

    def _split_off(self, connection: Connection, entry: Entry, content: dict[str, Any]) -> Entry:
        """Give the new bytes a row of their own; the row of the bytes that a dead run had is set aside."""
        attempt = connection.execute(select(ledger).where(ledger.c.id == entry.id)).mappings().one()
        copied = {name: attempt[name] for name in ("archivo", "run_id", "inicio", "modificado_origen", "estado")}
        self._supersede(connection, entry)
        new_id = _inserted(
            connection.execute(insert(ledger).values(intentos=1, vigente=False, **{**copied, **content}))
        )
        _settle_current(connection, entry.archivo, new_id)
        return _entry(connection, new_id)

    def _supersede(self, connection: Connection, entry: Entry) -> None:
        connection.execute(
            update(ledger)
            .where(ledger.c.id == entry.id)
            .values(
                estado=Estado.FALLO_SISTEMA.value,
                fin=self.now(),
                mensaje="llegó otra entrega con este nombre antes de cargar ésta; sus bytes están en la cuarentena",
            )
        )

    def finish(self, entry: Entry, estado: Estado, mensaje: str | None, **columns: Any) -> bool:
        """Close an attempt that loads nothing; return False where another run has taken it over meanwhile."""
        end = self.now()
        with writing(self.engine) as connection:
            row = connection.execute(
                select(ledger.c.inicio).where(ledger.c.id == entry.id, ledger.c.run_id == entry.run_id)
            ).first()
            if row is None:
                return False
            connection.execute(
                update(ledger)
                .where(ledger.c.id == entry.id)
                .values(
                    estado=estado.value,
                    fin=end,
                    duracion_ms=elapsed_ms(row.inicio, end),
                    mensaje=shorten(mensaje),
                    **columns,
                )
            )
            return True

    def close_known(self, entry: Entry) -> None:
        """Close the attempt of a delivery that changed nothing: its state and numbers stay as they are."""
        end = self.now()
        with writing(self.engine) as connection:
            row = connection.execute(select(ledger.c.inicio, ledger.c.mensaje).where(ledger.c.id == entry.id)).one()
            mensaje = None if is_unremoved(row.mensaje) else row.mensaje
            connection.execute(
                update(ledger)
                .where(ledger.c.id == entry.id)
                .values(fin=end, duracion_ms=elapsed_ms(row.inicio, end), mensaje=mensaje)
            )

    def note(self, entry: Entry, mensaje: str | None) -> None:
        """Write a message on a row, leaving all else."""
        with writing(self.engine) as connection:
            connection.execute(update(ledger).where(ledger.c.id == entry.id).values(mensaje=shorten(mensaje)))


def elapsed_ms(start: datetime | None, end: datetime) -> int | None:
    """Milliseconds from ``start`` to ``end``, never negative."""
    return max(0, round((end - start).total_seconds() * 1000)) if start else None


def shorten(message: str | None) -> str | None:
    """Keep a message within its column."""
    return message[:MAX_MESSAGE] if message else None


def lock_entry(connection: Connection, entry: Entry) -> RowMapping:
    """Lock a row for the load; raise :class:`TransientFailure` where another run has taken it over."""
    row = connection.execute(select(ledger).where(ledger.c.id == entry.id).with_for_update()).mappings().first()
    if row is None or row["run_id"] != entry.run_id:
        raise TransientFailure(f"otra corrida tomó {entry.archivo}")
    return row


def _settle_current(connection: Connection, archivo: str, newest_id: int) -> None:
    """While no version of a name is loaded or a duplicate, the last delivered is its current one (contract §3)."""
    has_current = connection.execute(
        select(ledger.c.id)
        .where(
            ledger.c.archivo == archivo,
            ledger.c.vigente,
            ledger.c.estado.in_([state.value for state in CURRENT]),
        )
        .limit(1)
    ).first()
    if has_current is None:
        connection.execute(
            update(ledger)
            .where(and_(ledger.c.archivo == archivo, ledger.c.id != newest_id, ledger.c.vigente))
            .values(vigente=False)
        )
        connection.execute(update(ledger).where(ledger.c.id == newest_id).values(vigente=True))


def _inserted(result: CursorResult[Any]) -> int:
    key = result.inserted_primary_key
    if key is None:
        raise PermanentFailure("la base de datos no dijo la clave del renglón nuevo de la bitácora")
    return int(key[0])


def _entry(connection: Connection, entry_id: int) -> Entry:
    return Entry.of(connection.execute(select(ledger).where(ledger.c.id == entry_id)).mappings().one())


def _known(row: RowMapping) -> Known:
    return Known(
        row["archivo"],
        row["bytes"],
        row["modificado_origen"],
        Estado(row["estado"]),
        row["fin"],
        row["mensaje"],
    )
