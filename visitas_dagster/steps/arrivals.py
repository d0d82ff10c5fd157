"""Which files of the SFTP folder are owed work now: listing, ledger and reservations put before the domain.

Asking the three and deciding by ``domain/arrivals.py`` belongs here; asking for runs does not.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from functools import lru_cache

from visitas_dagster.domain.arrivals import (
    Known,
    Listed,
    Observation,
    is_owed,
    is_recent,
    is_report,
    observe,
    unsafe_names,
)
from visitas_dagster.domain.failures import FileGone
from visitas_dagster.domain.ladder import is_due
from visitas_dagster.domain.states import Estado
from visitas_dagster.loading.history import History
from visitas_dagster.loading.reservations import Reservations, open_reservations
from visitas_dagster.resources.platform import Platform

log = logging.getLogger("visitas.llegadas")

_SHOWN = 120
"""Characters of a name that is not taken, in the warning."""


def look(platform: Platform, earlier: Mapping[str, Observation]) -> dict[str, Observation]:
    """List the folder and carry over since when each report has stood still.

    Raises:
        SystemFailure: the server does not answer, refuses us, or has no such folder.
    """
    return reports_among(platform, platform.sftp.list(), earlier)


def reports_among(
    platform: Platform, listing: Sequence[Listed], earlier: Mapping[str, Observation]
) -> dict[str, Observation]:
    """Carry over since when each report of a listing has stood still; warn of names that are not taken."""
    pattern = platform.settings.patron_archivo
    for archivo, reason in unsafe_names((listed.archivo for listed in listing), pattern).items():
        _tell_once(archivo, reason)
    reports = [listed for listed in listing if is_report(listed.archivo, pattern)]
    return observe(reports, earlier, platform.clock().timestamp())


@lru_cache(maxsize=1000)
def _tell_once(archivo: str, reason: str) -> None:
    """Warn of a name that is not taken, once a process: the sensor sees it again every few seconds."""
    shown = "".join(char if char.isprintable() else "�" for char in archivo[:_SHOWN])
    log.warning(f"no se toma «{shown}»: el nombre {reason}; cámbielo en el servidor")


def owed(platform: Platform, files: Sequence[Listed], insisted: Collection[str] = ()) -> list[Listed]:
    """Return the files that a pass should take, in the order given.

    Args:
        platform: the database to ask.
        files: files that stand still.
        insisted: names that an operator wants taken whatever the ledger says.

    Raises:
        SystemFailure: the database does not answer.
    """
    history = History(platform.engine, platform.settings.zone)
    known = history.newest(listed.archivo for listed in files)
    failed = [entry for entry in known.values() if entry.estado is Estado.FALLO_SISTEMA]
    attempts = history.attempts_at(failed) if failed else {}
    today = platform.today()

    def wanted(listed: Listed) -> bool:
        entry = known.get(listed.archivo)
        return listed.archivo in insisted or is_owed(listed, entry, attempts.get(entry.id, []) if entry else [], today)

    with _reservations(platform) as reservations:
        return [
            listed for listed in files if wanted(listed) and not _is_at_work(known.get(listed.archivo), reservations)
        ]


def are_at_others(platform: Platform, names: Collection[str], since: datetime) -> bool:
    """Whether other runs have every one of these files, or have ended it since then.

    What two passes over one folder have to tell each other before a run begins: each of them went through all runs,
    and the half of which there was nothing to do cost a sixth of the processor.

    Args:
        platform: the database to ask.
        names: files that were on the server.
        since: naive UTC.

    Raises:
        SystemFailure: the database does not answer.
    """
    known = History(platform.engine, platform.settings.zone).newest(names)
    ended = {archivo for archivo, entry in known.items() if entry.fin is not None and entry.fin > since}
    with _reservations(platform) as reservations:
        return not reservations.take_all([archivo for archivo in names if archivo not in ended])


def away(platform: Platform, present: Collection[str]) -> list[str]:
    """Return the names that are owed work though they are not on the server (``present``).

    A person let them go through again; or a run died over them, or failed and is to be tried on a further day from
    the quarantine, and their sender took them back meanwhile.

    Raises:
        SystemFailure: the database does not answer.
    """
    history = History(platform.engine, platform.settings.zone)
    names = [archivo for archivo in history.released() if archivo not in present]
    unfinished = [archivo for archivo in history.unfinished() if archivo not in present]
    unfinished += _due_again(platform, history, present)
    if unfinished:
        with _reservations(platform) as reservations:
            names += [archivo for archivo in unfinished if not _is_taken(archivo, reservations)]
    return list(dict.fromkeys(names))


def _due_again(platform: Platform, history: History, present: Collection[str]) -> list[str]:
    failed = [
        row
        for row in history.system_failures()
        # What is in no quarantine is nowhere: a person may look for it, by a release.
        if row["archivo"] not in present and platform.folders.quarantine_copies(row["archivo"], row["sha256"])
    ]
    attempts = history.attempts([row["id"] for row in failed]) if failed else {}
    today = platform.today()
    return [row["archivo"] for row in failed if is_due(attempts.get(row["id"], []), today)]


def is_unfinished(platform: Platform, listed: Listed) -> bool:
    """Whether a report that stands still looks like one whose sender only pauses.

    Raises:
        SystemFailure: the server does not answer.
    """
    if not is_recent(listed, platform.settings.espera_estable_s, platform.clock().timestamp()):
        return False
    try:
        return platform.sftp.last_byte(listed.archivo, listed.bytes) != b"\n"
    except FileGone:
        return False


def finished_among(platform: Platform, files: Sequence[Listed]) -> list[Listed]:
    """Return those of the files that surely are not unfinished, in the order given; all asked for at once.

    Of one whose end the server does not give, :func:`is_unfinished` tells.

    Raises:
        SystemFailure: the server does not answer.
    """
    wait, now = platform.settings.espera_estable_s, platform.clock().timestamp()
    recent = [listed for listed in files if is_recent(listed, wait, now)]
    ends = platform.sftp.last_bytes(recent) if recent else {}
    left = {listed.archivo for listed in recent if ends.get(listed.archivo) != b"\n"}
    return [listed for listed in files if listed.archivo not in left]


def _reservations(platform: Platform) -> closing[Reservations]:
    """Who works on which name, asked within the block."""
    return closing(open_reservations(platform.engine, platform.folders.locks))


def _is_at_work(known: Known | None, reservations: Reservations) -> bool:
    """Whether a live run has the file: the lock tells, since a killed run leaves its row EN_PROCESO."""
    return known is not None and known.estado is Estado.EN_PROCESO and _is_taken(known.archivo, reservations)


def _is_taken(archivo: str, reservations: Reservations) -> bool:
    if not reservations.take(archivo):
        return True
    reservations.free(archivo)
    return False
