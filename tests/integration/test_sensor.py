"""The sensor's tick over a real SFTP folder, a real ledger and a Dagster instance in memory.

Ticks, cursors and run requests belong here; what the runs do does not.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import Pipeline, SteppingClock, put, record, report
from visitas_dagster.assets.walk import BATCH_TAG, ORIGIN_TAG
from visitas_dagster.definitions import build_definitions
from visitas_dagster.domain.failures import PermanentFailure, TransientFailure
from visitas_dagster.jobs import JOB
from visitas_dagster.loading.ledger import Ledger
from visitas_dagster.loading.tables import metadata
from visitas_dagster.partitions import ARCHIVOS
from visitas_dagster.sensors import arrivals
from visitas_dagster.sensors.arrivals import SENSOR, tick
from visitas_dagster.steps.task import Source

WAIT_S = 30
FILES_A_RUN = 50

# A run may only be queued with the place where its code is.
_ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("visitas"), "__repository__"), JOB)
NAME = "report_1.txt"

# One engine is enough: what differs between them is tested with the ledger.
pytestmark = pytest.mark.databases("sqlite")


@pytest.fixture
def clock() -> SteppingClock:
    return SteppingClock()


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path, clock: SteppingClock) -> Iterator[Pipeline]:
    with Pipeline(
        database, sftp_folder, tmp_path, clock, espera_estable_s=WAIT_S, archivos_por_corrida=FILES_A_RUN
    ) as pipeline:
        yield pipeline


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


class Sensor:
    """Ticks, each with the cursor that the last one left, as the daemon does.

    Attributes:
        instance: the instance.
        cursor: that cursor.
    """

    def __init__(self, instance: dg.DagsterInstance, pipeline: Pipeline) -> None:
        self.cursor: str | None = None
        self.instance = instance
        self._pipeline = pipeline

    def tick(self) -> list[dg.RunRequest]:
        """Do one tick and what it asks for but the runs; return those."""
        result = tick(self.instance, self.cursor, self._pipeline.platform)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        for request in result.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        return list(result.run_requests or [])

    def start(self, request: dg.RunRequest, status: dg.DagsterRunStatus) -> dg.DagsterRun:
        """Put the run into the instance, in this state."""
        run = dg.DagsterRun(job_name=JOB, tags=dict(request.tags), status=status, remote_job_origin=_ORIGIN)
        return self.instance.add_run(run)


@pytest.fixture
def sensor(instance: dg.DagsterInstance, pipeline: Pipeline) -> Sensor:
    return Sensor(instance, pipeline)


def ranges(requests: list[dg.RunRequest]) -> list[tuple[str, str]]:
    """First and last partition of each run."""
    return [
        (
            request.partition_key or request.tags[ASSET_PARTITION_RANGE_START_TAG],
            request.partition_key or request.tags[ASSET_PARTITION_RANGE_END_TAG],
        )
        for request in requests
    ]


# -------------------------------------------------------------------------------------------------- settling


def test_a_file_is_taken_once_it_stood_still(sensor: Sensor, pipeline: Pipeline, clock: SteppingClock) -> None:
    pipeline.deliver(NAME, report(record()))
    assert sensor.tick() == []
    clock.advance(WAIT_S - 1)
    assert sensor.tick() == []
    clock.advance(2)
    (request,) = sensor.tick()
    assert request.partition_key == NAME
    assert request.tags[ORIGIN_TAG] == Source.SERVER.value
    assert len(request.tags[BATCH_TAG]) == 12


def test_a_file_that_grows_is_not_taken(sensor: Sensor, pipeline: Pipeline, clock: SteppingClock) -> None:
    mtime = pipeline.deliver(NAME, b"1")
    for size in range(2, 6):
        assert sensor.tick() == []
        clock.advance(WAIT_S - 1)
        # The same time: a sender may set whatever it likes, the size tells.
        pipeline.deliver(NAME, b"1" * size, mtime)
    assert sensor.tick() == []
    clock.advance(WAIT_S + 1)
    assert ranges(sensor.tick()) == [(NAME, NAME)]


def test_a_file_whose_time_changes_is_not_taken(sensor: Sensor, pipeline: Pipeline, clock: SteppingClock) -> None:
    for _ in range(4):
        pipeline.deliver(NAME, b"1")
        assert sensor.tick() == []
        clock.advance(WAIT_S + 1)
    assert ranges(sensor.tick()) == [(NAME, NAME)]


def test_a_servers_clock_does_not_matter(sensor: Sensor, pipeline: Pipeline, clock: SteppingClock) -> None:
    pipeline.deliver(NAME, b"1", mtime=0)
    pipeline.deliver("report_2.txt", b"1", mtime=4_000_000_000)
    assert sensor.tick() == []
    clock.advance(WAIT_S + 1)
    assert ranges(sensor.tick()) == [(NAME, NAME), ("report_2.txt", "report_2.txt")]


def test_a_cursor_that_cannot_be_read_costs_one_wait(sensor: Sensor, pipeline: Pipeline, clock: SteppingClock) -> None:
    pipeline.deliver(NAME, b"1")
    for text in (
        "",
        "nada",
        "[]",
        "7",
        '{"report_1.txt": 3}',
        '{"vistos": 3}',
        '{"vistos": {"report_1.txt": ["x"]}}',
        '{"vistos": {}, "ausentes": 3}',
    ):
        sensor.cursor = text
        assert sensor.tick() == []
    clock.advance(WAIT_S + 1)
    assert ranges(sensor.tick()) == [(NAME, NAME)]


def test_the_cursor_holds_what_is_on_the_server_only(sensor: Sensor, pipeline: Pipeline, clock: SteppingClock) -> None:
    pipeline.deliver(NAME, b"1")
    pipeline.deliver("report_2.txt", b"12")
    (pipeline.folder / "leeme.md").write_text("no es un reporte")
    sensor.tick()
    (pipeline.folder / "report_2.txt").unlink()
    sensor.tick()
    cursor = json.loads(sensor.cursor or "")
    assert {part: set(held) for part, held in cursor.items()} == {"vistos": {NAME}, "ausentes": set()}


def test_nothing_to_do_says_so(instance: dg.DagsterInstance, pipeline: Pipeline) -> None:
    pipeline.deliver(NAME, b"1")
    result = tick(instance, None, pipeline.platform)
    assert isinstance(result, dg.SensorResult)
    assert result.skip_reason is not None
    assert result.skip_reason.skip_message == "1 archivos en el servidor, ninguno nuevo y quieto"


# ------------------------------------------------------------------------------------------------------- runs


def arrive(sensor: Sensor, pipeline: Pipeline, clock: SteppingClock, names: list[str]) -> list[dg.RunRequest]:
    """Deliver files, let them settle, and return the runs that are asked for."""
    for name in names:
        put(pipeline.folder, name, report(record()))
    assert sensor.tick() == []
    clock.advance(WAIT_S + 1)
    return sensor.tick()


def test_few_files_get_a_run_each(sensor: Sensor, pipeline: Pipeline, clock: SteppingClock) -> None:
    names = [f"report_{number}.txt" for number in (3, 1, 2, 10, 9)]
    requests = arrive(sensor, pipeline, clock, names)
    # In the order of delivery, whatever the names.
    assert [request.partition_key for request in requests] == names
    assert len({request.tags[BATCH_TAG] for request in requests}) == 5


def test_many_files_get_runs_over_contiguous_partitions(
    sensor: Sensor, pipeline: Pipeline, clock: SteppingClock, instance: dg.DagsterInstance
) -> None:
    names = [f"report_{number}.txt" for number in range(1, 501)]
    requests = arrive(sensor, pipeline, clock, names)
    partitions = list(instance.get_dynamic_partitions(ARCHIVOS))
    assert partitions == names
    assert len(requests) == 10
    covered = []
    for start, end in ranges(requests):
        group = partitions[partitions.index(start) : partitions.index(end) + 1]
        assert len(group) == FILES_A_RUN
        covered += group
    assert covered == names
    assert {request.tags[ORIGIN_TAG] for request in requests} == {Source.SERVER.value}


def test_a_known_partition_that_is_not_wanted_splits_a_run(
    sensor: Sensor, pipeline: Pipeline, clock: SteppingClock, instance: dg.DagsterInstance
) -> None:
    known = [f"report_{number}.txt" for number in range(1, 10)]
    instance.add_dynamic_partitions(ARCHIVOS, known)
    wanted = [*known[:4], *known[5:], "report_20.txt"]
    assert ranges(arrive(sensor, pipeline, clock, wanted)) == [
        ("report_1.txt", "report_4.txt"),
        ("report_6.txt", "report_20.txt"),
    ]


def test_a_tick_asks_for_so_many_files_at_the_most(
    sensor: Sensor, pipeline: Pipeline, clock: SteppingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "MAX_FILES_A_TICK", 4)
    first = arrive(sensor, pipeline, clock, [f"report_{number}.txt" for number in range(1, 7)])
    assert ranges(first) == [(name, name) for name in ("report_1.txt", "report_2.txt", "report_3.txt", "report_4.txt")]
    for request in first:
        sensor.start(request, dg.DagsterRunStatus.QUEUED)
    assert ranges(sensor.tick()) == [("report_5.txt", "report_5.txt"), ("report_6.txt", "report_6.txt")]


@pytest.mark.parametrize(
    "status",
    [
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ],
)
def test_what_a_run_was_asked_for_is_not_asked_again(
    sensor: Sensor, pipeline: Pipeline, clock: SteppingClock, status: dg.DagsterRunStatus
) -> None:
    requests = arrive(sensor, pipeline, clock, [f"report_{number}.txt" for number in range(1, 9)])
    assert len(requests) == 1
    sensor.start(requests[0], status)
    for _ in range(3):
        assert sensor.tick() == []
        clock.advance(WAIT_S + 1)


@pytest.mark.parametrize(
    "status", [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.SUCCESS]
)
def test_what_a_dead_run_left_is_asked_for_again(
    sensor: Sensor, pipeline: Pipeline, clock: SteppingClock, status: dg.DagsterRunStatus
) -> None:
    (first,) = arrive(sensor, pipeline, clock, [NAME])
    sensor.start(first, status)
    (second,) = sensor.tick()
    assert second.partition_key == NAME
    assert second.tags[BATCH_TAG] != first.tags[BATCH_TAG]


def test_a_correction_is_asked_for_while_the_earlier_run_is_under_way(
    sensor: Sensor, pipeline: Pipeline, clock: SteppingClock
) -> None:
    (first,) = arrive(sensor, pipeline, clock, [NAME])
    sensor.start(first, dg.DagsterRunStatus.STARTED)
    pipeline.deliver(NAME, report(record("eva@example.net")))
    assert sensor.tick() == []
    clock.advance(WAIT_S + 1)
    assert ranges(sensor.tick()) == [(NAME, NAME)]


def test_a_finished_file_is_not_asked_for_until_it_comes_again(
    sensor: Sensor, pipeline: Pipeline, clock: SteppingClock
) -> None:
    arrive(sensor, pipeline, clock, [NAME])
    pipeline.run([NAME])
    assert sensor.tick() == []
    assert sensor.cursor == '{"vistos":{},"ausentes":{}}'
    assert ranges(arrive(sensor, pipeline, clock, [NAME])) == [(NAME, NAME)]


def test_a_file_that_failed_by_the_system_is_not_asked_for_again(
    sensor: Sensor, pipeline: Pipeline, clock: SteppingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrive(sensor, pipeline, clock, [NAME])

    def fail(*arguments: object, **options: object) -> None:
        raise PermanentFailure("no hay disco")

    with monkeypatch.context() as patched:
        patched.setattr("visitas_dagster.steps.load.load_file", fail)
        pipeline.run([NAME])
    assert pipeline.on_server() == {NAME}
    assert sensor.tick() == []
    clock.advance(24 * 3600)
    assert ranges(sensor.tick()) == [(NAME, NAME)]


def test_a_released_file_that_is_not_on_the_server_is_asked_for_once(
    sensor: Sensor, pipeline: Pipeline, clock: SteppingClock
) -> None:
    pipeline.deliver(NAME, b"nada\n")
    pipeline.run([NAME])
    assert sensor.tick() == []
    Ledger(pipeline.platform.engine, clock, pipeline.settings.zone).release(NAME, "ana")
    (request,) = sensor.tick()
    assert (request.partition_key, request.tags[ORIGIN_TAG]) == (NAME, Source.RETRY.value)
    sensor.start(request, dg.DagsterRunStatus.QUEUED)
    assert sensor.tick() == []
    pipeline.run([NAME], Source.RETRY)
    assert sensor.tick() == []


def test_what_a_dead_run_left_is_asked_for_though_its_sender_took_it_back(sensor: Sensor, pipeline: Pipeline) -> None:
    data = report(record())
    pipeline.deliver(NAME, data)
    with pipeline.tools() as tools:
        pipeline.validated(tools, NAME)
        (pipeline.folder / NAME).unlink()
        assert sensor.tick() == []
    (request,) = sensor.tick()
    assert (request.partition_key, request.tags[ORIGIN_TAG]) == (NAME, Source.RETRY.value)


# ------------------------------------------------------------------------------------------------------ faults


def test_a_server_that_is_down_skips_the_tick(
    database: Database, sftp_folder: SftpFolder, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    with Pipeline(database, sftp_folder, tmp_path, sftp_port=1) as pipeline:
        result = tick(instance, None, pipeline.platform)
    assert isinstance(result, dg.SkipReason)
    assert (result.skip_message or "").startswith("VISITAS_SFTP_HOST, VISITAS_SFTP_PORT: 127.0.0.1:1 no responde")


def test_a_skipped_tick_costs_no_wait(
    sensor: Sensor, pipeline: Pipeline, clock: SteppingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.deliver(NAME, b"1")
    sensor.tick()
    clock.advance(WAIT_S + 1)
    with monkeypatch.context() as patched:
        patched.setattr(pipeline.platform.sftp, "list", _no_answer)
        result = tick(sensor.instance, sensor.cursor, pipeline.platform)
    # Dagster keeps the cursor of a tick that is skipped for a reason.
    assert isinstance(result, dg.SkipReason)
    assert ranges(sensor.tick()) == [(NAME, NAME)]


def _no_answer() -> None:
    raise TransientFailure("no responde")


def test_an_unknown_host_key_fails_the_tick(
    database: Database, sftp_folder: SftpFolder, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text("")
    with (
        Pipeline(database, sftp_folder, tmp_path, sftp_known_hosts=known_hosts) as pipeline,
        pytest.raises(PermanentFailure, match=r"^VISITAS_SFTP_KNOWN_HOSTS: "),
    ):
        tick(instance, None, pipeline.platform)


def test_missing_tables_fail_the_tick(pipeline: Pipeline, sensor: Sensor) -> None:
    metadata.drop_all(pipeline.platform.engine)
    pipeline.deliver(NAME, b"1")
    with pytest.raises(PermanentFailure, match="faltan las tablas"):
        sensor.tick()


# ---------------------------------------------------------------------------------------------------- in Dagster


def test_the_sensor_is_on_and_asks_dagster_for_runs(pipeline: Pipeline, clock: SteppingClock) -> None:
    pipeline.deliver(NAME, b"1")
    repository = build_definitions(pipeline.settings, clock=clock).get_repository_def()
    sensor = repository.get_sensor_def(SENSOR)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == pipeline.settings.intervalo_sensor_s
    with dg.instance_for_test() as instance:

        def evaluate(cursor: str | None) -> SensorExecutionData:
            # As the daemon's own: only a context with a reference to the instance resolves new partitions.
            with dg.SensorEvaluationContext(
                instance_ref=instance.get_ref(),
                last_tick_completion_time=None,
                last_run_key=None,
                cursor=cursor,
                log_key=None,
                repository_name=repository.name,
                repository_def=repository,
                sensor_name=SENSOR,
            ) as context:
                return sensor.evaluate_tick(context)

        first = evaluate(None)
        assert first.run_requests == []
        clock.advance(WAIT_S + 1)
        second = evaluate(first.cursor)
    assert [request.partition_key for request in second.run_requests or []] == [NAME]
    (partitions,) = second.dynamic_partitions_requests or []
    assert (partitions.partitions_def_name, list(partitions.partition_keys)) == (ARCHIVOS, [NAME])
