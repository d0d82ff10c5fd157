"""One look at ledger, server and daemon: what is in trouble, put before the domain and written into ``incidentes``.

Gathering the signs belongs here; sending what follows from them is ``alerts/tell.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from visitas_dagster.domain.arrivals import Listed, is_report
from visitas_dagster.domain.failures import TransientFailure
from visitas_dagster.domain.incidents import (
    RATE_WINDOW,
    Incident,
    Seen,
    Sign,
    Subject,
    Tipo,
    daemon_sign,
    delay_sign,
    layout_sign,
    rate_sign,
    system_sign,
    waiting_sign,
    waits,
)
from visitas_dagster.domain.states import Estado
from visitas_dagster.loading.history import History
from visitas_dagster.loading.incidents import Incidents
from visitas_dagster.loading.signs import failures, first_seen, last_arrival, rejecting
from visitas_dagster.resources.platform import Platform

_TRIES = 3
"""Two looks that write at once may be told by the database to try again."""


def look(
    platform: Platform,
    listing: Iterable[Listed] | None = None,
    heartbeats: Mapping[str, datetime] | None = None,
) -> list[Incident]:
    """Look, write down what follows, and return the incidents that are open then.

    Args:
        platform: settings, database, clock.
        listing: the server's folder; None leaves what is about the server as it is.
        heartbeats: the daemon's last signs of life, by its parts, naive UTC; None leaves the daemon as it is.

    Raises:
        SystemFailure: the database does not answer.
    """
    looked = platform.now()
    incidents = _incidents(platform)
    seen = {**_files(platform, incidents.open(), looked), **_arrivals(platform, listing, looked)}
    if heartbeats is not None:
        seen[Subject(Tipo.DEMONIO)] = daemon_sign(heartbeats, looked, platform.settings.zone)
    write(platform, seen, looked)
    return incidents.open()


def write(platform: Platform, seen: Seen, looked: datetime) -> None:
    """Write down what follows from what was seen; again where the database asks for it.

    Raises:
        SystemFailure: the database does not answer.
    """
    incidents = _incidents(platform)
    retrying = Retrying(
        retry=retry_if_exception_type(TransientFailure),
        stop=stop_after_attempt(_TRIES),
        wait=wait_random(0, 0.5),
        reraise=True,
    )
    retrying(lambda: incidents.apply(seen, looked))


def reports(platform: Platform) -> list[Listed]:
    """List the reports on the server.

    Raises:
        SystemFailure: the server does not answer, or refuses us.
    """
    pattern = platform.settings.patron_archivo
    return [listed for listed in platform.sftp.list() if is_report(listed.archivo, pattern)]


def _incidents(platform: Platform) -> Incidents:
    return Incidents(platform.engine, platform.now)


def _files(platform: Platform, known: Iterable[Incident], now: datetime) -> dict[Subject, Sign | None]:
    began = {incident.subject.tipo: incident.desde for incident in known}
    seen: dict[Subject, Sign | None] = {}
    for tipo, estado, judge in _FAILURES:
        found = failures(platform.engine, estado, began.get(tipo))
        # While a file that failed is tried again, nobody can say that all is well: the incident stays as it is.
        if not found.is_retried:
            seen[Subject(tipo)] = judge(found.first, found.total, found.ever)
    files = rejecting(platform.engine, now - RATE_WINDOW)
    seen[Subject(Tipo.TASA_ERROR)] = rate_sign(files, platform.settings.alerta_tasa_error)
    return seen


_FAILURES = (
    (Tipo.FALLO_LAYOUT, Estado.FALLO_LAYOUT, layout_sign),
    (Tipo.FALLO_SISTEMA, Estado.FALLO_SISTEMA, system_sign),
)


def _arrivals(platform: Platform, listing: Iterable[Listed] | None, now: datetime) -> dict[Subject, Sign | None]:
    settings = platform.settings
    seen: dict[Subject, Sign | None] = {}
    if listing is not None:
        files = list(listing)
        names = [listed.archivo for listed in files]
        known = History(platform.engine, settings.zone).newest(names)
        since = waits(files, first_seen(platform.engine, names, now), known)
        seen[Subject(Tipo.ESPERA)] = waiting_sign(since, now, settings.alerta_espera_h, settings.zone)
    arrived = last_arrival(platform.engine)
    seen[Subject(Tipo.DEMORA)] = delay_sign(arrived, now, settings.alerta_demora_h, settings.zone)
    return seen
