"""Dagster's side of a close: the pass over what is pending, dead runs, partitions; and closes told to the web UI.

What a close does with them is ``closing/``; when one is due is ``schedules.py``'s.

The pass is the very one of ``visitas dispatch``: runs executed in this process, also where this process is itself
the run of a close. Asking the sensor instead would leave a close not knowing what became of the files, and would do
nothing where the sensor is switched off; both may ask for a file at once, and its reservation lets one have it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from visitas_dagster.assets.closing import ASSET, FIRST_DAY, close_metadata
from visitas_dagster.closing.close import Closed, Facts
from visitas_dagster.dispatch import Passes, PassObserver
from visitas_dagster.domain.failures import TransientFailure
from visitas_dagster.jobs import JOB
from visitas_dagster.partitions import ARCHIVOS
from visitas_dagster.resources.platform import Platform, Silent
from visitas_dagster.sensors.recovery import bury_dead_runs


class SilentPass(Silent):
    """An observer of a pass that nobody watches through."""

    def waiting(self, seconds: float, files: int) -> None:
        """See :class:`visitas_dagster.dispatch.PassObserver`."""

    def planned(self, files: int, runs: int) -> None:
        """See :class:`visitas_dagster.dispatch.PassObserver`."""


class DagsterSide:
    """The :class:`~visitas_dagster.closing.close.Orchestrator` over one Dagster instance."""

    def __init__(
        self,
        platform: Platform,
        instance: dg.DagsterInstance,
        watching: Callable[[], AbstractContextManager[PassObserver]] = lambda: nullcontext(SilentPass()),
    ) -> None:
        """Remember them; ``watching`` opens what is told of the pass, for as long as it takes."""
        self._platform = platform
        self._instance = instance
        self._watching = watching

    def dispatch(self) -> Facts:
        """Do one pass; see the protocol.

        Raises:
            TransientFailure: a run broke; the files that it did not come to are still pending.
        """
        with self._watching() as observer:
            result = Passes(self._platform, self._instance, observer).pending()
        if result.missed:
            raise TransientFailure(
                f"archivos que quedaron sin tomar: {len(result.missed)}, porque su corrida se interrumpió",
                "vea por qué en el registro del orquestador (logs/)",
            )
        ended: dict[str, int] = {}
        for outcome in result.outcomes:
            ended[outcome.estado] = ended.get(outcome.estado, 0) + 1
        return {"archivos": len(result.outcomes), "estados": ended, "siguen_llegando": len(result.arriving)}

    def bury(self) -> list[str]:
        """See the protocol."""
        return bury_dead_runs(self._instance, self._platform)

    def partitions(self) -> list[str]:
        """See the protocol."""
        names = list(self._instance.get_dynamic_partitions(ARCHIVOS))
        busy: set[str] = set()
        for run in self._instance.get_runs(dg.RunsFilter(job_name=JOB, statuses=NOT_FINISHED_STATUSES)):
            busy |= _asked_for(run, names)
        return [name for name in names if name not in busy]

    def drop(self, names: Sequence[str]) -> None:
        """See the protocol."""
        for name in names:
            self._instance.delete_dynamic_partition(ARCHIVOS, name)


def _asked_for(run: dg.DagsterRun, names: Sequence[str]) -> set[str]:
    """The partitions of a run: one, or a range of them in the order of the partitions."""
    first = run.tags.get(ASSET_PARTITION_RANGE_START_TAG, run.tags.get(PARTITION_NAME_TAG))
    last = run.tags.get(ASSET_PARTITION_RANGE_END_TAG, first)
    if first is None or last is None or first not in names or last not in names:
        return {name for name in (first, last) if name is not None}
    return set(names[names.index(first) : names.index(last) + 1])


def tell_dagster(instance: dg.DagsterInstance, closed: Closed) -> None:
    """Show a close that a command made: the day's partition of the asset is then made as if by a run."""
    if closed.message is None and closed.day >= FIRST_DAY:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(ASSET, partition=closed.day.isoformat(), metadata=close_metadata(closed))
        )
