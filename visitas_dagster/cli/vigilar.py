"""``visitas status --vigilar``: for cron or a systemd timer, since a daemon that has stopped cannot tell so.

What is asked and what is said of it belongs here; who is alerted, and when, is decided in ``alerts/``.
"""

from __future__ import annotations

from datetime import datetime

from visitas_dagster.alerts.look import reports
from visitas_dagster.alerts.watch import look_and_tell
from visitas_dagster.cli.console import output, text
from visitas_dagster.domain.arrivals import Listed
from visitas_dagster.domain.failures import SystemFailure
from visitas_dagster.domain.incidents import STOPPED, daemon_sign, headline
from visitas_dagster.instance import heartbeats, open_instance
from visitas_dagster.loading import schema
from visitas_dagster.resources.platform import Platform
from visitas_dagster.settings import load_settings

ALL_WELL = "Todo en orden: el demonio da señales de vida, y ningún reporte falta ni espera de más."


def run() -> bool:
    """Print one line per trouble; return whether there is any."""
    with Platform(load_settings()) as platform:
        found = troubles(platform)
    console = output()
    for line in found or [ALL_WELL]:
        console.print(text(line))
    return bool(found)


def troubles(platform: Platform) -> list[str]:
    """Ask daemon, server and database, write down and send what follows; return one line per trouble.

    What can still be asked is asked: a database that is down hides neither a dead daemon nor the server.

    Raises:
        SettingsError: a setting is missing or wrong.
    """
    platform.settings.require_sftp()
    found: list[str] = []
    beats = _heartbeats(platform, found)
    listing = _listing(platform, found)
    try:
        schema.require_current(platform.engine)
        incidents = look_and_tell(platform, listing, beats)
    except SystemFailure as failure:
        sign = daemon_sign(beats, platform.now(), platform.settings.zone) if beats is not None else None
        return [*([sign.text.partition("\n")[0]] if sign else []), *found, str(failure)]
    return [
        *(f"{item.subject}: {headline(item)}" for item in incidents if item.subject.tipo in STOPPED),
        *found,
    ]


def _heartbeats(platform: Platform, found: list[str]) -> dict[str, datetime] | None:
    try:
        with open_instance(platform.settings, captures_output=False) as instance:
            return heartbeats(instance)
    except SystemFailure as failure:
        found.append(str(failure))
        return None


def _listing(platform: Platform, found: list[str]) -> list[Listed] | None:
    try:
        return reports(platform)
    except SystemFailure as failure:
        found.append(str(failure))
        return None
