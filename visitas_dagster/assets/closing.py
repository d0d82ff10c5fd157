"""The asset ``cierre_diario``: one partition a day, made by closing that day.

The op, its partitions and what the web UI shows of a close belong here; what a close does is ``closing/``.
"""

import logging
from collections.abc import Callable
from datetime import date
from typing import Any

import dagster as dg
from dagster import MetadataValue

from visitas_dagster.assets.graph import GROUP, OWNER
from visitas_dagster.closing.close import Closed, Orchestrator, Step, close_days
from visitas_dagster.resources.platform import Clock, Platform
from visitas_dagster.settings import Settings

ASSET = "cierre_diario"
JOB = "cerrar_dia"
FIRST_DAY = date(2024, 1, 1)
"""First partition. Earlier days can be closed by the command only, where Dagster shows nothing of them."""

Metadata = dict[str, MetadataValue]


def days(settings: Settings) -> dg.DailyPartitionsDefinition:
    """One partition a day of ``VISITAS_ZONA_HORARIA``; today has one too, for it may be closed before it ends."""
    return dg.DailyPartitionsDefinition(start_date=FIRST_DAY.isoformat(), timezone=settings.zona_horaria, end_offset=1)


def close_metadata(closed: Closed) -> Metadata:
    """What each step did, and where the reports and the zip are."""
    found: Metadata = {}
    for step in closed.steps:
        for name, value in step.facts.items():
            key = f"{step.name}/{name}"
            match value:
                case bool() | None:
                    continue
                case int():
                    found[key] = MetadataValue.int(value)
                case str():
                    found[key] = MetadataValue.text(value)
                case list() | dict():
                    if value:
                        found[key] = MetadataValue.json(value)
        if step.failure or step.skipped:
            found[f"{step.name}/fallo"] = MetadataValue.text(str(step.failure or step.skipped))
    for name, files in (("reporte_diario", closed.daily), ("reporte_mensual", closed.monthly)):
        if files is not None:
            found[name] = MetadataValue.path(str(files.html))
            found[f"{name}_json"] = MetadataValue.path(str(files.json))
            found[f"{name}_csv"] = MetadataValue.path(str(files.csv))
    if closed.sealed is not None:
        found["respaldo"] = MetadataValue.path(str(closed.sealed))
    return found


class _Logged:
    """Tells the run's log of each step."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log

    def begun(self, day: date) -> None:
        """See :class:`visitas_dagster.closing.close.DayWatch`."""
        self._log.info(f"cierre del {day}")

    def stepped(self, day: date, step: Step) -> None:
        """See :class:`visitas_dagster.closing.close.DayWatch`."""
        failed = step.failure or step.skipped
        if failed:
            self._log.error(f"{step.name}: {failed}")
        else:
            self._log.info(f"{step.name}: {step.facts}")


def build_close_asset(
    settings: Settings, clock: Clock, orchestrate: Callable[[Platform, dg.DagsterInstance], Orchestrator]
) -> dg.AssetsDefinition:
    """Return the asset.

    Args:
        settings: the platform's.
        clock: the time source.
        orchestrate: makes Dagster's side of a close; it stands above this room.
    """

    @dg.asset(
        name=ASSET,
        partitions_def=days(settings),
        group_name=GROUP,
        owners=[OWNER],
        kinds={"python", "zip"},
        description="El cierre de un día: pendientes, cuarentena, respaldo sellado, contadores, retención, reportes.",
    )
    def cierre_diario(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        with Platform(settings, clock=clock) as platform:
            platform.folders.ensure()
            orchestrator = orchestrate(platform, context.instance)
            day = date.fromisoformat(context.partition_key)
            (closed,) = close_days(platform, orchestrator, day, _Logged(context.log))
        if closed.message is not None:
            raise dg.Failure(
                description=f"El cierre del {closed.day} falló: {closed.message}",
                metadata=close_metadata(closed),
                allow_retries=False,
            )
        return dg.MaterializeResult(metadata=close_metadata(closed))

    return cierre_diario


def build_close_job(asset: dg.AssetsDefinition) -> Any:
    """Return the job: one process, for the pass inside it executes further runs."""
    return dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(asset),
        executor_def=dg.in_process_executor,
        description="Cierra un día.",
        tags={"dagster/retry_strategy": "ALL_STEPS"},
    )
