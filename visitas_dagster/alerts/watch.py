"""Looking and telling as runs, passes, ticks and the daily close call it: whatever goes wrong in it, they go on.

Containing failures belongs here; the look and the telling do not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime

from visitas_dagster.alerts.look import look, reports, write
from visitas_dagster.alerts.tell import tell
from visitas_dagster.domain.arrivals import Listed
from visitas_dagster.domain.failures import SystemFailure, VisitasError
from visitas_dagster.domain.incidents import Incident, close_sign, close_subject
from visitas_dagster.resources.platform import Platform

log = logging.getLogger("visitas.vigilancia")


def watch(
    platform: Platform,
    listing: Iterable[Listed] | None = None,
    heartbeats: Mapping[str, datetime] | None = None,
) -> None:
    """Look, write down what follows, and send what is due; never raises.

    Args:
        platform: settings, database, clock.
        listing: the server's folder, where the caller has it.
        heartbeats: the daemon's last signs of life, where the caller has them; see :func:`look`.
    """
    _contained(lambda: look_and_tell(platform, listing, heartbeats))


def watch_server(platform: Platform, heartbeats: Mapping[str, datetime] | None = None) -> SystemFailure | None:
    """List the server's folder and watch; never raises. Return why the server could not be asked, if it could not."""
    listing, failure = None, None
    try:
        listing = reports(platform)
    except SystemFailure as found:
        failure = found
    watch(platform, listing, heartbeats)
    return failure


def look_and_tell(
    platform: Platform, listing: Iterable[Listed] | None, heartbeats: Mapping[str, datetime] | None
) -> list[Incident]:
    """Do what :func:`watch` does, and return the incidents that are open; that a message cannot be sent is no failure.

    Raises:
        SystemFailure: the database does not answer.
    """
    found = look(platform, listing, heartbeats)
    _contained(lambda: tell(platform))
    return found


def close_failed(platform: Platform, day: date, message: str) -> None:
    """Open the incident of a day's close that failed, and alert; the same day again adds no alert. Never raises.

    Args:
        platform: settings, database, clock.
        day: the day that was to be closed.
        message: why it failed, in Spanish; addresses in it are masked.
    """
    now = platform.now()
    _contained(lambda: write(platform, {close_subject(day): close_sign(day, message, now)}, now))
    _contained(lambda: tell(platform))


def close_recovered(platform: Platform, day: date) -> None:
    """End the incident of a day's close, if one is open, and tell so. Never raises."""
    now = platform.now()
    _contained(lambda: write(platform, {close_subject(day): None}, now))
    _contained(lambda: tell(platform))


def _contained(step: Callable[[], object]) -> None:
    try:
        step()
    except VisitasError as failure:
        log.warning(f"no se pudieron revisar las alertas: {failure}")
    except Exception as error:
        log.error("no se pudieron revisar las alertas: error inesperado", exc_info=error)
