"""When days are closed: every night at two, the day before and whatever day was missed.

The schedule belongs here; what a close does, and which days are owed one, is ``closing/``.
"""

from __future__ import annotations

import logging
from datetime import date, timedelta
from typing import Any

import dagster as dg

from visitas_dagster.assets.closing import FIRST_DAY
from visitas_dagster.closing.journal import Journal
from visitas_dagster.domain.failures import VisitasError
from visitas_dagster.resources.platform import Clock, Platform
from visitas_dagster.settings import Settings

SCHEDULE = "cierre_nocturno"
CRON = "0 2 * * *"

log = logging.getLogger("visitas.cierre")


def build_schedule(settings: Settings, job: Any, clock: Clock) -> dg.ScheduleDefinition:
    """Return the schedule; it is on from the first start."""

    @dg.schedule(
        name=SCHEDULE,
        job=job,
        cron_schedule=CRON,
        execution_timezone=settings.zona_horaria,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="A las 02:00 cierra el día anterior, y antes los que se hayan quedado sin cierre.",
    )
    def cierre_nocturno(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest]:
        moment = context.scheduled_execution_time.astimezone(settings.zone)
        return [
            # The key keeps one tick from asking twice; the next night may ask for the same day again.
            dg.RunRequest(run_key=f"{moment:%Y-%m-%d}:{day}", partition_key=day.isoformat())
            for day in _days(settings, clock, moment.date() - timedelta(days=1))
        ]

    return cierre_nocturno


def _days(settings: Settings, clock: Clock, yesterday: date) -> list[date]:
    """The days to close; where the database cannot be asked, yesterday: its run says so, and is red."""
    try:
        with Platform(settings, clock=clock) as platform:
            owed = Journal(platform).owed()
    except VisitasError as failure:
        log.warning(f"no se pudo saber qué días faltan de cerrar: {failure}")
        owed = []
    return sorted({yesterday, *(day for day in owed if FIRST_DAY <= day < yesterday)})
