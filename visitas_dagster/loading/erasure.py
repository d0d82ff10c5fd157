"""Erased persons in the database: who they are, by keyed digest only, and the transaction that erases one.

The tables belong here; the copies on disk are ``erasure.py``'s, and what is left of a record is the domain's to say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Column, Connection, Engine, Table, bindparam, insert, or_, select, update

from visitas_dagster.domain.erasure import ERASED_EMAIL, ERASED_TEXT, PERSONAL_LISTS, TEXTS, erased_detail, masked_email
from visitas_dagster.domain.failures import PermanentFailure
from visitas_dagster.domain.privacy import IsErased, erased_in, is_mask, mask_erased
from visitas_dagster.loading import batch, tables
from visitas_dagster.loading.ledger import record_audit
from visitas_dagster.loading.statements import dialect_of
from visitas_dagster.loading.tables import auditoria, copias_olvidadas, errores, estadisticas, olvidados
from visitas_dagster.loading.visitors import VisitorTables
from visitas_dagster.resources.database import database_errors, reading, writing
from visitas_dagster.resources.erasure_key import ErasureKey

OPERATION = "OLVIDAR"
"""What the audit trail calls an erasure."""

_BATCH = 1000
_ERASED = select(olvidados.c.huella, olvidados.c.llave)


@dataclass(frozen=True)
class ErasedRows:
    """What one erasure changed in the tables.

    Attributes:
        audit: key of its row in ``auditoria``.
        digest: the person's.
        visits: visits that now stand under nobody's name.
        mentions: other visits whose texts named the person.
        rejects: rejected records emptied.
    """

    audit: int
    digest: str
    visits: int
    mentions: int
    rejects: int


def erased_persons(connection: Connection, key: ErasureKey) -> IsErased | None:
    """Return the question whether an address is an erased person's; None where nobody was erased.

    To be asked inside the load's transaction, once it holds the period: an erasure takes the period alone, so that
    no load can miss it.

    Raises:
        PermanentFailure: the key is missing, or is not the one that the digests were made with.
    """
    rows = connection.execute(_ERASED).all()
    if not rows:
        return None
    if {row.llave for row in rows} != {key.name()}:
        raise PermanentFailure(
            "la llave de los olvidos no es aquella con que se olvidó: sin ella no se sabe a quién",
            "restaure olvidos.llave de un respaldo de VISITAS_HOME",
        )
    digests = frozenset(row.huella for row in rows)
    return lambda address: is_mask(address) or key.digest(address) in digests


def erase_rows(
    engine: Engine, key: ErasureKey, address: str, *, now: Callable[[], datetime], today: date, who: str
) -> ErasedRows:
    """Erase a person from every table, all or nothing, and write it down; loads wait meanwhile.

    Args:
        engine: the database.
        key: of the digests; it must exist.
        address: in lower case.
        now: the ledger's clock, naive UTC.
        today: the day in ``VISITAS_ZONA_HORARIA``.
        who: who asked for it, for the audit trail.

    Raises:
        SystemFailure: the database failed, or the key is not the one of earlier erasures; nothing is changed.
    """
    dialect = dialect_of(engine)
    with database_errors(engine), engine.connect() as connection:
        batch.create(connection, dialect)
        with connection.begin():
            return _Erasure(connection, dialect, key, address, now(), today, who).run()


@dataclass
class _Erasure:
    """The transaction's body."""

    connection: Connection
    dialect: str
    key: ErasureKey
    address: str
    now: datetime
    today: date
    who: str

    def __post_init__(self) -> None:
        self.visitors = VisitorTables(self.connection, self.dialect, self.now)

    def run(self) -> ErasedRows:
        # Alone: a load that has read who is erased is waited for, the next one finds this person among them.
        period = self.visitors.turn_period(self.today, alone=True)
        digest = self._remember()
        visits = self._erase_visits()
        renamed = self._rename_visitors()
        mentions = self._erase_mentions()
        rejects = self._erase_rejects()
        self._erase_messages()
        batch.empty(self.connection)
        self.visitors.touch({self.address, ERASED_EMAIL, *renamed, *renamed.values()})
        self.visitors.recount(period)
        detail = {"huella": digest, "visitas": visits, "menciones": mentions, "rechazos": rejects, "copias": None}
        audit = record_audit(self.connection, self.now, OPERATION, self.who, detail)
        return ErasedRows(audit, digest, visits, mentions, rejects)

    def _remember(self) -> str:
        erased_persons(self.connection, self.key)  # refuses another key than that of the earlier erasures
        digest = self.key.digest(self.address)
        known = self.connection.execute(select(olvidados.c.huella).where(olvidados.c.huella == digest)).first()
        if known is None:
            self.connection.execute(insert(olvidados).values(huella=digest, llave=self.key.name(), momento=self.now))
        return digest

    def _erase_visits(self) -> int:
        return self.connection.execute(
            update(estadisticas)
            .where(estadisticas.c.email == self.address)
            .values(email=ERASED_EMAIL, **dict.fromkeys(PERSONAL_LISTS))
        ).rowcount

    def _rename_visitors(self) -> dict[str, str]:
        """Mask the person inside other addresses; return those addresses with their masks."""
        email = estadisticas.c.email
        found = self.connection.execute(select(email).distinct().where(_may_hold(email, self.address))).scalars()
        masks = {address: masked_email(address, self._is_theirs) for address in found}
        changed = {address: mask for address, mask in masks.items() if mask != address}
        for address, mask in changed.items():
            self.connection.execute(update(estadisticas).where(email == address).values(email=mask))
        return changed

    def _erase_mentions(self) -> int:
        return self._rewrite(estadisticas, dict.fromkeys(TEXTS, self._masked), [estadisticas.c[n] for n in TEXTS])

    def _erase_rejects(self) -> int:
        masks: dict[str, Callable[[Any], Any]] = {
            "valor": lambda value: None if value is None else ERASED_TEXT,
            "detalle": lambda value: json.loads(erased_detail(json.dumps(value, ensure_ascii=False))),
            "fila_original": lambda value: ERASED_TEXT,
        }
        return self._rewrite(errores, masks, [errores.c.fila_original])

    def _erase_messages(self) -> None:
        """Messages hide addresses since they are written; those of earlier versions of the program did not."""
        for table in tables.metadata.tables.values():
            if "mensaje" in table.c:
                self._rewrite(table, {"mensaje": self._masked}, [table.c.mensaje])

    def _masked(self, value: str | None) -> str | None:
        return None if value is None else mask_erased(value, self._is_theirs)

    def _is_theirs(self, address: str) -> bool:
        return address == self.address

    def _rewrite(self, table: Table, masks: dict[str, Callable[[Any], Any]], searched: Sequence[Column[Any]]) -> int:
        """Rewrite the rows in which one of the searched columns names the person; return how many."""
        key = table.primary_key.columns.values()[0]
        changes = []
        query = select(key.label("clave"), *(table.c[name] for name in {*masks, *(c.name for c in searched)})).where(
            or_(*(_may_hold(column, self.address) for column in searched))
        )
        for row in self.connection.execute(query).mappings():
            if any(row[column.name] and any(erased_in(row[column.name], self._is_theirs)) for column in searched):
                changes.append({"esta": row["clave"], **{name: mask(row[name]) for name, mask in masks.items()}})
        statement = update(table).where(key == bindparam("esta"))
        for start in range(0, len(changes), _BATCH):
            self.connection.execute(statement, changes[start : start + _BATCH])
        return len(changes)


def _may_hold(column: Column[Any], address: str) -> Any:
    """A first sieve, by the database: the address as it stands, or as a link has it, in whatever case."""
    return or_(*(column.icontains(form, autoescape=True) for form in written_forms(address)))


def written_forms(address: str) -> tuple[str, str]:
    """An address as it may stand in a text."""
    return address, address.replace("@", "%40")


def close_audit(engine: Engine, rows: ErasedRows, copies: int, zips: Iterable[str]) -> None:
    """Complete an erasure's entry in the audit trail once the copies on disk are rewritten."""
    with writing(engine) as connection:
        detail = connection.execute(select(auditoria.c.detalle).where(auditoria.c.id == rows.audit)).scalar_one()
        connection.execute(
            update(auditoria)
            .where(auditoria.c.id == rows.audit)
            .values(detalle={**detail, "copias": copies, "zips": list(zips)})
        )


def note_rewritten(engine: Engine, sha256: str, rewritten: str) -> None:
    """Write down which contents a rewritten copy stands for, before it takes its place.

    Args:
        engine: the database.
        sha256: the digest of the copy as it is now; it may be a rewritten one itself.
        rewritten: its digest to come.
    """
    with writing(engine) as connection:
        already = _originals(connection, rewritten)
        for original in (_originals(connection, sha256) or {sha256}) - already:
            connection.execute(insert(copias_olvidadas).values(sha256=original, sha256_copia=rewritten))


def _originals(connection: Connection, rewritten: str) -> set[str]:
    """The contents that a rewritten copy stands for: two that differed in erased addresses alone are one now."""
    found = connection.execute(
        select(copias_olvidadas.c.sha256).where(copias_olvidadas.c.sha256_copia == rewritten)
    ).scalars()
    return set(found)


def rewritten_copies(engine: Engine, digests: Sequence[str]) -> dict[str, set[str]]:
    """Return, by content, the digests of its rewritten copies."""
    found: dict[str, set[str]] = {}
    with reading(engine) as connection:
        for start in range(0, len(digests), _BATCH):
            chunk = digests[start : start + _BATCH]
            rows = connection.execute(select(copias_olvidadas).where(copias_olvidadas.c.sha256.in_(chunk)))
            for row in rows:
                found.setdefault(row.sha256, set()).add(row.sha256_copia)
    return found
