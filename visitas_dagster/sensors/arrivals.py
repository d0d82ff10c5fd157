"""The sensor: every few seconds it lists the SFTP folder, registers partitions and asks for runs.

The tick, its cursor and its run requests belong here; which files are owed work is decided below.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from visitas_dagster.assets.walk import BATCH_TAG, ORIGIN_TAG
from visitas_dagster.domain.arrivals import Listed, Observation, RunPlan, plan_runs, settled
from visitas_dagster.domain.failures import TransientFailure
from visitas_dagster.jobs import JOB
from visitas_dagster.partitions import ARCHIVOS, archivos
from visitas_dagster.resources.platform import Clock, Platform
from visitas_dagster.sensors.recovery import bury_dead_runs
from visitas_dagster.settings import Settings
from visitas_dagster.steps.arrivals import away, is_unfinished, look, owed
from visitas_dagster.steps.task import Source

log = logging.getLogger("visitas.sensor")

SENSOR = "sensor_archivos"

MAX_FILES_A_TICK = 1000
"""Files asked for in one tick; the rest follow in the next, so that a tick stays within its time limit."""


@dataclass
class Cursor:
    """What a tick leaves to the next.

    Attributes:
        observed: the reports seen, and since when they stand still.
        asked: by name, the batch in which a run was asked for this very delivery.
        away: by name, the batch in which a run was asked for a file that is owed work and not on the server.
    """

    observed: dict[str, Observation] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    away: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, text: str | None) -> Cursor:
        """Read it; a cursor that cannot be read (an older version's) starts anew, which costs one wait."""
        try:
            saved = json.loads(text or "{}")
            cursor = cls(away=dict(saved.get("ausentes", {})))
            for archivo, (size, mtime, since, batch) in saved.get("vistos", {}).items():
                cursor.observed[archivo] = Observation(Listed(archivo, size, mtime), since)
                if batch:
                    cursor.asked[archivo] = batch
        except (ValueError, TypeError, AttributeError):
            return cls()
        return cursor

    def dump(self) -> str:
        """Write it, one short list a file: only what is on the server stands in it."""
        return json.dumps(
            {
                "vistos": {
                    archivo: [seen.listed.bytes, seen.listed.mtime, seen.since, self.asked.get(archivo)]
                    for archivo, seen in self.observed.items()
                },
                "ausentes": self.away,
            },
            separators=(",", ":"),
        )

    def look(self, platform: Platform) -> None:
        """See what is there now; a delivery that changed is one that no run was asked for."""
        before = self.observed
        self.observed = look(platform, before)
        self.asked = {
            archivo: batch
            for archivo, batch in self.asked.items()
            if archivo in self.observed and self.observed[archivo].listed == before[archivo].listed
        }

    def settled(self, wait_s: float, now: float, in_flight: Collection[str]) -> list[Listed]:
        """Return the files that stand still and that no run under way was asked for."""
        return [
            listed for listed in settled(self.observed, wait_s, now) if self.asked.get(listed.archivo) not in in_flight
        ]

    def ready(self, platform: Platform, files: Sequence[Listed]) -> list[str]:
        """Return the names of the files to ask for now.

        A run looks at a file's end itself, and leaves one that may be unfinished; only of those which a run has left
        is the end looked at here, so that a tick over a thousand new files stays short.
        """
        return [
            listed.archivo
            for listed in files
            if listed.archivo not in self.asked or not is_unfinished(platform, listed)
        ]


def batches_in_flight(instance: dg.DagsterInstance) -> set[str]:
    """Return the batches of the runs that are queued or under way."""
    runs = instance.get_runs(dg.RunsFilter(job_name=JOB, statuses=NOT_FINISHED_STATUSES))
    return {run.tags[BATCH_TAG] for run in runs if BATCH_TAG in run.tags}


def run_tags(plan: RunPlan, batch: str, source: Source) -> dict[str, str]:
    """Return the tags of a run over a contiguous range of partitions."""
    return {
        ASSET_PARTITION_RANGE_START_TAG: plan.start,
        ASSET_PARTITION_RANGE_END_TAG: plan.end,
        BATCH_TAG: batch,
        ORIGIN_TAG: source.value,
    }


def tick(instance: dg.DagsterInstance, cursor_text: str | None, platform: Platform) -> dg.SensorResult | dg.SkipReason:
    """Do one tick. A server that is down skips it with a reason; a refused login or a changed key fails it."""
    cursor = Cursor.load(cursor_text)
    try:
        bury_dead_runs(instance, platform)
        cursor.look(platform)
        in_flight = batches_in_flight(instance)
        files = cursor.settled(platform.settings.espera_estable_s, platform.clock().timestamp(), in_flight)
        wanted = cursor.ready(platform, owed(platform, files))[:MAX_FILES_A_TICK]
        again = [archivo for archivo in away(platform, cursor.observed) if cursor.away.get(archivo) not in in_flight]
    except TransientFailure as failure:
        return dg.SkipReason(str(failure))
    cursor.away = {archivo: batch for archivo, batch in cursor.away.items() if batch in in_flight}
    if not wanted and not again:
        return dg.SensorResult(
            skip_reason=f"{len(cursor.observed)} archivos en el servidor, ninguno nuevo y quieto",
            cursor=cursor.dump(),
        )
    known = instance.get_dynamic_partitions(ARCHIVOS)
    known_set = set(known)
    new = [archivo for archivo in (*wanted, *again) if archivo not in known_set]
    partitions, per_run = [*known, *new], platform.settings.archivos_por_corrida
    return dg.SensorResult(
        run_requests=[
            *(_request(plan, Source.SERVER, cursor.asked) for plan in plan_runs(wanted, partitions, per_run)),
            *(_request(plan, Source.RETRY, cursor.away) for plan in plan_runs(again, partitions, per_run)),
        ],
        dynamic_partitions_requests=[archivos.build_add_request(new)] if new else [],
        cursor=cursor.dump(),
    )


def _request(plan: RunPlan, source: Source, asked: dict[str, str]) -> dg.RunRequest:
    batch = uuid4().hex[:12]
    asked.update(dict.fromkeys(plan.archivos, batch))
    if len(plan.archivos) == 1:
        return dg.RunRequest(partition_key=plan.start, tags={BATCH_TAG: batch, ORIGIN_TAG: source.value})
    return dg.RunRequest(tags=run_tags(plan, batch, source))


class _Teller:
    """Writes into the orchestrator's log how ticks end; one that ends as the one before it is not told again."""

    def __init__(self) -> None:
        self._last = ""

    def tell(self, do: Callable[[], dg.SensorResult | dg.SkipReason]) -> dg.SensorResult | dg.SkipReason:
        """Do a tick and tell of it."""
        try:
            result = do()
        except Exception as error:
            self._say(logging.ERROR, f"el sensor falló: {error}")
            raise
        if isinstance(result, dg.SkipReason):
            self._say(logging.WARNING, f"sin mirar: {result.skip_message}")
        elif result.run_requests:
            self._say(logging.INFO, f"corridas pedidas: {len(result.run_requests)}")
            self._last = ""
        else:
            self._say(logging.INFO, str(result.skip_reason.skip_message if result.skip_reason else "nada que pedir"))
        return result

    def _say(self, level: int, message: str) -> None:
        if message != self._last:
            log.log(level, message)
        self._last = message


def build_sensor(settings: Settings, job: Any, clock: Clock) -> dg.SensorDefinition:
    """Return the sensor; it is on from the first start."""
    teller = _Teller()

    @dg.sensor(
        name=SENSOR,
        job=job,
        minimum_interval_seconds=settings.intervalo_sensor_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Registra una partición por archivo nuevo y quieto del servidor SFTP, y pide sus corridas.",
    )
    def sensor_archivos(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        with Platform(settings, clock=clock) as platform:
            return teller.tell(lambda: tick(context.instance, context.cursor, platform))

    return sensor_archivos
