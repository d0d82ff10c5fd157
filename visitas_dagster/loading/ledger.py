"""``bitacora_control`` and ``bitacora_intentos``: the moves of a file's row, from the claim to its outcome.

Writes of the ledger outside the load's transaction belong here; reading it is ``loading/history.py``, and the rows
of a file are the transaction's.

A name has at most one *open* row: one that a run has (``EN_PROCESO``) or whose content is still unknown. A new
attempt takes the open row over, or opens one; once the content is known, the row of that content is the one that
goes on, and the attempt is counted there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    ColumnElement,
    Connection,
    CursorResult,
    Engine,
    RowMapping,
    and_,
    bindparam,
    case,
    delete,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from visitas_dagster.domain.arrivals import Listed, is_unremoved
from visitas_dagster.domain.content import ContentFacts
from visitas_dagster.domain.failures import LayoutFailure, PermanentFailure, TransientFailure, VisitasError
from visitas_dagster.domain.ladder import Resultado, runs_again
from visitas_dagster.domain.states import CURRENT, FAILED, Estado
from visitas_dagster.loading.history import attempts_of
from visitas_dagster.loading.tables import auditoria
from visitas_dagster.loading.tables import bitacora_control as ledger
from visitas_dagster.loading.tables import bitacora_intentos as tries
from visitas_dagster.resources.database import reading, writing

MAX_MESSAGE = 4000
"""Characters kept of a message."""

# What every file asks is put together once: doing so for each file took longer than the servers' answers.
_ROW = update(ledger).where(ledger.c.id == bindparam("renglon"))
_ATTEMPT = update(tries).where(tries.c.id == bindparam("intento"))
_UNNAMED = _ROW.where(ledger.c.run_id == bindparam("corrida"), ledger.c.sha256.is_(None))
_VERSIONS = (
    select(ledger)
    .where(ledger.c.archivo == bindparam("archivo"), or_(ledger.c.id == bindparam("renglon"), ledger.c.vigente))
    .with_for_update()
)


@dataclass(frozen=True)
class Entry:
    """A row of the ledger, as far as the way of a file needs it.

    Attributes:
        id: its key.
        archivo, sha256: the name and, once known, the content's digest.
        estado, vigente, intentos: as in the contract.
        run_id: the run that has it, or had it last.
        mensaje: what the ledger says of it.
        attempt: key of the attempt under way in ``bitacora_intentos``; None where none was opened.
    """

    id: int
    archivo: str
    sha256: str | None
    estado: Estado
    vigente: bool
    intentos: int
    run_id: str | None
    mensaje: str | None
    attempt: int | None = None

    @classmethod
    def of(cls, row: RowMapping, attempt: int | None = None) -> Entry:
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
            attempt,
        )

    @property
    def is_loaded(self) -> bool:
        """Whether this content is its name's current version, so that there is nothing to load."""
        return self.vigente and self.estado in CURRENT


class Ledger:
    """The ledger over an engine, with the clock that dates its entries (naive UTC) and the zone of "today"."""

    def __init__(self, engine: Engine, now: Callable[[], datetime], zone: ZoneInfo) -> None:
        """Remember them; nothing is read yet."""
        self.engine = engine
        self._now = now
        self._zone = zone

    def now(self) -> datetime:
        """The clock's time, naive UTC, as the ledger stores it."""
        return self._now().astimezone(UTC).replace(tzinfo=None)

    def claim(self, archivo: str, run_id: str, listed: Listed | None, sha256: str | None = None) -> Entry:
        """Open an attempt: take the name's open row over from a dead run, or go on in the content's, or open one.

        The caller holds the name's reservation, so that no other run does the same.

        Args:
            archivo: the name.
            run_id: of Dagster's run.
            listed: what the server has, if it has it.
            sha256: of the bytes that wait on this machine. A pass that died before it took them would leave a row of
                no content, current, beside the one of these bytes.
        """
        attempt = {
            "estado": Estado.EN_PROCESO.value,
            "run_id": run_id,
            "inicio": self.now(),
            "fin": None,
            "duracion_ms": None,
            "mensaje": None,
            **_delivery(listed),
        }
        with writing(self.engine) as connection:
            if not _is_known(connection, archivo):
                return self._open_first(connection, archivo, attempt)
            open_row = _open_row(connection, archivo)
            if open_row is not None and _is_of_another_delivery(open_row, listed):
                self._set_aside(connection, open_row["id"])
                open_row = None
            row = open_row or _row_of(connection, archivo, sha256)
            if row is None:
                entry_id = _inserted(
                    connection.execute(insert(ledger).values(archivo=archivo, intentos=1, vigente=False, **attempt))
                )
            else:
                entry_id = row["id"]
                self._count_attempt(connection, row, attempt)
            _settle_current(connection, archivo, entry_id)
            self._consume_release(connection, archivo)
            return _entry(connection, entry_id, self._open_attempt(connection, entry_id, run_id))

    def _count_attempt(self, connection: Connection, row: RowMapping, attempt: dict[str, Any]) -> None:
        """Count the attempt in a row that is there; what stands loaded stays so."""
        # The answer to an earlier try of this very claim may have been lost: it counts once.
        is_counted = _own_attempt(connection, row["id"], attempt["run_id"]) is not None
        begun = {name: attempt[name] for name in ("run_id", "inicio")}
        connection.execute(
            update(ledger)
            .where(ledger.c.id == row["id"])
            .values(
                intentos=ledger.c.intentos + (0 if is_counted else 1), **(begun if Entry.of(row).is_loaded else attempt)
            )
        )

    def _open_first(self, connection: Connection, archivo: str, attempt: dict[str, Any]) -> Entry:
        """Open the first attempt at a name of which nothing is known: nothing to take over, to settle, to use up."""
        run_id = attempt["run_id"]
        entry_id = _inserted(
            connection.execute(insert(ledger), {"archivo": archivo, "intentos": 1, "vigente": True, **attempt})
        )
        own = {"archivo_id": entry_id, "run_id": run_id, "inicio": self.now()}
        return _first(entry_id, archivo, run_id, _inserted(connection.execute(insert(tries), own)))

    def claim_new(self, files: Iterable[Listed], run_id: str) -> dict[str, Entry]:
        """Open the first attempt at each of the names of which nothing is known, in one transaction; by name.

        The same as :meth:`claim` for each; names that are known already are left out. The caller holds the
        reservations of all of them.
        """
        by_name = {listed.archivo: listed for listed in files}
        now = self.now()
        with writing(self.engine) as connection:
            of_these = ledger.c.archivo.in_(list(by_name))
            for archivo in connection.execute(select(ledger.c.archivo).where(of_these)).scalars():
                by_name.pop(archivo, None)
            if not by_name:
                return {}
            first = {"estado": Estado.EN_PROCESO.value, "run_id": run_id, "inicio": now, "intentos": 1, "vigente": True}
            connection.execute(
                insert(ledger), [{"archivo": archivo, **first, **_delivery(by_name[archivo])} for archivo in by_name]
            )
            rows = connection.execute(select(ledger.c.id, ledger.c.archivo).where(ledger.c.archivo.in_(list(by_name))))
            names = {row.id: row.archivo for row in rows}
            connection.execute(
                insert(tries), [{"archivo_id": entry_id, "run_id": run_id, "inicio": now} for entry_id in sorted(names)]
            )
            attempts = connection.execute(
                select(tries.c.archivo_id, tries.c.id).where(tries.c.archivo_id.in_(list(names)))
            )
            return {
                names[entry_id]: _first(entry_id, names[entry_id], run_id, attempt) for entry_id, attempt in attempts
            }

    def claim_open(self, archivo: str, run_id: str) -> Entry | None:
        """Open an attempt at a name whose bytes are nowhere: at its open row, or none where it has none.

        Either way a release of it is used up: what is nowhere would be asked for again at every pass.
        """
        with writing(self.engine) as connection:
            is_open = _open_row(connection, archivo) is not None
            if not is_open:
                self._consume_release(connection, archivo)
        return self.claim(archivo, run_id, None) if is_open else None

    def _open_attempt(self, connection: Connection, entry_id: int, run_id: str) -> int:
        """Open the attempt's own row; one that a dead run left open is closed as interrupted."""
        own = _own_attempt(connection, entry_id, run_id)
        if own is not None:
            # The answer to an earlier try of this very claim was lost.
            return own
        now = self.now()
        self._interrupt(connection, tries.c.archivo_id == entry_id)
        return _inserted(connection.execute(insert(tries).values(archivo_id=entry_id, run_id=run_id, inicio=now)))

    def close_interrupted(self, run_id: str) -> None:
        """Close the attempts that a dead run left open, also those at a version that was loaded before."""
        end = self.now()
        with writing(self.engine) as connection:
            self._interrupt(connection, tries.c.run_id == run_id)
            # Nobody may come back to that version: its last attempt ends here.
            begun = connection.execute(
                select(ledger.c.id, ledger.c.inicio).where(ledger.c.run_id == run_id, ledger.c.fin < ledger.c.inicio)
            ).all()
            for row in begun:
                change_row(connection, row.id, {"fin": end, "duracion_ms": elapsed_ms(row.inicio, end)})

    def _interrupt(self, connection: Connection, which: ColumnElement[bool]) -> None:
        connection.execute(
            update(tries)
            .where(which, tries.c.resultado.is_(None))
            .values(resultado=Resultado.INTERRUMPIDO.value, fin=self.now(), mensaje="la corrida murió sin terminar")
        )

    def _consume_release(self, connection: Connection, archivo: str) -> None:
        """A release is used up by the attempt that it allowed."""
        versions = select(ledger.c.id).where(ledger.c.archivo == archivo)
        connection.execute(
            update(tries)
            .where(
                tries.c.resultado == Resultado.LIBERADO.value,
                tries.c.fin.is_(None),
                tries.c.archivo_id.in_(versions),
            )
            .values(fin=self.now())
        )

    def identify(self, entry: Entry, facts: ContentFacts) -> Entry:
        """Say what the attempt's content is; return the row that goes on.

        Bytes that the name had before go on in their own row, where the attempt is counted. Other bytes than
        those a dead run had downloaded under this row are another delivery, with a row of its own.
        """
        content = _content(facts)
        with writing(self.engine) as connection:
            if entry.sha256 is None and _is_named(connection, entry, content):
                return replace(entry, sha256=facts.sha256)
            rows = {
                row["id"]: row
                for row in connection.execute(
                    select(ledger).where(
                        ledger.c.archivo == entry.archivo,
                        or_(ledger.c.id == entry.id, ledger.c.sha256 == facts.sha256),
                    )
                ).mappings()
            }
            own = rows.pop(entry.id, None)
            if own is not None and own["run_id"] != entry.run_id:
                # As in the load: to go on in its place would be to go on under its name.
                raise TransientFailure(f"otra corrida tomó {entry.archivo}")
            for known in rows.values():
                return self._go_on_in(connection, entry, Entry.of(known, entry.attempt), content)
            if own is None:
                raise TransientFailure(f"otra corrida tomó {entry.archivo}")
            if entry.sha256 in (None, facts.sha256):
                change_row(connection, entry.id, content)
                return replace(Entry.of(own, entry.attempt), sha256=facts.sha256)
            return self._split_off(connection, entry, content)

    def identify_new(self, found: Sequence[tuple[Entry, ContentFacts]]) -> list[Entry] | None:
        """Say what the contents of attempts of one run are, in one statement; return their rows, in the same order.

        The same as :meth:`identify` for each, where that is to name the row that the run opened. None where it is more
        for any of them: then each is to be identified by itself, also those that this one has named.
        """
        run_id = found[0][0].run_id
        contents = {entry.id: _content(facts) for entry, facts in found}
        named = (
            update(ledger)
            .where(ledger.c.id.in_(list(contents)), ledger.c.run_id == run_id, ledger.c.sha256.is_(None))
            .values(
                {
                    name: case({key: content[name] for key, content in contents.items()}, value=ledger.c.id)
                    for name in ("sha256", "bytes", "codificacion")
                }
            )
        )
        with writing(self.engine) as connection:
            if connection.execute(named).rowcount != len(found):
                return None
        return [replace(entry, sha256=facts.sha256) for entry, facts in found]

    def _go_on_in(self, connection: Connection, entry: Entry, known: Entry, content: dict[str, Any]) -> Entry:
        """Count the attempt in the row of the content that came again."""
        attempt = connection.execute(select(ledger).where(ledger.c.id == entry.id)).mappings().first()
        if attempt is None:
            # An earlier try of this very step was committed, and its answer lost.
            return known
        values = {
            name: attempt[name] for name in ("run_id", "inicio", "modificado_origen") if attempt[name] is not None
        } | content
        if not known.is_loaded:
            values |= {"estado": Estado.EN_PROCESO.value, "fin": None, "duracion_ms": None, "mensaje": None}
        own_attempts = attempt["intentos"]
        if entry.sha256 is None:
            connection.execute(update(tries).where(tries.c.archivo_id == entry.id).values(archivo_id=known.id))
            connection.execute(delete(ledger).where(ledger.c.id == entry.id))
        else:
            own_attempts = 1
            # Later than the row it leaves behind: the newest row of a name is the one that was touched last.
            values["inicio"] = self.now()
            self._supersede(connection, entry, known.id)
        connection.execute(
            update(ledger).where(ledger.c.id == known.id).values(intentos=ledger.c.intentos + own_attempts, **values)
        )
        _settle_current(connection, entry.archivo, known.id)
        return _entry(connection, known.id, entry.attempt)

    def _split_off(self, connection: Connection, entry: Entry, content: dict[str, Any]) -> Entry:
        """Give the new bytes a row of their own; the row of the bytes that a dead run had is set aside."""
        attempt = connection.execute(select(ledger).where(ledger.c.id == entry.id)).mappings().one()
        copied = {name: attempt[name] for name in ("archivo", "run_id", "inicio", "modificado_origen", "estado")}
        new_id = _inserted(
            connection.execute(insert(ledger).values(intentos=1, vigente=False, **{**copied, **content}))
        )
        self._supersede(connection, entry, new_id)
        _settle_current(connection, entry.archivo, new_id)
        return _entry(connection, new_id, entry.attempt)

    def _supersede(self, connection: Connection, entry: Entry, successor: int) -> None:
        """Set the bytes of a dead run aside for other ones, which this attempt turned out to have."""
        connection.execute(update(tries).where(tries.c.id == entry.attempt).values(archivo_id=successor))
        connection.execute(update(ledger).where(ledger.c.id == entry.id).values(intentos=ledger.c.intentos - 1))
        self._set_aside(connection, entry.id)

    def _set_aside(self, connection: Connection, entry_id: int) -> None:
        """End the row of a dead run: another delivery came before its bytes were loaded."""
        self._interrupt(connection, tries.c.archivo_id == entry_id)
        told = (
            "llegó otra entrega con este nombre antes de cargar ésta; si sus bytes llegaron enteros, "
            "están en el respaldo"
        )
        change_row(connection, entry_id, {"estado": Estado.FALLO_SISTEMA.value, "fin": self.now(), "mensaje": told})

    def fail(self, entry: Entry, failure: VisitasError) -> Estado | None:
        """Close an attempt that failed; return the state that the file is in now.

        A layout failure is final. After a system failure the ladder decides: the file stays ``EN_PROCESO`` while
        its run is to be tried again, and is ``FALLO_SISTEMA`` after that. A version that is loaded stays so
        whatever befalls a replay of it. None: another run has taken the file over meanwhile.
        """
        end = self.now()
        with writing(self.engine) as connection:
            row = (
                connection.execute(select(ledger).where(ledger.c.id == entry.id, ledger.c.run_id == entry.run_id))
                .mappings()
                .first()
            )
            if row is None:
                return None
            if not is_closed(connection, entry):
                close_attempt(connection, entry, _result_of(failure), end, str(failure))
            if Entry.of(row).is_loaded:
                return Estado(row["estado"])
            estado = self._state_after(connection, entry, failure)
            ending = {"fin": end, "duracion_ms": elapsed_ms(row["inicio"], end)}
            told = shorten(_told(failure, estado))
            change_row(connection, entry.id, {"estado": estado.value, "mensaje": told, **ending})
            return estado

    def _state_after(self, connection: Connection, entry: Entry, failure: VisitasError) -> Estado:
        if isinstance(failure, LayoutFailure):
            return Estado.FALLO_LAYOUT
        attempts = attempts_of(connection, [entry.id], self._zone).get(entry.id, [])
        today = self._now().astimezone(self._zone).date()
        return Estado.EN_PROCESO if runs_again(attempts, today) else Estado.FALLO_SISTEMA

    def failed_versions(self, names: Iterable[str]) -> set[str]:
        """Return those of the names that have a failed version."""
        with reading(self.engine) as connection:
            return {archivo for archivo in names if _failed_row(connection, archivo) is not None}

    def release(self, archivo: str, who: str) -> Estado | None:
        """Let a failed file go through again: the next pass takes it. None where no failed version is known."""
        with writing(self.engine) as connection:
            row = _failed_row(connection, archivo)
            if row is None:
                return None
            connection.execute(
                insert(tries).values(
                    archivo_id=row["id"], inicio=self.now(), resultado=Resultado.LIBERADO.value, mensaje=who
                )
            )
            record_audit(connection, self.now(), "LIBERAR", who, {"archivo": archivo, "estado": row["estado"]})
            return Estado(row["estado"])

    def close_known(self, entry: Entry) -> None:
        """Close the attempt of a delivery that changed nothing: its state and numbers stay as they are."""
        end = self.now()
        with writing(self.engine) as connection:
            row = connection.execute(select(ledger.c.inicio, ledger.c.mensaje).where(ledger.c.id == entry.id)).one()
            mensaje = None if is_unremoved(row.mensaje) else row.mensaje
            ending = {"fin": end, "duracion_ms": elapsed_ms(row.inicio, end)}
            change_row(connection, entry.id, {"mensaje": mensaje, **ending})
            close_attempt(connection, entry, Resultado.SIN_CAMBIO, end)

    def note_retry(self, entry: Entry, mensaje: str) -> None:
        """Write on a row under way why its step is tried again; one whose lost answer was its end stays as it is."""
        with writing(self.engine) as connection:
            connection.execute(
                update(ledger)
                .where(ledger.c.id == entry.id, ledger.c.estado == Estado.EN_PROCESO.value)
                .values(mensaje=shorten(mensaje))
            )

    def note(self, entry: Entry, mensaje: str | None) -> None:
        """Write a message on a row, leaving all else."""
        with writing(self.engine) as connection:
            change_row(connection, entry.id, {"mensaje": shorten(mensaje)})


def elapsed_ms(start: datetime | None, end: datetime) -> int | None:
    """Milliseconds from ``start`` to ``end``, never negative."""
    return max(0, round((end - start).total_seconds() * 1000)) if start else None


def shorten(message: str | None) -> str | None:
    """Keep a message within its column."""
    return message[:MAX_MESSAGE] if message else None


def lock_versions(connection: Connection, entry: Entry) -> tuple[RowMapping, list[RowMapping]]:
    """Lock a row for the load, and the other rows of its name that are marked as current.

    Raises:
        TransientFailure: another run has taken the row over.
    """
    rows = connection.execute(_VERSIONS, {"archivo": entry.archivo, "renglon": entry.id}).mappings().all()
    own = next((row for row in rows if row["id"] == entry.id), None)
    if own is None or own["run_id"] != entry.run_id:
        raise TransientFailure(f"otra corrida tomó {entry.archivo}")
    return own, [row for row in rows if row["id"] != entry.id]


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
        change_row(connection, newest_id, {"vigente": True})


def _inserted(result: CursorResult[Any]) -> int:
    key = result.inserted_primary_key
    if key is None:
        raise PermanentFailure("la base de datos no dijo la clave del renglón nuevo de la bitácora")
    return int(key[0])


def _entry(connection: Connection, entry_id: int, attempt: int | None) -> Entry:
    return Entry.of(connection.execute(select(ledger).where(ledger.c.id == entry_id)).mappings().one(), attempt)


def _first(entry_id: int, archivo: str, run_id: str, attempt: int) -> Entry:
    """The row of a name's first attempt, as it was just written."""
    return Entry(entry_id, archivo, None, Estado.EN_PROCESO, True, 1, run_id, None, attempt)


def _delivery(listed: Listed | None) -> dict[str, Any]:
    """What the ledger keeps of the server's file."""
    return {"bytes": listed.bytes, "modificado_origen": listed.modificado} if listed else {}


def _content(facts: ContentFacts) -> dict[str, Any]:
    """What the ledger keeps of a content."""
    return {"sha256": facts.sha256, "bytes": facts.size, "codificacion": facts.encoding}


def _is_known(connection: Connection, archivo: str) -> bool:
    return connection.execute(select(ledger.c.id).where(ledger.c.archivo == archivo).limit(1)).first() is not None


def _is_named(connection: Connection, entry: Entry, content: dict[str, Any]) -> bool:
    """Write the content on the row that this run opened for it; False where it is not as plain as that.

    The key of name and content tells that the name had these bytes before: nearly all have not, and are not asked.
    """
    try:
        named = connection.execute(_UNNAMED, {"renglon": entry.id, "corrida": entry.run_id, **content})
    except IntegrityError:
        # It undoes its own statement only, as in the load.
        return False
    return named.rowcount == 1


def _open_row(connection: Connection, archivo: str) -> RowMapping | None:
    return (
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


def _row_of(connection: Connection, archivo: str, sha256: str | None) -> RowMapping | None:
    """The row of a name's content, where there is one."""
    if sha256 is None:
        return None
    wanted = select(ledger).where(ledger.c.archivo == archivo, ledger.c.sha256 == sha256)
    return connection.execute(wanted).mappings().first()


def _own_attempt(connection: Connection, entry_id: int, run_id: str) -> int | None:
    """The attempt that a run has open at a row."""
    return connection.execute(
        select(tries.c.id).where(tries.c.archivo_id == entry_id, tries.c.run_id == run_id, tries.c.resultado.is_(None))
    ).scalar()


def _is_of_another_delivery(open_row: RowMapping, listed: Listed | None) -> bool:
    """Whether a row whose content is known is not about the listed file: its size and time are to stay its own."""
    if listed is None or open_row["sha256"] is None:
        return False
    return (open_row["bytes"], open_row["modificado_origen"]) != (listed.bytes, listed.modificado)


def _failed_row(connection: Connection, archivo: str) -> RowMapping | None:
    return (
        connection.execute(
            select(ledger)
            .where(ledger.c.archivo == archivo, ledger.c.estado.in_([state.value for state in FAILED]))
            .order_by(ledger.c.inicio.desc(), ledger.c.id.desc())
            .limit(1)
        )
        .mappings()
        .first()
    )


def is_closed(connection: Connection, entry: Entry) -> bool:
    """Whether the attempt was committed to its end, and only the answer was lost."""
    return connection.execute(select(tries.c.resultado).where(tries.c.id == entry.attempt)).scalar() is not None


def close_attempt(
    connection: Connection, entry: Entry, result: Resultado, now: datetime, mensaje: str | None = None
) -> None:
    """Write how an attempt ended, in the transaction that made it so."""
    ending = {"resultado": result.value, "fin": now, "mensaje": shorten(mensaje)}
    connection.execute(_ATTEMPT, {"intento": entry.attempt, **ending})


def change_row(connection: Connection, entry_id: int, values: Mapping[str, Any]) -> None:
    """Write these columns of a row."""
    connection.execute(_ROW, {"renglon": entry_id, **values})


def record_audit(connection: Connection, now: datetime, operation: str, who: str, detail: dict[str, Any]) -> int:
    """Write down what a person did by hand; return the entry's key."""
    return _inserted(
        connection.execute(insert(auditoria).values(momento=now, operacion=operation, quien=who[:128], detalle=detail))
    )


def _result_of(failure: VisitasError) -> Resultado:
    match failure:
        case LayoutFailure():
            return Resultado.FALLO_LAYOUT
        case TransientFailure():
            return Resultado.FALLO_PASAJERO
        case _:
            return Resultado.FALLO_DURADERO


def _told(failure: VisitasError, estado: Estado) -> str:
    return f"{failure} (la corrida se repite)" if estado is Estado.EN_PROCESO else str(failure)
