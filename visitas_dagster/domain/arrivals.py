"""What a listing of the SFTP folder means: which names are reports, which stand still, which are owed work.

Decisions over (listing, earlier observations, ledger) belong here, as pure functions; listing, reading the
ledger and asking for runs do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from visitas_dagster.domain.ladder import Attempt, is_due
from visitas_dagster.domain.layout import file_pattern
from visitas_dagster.domain.states import FINISHED, Estado

MAX_NAME = 255
"""Characters of a file name: the width of ``bitacora_control.archivo``."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")
WORKING_SUFFIXES = (".parcial", ".validos.arrow", ".errores.arrow")
"""How the names of our own unfinished and intermediate files end; they stand beside the deliveries."""

UNREMOVED = "sigue en el servidor"
"""How the message of a file begins whose server copy could not be removed."""


@dataclass(frozen=True)
class Listed:
    """One regular file of the SFTP folder, as the server lists it.

    Attributes:
        archivo: file name, no folder.
        bytes: size in bytes.
        mtime: modification time by the server's clock, whole seconds since 1970 UTC (SFTP v3 has no finer).
    """

    archivo: str
    bytes: int
    mtime: int

    @property
    def modificado(self) -> datetime:
        """The modification time as naive UTC, as the ledger keeps it."""
        return datetime.fromtimestamp(self.mtime, UTC).replace(tzinfo=None)


@dataclass(frozen=True)
class Observation:
    """A listed file and since when it has been seen with this size and time.

    Attributes:
        listed: the file as last seen.
        since: when this size and time were first seen, by our clock, seconds since 1970.
    """

    listed: Listed
    since: float


@dataclass(frozen=True)
class Known:
    """The ledger's newest word on a name (the row that was touched last).

    Attributes:
        id: its key.
        archivo: file name.
        bytes, modificado: size and server time of that delivery; None where never listed.
        estado: the row's state.
        fin: when its last attempt ended (naive UTC), None while a run has it.
        aviso: the row's message; on a finished file it tells that the server copy could not be removed.
    """

    id: int
    archivo: str
    bytes: int | None
    modificado: datetime | None
    estado: Estado
    fin: datetime | None
    aviso: str | None

    def is_delivery(self, listed: Listed) -> bool:
        """Whether the listed file looks like the delivery that this row is about."""
        return self.bytes == listed.bytes and self.modificado == listed.modificado


def is_report(archivo: str, pattern: str) -> bool:
    """Whether a name is a report's: matches ``VISITAS_PATRON_ARCHIVO`` whole (ASCII digits) and is safe.

    A server chooses its names: one that could leave a folder, forge a log line or that Dagster refuses as a
    partition key is never touched, whatever the pattern says; :func:`refusal` says why.
    """
    return _is_named_so(archivo, pattern) and refusal(archivo) is None


def unsafe_names(names: Iterable[str], pattern: str) -> dict[str, str]:
    """Return the names that the pattern matches and that are not taken all the same, each with its reason."""
    return {name: reason for name in names if _is_named_so(name, pattern) and (reason := refusal(name)) is not None}


def _is_named_so(archivo: str, pattern: str) -> bool:
    return file_pattern(pattern).fullmatch(archivo) is not None


def refusal(archivo: str) -> str | None:
    """Why no file of this name is ever taken, in Spanish; None for a name that is safe."""
    if len(archivo) > MAX_NAME:
        return f"tiene más de {MAX_NAME} caracteres"
    if _SURROGATE.search(archivo):
        return "no está en UTF-8"
    if _CONTROL.search(archivo):
        return "tiene caracteres de control"
    if "/" in archivo or "\\" in archivo:
        return "tiene una barra, que llevaría a otra carpeta"
    if archivo in ("", ".", ".."):
        return "no es el nombre de un archivo"
    if "..." in archivo:
        return "tiene tres puntos seguidos, que Dagster no admite"
    if archivo.endswith(" "):
        # To MySQL's utf8mb4_bin «a» and «a » are one name.
        return "termina en un espacio, que la base de datos no distingue"
    if archivo.endswith(WORKING_SUFFIXES):
        return f"termina en {next(end for end in WORKING_SUFFIXES if archivo.endswith(end))}, como los de trabajo"
    return None


def observe(listing: Iterable[Listed], earlier: Mapping[str, Observation], now: float) -> dict[str, Observation]:
    """Carry over since when each listed file has stood still; forget the names that are gone.

    Our own clock is used: the server's may differ, and a client may set any modification time it likes.
    """
    observed = {}
    for listed in listing:
        before = earlier.get(listed.archivo)
        still = before is not None and before.listed == listed
        observed[listed.archivo] = Observation(listed, before.since if still and before else now)
    return observed


def settled(observed: Mapping[str, Observation], wait_s: float, now: float) -> list[Listed]:
    """Return the files whose size and time have not changed for ``wait_s`` seconds, in the order of delivery.

    Order: modification time, then the number inside the name, then the name; so that of two corrections that
    wait together the later delivery is asked for later.
    """
    still = (seen.listed for seen in observed.values() if now - seen.since >= wait_s)
    return sorted(still, key=lambda listed: (listed.mtime, *natural_key(listed.archivo)))


PATIENCE = 10
"""How many times as long a report must stand still that has no end of line at its end."""


def is_recent(listed: Listed, wait_s: float, now: float) -> bool:
    """Whether a file was written to so lately that, without a last end of line, it may be half a report.

    A sender that writes in place and pauses looks like one that is done, but for this sign. The server's time is
    taken, so that a pass without a memory can tell; where the clocks are far apart the sign is not looked for.

    Args:
        listed: the file.
        wait_s: ``VISITAS_ESPERA_ESTABLE_S``.
        now: our clock, seconds since 1970.
    """
    return abs(now - listed.mtime) < PATIENCE * wait_s


def natural_key(archivo: str) -> tuple[int, str]:
    """Sort ``report_9.txt`` before ``report_10.txt``: the first number inside the name, then the name."""
    number = re.search(r"\d+", archivo, re.ASCII)
    return (int(number.group()) if number else -1, archivo)


def is_owed(listed: Listed, known: Known | None, attempts: Iterable[Attempt], today: date) -> bool:
    """Whether a pass should take this file (contract §2).

    A name or a delivery never seen is owed, and so is one whose run died. A finished one that still stands on
    the server is owed its removal, unless removal was refused (a person must act, ``--reintentar``). A system
    failure is owed what the ladder says.

    Args:
        listed: the file on the server; it stands still, and nobody works on it.
        known: the ledger's newest word on the name.
        attempts: those at that row; asked only for a system failure.
        today: the day in ``VISITAS_ZONA_HORARIA``.
    """
    if known is None or not known.is_delivery(listed):
        return True
    if known.estado is Estado.FALLO_SISTEMA:
        return is_due(attempts, today)
    if known.estado in FINISHED:
        return not is_unremoved(known.aviso)
    return True


def is_unremoved(aviso: str | None) -> bool:
    """Whether a ledger message says that the server copy could not be removed."""
    return (aviso or "").startswith(UNREMOVED)


@dataclass(frozen=True)
class RunPlan:
    """One run to ask for: the partitions from ``start`` to ``end``, contiguous in the order of the partitions."""

    start: str
    end: str
    archivos: tuple[str, ...]


def plan_runs(wanted: Sequence[str], partitions: Sequence[str], per_run: int, few: int = 5) -> list[RunPlan]:
    """Group the wanted files into runs: one run per file when few arrive, else up to ``per_run`` files a run.

    Args:
        wanted: the files to take, all of them partitions.
        partitions: every partition key, in the store's order: a run covers a contiguous range of them, so a
            file that is not wanted splits a group.
        per_run: files a run at the most.
        few: up to so many files each get a run of their own.
    """
    size = 1 if len(wanted) <= few else per_run
    wanted_set = set(wanted)
    plans: list[RunPlan] = []
    group: list[str] = []
    for key in partitions:
        if group and (key not in wanted_set or len(group) == size):
            plans.append(RunPlan(group[0], group[-1], tuple(group)))
            group = []
        if key in wanted_set:
            group.append(key)
    if group:
        plans.append(RunPlan(group[0], group[-1], tuple(group)))
    return plans
