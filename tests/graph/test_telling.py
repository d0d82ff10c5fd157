"""What an op tells Dagster of its files: in order, in groups, soon, and whatever happens to the op.

Which events are told is tested in ``test_graph.py``; how a batch is stored in ``test_event_log.py``.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.support.pipeline import settings_for
from visitas_dagster.assets import telling
from visitas_dagster.assets.telling import Teller
from visitas_dagster.event_log import BATCH_SIZE, HeldEventLog
from visitas_dagster.instance import open_instance
from visitas_dagster.steps.task import FileTask


@pytest.fixture(autouse=True)
def _nothing_is_told_for_having_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "PATIENCE_S", 3600)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with open_instance(settings_for("sqlite://", {}, tmp_path), captures_output=False) as opened:
        yield opened


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Give what of an op's files is stored together, batch by batch."""
    found: list[list[str]] = []
    store = HeldEventLog.store_event_batch

    def spy(self: HeldEventLog, events: Sequence[dg.EventLogEntry]) -> None:
        told = [str(event.dagster_event.partition) for event in events if event.dagster_event and is_told(event)]
        if told:
            found.append(told)
        store(self, events)

    monkeypatch.setattr(HeldEventLog, "store_event_batch", spy)
    return found


def is_told(entry: dg.EventLogEntry) -> bool:
    return entry.dagster_event_type is dg.DagsterEventType.ASSET_MATERIALIZATION


def made(name: str) -> dg.AssetMaterialization:
    return dg.AssetMaterialization("hecho", partition=name)


def run(instance: dg.DagsterInstance, work: Callable[[Teller], None]) -> dg.ExecuteInProcessResult:
    """Run a job of one op, which does this with its teller."""

    @dg.op(out=dg.Out(dg.Nothing))
    def obrar(context: dg.OpExecutionContext) -> Iterator[Any]:
        with Teller(context) as teller:
            work(teller)
        yield dg.Output(None)

    @dg.job
    def obra() -> None:
        obrar()

    return obra.execute_in_process(instance=instance, raise_on_error=False)


def tell_all(names: Sequence[str]) -> Callable[[Teller], None]:
    def work(teller: Teller) -> None:
        for name in names:
            teller.tell(made(name))

    return work


def log_of(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """The op's own part of a run's log, in the order in which it is stored and shown."""
    return [
        str(entry.dagster_event.partition) if entry.dagster_event else entry.user_message
        for entry in instance.all_logs(run_id)
        if entry.dagster_event is None or is_told(entry)
    ]


@pytest.mark.parametrize("count", [0, 1, 2, telling.MOST, telling.MOST + 1, 3 * telling.MOST])
def test_events_are_told_in_order_and_fifty_at_a_time(
    count: int, instance: dg.DagsterInstance, batches: list[list[str]]
) -> None:
    names = [str(number) for number in range(count)]
    result = run(instance, tell_all(names))
    assert result.success
    assert log_of(instance, result.run_id) == names
    assert batches == [names[start : start + telling.MOST] for start in range(0, count, telling.MOST)]


def test_they_are_events_of_the_run_as_they_always_were(instance: dg.DagsterInstance) -> None:
    result = run(instance, tell_all(["a", "b", "c"]))
    assert [event.partition for event in result.all_events if event.is_step_materialization] == ["a", "b", "c"]
    (ended,) = [at for at, event in enumerate(result.all_events) if event.is_step_success]
    assert all(at < ended for at, event in enumerate(result.all_events) if event.is_step_materialization)


def test_an_event_is_dated_when_it_is_told_not_when_it_is_stored(instance: dg.DagsterInstance) -> None:
    stamps: list[float] = []

    def work(teller: Teller) -> None:
        for name in ("a", "b", "c"):
            teller.tell(made(name))
            stamps.append(time.time())

    result = run(instance, work)
    found = [entry.timestamp for entry in instance.all_logs(result.run_id) if is_told(entry)]
    assert found == sorted(found)
    # All but the one that was held back.
    assert all(before <= at for before, at in zip(stamps, found[1:], strict=False))
    assert found[1] <= stamps[2]


def test_a_line_of_the_log_stands_behind_what_was_told_before_it(
    instance: dg.DagsterInstance, batches: list[list[str]]
) -> None:
    def work(teller: Teller) -> None:
        tell_all(["a", "b"])(teller)
        teller.context.log.info("una línea")
        tell_all(["c", "d"])(teller)

    result = run(instance, work)
    assert log_of(instance, result.run_id) == ["a", "b", "una línea", "c", "d"]
    assert batches == [["a", "b"], ["c", "d"]]


def test_an_op_that_fails_has_told_what_it_did(instance: dg.DagsterInstance, batches: list[list[str]]) -> None:
    def work(teller: Teller) -> None:
        tell_all(["a", "b"])(teller)
        raise ValueError("a propósito")

    result = run(instance, work)
    assert not result.success
    assert batches == [["a", "b"]]
    kinds = [entry.dagster_event_type for entry in instance.all_logs(result.run_id)]
    assert kinds.index(dg.DagsterEventType.ASSET_MATERIALIZATION) < kinds.index(dg.DagsterEventType.STEP_FAILURE)


def test_what_has_waited_long_enough_is_told_though_the_op_does_nothing(
    instance: dg.DagsterInstance, batches: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "PATIENCE_S", 0.05)
    stored = threading.Event()
    store = HeldEventLog.store_event_batch

    def spy(self: HeldEventLog, events: Sequence[dg.EventLogEntry]) -> None:
        store(self, events)
        if any(is_told(event) for event in events):
            stored.set()

    monkeypatch.setattr(HeldEventLog, "store_event_batch", spy)

    def work(teller: Teller) -> None:
        for name in ("a", "b"):
            stored.clear()
            teller.tell(made(name))
            assert stored.wait(60)

    result = run(instance, work)
    assert result.success
    assert batches == [["a"], ["b"]]
    assert [event.partition for event in result.all_events if event.is_step_materialization] == ["a", "b"]


def test_a_killed_op_has_told_all_but_what_was_still_waiting(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        stored = threading.Event()
        store = HeldEventLog.store_event_batch

        def spy(self: HeldEventLog, events: Sequence[dg.EventLogEntry]) -> None:
            store(self, events)
            if any(is_told(event) for event in events):
                stored.set()

        def work(teller: Teller) -> None:
            monkeypatch.setattr(telling, "PATIENCE_S", 0.05)
            teller.tell(made("a"))
            stored.wait(60)
            monkeypatch.setattr(telling, "PATIENCE_S", 3600)
            tell_all(["b", "c"])(teller)
            os.write(writer, teller.context.run_id.encode())
            threading.Event().wait(60)

        try:
            monkeypatch.setattr(HeldEventLog, "store_event_batch", spy)
            run(instance, work)
        finally:
            os._exit(1)
    os.close(writer)
    run_id = os.read(reader, 100).decode()
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    os.close(reader)
    assert log_of(instance, run_id) == ["a"]
    result = run(instance, tell_all(["d"]))
    assert log_of(instance, result.run_id) == ["d"]


def test_an_event_that_cannot_be_told_costs_a_warning_that_names_its_file(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(teller: Teller) -> None:
        log_event = teller.context.log_event

        def refuse_one(event: Any) -> None:
            if event.partition == "b":
                raise OSError("no cabe")
            log_event(event)

        monkeypatch.setattr(teller.context, "log_event", refuse_one)
        tell_all(["a", "b", "c", "d"])(teller)

    result = run(instance, work)
    assert result.success
    told = log_of(instance, result.run_id)
    assert sorted(told) == ["a", "b: no se pudo mostrar el resultado: no cabe", "c", "d"]
    assert [name for name in told if len(name) == 1] == ["a", "c", "d"]


def test_what_is_drawn_of_a_file_may_fail_and_the_others_are_told_of(instance: dg.DagsterInstance) -> None:
    def work(teller: Teller) -> None:
        for name in ("a", "b", "c"):
            with teller.about(FileTask(name)):
                if name == "b":
                    raise ZeroDivisionError("gráfica")
                teller.tell(made(name))

    result = run(instance, work)
    assert result.success
    assert log_of(instance, result.run_id) == ["a", "b: no se pudo mostrar el resultado: gráfica", "c"]


def test_a_log_that_takes_no_batch_takes_the_events_one_by_one(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = HeldEventLog.store_event_batch

    def refuse(self: HeldEventLog, events: Sequence[dg.EventLogEntry]) -> None:
        if len(events) > 1:
            raise OSError("en grupo no")
        store(self, events)

    monkeypatch.setattr(HeldEventLog, "store_event_batch", refuse)
    result = run(instance, tell_all(["a", "b", "c"]))
    assert result.success
    assert log_of(instance, result.run_id) == ["a", "b", "c"]
    assert "en grupo no" in capsys.readouterr().err


def test_without_dagsters_batches_all_but_the_newest_are_stored_at_once(
    instance: dg.DagsterInstance, batches: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(BATCH_SIZE)
    seen = []

    def work(teller: Teller) -> None:
        for name in ("a", "b", "c"):
            teller.tell(made(name))
            seen.append(len(batches))

    result = run(instance, work)
    assert result.success
    assert seen == [0, 1, 2]
    assert batches == [["a"], ["b"], ["c"]]
