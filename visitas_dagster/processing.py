"""What takes files into the tables, as Dagster sees it: assets, job and sensors with the resources of a run.

Wiring these belongs here, for the code location and for a pass of ``dispatch`` alike; the daily close does not.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import dagster as dg
from sqlalchemy.engine import make_url

from visitas_dagster.alerts.watch import watch
from visitas_dagster.assets.graph import build_assets
from visitas_dagster.assets.walk import TOOLS
from visitas_dagster.jobs import build_job, hand_over
from visitas_dagster.resources.platform import Clock, Observer, Platform, system_clock
from visitas_dagster.sensors.alerts import build_alert_sensor
from visitas_dagster.sensors.arrivals import build_sensor
from visitas_dagster.settings import Settings
from visitas_dagster.steps.tools import RunTools

log = logging.getLogger("visitas")


def build_processing(
    settings: Settings, *, clock: Clock = system_clock, observer: Observer | None = None
) -> dg.Definitions:
    """Return the definitions, for these settings.

    Args:
        settings: read once; nothing connects here.
        clock: the time source of runs and ticks.
        observer: is told how files come along; ``dispatch`` draws its progress bar with it.
    """

    @dg.resource(description="Base de datos, servidor SFTP, carpetas, bitácora y reservas de una corrida.")
    def tools(context: dg.InitResourceContext) -> Iterator[RunTools]:
        with Platform(settings, clock=clock, observer=observer) as platform:
            with RunTools(platform, context.run.run_id if context.run else "", context.log or log) as opened:
                yield opened
            # The run's files are done and their names given back: a mail server that hangs holds up nobody.
            watch(platform)

    assets = build_assets(
        files_per_run=settings.archivos_por_corrida,
        database=make_url(settings.database_url).get_backend_name(),
    )
    job = build_job(assets)
    return dg.Definitions(
        assets=[assets],
        jobs=[job],
        sensors=[build_sensor(settings, job, clock), build_alert_sensor(settings, clock)],
        resources={TOOLS: tools, "io_manager": hand_over},
        # Backfills from the web UI run in Dagster's own job over the assets, whose default is a process a step:
        # there the bytes and reservations of the first step would be gone in the second.
        executor=dg.in_process_executor,
    )
