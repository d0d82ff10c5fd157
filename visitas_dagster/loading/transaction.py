"""The one transaction that carries a file: its visits, rejects, visitors and its outcome in the ledger.

What changes together and in which order belongs here; how rows travel and how the ledger is read do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, Engine, RowMapping, bindparam, delete, exists, insert, select, update
from sqlalchemy.exc import IntegrityError

from visitas_dagster.domain.arrivals import is_unremoved
from visitas_dagster.domain.erasure import masked_rejects, masked_visits
from visitas_dagster.domain.failures import PermanentFailure, TransientFailure
from visitas_dagster.domain.ladder import Resultado
from visitas_dagster.domain.privacy import IsErased
from visitas_dagster.domain.states import CURRENT, Estado, loaded_state
from visitas_dagster.domain.visitors import merge, tally
from visitas_dagster.loading import batch
from visitas_dagster.loading.ahead import ahead
from visitas_dagster.loading.difference import Changed, Difference
from visitas_dagster.loading.erasure import erased_persons
from visitas_dagster.loading.ledger import Entry, change_row, close_attempt, elapsed_ms, is_closed, lock_versions
from visitas_dagster.loading.prepared import Prepared
from visitas_dagster.loading.ranges import Mask, in_order
from visitas_dagster.loading.ready import Ready
from visitas_dagster.loading.statements import dialect_of
from visitas_dagster.loading.tables import bitacora_control as ledger
from visitas_dagster.loading.tables import contenidos_cargados, errores, estadisticas, olvidados
from visitas_dagster.loading.tallies import HeldTallies, Rows
from visitas_dagster.loading.visitors import Period, VisitorTables
from visitas_dagster.loading.writers import Packed, RowWriter
from visitas_dagster.resources.database import database_errors
from visitas_dagster.resources.erasure_key import ErasureKey
from visitas_dagster.resources.folders import disk_errors

_BATCH_ROWS = 1 << 15
"""Visits that travel together, about 3 MiB."""

_TARGETS = (estadisticas, errores)

# Put together once, as those of the ledger.
_CARRY = insert(contenidos_cargados)
_STANDING = select(
    exists(select(olvidados.c.huella)),
    *(exists().where(table.c.archivo_id == bindparam("renglon")) for table in _TARGETS),
)

Progress = Callable[[int], None]
"""Told the number of rows that went in since the last call."""


@dataclass(frozen=True)
class Loaded:
    """What the transaction did.

    Attributes:
        estado: the file's final state.
        valid, invalid: rows that stand in ``estadisticas`` and ``errores`` for it; 0 for a duplicate.
        new_visitors, known_visitors: e-mails of the file that had no row before, and that had one.
        replaces: the ledger key of the version it replaced.
        duplicate_of: the name that carries the same content, for a duplicate.
        heir: the name that took over the content which this name carried before.
    """

    estado: Estado
    valid: int = 0
    invalid: int = 0
    new_visitors: int = 0
    known_visitors: int = 0
    replaces: int | None = None
    duplicate_of: str | None = None
    heir: str | None = None


def load_file(
    engine: Engine,
    writer: RowWriter,
    entry: Entry,
    prepared: Prepared,
    *,
    now: Callable[[], datetime],
    today: date,
    key: ErasureKey,
    held: int,
    ready: Ready | None = None,
    progress: Progress = lambda rows: None,
) -> Loaded:
    """Load one validated file, all or nothing (contract §2, "One transaction").

    Safe to call again after any failure, also when the answer to COMMIT was lost: what is committed already is
    recognised by the ledger row, and returned.

    Args:
        engine: the database.
        writer: the way rows go in.
        entry: the file's ledger row, which this run holds.
        prepared: the validated records.
        now: the ledger's clock, naive UTC.
        today: the day in ``VISITAS_ZONA_HORARIA``, for "this year" and "this month".
        key: by which erased persons are known; their records go in masked.
        held: visits to hold in memory at a time, see :func:`visitas_dagster.loading.ranges.rows_in`.
        ready: what was made of the validated records by the same writer, where they are few.
        progress: called as rows go in.

    Raises:
        TransientFailure: deadlock, lock wait, lost connection, or another run took the file over.
        PermanentFailure: anything that a retry does not cure; also a ledger that does not reconcile.
    """
    dialect = dialect_of(engine)
    with database_errors(engine), engine.connect() as connection:
        batch.create(connection, dialect)
        with connection.begin():
            return _Load(connection, dialect, writer, entry, prepared, now, today, key, held, ready, progress).run()


@dataclass
class _Load:
    """One run of the transaction's body; its steps in the order of the contract."""

    connection: Connection
    dialect: str
    writer: RowWriter
    entry: Entry
    prepared: Prepared
    now: Callable[[], datetime]
    today: date
    key: ErasureKey
    held: int
    ready: Ready | None
    progress: Progress

    def __post_init__(self) -> None:
        self.begun = self.now()
        self.visitors = VisitorTables(self.connection, self.dialect, self.begun)
        self.is_erased: IsErased | None = None
        self.written: Counter[str] = Counter()

    def run(self) -> Loaded:
        # The period first: every load and close takes it first, so they cannot wait for each other in a ring.
        period = self.visitors.turn_period(self.today)
        somebody_erased, *stands = self.connection.execute(_STANDING, {"renglon": self.entry.id}).one()
        if somebody_erased:
            self.is_erased = erased_persons(self.connection, self.key)
        row, others = lock_versions(self.connection, self.entry)
        if self._is_done(row):
            return self._recorded(row)
        batch.empty(self.connection)
        previous = _current([row, *others])
        heir, standing = self._release(previous)
        duplicate_of = self._take_content()
        if duplicate_of is None:
            if previous is None or previous["id"] != self.entry.id:
                self._require_none(stands)
            loaded = self._insert(period) if standing is None else self._correct(standing, period)
        else:
            loaded = Loaded(Estado.DUPLICADO, duplicate_of=duplicate_of)
            if standing is not None:
                self._change(standing, period)
        if others:
            self._retire([other["id"] for other in others])
        return self._close(row, loaded, previous, heir)

    @property
    def _is_short(self) -> bool:
        """Whether the file is one batch."""
        return self.prepared.total <= _BATCH_ROWS

    def _is_done(self, row: RowMapping) -> bool:
        """Whether an earlier try of this very attempt was committed and its answer lost."""
        # By the attempt, not by the row's times: those are two machines', whose clocks differ.
        return row["estado"] in {state.value for state in CURRENT} and is_closed(self.connection, self.entry)

    def _recorded(self, row: RowMapping) -> Loaded:
        """What an earlier, committed try left in the ledger."""
        estado = Estado(row["estado"])
        return Loaded(
            estado,
            row["registros_validos"] or 0,
            row["registros_invalidos"] or 0,
            row["visitantes_nuevos"] or 0,
            row["visitantes_actualizados"] or 0,
            row["reemplaza_a"],
            duplicate_of=self._carrier() if estado is Estado.DUPLICADO else None,
        )

    def _release(self, previous: RowMapping | None) -> tuple[str | None, int | None]:
        """Give up the previous version's content, or hand its rows to a duplicate.

        Returns:
            The heir's name, and the key of the version whose visits stand and are to make room.
        """
        if previous is None or not self._carries(previous["id"]):
            return None, None
        if previous["id"] != self.entry.id and (heir := self._heir(previous)) is not None:
            self._hand_over(previous, heir)
            return heir["archivo"], None
        for table in (errores, contenidos_cargados):
            self.connection.execute(delete(table).where(table.c.archivo_id == previous["id"]))
        return None, int(previous["id"])

    def _carries(self, entry_id: int) -> bool:
        return (
            self.connection.execute(
                select(contenidos_cargados.c.sha256)
                .where(contenidos_cargados.c.archivo_id == entry_id)
                .with_for_update()
            ).first()
            is not None
        )

    def _heir(self, previous: RowMapping) -> RowMapping | None:
        """The oldest name that is a duplicate of the content which its carrier is about to leave."""
        return (
            self.connection.execute(
                select(ledger)
                .where(
                    ledger.c.sha256 == previous["sha256"],
                    ledger.c.estado == Estado.DUPLICADO.value,
                    ledger.c.vigente,
                    ledger.c.archivo != self.entry.archivo,
                )
                .order_by(ledger.c.id)
                .limit(1)
                .with_for_update()
            )
            .mappings()
            .first()
        )

    def _hand_over(self, previous: RowMapping, heir: RowMapping) -> None:
        """Give the rows to the heir as they are: the same bytes make the same rows."""
        for table in (estadisticas, errores, contenidos_cargados):
            self.connection.execute(
                update(table).where(table.c.archivo_id == previous["id"]).values(archivo_id=heir["id"])
            )
        taken = ("estado", "registros_total", "registros_validos", "registros_invalidos")
        told = f"tomó el lugar de {previous['archivo']}, que pasó a otro contenido"
        change_row(self.connection, heir["id"], {"mensaje": told, **{name: previous[name] for name in taken}})

    def _take_content(self) -> str | None:
        """Make this row the content's carrier; return the name that is it already, for a duplicate.

        The insert waits for a parallel load of the same content, and then finds it there or takes its place.
        """
        if not self.prepared.total:
            return None
        try:
            # No savepoint: a refused key undoes its own statement only. After a deadlock the server has forgotten
            # the savepoint, and going back to it would hide the error that asks for a retry.
            self.connection.execute(_CARRY, {"sha256": self.entry.sha256, "archivo_id": self.entry.id})
        except IntegrityError:
            return self._carrier()
        return None

    def _carrier(self) -> str:
        name = self.connection.execute(
            select(ledger.c.archivo)
            .join(contenidos_cargados, contenidos_cargados.c.archivo_id == ledger.c.id)
            .where(contenidos_cargados.c.sha256 == self.entry.sha256)
        ).scalar()
        if name is None:
            raise TransientFailure(f"el contenido de {self.entry.archivo} cambiaba de dueño; se repite")
        return str(name)

    def _insert(self, period: Period) -> Loaded:
        """Put the rows in where none of the name stands, and add to its visitors."""
        if self.ready is not None and self.ready.period == period and self.is_erased is None:
            self._write_all(iter([(estadisticas.name, self.ready.visits)]))
            return self._loaded(*self.visitors.add(self.ready.rows(self.begun)))
        with HeldTallies(self.prepared.place.parent) as tallies:
            self._write_all(self._ready_visits(period, tallies))
            return self._loaded(*self.visitors.add(self._rows(tallies), many=not self._is_short))

    def _correct(self, standing: int, period: Period) -> Loaded:
        """Make the visits that stand those that come; the rejects go in anew."""
        batch.expect(self.connection, batch.VISITS)
        self._write_all(self._ready_to_compare())
        changed = self._change(standing, period)
        # What travelled is one thing, what stands now another: both must be all there is.
        self.written[estadisticas.name] = min(self.written[batch.VISITS], changed.kept + changed.entered)
        return self._loaded(changed.new_visitors, changed.visitors - changed.new_visitors)

    def _change(self, standing: int, period: Period) -> Changed:
        """Make the visits that stand those in ``VISITS``: none, where the content that comes stands elsewhere."""
        changed = Difference(self.connection, self.dialect).make(standing, self.entry.id)
        self.visitors.recount(period)
        return changed

    def _loaded(self, new_visitors: int, known_visitors: int) -> Loaded:
        self._reconcile()
        return Loaded(
            loaded_state(self.prepared.invalid),
            valid=self.prepared.valid,
            invalid=self.prepared.invalid,
            new_visitors=new_visitors,
            known_visitors=known_visitors,
        )

    def _retire(self, ids: list[int]) -> None:
        """The other versions of the name are current no longer."""
        self.connection.execute(update(ledger).where(ledger.c.id.in_(ids)).values(vigente=False))

    def _write_all(self, visits: Iterator[tuple[str, Packed]]) -> None:
        """Write rejects and visits, a batch being made ready while the last one travels."""
        for target, packed in ahead(self._ready(visits), worth=not self._is_short):
            self._write(target, packed)

    def _ready(self, visits: Iterator[tuple[str, Packed]]) -> Iterator[tuple[str, Packed]]:
        with disk_errors("leer lo validado"):
            if self.prepared.invalid:
                for rejects in self.prepared.rejected_batches():
                    masked = masked_rejects(rejects, self.is_erased) if self.is_erased else rejects
                    yield errores.name, self.writer.pack(masked)
            yield from visits

    def _ready_visits(self, period: Period, tallies: HeldTallies) -> Iterator[tuple[str, Packed]]:
        """Make the visits of some e-mails ready and hold their visitors, both in the order of their keys.

        Out of order, the pages of the indexes are read and written many times over; in order, 10 million visits take
        MariaDB no longer a row than one million (150 and 18.8 s).
        """
        for tables in self._in_order():
            counted = []
            for visits in tables:
                batches = self._packed(estadisticas.name, visits)
                # The first batch travels while its visitors are added up: the server waits for the sorting alone.
                yield from islice(batches, 1)
                counted.append(tally(visits, period.year, period.month))
                yield from batches
            with disk_errors("guardar los visitantes"):
                tallies.hold(merge(counted) if len(counted) > 1 else counted[0])

    def _rows(self, tallies: HeldTallies) -> Iterator[Rows]:
        with disk_errors("leer los visitantes"):
            yield from tallies.rows(self.begun)

    def _ready_to_compare(self) -> Iterator[tuple[str, Packed]]:
        for tables in self._in_order():
            for visits in tables:
                yield from self._packed(batch.VISITS, visits)

    def _in_order(self) -> Iterator[Iterator[pa.Table]]:
        return in_order(self.prepared.ranges, self.prepared.place, self.held, self._mask())

    def _packed(self, target: str, visits: pa.Table) -> Iterator[tuple[str, Packed]]:
        for start in range(0, visits.num_rows, _BATCH_ROWS):
            yield target, self.writer.pack(visits.slice(start, _BATCH_ROWS))

    def _mask(self) -> Mask | None:
        return partial(masked_visits, is_erased=self.is_erased) if self.is_erased else None

    def _write(self, target: str, packed: Packed) -> None:
        constants = {"archivo_id": self.entry.id} if target in {table.name for table in _TARGETS} else {}
        self.written[target] += self.writer.write(self.connection, target, packed, constants)
        self.progress(packed.rows.num_rows)

    def _require_none(self, stands: Sequence[bool]) -> None:
        """Refuse rows that stood for this ledger row when it was taken: what goes in is to be all there is."""
        for table, standing in zip(_TARGETS, stands, strict=True):
            if standing:
                raise self._mismatch(f"{table.name} tiene ya filas de {self.entry.archivo}")

    def _reconcile(self) -> None:
        """Hold what the server says went in against the validation: a mismatch is never a ``COMPLETADO``.

        Contract §2, "Ledger". Not by counting: inside the transaction MariaDB looks every row up for it, a second a
        million. What stands is counted after the commit, by the asset check ``bitacora_cuadra``.
        """
        for table, expected in zip(_TARGETS, (self.prepared.valid, self.prepared.invalid), strict=True):
            if self.written[table.name] != expected:
                raise self._mismatch(
                    f"en {table.name} entraron {self.written[table.name]} filas de {self.entry.archivo} "
                    f"y deben ser {expected}"
                )

    def _mismatch(self, what: str) -> PermanentFailure:
        return PermanentFailure(f"la bitácora no cuadra: {what}", "nada quedó cargado; avise a quien mantiene visitas")

    def _close(self, row: RowMapping, loaded: Loaded, previous: RowMapping | None, heir: str | None) -> Loaded:
        end = self.now()
        replaced = previous["id"] if previous is not None and previous["id"] != self.entry.id else None
        values: dict[str, Any] = {
            "estado": loaded.estado.value,
            "vigente": True,
            "registros_total": loaded.valid + loaded.invalid,
            "registros_validos": loaded.valid,
            "registros_invalidos": loaded.invalid,
            "visitantes_nuevos": loaded.new_visitors,
            "visitantes_actualizados": loaded.known_visitors,
            "fin": end,
            "duracion_ms": elapsed_ms(row["inicio"], end),
            "mensaje": f"mismo contenido que {loaded.duplicate_of}" if loaded.duplicate_of else None,
        }
        if replaced is not None:
            values["reemplaza_a"] = replaced
        elif previous is not None and _stands_alike(row, values):
            # A replay: who was new when the file came is not told anew by who is there now.
            loaded = replace(
                loaded, new_visitors=row["visitantes_nuevos"], known_visitors=row["visitantes_actualizados"]
            )
            values |= {name: row[name] for name in ("visitantes_nuevos", "visitantes_actualizados")}
            if values["mensaje"] is None and not is_unremoved(row["mensaje"]):
                values["mensaje"] = row["mensaje"]
        change_row(self.connection, self.entry.id, values)
        close_attempt(self.connection, self.entry, Resultado.CARGADO, end, values["mensaje"])
        return replace(loaded, replaces=replaced, heir=heir)


def _current(versions: list[RowMapping]) -> RowMapping | None:
    """The name's current version, whose rows this load replaces; itself for a replay."""
    loaded = {state.value for state in CURRENT}
    return next((row for row in versions if row["vigente"] and row["estado"] in loaded), None)


def _stands_alike(row: RowMapping, values: dict[str, Any]) -> bool:
    return all(row[name] == values[name] for name in ("estado", "registros_validos", "registros_invalidos"))
