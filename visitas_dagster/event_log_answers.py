"""Answers of Dagster's event log in SQLite to what the web asks of all partitions of an asset at once.

Which statements find them belongs here; what they say is Dagster's own, and a test compares each with the answer of
Dagster's storage. How events are written, and over which connections, is ``event_log.py``'s.

A page over 100,000 partitions asked for 200,000 whole events twice, and 100,000 times whether a partition is still
there: 13 s until it showed them, and 25 until the web server was at rest.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import NamedTuple, cast

import dagster as dg
from dagster._core.asset_graph_view.serializable_entity_subset import SerializableEntitySubset
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecordStatus,
    AssetCheckExecutionResolvedStatus,
)
from dagster._core.storage.asset_check_state import AssetCheckState
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    DynamicPartitionsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from sqlalchemy import FromClause, Select, func, or_, select

MANY = 5000
"""Names from which on all of a definition's are read, rather than these looked up."""

_MADE = dg.DagsterEventType.ASSET_MATERIALIZATION
_PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
_Recorded = AssetCheckExecutionRecordStatus
_Resolved = AssetCheckExecutionResolvedStatus
_RESOLVED = {
    _Recorded.PLANNED: _Resolved.IN_PROGRESS,
    _Recorded.SUCCEEDED: _Resolved.SUCCEEDED,
    _Recorded.FAILED: _Resolved.FAILED,
}


class _Judged(NamedTuple):
    """What a check said last of each partition, as far as it still says something of the partition."""

    latest: int
    """The greatest id of an event that was looked at, also of what is not in the rows."""
    rows: list[tuple[str | None, str, str]]
    """Partition, status, run; no partition twice."""


class AnsweringEventLog(SqliteEventLogStorage):
    """Dagster's own storage, but for how it finds what is asked of very many partitions."""

    def get_dynamic_partitions(self, partitions_def_name: str) -> Sequence[str]:
        """Return the names of a definition, in their order."""
        self._check_partitions_table()
        table = DynamicPartitionsTable.c
        return self._names(
            select(table.partition).where(table.partitions_def_name == partitions_def_name).order_by(table.id)
        )

    def get_existing_dynamic_partitions(
        self, partitions_def_name: str, partition_keys: Sequence[str]
    ) -> AbstractSet[str]:
        """Return those of the names that a definition has."""
        if len(partition_keys) < MANY:
            return super().get_existing_dynamic_partitions(partitions_def_name, partition_keys)
        return set(partition_keys).intersection(self.get_dynamic_partitions(partitions_def_name))

    def get_materialized_partitions(
        self, asset_key: dg.AssetKey, before_cursor: int | None = None, after_cursor: int | None = None
    ) -> set[str]:
        """Return the partitions that were made, by an event between these."""
        # Nought is no bound there.
        made = self._latest_event_ids_by_partition_subquery(
            asset_key, [_MADE], before_cursor=before_cursor or None, after_cursor=after_cursor or None
        )
        return set(self._names(select(made.c.partition)))

    def _names(self, query: Select[str]) -> list[str]:
        # Fetching all rows at once makes as many objects that live on: the collector takes thrice as long as SQLite.
        with self.index_connection() as index:
            return [name for (name,) in index.execute(query)]

    def get_latest_asset_partition_materialization_attempts_without_materializations(
        self, asset_key: dg.AssetKey, after_storage_id: int | None = None
    ) -> Mapping[str, tuple[str, int]]:
        """Return the partitions whose last plan nothing followed, each with the plan's run and event.

        Dagster reads the last plan and the last materialization of every partition, whole rows, and compares them in
        Python. The index over both answers alone; rows are read of what is returned.
        """
        planned = self._latest_event_ids_by_partition_subquery(asset_key, [_PLANNED], after_cursor=after_storage_id)
        later = self._made(asset_key, planned).where(SqlEventLogStorageTable.c.id > planned.c.id)
        row = SqlEventLogStorageTable.alias("planned_row")
        query = (
            select(planned.c.partition, row.c.run_id, row.c.id)
            .join_from(planned, row, row.c.id == planned.c.id)
            .where(~later.correlate(planned).exists())
        )
        with self.index_connection() as index:
            return {partition: (run_id, key) for partition, run_id, key in index.execute(query)}

    def _made(self, asset_key: dg.AssetKey, of: FromClause) -> Select[int]:
        """Select the events that made an asset's partition, that of the row in ``of``."""
        event = SqlEventLogStorageTable.c
        query: Select[int] = select(event.id).where(
            event.asset_key == asset_key.to_string(),
            event.dagster_event_type == _MADE.value,
            event.partition == of.c.partition,
        )
        details = self._get_assets_details([asset_key])
        return cast(Select[int], self._add_assets_wipe_filter_to_query(query, details, [asset_key]))

    def get_asset_check_state(
        self, keys: Sequence[tuple[dg.AssetCheckKey, dg.PartitionsDefinition[str] | None]]
    ) -> Mapping[dg.AssetCheckKey, AssetCheckState]:
        """Return, by check, the partitions that it found good, found bad, or is looking at.

        Dagster goes through the partitions one by one, asks of each whether it is still there, and makes a new set
        with it.
        """
        named = {key: of for key, of in keys if isinstance(of, dg.DynamicPartitionsDefinition) and of.name}
        others = [(key, of) for key, of in keys if key not in named]
        judged = {key: self._last_judged(key) for key in named}
        planned = (
            run_id for of in judged.values() for _, status, run_id in of.rows if status == _Recorded.PLANNED.value
        )
        finished = self._finished(set(planned))
        found = {key: _check_state(key, of, judged[key], finished) for key, of in named.items()}
        return {**super().get_asset_check_state(others), **found} if others else found

    def _last_judged(self, key: dg.AssetCheckKey) -> _Judged:
        row = AssetCheckExecutionsTable.c
        # SQLite gives the other columns as they are in the row of the greatest id.
        last = (
            select(
                row.partition,
                row.execution_status,
                row.run_id,
                row.evaluation_event_storage_id.label("event"),
                row.materialization_event_storage_id.label("target"),
                func.max(row.id),
            )
            .where(
                row.asset_key == key.asset_key.to_string(),
                row.check_name == key.name,
                row.evaluation_event_storage_id.is_not(None),
            )
            .group_by(row.partition)
            .subquery()
        )
        made = self._made(key.asset_key, last).with_only_columns(func.max(SqlEventLogStorageTable.c.id))
        # What was made without a partition was made of them all.
        whole = self._get_latest_unpartitioned_materialization_storage_ids([key.asset_key]).get(key.asset_key, 0)
        found = select(last, func.coalesce(made.correlate(last).scalar_subquery(), 0).label("made")).subquery()
        of = found.c
        newest = func.max(of.made, whole)
        is_told = or_(of.execution_status == _Recorded.PLANNED.value, newest == 0, newest == of.target)
        rows = func.json_group_array(func.json_array(of.partition, of.execution_status, of.run_id)).filter(is_told)
        # One row of one text: nearly all are dropped, and a hundred thousand objects are not made meanwhile.
        query = select(func.coalesce(func.max(func.max(of.event, newest)), 0), rows)
        with self.index_connection() as index:
            latest, told = index.execute(query).one()
        return _Judged(latest, json.loads(told))

    def _finished(self, run_ids: Collection[str]) -> dict[str, dg.DagsterRunStatus]:
        if not run_ids:
            return {}
        runs = self._instance.get_runs(dg.RunsFilter(run_ids=list(run_ids), statuses=FINISHED_STATUSES))
        return {run.run_id: run.status for run in runs}


def _check_state(
    key: dg.AssetCheckKey,
    partitions: dg.PartitionsDefinition[str],
    judged: _Judged,
    finished: Mapping[str, dg.DagsterRunStatus],
) -> AssetCheckState:
    """Return what follows from what was said last."""
    known = partitions.filter_valid_partition_keys({name for name, *_ in judged.rows if name is not None})
    names: dict[AssetCheckExecutionResolvedStatus, list[str]] = {}
    runs: dict[str, list[str]] = {}
    for name, status, run_id in judged.rows:
        if name is not None and name in known:
            names.setdefault(_RESOLVED[_Recorded(status)], []).append(name)
            if status == _Recorded.PLANNED.value:
                runs.setdefault(run_id, []).append(name)
    subset = partial(SerializableEntitySubset.from_coercible_value, key, partitions_def=partitions)
    state = AssetCheckState(
        latest_storage_id=judged.latest,
        subsets={status: subset(of) for status, of in names.items()},
        in_progress_runs={run_id: subset(of) for run_id, of in runs.items()},
    )
    # What became of the runs that are over is Dagster's to say.
    return state.with_updates(key, partitions, [], finished)
