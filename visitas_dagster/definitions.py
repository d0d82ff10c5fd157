"""The only place where things are wired for Dagster's code location: the files' processing and the daily close.

``build_definitions`` belongs here, and the lazily evaluated ``defs`` that Dagster loads; nothing else does.
"""

from __future__ import annotations

import dagster as dg

from visitas_dagster.assets.closing import build_close_asset, build_close_job
from visitas_dagster.nightly import DagsterSide
from visitas_dagster.processing import build_processing
from visitas_dagster.resources.platform import Clock, system_clock
from visitas_dagster.schedules import build_schedule
from visitas_dagster.settings import Settings, load_settings


def build_definitions(settings: Settings, *, clock: Clock = system_clock) -> dg.Definitions:
    """Return everything Dagster needs to know, for these settings.

    Args:
        settings: read once; nothing connects here.
        clock: the time source of runs and ticks.
    """
    asset = build_close_asset(settings, clock, DagsterSide)
    job = build_close_job(asset)
    close = dg.Definitions(assets=[asset], jobs=[job], schedules=[build_schedule(settings, job, clock)])
    return dg.Definitions.merge(build_processing(settings, clock=clock), close)


@dg.definitions
def defs() -> dg.Definitions:
    """Read the settings when Dagster loads the code location, not when Python imports the module."""
    return build_definitions(load_settings())
