"""What persons are told of: which signs open an incident, which keep it open, which end it, and in what words.

Decisions and texts over what a look has seen belong here, as pure functions; looking, writing down and sending do not.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum, StrEnum
from zoneinfo import ZoneInfo

from visitas_dagster.domain.arrivals import Known, Listed
from visitas_dagster.domain.privacy import mask_addresses
from visitas_dagster.domain.states import FINISHED, Estado

DIGEST_EVERY = timedelta(hours=24)
"""An incident that goes on and has grown since it was last told of is told of again, this often at the most."""

RATE_WINDOW = timedelta(hours=24)
"""How long a file with too many rejected records keeps its incident open, if no correction ends it before."""

DAEMON_SILENCE = timedelta(seconds=120)
"""Dagster's daemon writes a sign of life every 30 s, and calls itself ill after 30 minutes; we, after four signs."""

PART_SILENCE = timedelta(minutes=10)
"""A part of the daemon may be busy for a while; after this it hangs."""

NAMES = 5
"""File names that a message shows."""

MAX_TEXT = 4000
"""Characters of a message that are kept."""


class Tipo(StrEnum):
    """Kinds of incidents; ``incidentes.tipo``."""

    FALLO_LAYOUT = "FALLO_LAYOUT"
    """Files lie in quarantine because they cannot be read as reports."""
    FALLO_SISTEMA = "FALLO_SISTEMA"
    """Files did not get in though every retry of their day was made."""
    TASA_ERROR = "TASA_ERROR"
    """A loaded file has more rejected records than ``VISITAS_ALERTA_TASA_ERROR`` allows."""
    DEMORA = "DEMORA"
    """Nothing has arrived for ``VISITAS_ALERTA_DEMORA_H`` hours."""
    ESPERA = "ESPERA"
    """A report waits on the server for longer than ``VISITAS_ALERTA_ESPERA_H`` hours."""
    CIERRE = "CIERRE"
    """The close of a day failed."""
    DEMONIO = "DEMONIO"
    """Dagster's daemon has stopped, and with it the sensor and the schedule."""


STOPPED = frozenset({Tipo.DEMONIO, Tipo.DEMORA, Tipo.ESPERA})
"""What ``visitas status --vigilar`` ends with 1 for: the daemon or the arrivals have stopped (contract §6)."""


@dataclass(frozen=True)
class Subject:
    """What an incident is about: at most one is open of each.

    Attributes:
        tipo: its kind.
        asunto: which of several of a kind: the day of a close, else empty.
    """

    tipo: Tipo
    asunto: str = ""

    def __str__(self) -> str:
        """Return it as persons read it: ``CIERRE 2024-03-14``."""
        return f"{self.tipo} {self.asunto}".rstrip()

    @property
    def clave(self) -> str:
        """The subject as one word."""
        return f"{self.tipo}/{self.asunto}"


@dataclass(frozen=True)
class Sign:
    """What a look saw of a subject that is in trouble.

    Attributes:
        text: what happened and what to do about it, several lines, in Spanish.
        count: how many files or times, since the trouble began.
        since: when it began.
        newest: when it last grew (naive UTC, as ``since``).
    """

    text: str
    since: datetime
    newest: datetime
    count: int = 1


Seen = Mapping[Subject, Sign | None]
"""What a look saw: a sign of trouble, None where all is well. A subject it could not judge is not in it."""


@dataclass(frozen=True)
class Incident:
    """One incident, as the table has it.

    Attributes:
        id: its key.
        subject: what it is about.
        abierto, visto: when it was opened and last seen in trouble.
        veces: how many files or times it counts.
        desde, ultimo: when the trouble began and last grew.
        mensaje: what happened and what to do.
        avisado: when persons were last told of it, None while they were not.
        contado: up to which ``ultimo`` they were told.
        cerrado, cierre_avisado: when it was over, and when that was told.
        intentado: when sending the message that is due was last tried.
        canales: the channels that have that message already.
    """

    id: int
    subject: Subject
    abierto: datetime
    visto: datetime
    veces: int
    desde: datetime
    ultimo: datetime
    mensaje: str
    avisado: datetime | None = None
    contado: datetime | None = None
    cerrado: datetime | None = None
    cierre_avisado: datetime | None = None
    intentado: datetime | None = None
    canales: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Moves:
    """What follows from a look.

    Attributes:
        opens: subjects whose incident begins, with its first sign.
        goes_on: open incidents still in trouble, with the new sign.
        recovers: open incidents that are over.
    """

    opens: Mapping[Subject, Sign]
    goes_on: Sequence[tuple[Incident, Sign]]
    recovers: Sequence[Incident]


def judge(seen: Seen, open_incidents: Iterable[Incident]) -> Moves:
    """Put what a look saw against the incidents that are open.

    Whatever was not judged stays as it is: a look that could not ask the server ends no incident about the server.
    """
    known = {incident.subject: incident for incident in open_incidents}
    return Moves(
        opens={subject: sign for subject, sign in seen.items() if sign is not None and subject not in known},
        goes_on=[(known[subject], sign) for subject, sign in seen.items() if sign is not None and subject in known],
        recovers=[known[subject] for subject, sign in seen.items() if sign is None and subject in known],
    )


class Phase(Enum):
    """Which message of an incident is due."""

    ALERT = "ALERTA"
    GOES_ON = "CONTINÚA"
    RECOVERY = "RECUPERADO"


def due(incident: Incident, now: datetime) -> Phase | None:
    """Return the message that persons are owed now: the alert, then news of it once a day, then its recovery."""
    if incident.avisado is None:
        return Phase.ALERT
    if incident.cerrado is not None:
        return Phase.RECOVERY if incident.cierre_avisado is None else None
    has_grown = incident.contado is not None and incident.ultimo > incident.contado
    return Phase.GOES_ON if has_grown and now - incident.avisado >= DIGEST_EVERY else None


# ----------------------------------------------------------------------------------------------- signs of trouble


@dataclass(frozen=True)
class FailedFile:
    """A file that failed and that nothing newer of its name has made good.

    Attributes:
        archivo: its name.
        fin: when its last attempt ended, naive UTC.
        mensaje: why it failed.
    """

    archivo: str
    fin: datetime
    mensaje: str


def layout_sign(failed: Sequence[FailedFile], total: int, ever: int) -> Sign | None:
    """Judge the files in ``FALLO_LAYOUT``.

    Args:
        failed: the first of those unresolved, oldest first, and the newest as the last.
        total: how many are unresolved.
        ever: how many have failed since the oldest of them did.
    """
    if not failed:
        return None
    first = plain(failed[0].archivo)
    text = _lines(
        f"{_files(total, 'está', 'están')} en cuarentena: no se {'puede' if total == 1 else 'pueden'} leer como "
        f"{'reporte' if total == 1 else 'reportes'}.",
        f"Archivos: {_names([file.archivo for file in failed], total)}",
        f"Motivo de {first}: {failed[0].mensaje}",
        f"Para verlo: {_command('explain', failed[0].archivo)}",
        "Para curarlo: que quien los envía los corrija y los mande otra vez; o, si basta declarar un alias en "
        f"VISITAS_ALIAS_COLUMNAS: {_command('release', failed[0].archivo)}",
    )
    return Sign(text, failed[0].fin, failed[-1].fin, max(total, ever))


def system_sign(failed: Sequence[FailedFile], total: int, ever: int) -> Sign | None:
    """Judge the files in ``FALLO_SISTEMA``; the arguments are those of :func:`layout_sign`."""
    if not failed:
        return None
    first = plain(failed[0].archivo)
    text = _lines(
        f"{_files(total, 'falló', 'fallaron')} en todos los reintentos de su día; no se perdió nada.",
        f"Archivos: {_names([file.archivo for file in failed], total)}",
        f"Motivo de {first}: {failed[0].mensaje}",
        f"Para verlo: {_command('explain', failed[0].archivo)}",
        "Se intenta de nuevo sin ayuda en los dos días siguientes. Quitada la causa, antes: "
        f"{_command('dispatch', '--reintentar', failed[0].archivo)}",
    )
    return Sign(text, failed[0].fin, failed[-1].fin, max(total, ever))


@dataclass(frozen=True)
class RejectingFile:
    """A loaded file with many rejected records.

    Attributes:
        archivo: its name.
        fin: when it was loaded, naive UTC.
        total, invalid: its records, and those of them that were rejected.
    """

    archivo: str
    fin: datetime
    total: int
    invalid: int

    @property
    def rate(self) -> float:
        """Share of rejected records, 0 to 1."""
        return self.invalid / self.total if self.total else 0.0


def rate_sign(files: Iterable[RejectingFile], threshold: float) -> Sign | None:
    """Judge the current files of the last :data:`RATE_WINDOW` by their share of rejected records."""
    above = sorted((file for file in files if file.rate > threshold), key=lambda file: (file.fin, file.archivo))
    if not above:
        return None
    worst = max(above, key=lambda file: file.rate)
    text = _lines(
        f"{_files(len(above), 'tiene', 'tienen')} más de {percent(threshold)} de registros rechazados; los válidos "
        "están cargados.",
        f"Archivos: {_names([file.archivo for file in above], len(above))}",
        f"El peor, {plain(worst.archivo)}: {worst.invalid} de {worst.total} ({percent(worst.rate)})",
        f"Para verlo: {_command('explain', worst.archivo)} y la tabla errores",
        "Para curarlo: que quien lo envía lo corrija y lo mande otra vez con el mismo nombre.",
    )
    return Sign(text, above[0].fin, above[-1].fin, len(above))


def delay_sign(last_arrival: datetime | None, now: datetime, hours: float, zone: ZoneInfo) -> Sign | None:
    """Judge how long ago a report last arrived.

    Args:
        last_arrival: naive UTC; None where nothing ever arrived, which tells nothing.
        now: naive UTC.
        hours: ``VISITAS_ALERTA_DEMORA_H``; 0 for never.
        zone: ``VISITAS_ZONA_HORARIA``.
    """
    if not hours or last_arrival is None or now - last_arrival <= timedelta(hours=hours):
        return None
    text = _lines(
        f"No llega ningún reporte desde {local(last_arrival, zone)}: más de {hours:g} horas.",
        "Para verlo: visitas status",
        "Para curarlo: pregunte a quien envía los reportes, y revise que lleguen a la carpeta de VISITAS_SFTP_DIR.",
    )
    return Sign(text, last_arrival, last_arrival)


def waits(
    listing: Iterable[Listed], first_seen: Mapping[str, datetime], known: Mapping[str, Known]
) -> dict[str, datetime]:
    """Return since when each report on the server waits for its turn, naive UTC.

    A name whose last delivery has been finished waits anew from then: another one came, or its removal failed. One
    that failed through the ladder is left out: it waits for the ladder or a person, and is told of as that.

    Args:
        listing: the reports on the server.
        first_seen: since when each name has been found there.
        known: the ledger's newest word on each name.
    """
    since = {}
    for listed in listing:
        entry = known.get(listed.archivo)
        moment = first_seen[listed.archivo]
        if entry is not None and entry.estado is Estado.FALLO_SISTEMA and entry.is_delivery(listed):
            continue
        if entry is not None and entry.estado in FINISHED and entry.fin is not None:
            moment = max(moment, entry.fin)
        since[listed.archivo] = moment
    return since


def waiting_sign(since: Mapping[str, datetime], now: datetime, hours: float, zone: ZoneInfo) -> Sign | None:
    """Judge how long each report has waited on the server.

    Args:
        since: since when, by name, naive UTC.
        now: naive UTC.
        hours: ``VISITAS_ALERTA_ESPERA_H``; 0 for never.
        zone: ``VISITAS_ZONA_HORARIA``.
    """
    if not hours:
        return None
    late = sorted((start, archivo) for archivo, start in since.items() if now - start > timedelta(hours=hours))
    if not late:
        return None
    names = [archivo for _, archivo in late]
    text = _lines(
        f"{_files(len(late), 'espera', 'esperan')} en el servidor desde hace más de {hours:g} horas, sin que se "
        f"{'procese' if len(late) == 1 else 'procesen'}.",
        f"Archivos: {_names(names, len(names))}",
        f"El primero, {plain(names[0])}, desde {local(late[0][0], zone)}",
        f"Para verlo: visitas status; {_command('explain', names[0])}",
        "Para curarlo: visitas dispatch",
    )
    return Sign(text, late[0][0], late[-1][0], len(late))


def close_sign(day: date, message: str, now: datetime) -> Sign:
    """The sign of a close that failed."""
    text = _lines(
        f"Falló el cierre del día {day.isoformat()}: {message}",
        f"Para curarlo: quite la causa y ejecute: {_command('close', '--fecha', day.isoformat())}",
    )
    return Sign(text, now, now)


def close_subject(day: date) -> Subject:
    """What an incident about a day's close is about."""
    return Subject(Tipo.CIERRE, day.isoformat())


def daemon_sign(heartbeats: Mapping[str, datetime], now: datetime, zone: ZoneInfo) -> Sign | None:
    """Judge Dagster's daemon by its signs of life.

    Args:
        heartbeats: by part of the daemon, when it last gave one, naive UTC.
        now: naive UTC.
        zone: ``VISITAS_ZONA_HORARIA``.
    """
    cure = _lines(
        "Sin él no se toma ningún archivo ni se cierra el día.",
        "Para curarlo: systemctl restart visitas-daemon (o como se haya instalado)",
        "Para comprobarlo: visitas status --vigilar",
    )
    if not heartbeats:
        return Sign(_lines("El demonio de Dagster no ha dado nunca una señal de vida.", cure), now, now)
    last = max(heartbeats.values())
    if now - last > DAEMON_SILENCE:
        told = f"El demonio de Dagster se detuvo: no da señales desde {local(last, zone)}."
        return Sign(_lines(told, cure), last, last)
    hung = sorted(part for part, at in heartbeats.items() if now - at > PART_SILENCE)
    if hung:
        since = min(heartbeats[part] for part in hung)
        parts = ", ".join(plain(part) for part in hung)
        told = f"Una parte del demonio de Dagster no avanza desde {local(since, zone)}: {parts}."
        return Sign(_lines(told, cure), since, since)
    return None


# ----------------------------------------------------------------------------------------------------- messages


@dataclass(frozen=True)
class Message:
    """What is sent to persons.

    Attributes:
        subject: one line.
        text: several lines; no markup in either.
    """

    subject: str
    text: str


_OVER = {
    Tipo.FALLO_LAYOUT: "ya no hay archivos en cuarentena por su formato",
    Tipo.FALLO_SISTEMA: "ya no hay archivos fallidos por el sistema",
    Tipo.TASA_ERROR: "ya no hay archivos recientes con demasiados registros rechazados",
    Tipo.DEMORA: "llegan reportes otra vez",
    Tipo.ESPERA: "ningún reporte espera de más en el servidor",
    Tipo.CIERRE: "el día quedó cerrado",
    Tipo.DEMONIO: "el demonio de Dagster da señales de vida",
}

_COUNTED = frozenset({Tipo.FALLO_LAYOUT, Tipo.FALLO_SISTEMA, Tipo.TASA_ERROR, Tipo.ESPERA})


def compose(phase: Phase, incident: Incident, zone: ZoneInfo, origin: str) -> Message:
    """Return the message of an incident; addresses in it are masked.

    Args:
        phase: which message.
        incident: what it is about.
        zone: ``VISITAS_ZONA_HORARIA``, in which moments are told.
        origin: the machine that tells, for whoever looks after several.
    """
    if phase is Phase.RECOVERY:
        first = _OVER[incident.subject.tipo]
        text = _lines(f"{first[0].upper()}{first[1:]}.", _lasted(incident, zone))
    else:
        first = headline(incident).rstrip(".")
        text = _lines(
            incident.mensaje,
            f"Desde: {local(incident.desde, zone)}",
            _grown(incident) if phase is Phase.GOES_ON else "",
        )
    return Message(
        shorten(f"[visitas] {phase.value} {incident.subject}: {one_line(mask_addresses(first))}", 200),
        shorten(_lines(mask_addresses(text), f"Máquina: {plain(origin)}"), MAX_TEXT),
    )


def headline(incident: Incident) -> str:
    """What happened, in one sentence."""
    return incident.mensaje.partition("\n")[0]


def _lasted(incident: Incident, zone: ZoneInfo) -> str:
    end = incident.cerrado or incident.visto
    counted = f" En total: {_files(incident.veces, '', '').strip()}." if incident.subject.tipo in _COUNTED else ""
    return f"Duró de {local(incident.desde, zone)} a {local(end, zone)}.{counted}"


def _grown(incident: Incident) -> str:
    return f"Sigue, y creció desde el último aviso: {_files(incident.veces, '', '').strip()} en total."


def local(moment: datetime, zone: ZoneInfo) -> str:
    """A naive UTC moment as an operator reads it: ``2024-03-14 12:05``."""
    return moment.replace(tzinfo=UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M")


def plain(text: str) -> str:
    """Text from outside, without the characters that move a cursor, break a line or hide others."""
    return "".join(char if char.isprintable() else "�" for char in text)


def one_line(text: str) -> str:
    """Text on one line, as a subject and a log want it."""
    return plain(" ".join(text.split()))


def shorten(text: str, limit: int) -> str:
    """Text of at most ``limit`` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def percent(share: float) -> str:
    """A share of 1, as ``12.5 %``."""
    return f"{share * 100:.4g} %"


def _lines(*lines: str) -> str:
    return "\n".join(line for line in lines if line)


def _files(count: int, one: str, many: str) -> str:
    return f"{count} archivo {one}".rstrip() if count == 1 else f"{count} archivos {many}".rstrip()


def _names(names: Sequence[str], total: int) -> str:
    shown = [plain(name) for name in names[:NAMES]]
    more = total - len(shown)
    return ", ".join(shown) + (f" y {more} más" if more > 0 else "")


def _command(*words: str) -> str:
    """What to type: a name that a shell would read as more than a name is quoted."""
    return shlex.join(["visitas", *(plain(word) for word in words)])
