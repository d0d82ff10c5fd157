"""What is asked of all partitions at once: the answers of Dagster's own storage, over histories at random.

Reading belongs here; how events are stored is ``test_event_log.py``'s.
"""

import json
import random
import time
from collections.abc import Callable, Iterator
from operator import methodcaller
from pathlib import Path
from typing import Any, NamedTuple, cast

import dagster as dg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent, StepMaterializationData
from dagster._core.instance import InstanceRef
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionResolvedStatus
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.partition_status_cache import (
    AssetStatusCacheValue,
    get_and_update_asset_status_cache_value,
)
from sqlalchemy import text

from tests.support.pipeline import settings_for
from visitas_dagster import event_log_answers
from visitas_dagster.event_log import HeldEventLog
from visitas_dagster.instance import open_instance

PARTS = dg.DynamicPartitionsDefinition(name="partes")
STATIC = dg.StaticPartitionsDefinition(["p1", "p2", "ñ'\"3"])
NAMES = ["p1", "p2", "ñ'\"3", "p 4", "p5", "p6", "p7", "quitada"]
KEYS = [dg.AssetKey("uno"), dg.AssetKey(["otro", "más"]), dg.AssetKey("borrado"), dg.AssetKey("nunca")]
CHECKS = [dg.AssetCheckKey(key, name) for key in KEYS for name in ("bien", "mejor")]
STATUSES = [
    *[DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED],
    *[DagsterRunStatus.STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.FAILURE],
]
DELETED = "00000000-0000-4000-8000-000000000009"


class Teller:
    """Tells one instance events at random, at times in no order."""

    def __init__(self, instance: dg.DagsterInstance, seed: int) -> None:
        """Add the partitions and the runs."""
        self.instance = instance
        self.random = random.Random(seed)
        self.made: dict[tuple[dg.AssetKey, str | None], list[int]] = {}
        self.planned: set[tuple[str, dg.AssetCheckKey, str | None]] = set()
        self.judged: set[tuple[str, dg.AssetCheckKey, str | None]] = set()
        self.runs = [DELETED]
        instance.add_dynamic_partitions("partes", NAMES)
        instance.delete_dynamic_partition("partes", "quitada")
        for number, status in enumerate(STATUSES):
            run = dg.DagsterRun("trabajo", run_id=f"00000000-0000-4000-8000-00000000010{number}", status=status)
            self.runs.append(instance.add_run(run).run_id)

    def tell(self, events: int) -> None:
        """Tell so many."""
        for _ in range(events):
            self.random.choices([self.plan, self.make, self.plan_check, self.judge], [3, 3, 2, 4])[0]()

    def plan(self) -> None:
        """Plan a partition."""
        data = AssetMaterializationPlannedData(self.key(), self.name())
        self.store(self.run(), dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, data)

    def make(self) -> None:
        """Make a partition, or rarely all of them."""
        key, name = self.key(), self.name(rarely=0.02)
        data = StepMaterializationData(dg.AssetMaterialization(key, partition=name))
        self.made.setdefault((key, name), []).append(
            self.store(self.run(), dg.DagsterEventType.ASSET_MATERIALIZATION, data)
        )

    def plan_check(self) -> None:
        """Plan to judge one or two partitions."""
        run, check = self.run(), self.check()
        names = {name for name in (self.name(), self.name()) if (run, check, name) not in self.planned | self.judged}
        if names:
            self.planned |= {(run, check, name) for name in names}
            subset = PARTS.subset_with_partition_keys([name for name in names if name is not None])
            data = AssetCheckEvaluationPlanned(
                asset_key=check.asset_key, check_name=check.name, partitions_subset=subset
            )
            self.store(run, dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED, data)

    def judge(self) -> None:
        """Judge what was made last, what was made before, or nothing in particular."""
        run, check, name = self.run(), self.check(), self.name(rarely=0.1)
        if (run, check, name) in self.judged:
            return
        self.judged.add((run, check, name))
        made = self.made.get((check.asset_key, name), [])
        target = self.random.choice([None, *made[-1:], *made[-1:], *made[:1]])
        data = dg.AssetCheckEvaluation(
            check.asset_key,
            check.name,
            passed=self.random.random() < 0.6,
            partition=name,
            target_materialization_data=None
            if target is None
            else AssetCheckEvaluationTargetMaterializationData(storage_id=target, run_id=run, timestamp=1.0),
        )
        self.store(run, dg.DagsterEventType.ASSET_CHECK_EVALUATION, data)

    def store(self, run_id: str, kind: dg.DagsterEventType, data: Any) -> int:
        """Store it and return its id in the index over all runs."""
        event = DagsterEvent(kind.value, "trabajo", event_specific_data=data)
        at = time.time() + self.random.uniform(-100, 100)
        about = {"level": 10, "user_message": "", "job_name": "trabajo"}
        entry = cast(Any, dg.EventLogEntry)(None, run_id=run_id, timestamp=at, dagster_event=event, **about)
        storage = self.instance.event_log_storage
        assert isinstance(storage, HeldEventLog)
        storage.store_event(entry)
        with storage.index_connection() as index:
            return int(index.execute(text("SELECT max(id) FROM event_logs")).scalar_one())

    def key(self) -> dg.AssetKey:
        """Give an asset that events are told of."""
        return self.random.choice(KEYS[:3])

    def check(self) -> dg.AssetCheckKey:
        """Give a check of such an asset."""
        return self.random.choice(CHECKS[:6])

    def name(self, rarely: float = 0.0) -> str | None:
        """Give a partition, or rarely none."""
        return None if self.random.random() < rarely else self.random.choice(NAMES)

    def run(self) -> str:
        """Give a run."""
        return self.random.choice(self.runs)


class Both(NamedTuple):
    """Two instances over the same files, who tells the first of them events, and the last one's id."""

    held: dg.DagsterInstance
    plain: dg.DagsterInstance
    teller: Teller
    last: int

    def agree(self, ask: Callable[[dg.DagsterInstance], Any]) -> Any:
        """Ask both; return what they answer alike."""
        found = ask(self.held)
        assert found == ask(self.plain)
        return found


@pytest.fixture(params=range(4))
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Both]:
    """Give an instance with this storage and one with Dagster's own, over one history."""
    home = tmp_path / "dagster"
    own = {"base_dir": str(home / "history" / "runs")}
    module = {"module": "dagster._core.storage.event_log", "class": "SqliteEventLogStorage"}
    with open_instance(settings_for("sqlite://", {}, tmp_path, dagster_home=home), captures_output=False) as held:
        teller = Teller(held, request.param)
        teller.tell(150)
        held.wipe_assets([dg.AssetKey("borrado")])
        teller.tell(150)
        # One asset's last event is that all of it was made at once.
        whole = StepMaterializationData(dg.AssetMaterialization(KEYS[1]))
        teller.store(teller.run(), dg.DagsterEventType.ASSET_MATERIALIZATION, whole)
        planned = AssetMaterializationPlannedData(KEYS[0], "p1")
        last = teller.store(DELETED, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, planned)
        overrides = {"event_log_storage": {**module, "config": own}}
        with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides=overrides)) as plain:
            assert type(plain.event_log_storage) is SqliteEventLogStorage
            yield Both(held, plain, teller, last)


@pytest.mark.parametrize("many", [1, 5000])
def test_partitions_and_what_was_made_of_them(both: Both, many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log_answers, "MANY", many)
    wanted = ["p5", "quitada", "nadie", *NAMES]
    assert both.agree(lambda instance: instance.get_dynamic_partitions("partes")) == NAMES[:-1]
    assert both.agree(lambda instance: instance.get_dynamic_partitions("nada")) == []
    assert both.agree(lambda instance: instance.get_existing_dynamic_partitions("partes", wanted)) == set(NAMES[:-1])
    assert both.agree(lambda instance: instance.get_existing_dynamic_partitions("partes", [])) == set()
    cursors = (None, 0, both.last // 3, both.last - 5, both.last + 1)
    found = [
        both.agree(methodcaller("get_materialized_partitions", key, before, after))
        for key in KEYS
        for before in cursors
        for after in cursors
    ]
    assert {len(made) for made in found} >= {0, len(NAMES)}


def test_plans_that_nothing_followed(both: Both) -> None:
    name = "get_latest_asset_partition_materialization_attempts_without_materializations"
    cursors = (None, 0, both.last // 3, both.last - 20, both.last)
    asked = [methodcaller(name, key, after) for key in KEYS for after in cursors]
    found = both.agree(lambda instance: [ask(instance.event_log_storage) for ask in asked])
    assert found[0]["p1"] == (DELETED, both.last)
    assert len(found[0]) > 1
    assert not found[-1]


def test_what_checks_found(both: Both) -> None:
    asked = [(check, of) for check in CHECKS for of in (PARTS, None, STATIC)]

    def ask(instance: dg.DagsterInstance) -> Any:
        with partition_loading_context(dynamic_partitions_store=instance):
            storage = instance.event_log_storage
            return [storage.get_asset_check_state(some) for some in ([], asked[::3], asked[1::3], asked[2::3])]

    _, named, whole, _ = both.agree(ask)
    assert len(named) == len(whole) == len(CHECKS)
    assert {status for state in named.values() for status, subset in state.subsets.items() if not subset.is_empty} == {
        *AssetCheckExecutionResolvedStatus
    }


def test_an_assets_partitions_as_the_web_shows_them_at_once_and_later(both: Both) -> None:
    def ask(instance: dg.DagsterInstance) -> list[AssetStatusCacheValue | None]:
        for key, value in zip(KEYS, kept, strict=True):
            if value is None:
                instance.wipe_asset_cached_status([key])
            else:
                instance.update_asset_cached_status_data(key, value)
        return [get_and_update_asset_status_cache_value(instance, key, PARTS) for key in KEYS]

    kept: list[AssetStatusCacheValue | None] = [None] * len(KEYS)
    kept = both.agree(ask)
    both.teller.tell(60)
    later = both.agree(ask)
    assert (later == kept, later[-1]) == (False, None)
    failed = [found.serialized_failed_partition_subset for found in (*kept, *later) if found is not None]
    assert any(json.loads(names)["subset"] for names in failed if names)
