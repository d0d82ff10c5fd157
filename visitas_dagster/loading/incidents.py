"""The table ``incidentes``: incidents opened once, seen again, closed, and what persons have been told of them.

Reading and writing it belongs here; what opens an incident is ``domain/incidents.py``, and sending is not done here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, func, insert, or_, select, update

from visitas_dagster.domain.incidents import MAX_TEXT, Incident, Moves, Phase, Seen, Sign, Subject, Tipo, judge, shorten
from visitas_dagster.domain.privacy import mask_addresses
from visitas_dagster.loading.statements import or_ignore
from visitas_dagster.loading.tables import incidentes
from visitas_dagster.resources.database import reading, writing


class Incidents:
    """The table over an engine, with the clock that dates its entries (naive UTC)."""

    def __init__(self, engine: Engine, now: Callable[[], datetime]) -> None:
        """Remember them; nothing is read yet."""
        self._engine = engine
        self._now = now

    def apply(self, seen: Seen, looked: datetime) -> Moves:
        """Write down what follows from a look; return it.

        Two looks may see the same: the key of what an incident is about lets only one of them open it. A look that
        began before another one ended or saw an incident does not undo what that one, who knew more, has written.

        Args:
            seen: what the look saw.
            looked: when it began, naive UTC.

        Raises:
            SystemFailure: the database does not answer.
        """
        with writing(self._engine) as connection:
            moves = judge(seen, _open_rows(connection))
            for subject, sign in moves.opens.items():
                _open(connection, subject, sign, looked)
            for incident, sign in moves.goes_on:
                _see_again(connection, incident, sign, looked)
            for incident in moves.recovers:
                connection.execute(
                    update(incidentes)
                    .where(incidentes.c.id == incident.id, incidentes.c.cerrado.is_(None), incidentes.c.visto <= looked)
                    .values(cerrado=looked, clave=None)
                )
            return moves

    def open(self) -> list[Incident]:
        """Return the incidents that are open, oldest first."""
        with reading(self._engine) as connection:
            return _open_rows(connection)

    def untold(self) -> list[Incident]:
        """Return the incidents of which persons may be owed a message, oldest first: all but those told to the end."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(incidentes)
                .where(or_(incidentes.c.cerrado.is_(None), incidentes.c.cierre_avisado.is_(None)))
                .order_by(incidentes.c.id)
            ).mappings()
            return [_incident(row) for row in rows]

    def find(self, incident_id: int) -> Incident:
        """Return one as it stands now."""
        with reading(self._engine) as connection:
            row = connection.execute(select(incidentes).where(incidentes.c.id == incident_id)).mappings().one()
            return _incident(row)

    def tried(self, incident: Incident, channels: frozenset[str]) -> None:
        """Note that the message due was tried now, and which channels have it; the others are still owed it."""
        self._write(incident, intentado=self._now(), canales=",".join(sorted(channels)))

    def told(self, incident: Incident, phase: Phase) -> None:
        """Note that every channel has the message of this phase."""
        now = self._now()
        if phase is Phase.RECOVERY:
            self._write(incident, cierre_avisado=now, intentado=None, canales="")
        else:
            self._write(incident, avisado=now, contado=incident.ultimo, intentado=None, canales="")

    def _write(self, incident: Incident, **values: Any) -> None:
        with writing(self._engine) as connection:
            connection.execute(update(incidentes).where(incidentes.c.id == incident.id).values(**values))


def _open(connection: Connection, subject: Subject, sign: Sign, looked: datetime) -> None:
    closed_since = connection.execute(
        select(func.count())
        .select_from(incidentes)
        .where(
            incidentes.c.tipo == subject.tipo.value,
            incidentes.c.asunto == subject.asunto,
            incidentes.c.cerrado > looked,
        )
    ).scalar_one()
    if closed_since:
        return
    connection.execute(
        or_ignore(insert(incidentes)).values(
            tipo=subject.tipo.value,
            asunto=subject.asunto,
            clave=subject.clave,
            abierto=looked,
            visto=looked,
            veces=sign.count,
            desde=sign.since,
            ultimo=sign.newest,
            mensaje=_kept(sign),
            canales="",
        )
    )


def _see_again(connection: Connection, incident: Incident, sign: Sign, looked: datetime) -> None:
    connection.execute(
        update(incidentes)
        .where(incidentes.c.id == incident.id, incidentes.c.cerrado.is_(None), incidentes.c.visto <= looked)
        .values(
            visto=looked,
            veces=max(incident.veces, sign.count),
            ultimo=max(incident.ultimo, sign.newest),
            mensaje=_kept(sign),
        )
    )


def _kept(sign: Sign) -> str:
    return shorten(mask_addresses(sign.text), MAX_TEXT)


def _open_rows(connection: Connection) -> list[Incident]:
    rows: Sequence[RowMapping] = (
        connection.execute(select(incidentes).where(incidentes.c.cerrado.is_(None)).order_by(incidentes.c.id))
        .mappings()
        .all()
    )
    return [_incident(row) for row in rows]


def _incident(row: RowMapping) -> Incident:
    return Incident(
        id=row["id"],
        subject=Subject(Tipo(row["tipo"]), row["asunto"]),
        abierto=row["abierto"],
        visto=row["visto"],
        veces=row["veces"],
        desde=row["desde"],
        ultimo=row["ultimo"],
        mensaje=row["mensaje"],
        avisado=row["avisado"],
        contado=row["contado"],
        cerrado=row["cerrado"],
        cierre_avisado=row["cierre_avisado"],
        intentado=row["intentado"],
        canales=frozenset(filter(None, row["canales"].split(","))),
    )
