"""The event log over held connections: the same files and records as Dagster's own, from threads, forks, processes.

Storing and reading events belongs here; which events the platform makes does not.
"""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.instance import InstanceRef
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from tests.support.pipeline import settings_for
from visitas_dagster import event_log
from visitas_dagster.event_log import HeldEventLog
from visitas_dagster.instance import open_instance, prepare_home

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
