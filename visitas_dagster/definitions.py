"""The only place where things are wired for Dagster's code location: the files' processing and the daily close.

``build_definitions`` belongs here, and the lazily evaluated ``defs`` that Dagster loads; nothing else does.
"""

from __future__ import annotations

import dagster as dg

from visitas_dagster.processing import build_processing
from visitas_dagster.resources.platform import Clock, system_clock
from visitas_dagster.settings import Settings, load_settings


def build_definitions(settings: Settings, *, clock: Clock = system_clock) -> dg.Definitions:
    """Return everything Dagster needs to know, for these settings.

    Args:
        settings: read once; nothing connects here.
        clock: the time source of runs and ticks.
    """
    return build_processing(settings, clock=clock)


@dg.definitions
def defs() -> dg.Definitions:
    """Read the settings when Dagster loads the code location, not when Python imports the module."""
    return build_definitions(load_settings())
