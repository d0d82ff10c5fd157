"""The event log over held connections: the same files and rows as Dagster's own, from threads, forks, processes.

Storing and reading events belongs here; which events the platform makes does not.
"""

import os
import random
import sqlite3
import threading
import warnings
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.instance import InstanceRef
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from sqlalchemy.exc import IntegrityError

from tests.support.pipeline import settings_for
from visitas_dagster import event_log
from visitas_dagster.event_log import BATCH_SIZE, HeldEventLog
from visitas_dagster.instance import open_instance, prepare_home

PLANNED_CHECK = dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED

PARTS = dg.DynamicPartitionsDefinition(name="partes")


@dg.asset(partitions_def=PARTS)
def hecho(context: dg.AssetExecutionContext) -> None:
    context.log.info(context.partition_key)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "dagster"


@pytest.fixture
def instance(home: Path, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with open_instance(settings_for("sqlite://", {}, tmp_path, dagster_home=home), captures_output=False) as opened:
        yield opened


def make(instance: dg.DagsterInstance, *names: str) -> list[str]:
    instance.add_dynamic_partitions("partes", list(names))
    return [dg.materialize([hecho], instance=instance, partition_key=name).run_id for name in names]


def kind(record: dg.EventLogRecord) -> str | None:
    found = record.event_log_entry.dagster_event
    return found.event_type_value if found else None


def stored(storage: object, run_ids: list[str]) -> list[tuple[str, str | None]]:
    assert isinstance(storage, SqliteEventLogStorage)
    return [(run_id, kind(record)) for run_id in run_ids for record in storage.get_records_for_run(run_id).records]


@pytest.fixture
def few_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "HELD", 2)


@pytest.mark.usefixtures("few_held")
def test_dagsters_own_storage_reads_what_this_one_wrote(instance: dg.DagsterInstance, home: Path) -> None:
    assert type(instance.event_log_storage) is HeldEventLog
    run_ids = make(instance, "a", "b", "c", "d")
    plain = SqliteEventLogStorage(str(home / "history" / "runs"))
    found = stored(plain, run_ids)
    assert found == stored(instance.event_log_storage, run_ids)
    assert [what for run_id, what in found if run_id == run_ids[2]].count("ASSET_MATERIALIZATION") == 1
    assert plain.get_materialized_partitions(dg.AssetKey("hecho")) == {"a", "b", "c", "d"}


def test_this_one_reads_what_dagsters_own_storage_wrote(instance: dg.DagsterInstance, home: Path) -> None:
    overrides = {
        "event_log_storage": {
            "module": "dagster._core.storage.event_log",
            "class": "SqliteEventLogStorage",
            "config": {"base_dir": str(home / "history" / "runs")},
        }
    }
    make(instance, "antes")
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides=overrides)) as plain:
        assert type(plain.event_log_storage) is SqliteEventLogStorage
        run_ids = make(plain, "después")
    assert stored(instance.event_log_storage, run_ids)
    assert instance.get_materialized_partitions(dg.AssetKey("hecho")) == {"antes", "después"}


@pytest.mark.usefixtures("few_held")
def test_threads_share_the_connections(instance: dg.DagsterInstance) -> None:
    names = [f"{number}" for number in range(40)]
    run_ids = make(instance, "antes")

    def work(some: list[str]) -> None:
        for name in some:
            instance.report_runless_asset_event(dg.AssetMaterialization("hecho", partition=name))
            instance.all_logs(run_ids[0])

    threads = [threading.Thread(target=work, args=(names[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert instance.get_materialized_partitions(dg.AssetKey("hecho")) == {"antes", *names}


def test_a_fork_opens_connections_of_its_own(instance: dg.DagsterInstance) -> None:
    make(instance, "padre")
    child = os.fork()
    if not child:
        ended = 1
        try:
            make(instance, "hijo")
            ended = 0
        finally:
            os._exit(ended)
    assert os.waitpid(child, 0)[1] == 0
    make(instance, "después")
    assert instance.get_materialized_partitions(dg.AssetKey("hecho")) == {"padre", "hijo", "después"}


def test_what_is_wiped_is_gone_and_can_be_written_again(instance: dg.DagsterInstance) -> None:
    make(instance, "a")
    instance.event_log_storage.wipe()
    assert instance.get_materialized_partitions(dg.AssetKey("hecho")) == set()
    make(instance, "b")
    assert instance.get_materialized_partitions(dg.AssetKey("hecho")) == {"b"}


def test_a_file_of_an_earlier_version_that_nobody_touched_is_brought_up(home: Path, tmp_path: Path) -> None:
    settings = settings_for("sqlite://", {}, tmp_path, dagster_home=home)
    path = prepare_home(settings) / "dagster.yaml"
    written = path.read_text(encoding="utf-8")
    assert yaml.safe_load(written)["event_log_storage"] == {
        "module": "visitas_dagster.event_log",
        "class": "HeldEventLog",
        "config": {"home": str(home)},
    }
    earlier = written.partition("\n# Dagster's own files")[0]
    path.write_text(earlier, encoding="utf-8")
    prepare_home(settings)
    assert path.read_text(encoding="utf-8") == written
    # The folder was moved.
    path.write_text(written.replace(str(home), "/srv/antes"), encoding="utf-8")
    prepare_home(settings)
    assert path.read_text(encoding="utf-8") == written
    path.write_text(earlier + "\n# mío\n", encoding="utf-8")
    prepare_home(settings)
    assert path.read_text(encoding="utf-8") == earlier + "\n# mío\n"


# ------------------------------------------------------------------------------------------- many events at once

with warnings.catch_warnings():
    # Partitioned checks are a preview in 1.13.
    warnings.simplefilter("ignore")
    WELL = dg.AssetCheckSpec("bien", asset="uno", partitions_def=PARTS)
_nothing = dg.Out(dg.Nothing, is_required=False)


def judged(check: str, passed: bool, partition: str | None = None) -> Any:
    return dg.AssetCheckEvaluation(
        dg.AssetKey("uno"), check, passed, severity=dg.AssetCheckSeverity.WARN, partition=partition
    )


@dg.op(out={"uno": _nothing, "otro": _nothing, WELL.get_python_identifier(): _nothing})
def obrar(context: dg.OpExecutionContext) -> Iterator[Any]:
    for name in context.partition_keys:
        context.log.info(name)
        tags = {"dagster/data_version": f"v-{name}", "dagster/partition/lado": name, "otra": "x"}
        context.log_event(dg.AssetMaterialization("uno", partition=name, metadata={"n": 1}, tags=tags))
        context.log_event(dg.AssetObservation("otro", partition=name, tags=tags))
        context.log_event(judged("bien", name != "b", name))
        context.log_event(judged("sin_planear", True, name))
    context.log_event(judged("sin_planear", True))
    if "c" not in context.partition_keys:
        raise dg.Failure("a propósito", allow_retries=False)
    context.log_event(dg.AssetMaterialization("otro", partition="c"))
    yield from ()


@dg.graph(out={name: dg.GraphOut() for name in ("uno", "otro", WELL.get_python_identifier())})
def obra() -> Any:
    uno, otro, well = obrar()
    return {"uno": uno, "otro": otro, WELL.get_python_identifier(): well}


def job() -> dg.JobDefinition:
    """Give the job over both assets and the check."""
    assets = dg.AssetsDefinition.from_graph(
        obra,
        keys_by_output_name={name: dg.AssetKey(name) for name in ("uno", "otro")},
        partitions_def=PARTS,
        check_specs=[WELL],
        can_subset=False,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    job = dg.define_asset_job(
        "obrar_todo",
        selection=dg.AssetSelection.assets(assets) | dg.AssetSelection.checks_for_assets(assets),
        executor_def=dg.in_process_executor,
    )
    return dg.Definitions(assets=[assets], jobs=[job]).resolve_job_def("obrar_todo")


def run_range(instance: dg.DagsterInstance, last: str) -> dg.ExecuteInProcessResult:
    """Run it over the partitions from the first to this one."""
    instance.add_dynamic_partitions("partes", ["a", "b", "c"])
    tags = {ASSET_PARTITION_RANGE_START_TAG: "a", ASSET_PARTITION_RANGE_END_TAG: last}
    return job().execute_in_process(instance=instance, tags=tags, raise_on_error=False)


@pytest.fixture(scope="module")
def told() -> list[dg.EventLogEntry]:
    """Give what Dagster records of two runs, of which one fails, and of what is told without a run, mixed."""
    with dg.DagsterInstance.ephemeral() as instance:
        runs = []
        for last in ("b", "c"):
            run = run_range(instance, last)
            assert run.success is (last == "c")
            runs.append(instance.all_logs(run.run_id))
        instance.report_runless_asset_event(dg.AssetMaterialization("uno", partition="b"))
        instance.report_runless_asset_event(dg.AssetObservation("nuevo"))
        instance.report_runless_asset_event(judged("bien", False, "b"))
        without = instance.all_logs("")
    mixed = zip_longest(*(run[start::3] for run in runs for start in range(3)))
    return [entry for part in mixed for entry in part if entry is not None] + list(without)


_WHEN_WRITTEN = {"create_timestamp", "migration_completed"}


def rows(folder: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Every row of every table of every file; when it was written aside."""
    found = {}
    for path in sorted(folder.glob("*.db")):
        connection = sqlite3.connect(path)
        connection.row_factory = sqlite3.Row
        found[path.name, "sqlite_master"] = [
            dict(row) for row in connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name")
        ]
        found[path.name, "journal_mode"] = [dict(row) for row in connection.execute("PRAGMA journal_mode")]
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            found[path.name, table] = [
                {name: value for name, value in dict(row).items() if name not in _WHEN_WRITTEN}
                for row in connection.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall()
            ]
        connection.close()
    return found


def in_batches(events: Sequence[dg.EventLogEntry], size: int) -> list[Sequence[dg.EventLogEntry]]:
    return [events[start : start + size] for start in range(0, len(events), size)]


def test_what_is_compared_holds_every_kind_of_event(told: list[dg.EventLogEntry]) -> None:
    assert {str(entry.dagster_event_type.value) if entry.dagster_event_type else None for entry in told} >= {
        None,
        "ASSET_MATERIALIZATION_PLANNED",
        "ASSET_MATERIALIZATION",
        "ASSET_OBSERVATION",
        "ASSET_CHECK_EVALUATION_PLANNED",
        "ASSET_CHECK_EVALUATION",
        "STEP_START",
        "STEP_FAILURE",
        "PIPELINE_START",
        "PIPELINE_SUCCESS",
        "PIPELINE_FAILURE",
    }


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("order", ["as told", "reversed", "shuffled"])
def test_a_batch_leaves_the_rows_that_dagsters_own_storage_leaves_one_by_one(
    told: list[dg.EventLogEntry], order: str, size: int, tmp_path: Path
) -> None:
    events = {
        "as told": told,
        "reversed": told[::-1],
        "shuffled": random.Random(size).sample(told, len(told)),
    }[order]
    plain = SqliteEventLogStorage(str(tmp_path / "plain"))
    held = HeldEventLog(str(tmp_path / "held"))
    if order != "as told":
        # A check that is planned after it was evaluated breaks Dagster's own index.
        events = [entry for entry in events if entry.dagster_event_type is not PLANNED_CHECK]
    for entry in events:
        plain.store_event(entry)
    for batch in in_batches(events, size):
        held.store_event_batch(batch)
    held.dispose()
    assert all(path.name.endswith(".db") for path in (tmp_path / "held").iterdir())
    found = rows(tmp_path / "held")
    assert found == rows(tmp_path / "plain")
    assert len(found["index.db", "asset_keys"]) == 3
    assert len(found["index.db", "asset_event_tags"]) == 20
    assert len({row["run_id"] for row in found["index.db", "event_logs"]}) == 3


def test_a_batch_that_cannot_be_stored_leaves_nothing(told: list[dg.EventLogEntry], tmp_path: Path) -> None:
    held = HeldEventLog(str(tmp_path / "held"))
    run_id = told[0].run_id
    of_run = [entry for entry in told if entry.run_id == run_id]
    planned = [entry for entry in of_run if entry.dagster_event_type is PLANNED_CHECK]
    before = rows(tmp_path / "held")
    with pytest.raises(IntegrityError):
        held.store_event_batch([*of_run, *planned])
    after = rows(tmp_path / "held")
    assert {key: value for key, value in after.items() if key in before} == before
    assert after[f"{run_id}.db", "event_logs"] == []
    held.store_event_batch(of_run)
    held.dispose()
    assert len(rows(tmp_path / "held")[f"{run_id}.db", "event_logs"]) == len(of_run)


@pytest.fixture
def stored_together(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Give the kinds of events of each batch that is stored from now on."""
    found = []
    store = HeldEventLog.store_event_batch

    def spy(self: HeldEventLog, events: Sequence[dg.EventLogEntry]) -> None:
        found.append([str(event.dagster_event_type.value) for event in events if event.dagster_event_type])
        store(self, events)

    monkeypatch.setattr(HeldEventLog, "store_event_batch", spy)
    return found


PLANNED = ["ASSET_CHECK_EVALUATION_PLANNED", *["ASSET_MATERIALIZATION_PLANNED"] * 6]


def test_what_is_planned_for_a_run_is_stored_together(
    instance: dg.DagsterInstance, stored_together: list[list[str]]
) -> None:
    run_range(instance, "c")
    assert sorted(next(kinds for kinds in stored_together if len(kinds) > 1)) == PLANNED


def test_so_it_is_in_dagsters_own_programs(
    home: Path, tmp_path: Path, stored_together: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_home(settings_for("sqlite://", {}, tmp_path, dagster_home=home))
    # Set first, so that it is put back whatever the program under test leaves.
    monkeypatch.setenv(BATCH_SIZE, "1")
    monkeypatch.delenv(BATCH_SIZE)
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance:
        run_range(instance, "c")
    assert sorted(next(kinds for kinds in stored_together if len(kinds) > 1)) == PLANNED


def test_whoever_wants_no_batches_gets_none(
    home: Path, tmp_path: Path, stored_together: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BATCH_SIZE, "0")
    with open_instance(settings_for("sqlite://", {}, tmp_path, dagster_home=home), captures_output=False) as instance:
        run_range(instance, "c")
    assert {len(kinds) for kinds in stored_together} == {0, 1}
    assert os.environ[BATCH_SIZE] == "0"


def test_the_process_is_left_as_it_was(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BATCH_SIZE, raising=False)
    with open_instance(settings_for("sqlite://", {}, tmp_path, dagster_home=home), captures_output=False):
        assert os.environ[BATCH_SIZE] == "500"
    assert BATCH_SIZE not in os.environ


@pytest.mark.parametrize("refuses", ["link", "write"])
def test_where_a_runs_file_cannot_be_copied_it_is_made_as_dagster_does(
    refuses: str, told: list[dg.EventLogEntry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "no")

    held = HeldEventLog(str(tmp_path / "held"))
    if refuses == "link":
        monkeypatch.setattr(os, "link", refuse)
    else:
        monkeypatch.setattr(Path, "write_bytes", refuse)
    held.store_event_batch(told)
    held.dispose()
    assert all(path.name.endswith(".db") for path in (tmp_path / "held").iterdir())
    found = rows(tmp_path / "held")
    assert sum(len(found[name, table]) for name, table in found if name != "index.db" and table == "event_logs") == len(
        told
    )


def test_a_file_that_another_process_made_meanwhile_is_kept(
    told: list[dg.EventLogEntry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = HeldEventLog(str(tmp_path / "held"))
    other = SqliteEventLogStorage(str(tmp_path / "held"))
    run_id = told[0].run_id
    of_run = [entry for entry in told if entry.run_id == run_id]
    link = os.link

    def late(source: Path, target: Path) -> None:
        other.store_event(of_run[0])
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    held.store_event_batch(of_run[1:])
    held.dispose()
    assert len(rows(tmp_path / "held")[f"{run_id}.db", "event_logs"]) == len(of_run)
