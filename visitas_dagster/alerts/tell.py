"""Sending what persons are owed: each message of an incident to every channel, at least once, by one process at a time.

Who is told what, and what happens when it cannot be sent, belongs here; what an incident is does not.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta

from visitas_dagster.domain.failures import SystemFailure
from visitas_dagster.domain.incidents import Incident, Message, compose, due
from visitas_dagster.loading.incidents import Incidents
from visitas_dagster.loading.reservations import Reservations, open_reservations
from visitas_dagster.resources.notifier import Channel, channels, deliver, half_set
from visitas_dagster.resources.platform import Platform

ALERTS = "visitas.alertas"
"""The log of the alerts themselves: what goes out by mail and webhook stands there too, and where neither is set, only
there."""

REST = timedelta(seconds=60)
"""A message that could not be sent is not tried again before: a server that hangs must not slow each run down."""

log = logging.getLogger(ALERTS)
trouble = logging.getLogger(f"{ALERTS}.envio")


def tell(platform: Platform) -> None:
    """Send every message that is due, one process at a time for each incident.

    It is noted as sent after it was: a process that dies in between sends it, or another does, once more. A channel
    that fails is left alone for the rest of the call, and tried again by the next one after :data:`REST`.

    Raises:
        SystemFailure: the database does not answer.
    """
    incidents = Incidents(platform.engine, platform.now)
    owed = [incident for incident in incidents.untold() if _is_due(incident, platform.now())]
    if not owed:
        return
    teller = _Teller(platform, incidents)
    with closing(open_reservations(platform.engine, platform.folders.locks)) as reservations:
        for incident in owed:
            _tell_alone(teller, reservations, incident)


def _is_due(incident: Incident, now: datetime) -> bool:
    rests = incident.intentado is not None and timedelta() <= now - incident.intentado < REST
    return not rests and due(incident, now) is not None


def _tell_alone(teller: _Teller, reservations: Reservations, incident: Incident) -> None:
    """Tell of it unless somebody else does so now. No file has a name with a slash."""
    lock = f"incidente/{incident.id}"
    if reservations.take(lock):
        try:
            teller.tell(incident.id)
        finally:
            reservations.free(lock)


class _Teller:
    """The channels of one call, and which of them failed in it."""

    def __init__(self, platform: Platform, incidents: Incidents) -> None:
        self._platform = platform
        self._incidents = incidents
        self._channels: Sequence[Channel] = channels(platform.settings)
        self._failed: set[str] = set()
        self._origin = socket.gethostname()
        missing = half_set(platform.settings)
        if missing is not None:
            trouble.warning(f"no hay alertas por correo: falta {missing}")

    def tell(self, incident_id: int) -> None:
        """Send what is due of an incident as it stands now: another process may just have done so."""
        incident = self._incidents.find(incident_id)
        while _is_due(incident, self._platform.now()):
            phase = due(incident, self._platform.now())
            if phase is None:
                return
            message = compose(phase, incident, self._platform.settings.zone, self._origin)
            if incident.intentado is None:
                log.warning(" ".join(f"{message.subject} | {message.text}".split()))
            if not self._send(incident, message):
                return
            self._incidents.told(incident, phase)
            incident = self._incidents.find(incident_id)

    def _send(self, incident: Incident, message: Message) -> bool:
        """Send to every channel that has not got it yet; return whether all have it."""
        done = incident.canales
        for channel in self._channels:
            if channel.name not in done | self._failed and self._reaches(channel, message):
                done |= {channel.name}
                self._incidents.tried(incident, done)
        is_complete = all(channel.name in done for channel in self._channels)
        if not is_complete:
            self._incidents.tried(incident, done)
        return is_complete

    def _reaches(self, channel: Channel, message: Message) -> bool:
        settings = self._platform.settings
        try:
            deliver(channel, message, tries=settings.reintentos + 1, base_s=settings.reintento_base_s)
        except SystemFailure as failure:
            self._failed.add(channel.name)
            trouble.warning(f"no se pudo enviar una alerta, se intentará otra vez: {failure}")
            return False
        except Exception as error:
            # A defect in one channel must not keep the alert from the other.
            self._failed.add(channel.name)
            trouble.error(f"no se pudo enviar una alerta por {channel.name}: error inesperado", exc_info=error)
            return False
        return True
