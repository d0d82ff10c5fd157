"""Telling Dagster of runs whose process died with nobody to say so: a killed ``dispatch``, a machine that went down.

Reporting them failed and freeing their pool slots belongs here; clearing their folders is ``steps/recovery.py``.
"""

from __future__ import annotations

import dagster as dg

from visitas_dagster.resources.platform import Platform
from visitas_dagster.steps.recovery import clear_dead_runs


def bury_dead_runs(instance: dg.DagsterInstance, platform: Platform) -> list[str]:
    """Clear what dead runs left; report each that Dagster still takes for alive. Return their run ids.

    Dagster's own monitoring sees a dead worker through the code server that started it; it does not see runs that
    ``dispatch`` executed, nor those of before a reboot, and their slots would stay taken for good.

    Raises:
        SystemFailure: the disk failed.
    """

    def bury(run_id: str) -> None:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.report_run_failed(run, "El proceso de la corrida murió sin terminar.")
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)

    return clear_dead_runs(platform, bury)
