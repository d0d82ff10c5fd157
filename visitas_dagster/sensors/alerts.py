"""The sensor of alerts: once a minute it looks at what only time shows, and sends what could not be sent before.

The tick belongs here; what is in trouble and who is told is decided below. A sensor of its own, so that a mail server
that hangs does not hold up the arrivals.
"""

from __future__ import annotations

import dagster as dg

from visitas_dagster.alerts.watch import watch_server
from visitas_dagster.instance import heartbeats
from visitas_dagster.resources.platform import Clock, Platform
from visitas_dagster.settings import Settings

SENSOR = "sensor_alertas"

INTERVAL_S = 60


def build_alert_sensor(settings: Settings, clock: Clock) -> dg.SensorDefinition:
    """Return the sensor; it is on from the first start, and asks for no run ever."""

    @dg.sensor(
        name=SENSOR,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Revisa qué falla, qué se retrasa y qué espera de más, y avisa; no pide corridas.",
    )
    def sensor_alertas(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        with Platform(settings, clock=clock) as platform:
            return tick(context.instance, platform)

    return sensor_alertas


def tick(instance: dg.DagsterInstance, platform: Platform) -> dg.SkipReason:
    """Do one tick; it never fails. Where the server cannot be asked, all else is looked at."""
    # The daemon that ticks is alive, whatever it has not yet written down.
    failure = watch_server(platform, heartbeats(instance) or None)
    return dg.SkipReason("revisado" if failure is None else f"revisado sin el servidor SFTP: {failure}")
