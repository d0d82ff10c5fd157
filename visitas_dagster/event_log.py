"""Dagster's event log in SQLite, over connections that stay open, many events in one transaction.

How the log's files are reached and how many statements that takes belongs here; which rows are written into them is
Dagster's own, and a test compares them with those of Dagster's storage. What is read of very many partitions at once
has its own module.

Dagster opens a connection for every statement, and closing the last one to a file makes SQLite fold its log back into
it. A file's way makes 13 events, each in two files: in a burst of 50 reports of 500 records 78 of 121 s went into
storing them, 51 of these into opening and closing, 25 into waiting for the disk at each commit. Of what was left, each
event took four milliseconds of processor, most of them for asking SQLite again how its tables look.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, cast

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.errors import DagsterInvariantViolationError
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS, EVENT_TYPE_TO_PIPELINE_RUN_STATUS
from dagster._core.instance import RUNLESS_RUN_ID
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, AssetKeyTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.sql import create_engine
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS, create_db_conn_string
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, bindparam, func, select, text
from sqlalchemy.pool import NullPool

from visitas_dagster.event_log_answers import AnsweringEventLog

HELD = 8
"""Files held open at the most: the index, and those of the runs under way."""

BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE"
"""Dagster's variable: how many events it keeps back at the most before it stores them together; none unless set."""

BATCH = "500"
"""What it is set to where this log is used and nobody has set it: what is planned for a run of 100 files."""

_Row = dict[str, Any]

_INSERT_EVENT = SqlEventLogStorageTable.insert()
_LAST_ID = select(func.max(SqlEventLogStorageTable.c.id))
_INSERT_KEY = AssetKeyTable.insert()
_UPDATE_KEY = AssetKeyTable.update().where(AssetKeyTable.c.asset_key == bindparam("of_key"))
_INSERT_CHECK = AssetCheckExecutionsTable.insert()
_UPDATE_CHECK = AssetCheckExecutionsTable.update().where(
    AssetCheckExecutionsTable.c.asset_key == bindparam("of_key"),
    AssetCheckExecutionsTable.c.check_name == bindparam("of_check"),
    AssetCheckExecutionsTable.c.run_id == bindparam("of_run"),
    # Also where it is null.
    AssetCheckExecutionsTable.c.partition.is_(bindparam("of_partition")),
)


class HeldEventLog(AnsweringEventLog):
    """Dagster's own storage, file for file, but for how long a connection lives.

    A commit is not waited for on the disk (``synchronous = NORMAL`` over SQLite's write-ahead log): a process that
    dies loses nothing, a machine that dies may lose the last events, never the file. Whether a report is loaded is
    told by the platform's ledger, not by this log.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        """Open nothing yet but what Dagster itself does."""
        self._held: OrderedDict[str, Connection] = OrderedDict()
        self._owner = os.getpid()
        self._tables: set[str] = set()
        self._key_columns: set[str] = set()
        self._empty = b""
        super().__init__(base_dir, inst_data)

    @classmethod
    def config_type(cls) -> Any:
        """``home``: Dagster's home folder, in which the log stands where Dagster's default has it."""
        return {"home": dg.StringSource}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Called by Dagster with what ``dagster.yaml`` says, in every process that uses the instance.

        Daemon, web server and the processes of runs are Dagster's own programs, so this is where they all come by.
        """
        os.environ.setdefault(BATCH_SIZE, BATCH)
        return cls(str(Path(config_value["home"]) / "history" / "runs"), inst_data)

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Store one event as a batch of one."""
        self.store_event_batch([event])

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Store events in their order, those of one run in one transaction a file.

        Raises:
            SQLAlchemyError: the file cannot be written, and then nothing of that run's events was.
            DagsterInvariantViolationError: a check was planned twice for what an event evaluates.
        """
        for run_id, of_run in groupby(events, key=lambda event: event.run_id):
            self._store(run_id, list(of_run))

    def _store(self, run_id: str, events: list[dg.EventLogEntry]) -> None:
        rows = [self._event_to_row(event) for event in events]
        mirrored = [at for at, event in enumerate(events) if _is_mirrored(event)]
        with self._db_lock:
            shard = self._open(run_id)
            if not mirrored:
                with shard.begin():
                    shard.execute(_INSERT_EVENT, rows)
                return
            index = self._open(INDEX_SHARD_NAME)
            # The run's own file is committed first, as in Dagster. A fault before that leaves nothing in either, so
            # that events may be stored again without being there twice.
            with index.begin(), shard.begin():
                shard.execute(_INSERT_EVENT, rows)
                self._mirror(index, [events[at] for at in mirrored], [rows[at] for at in mirrored])

    def _mirror(self, index: Connection, events: Sequence[dg.EventLogEntry], rows: Sequence[_Row]) -> None:
        """Write what is asked of all runs at once into the index, whose ids Dagster refers to."""
        index.execute(_INSERT_EVENT, rows)
        # SQLite counts on from the highest id, and nobody else writes between these two.
        last = index.execute(_LAST_ID).scalar_one()
        ids = range(last - len(rows) + 1, last + 1)
        of_assets = [(event, key) for event, key in zip(events, ids, strict=True) if _kind(event) in ASSET_EVENTS]
        if of_assets:
            self._store_asset_event_tags(index, [event for event, _ in of_assets], [key for _, key in of_assets])
            self._store_asset_keys(index, of_assets)
        for event, row, key in zip(events, rows, ids, strict=True):
            kind = _kind(event)
            if kind is dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
                self._store_planned_check(index, event, row, key)
            elif kind is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                self._store_evaluation(index, event, row, key)

    def _store_asset_keys(self, index: Connection, events: Sequence[tuple[dg.EventLogEntry, int]]) -> None:
        """Leave on each asset's row what its events leave one after the other.

        Each kind of event sets the same columns every time, so the last of each kind is enough.
        """
        last: dict[str, dict[dg.DagsterEventType | None, tuple[dg.EventLogEntry, int]]] = {}
        for event, key in events:
            asset_key = event.get_dagster_event().asset_key
            if asset_key is not None:
                of_asset = last.setdefault(asset_key.to_string(), {})
                of_asset.pop(_kind(event), None)
                of_asset[_kind(event)] = (event, key)
        has_columns = self._has_asset_key_index_cols_on_connection(index)
        for asset, of_asset in last.items():
            values: _Row = {}
            for event, key in of_asset.values():
                values |= self._get_asset_entry_values(event, key, has_columns)
            if values and not index.execute(_UPDATE_KEY, {"of_key": asset, **values}).rowcount:
                index.execute(_INSERT_KEY, {"asset_key": asset, **values})

    def _store_planned_check(self, index: Connection, event: dg.EventLogEntry, row: _Row, key: int) -> None:
        planned = cast(AssetCheckEvaluationPlanned, event.get_dagster_event().event_specific_data)
        subset = planned.partitions_subset
        common = {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "run_id": event.run_id,
            "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
            **_evaluated(row, key),
        }
        index.execute(
            _INSERT_CHECK,
            [{**common, "partition": name} for name in (subset.get_partition_keys() if subset else [None])],
        )

    def _store_evaluation(self, index: Connection, event: dg.EventLogEntry, row: _Row, key: int) -> None:
        """Fill in the row that was planned; write one where none was."""
        evaluation = event.get_dagster_event().asset_check_evaluation_data
        target = evaluation.target_materialization_data
        status = AssetCheckExecutionRecordStatus
        whose = (evaluation.asset_key.to_string(), evaluation.check_name, event.run_id, evaluation.partition)
        values = {
            "execution_status": (status.SUCCEEDED if evaluation.passed else status.FAILED).value,
            "materialization_event_storage_id": target.storage_id if target else None,
            **_evaluated(row, key),
        }
        found = 0
        if event.run_id != RUNLESS_RUN_ID:
            of = dict(zip(("of_key", "of_check", "of_run", "of_partition"), whose, strict=True))
            found = index.execute(_UPDATE_CHECK, {**of, **values}).rowcount
        if found > 1:
            raise DagsterInvariantViolationError(f"{found} rows were planned for {evaluation.asset_check_key}")
        if not found:
            names = dict(zip(("asset_key", "check_name", "run_id", "partition"), whose, strict=True))
            index.execute(_INSERT_CHECK, {**names, **values})

    def has_table(self, table_name: str) -> bool:
        """Ask the file once: a table that is there stays."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        if column_name not in self._key_columns and super()._has_asset_key_col_on_connection(conn, column_name):
            self._key_columns.add(column_name)
        return column_name in self._key_columns

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            connection = self._open(shard)
            with connection.begin():
                yield connection

    def _open(self, shard: str) -> Connection:
        if self._owner != os.getpid():
            # SQLite's connections do not outlive a fork, and closing one here would free the parent's locks.
            self._held, self._owner = OrderedDict(), os.getpid()
        if shard not in self._held:
            while len(self._held) >= HELD:
                self._held.popitem(last=False)[1].close()
            self._held[shard] = self._new(shard)
        self._held.move_to_end(shard)
        return self._held[shard]

    def _new(self, shard: str) -> Connection:
        engine = create_engine(
            self.conn_string_for_shard(shard),
            poolclass=NullPool,
            # The lock of this storage keeps its threads apart.
            connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        )
        if shard not in self._initialized_dbs:
            if not self._is_copied(Path(self.path_for_shard(shard))):
                self._initdb(engine)
            self._initialized_dbs.add(shard)
        connection = engine.connect()
        connection.execute(text("PRAGMA synchronous = NORMAL"))
        connection.commit()
        return connection

    def _is_copied(self, path: Path) -> bool:
        """Make a run's file, if it is missing, as a copy of an empty one.

        Each run has a file, and Dagster's way to make one goes through its migrations: 50 ms of processor every time.
        """
        if path.exists():
            return False
        whole = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            self._empty = self._empty or self._make_empty()
            try:
                whole.write_bytes(self._empty)
                # Under its name at once whole or not at all; it fails where somebody else was faster.
                os.link(whole, path)
            finally:
                whole.unlink(missing_ok=True)
        except OSError:
            return False
        return True

    def _make_empty(self) -> bytes:
        with TemporaryDirectory() as folder:
            self._initdb(create_engine(create_db_conn_string(folder, "empty"), poolclass=NullPool))
            return (Path(folder) / "empty.db").read_bytes()

    def wipe(self) -> None:
        """Remove every file; the connections to them first."""
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Close what is open."""
        super().dispose()
        self._close()

    def _close(self) -> None:
        with self._db_lock:
            held, self._held = self._held, OrderedDict()
            if self._owner == os.getpid():
                for connection in held.values():
                    connection.close()


def _kind(event: dg.EventLogEntry) -> dg.DagsterEventType | None:
    return event.dagster_event_type if event.is_dagster_event else None


def _is_mirrored(event: dg.EventLogEntry) -> bool:
    kind = _kind(event)
    return kind in ASSET_EVENTS or kind in ASSET_CHECK_EVENTS or kind in EVENT_TYPE_TO_PIPELINE_RUN_STATUS


def _evaluated(row: _Row, key: int) -> _Row:
    return {
        "evaluation_event": row["event"],
        "evaluation_event_timestamp": row["timestamp"],
        "evaluation_event_storage_id": key,
    }
