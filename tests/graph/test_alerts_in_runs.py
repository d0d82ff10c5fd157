"""Alerts in Dagster: a run looks and tells at its end whatever became of its files, and the sensor does with time.

That runs and ticks call the watch, and that it never fails them, belongs here; what it finds is `test_alerts.py`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from dagster._daemon.types import DaemonHeartbeat

from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import Pipeline, SteppingClock, record, report
from tests.support.receivers import WebhookReceiver, silent_server
from visitas_dagster.assets.walk import ORIGIN_TAG
from visitas_dagster.definitions import build_definitions
from visitas_dagster.jobs import JOB
from visitas_dagster.loading import tables
from visitas_dagster.partitions import ARCHIVOS
from visitas_dagster.resources import notifier
from visitas_dagster.sensors.alerts import INTERVAL_S, SENSOR, tick

NAMES = [f"report_{number}.txt" for number in range(1, 5)]
WRONG = report(record()).replace(b",jyv,", b",jk,", 1)

pytestmark = pytest.mark.databases("sqlite")


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def run_over_all(pipeline: Pipeline, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    instance.add_dynamic_partitions(ARCHIVOS, NAMES)
    job = build_definitions(pipeline.settings, clock=pipeline.clock).resolve_job_def(JOB)
    tags = {
        ASSET_PARTITION_RANGE_START_TAG: NAMES[0],
        ASSET_PARTITION_RANGE_END_TAG: NAMES[-1],
        ORIGIN_TAG: "servidor",
    }
    result: dg.ExecuteInProcessResult = job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)
    return result


def test_a_run_tells_of_its_failed_files_and_one_that_cures_them_of_that(
    database: Database,
    sftp_folder: SftpFolder,
    tmp_path: Path,
    instance: dg.DagsterInstance,
    webhook: WebhookReceiver,
) -> None:
    with Pipeline(database, sftp_folder, tmp_path, alerta_webhook=webhook.url) as pipeline:
        for name in NAMES[:3]:
            pipeline.deliver(name, WRONG)
        pipeline.deliver(NAMES[3], report(record()))
        assert not run_over_all(pipeline, instance).success
        for name in NAMES:
            pipeline.deliver(name, report(record(f"{name}@example.com")))
        assert run_over_all(pipeline, instance).success
    assert webhook.subjects == [
        "[visitas] ALERTA FALLO_LAYOUT: 3 archivos están en cuarentena: no se pueden leer como reportes",
        "[visitas] RECUPERADO FALLO_LAYOUT: ya no hay archivos en cuarentena por su formato",
    ]


def test_a_server_that_hangs_fails_no_run(
    database: Database,
    sftp_folder: SftpFolder,
    tmp_path: Path,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notifier, "TIMEOUT_S", 0.2)
    with (
        silent_server() as port,
        Pipeline(database, sftp_folder, tmp_path, alerta_webhook=f"http://127.0.0.1:{port}/") as pipeline,
    ):
        for name in NAMES:
            # Half of the records rejected: the files load, and their rate is an incident.
            pipeline.deliver(name, report(record(f"{name}@example.com"), record("sin arroba", jyv=name)))
        assert run_over_all(pipeline, instance).success
        (row,) = pipeline.rows(tables.incidentes, "tipo", "veces", "avisado")
        assert row == {"tipo": "TASA_ERROR", "veces": 4, "avisado": None}


def test_the_sensor_is_on_and_tells_of_what_time_shows_and_of_a_part_that_hangs(
    database: Database,
    sftp_folder: SftpFolder,
    tmp_path: Path,
    webhook: WebhookReceiver,
) -> None:
    clock = SteppingClock(datetime.now(UTC))
    with (
        dg.instance_for_test() as instance,
        Pipeline(database, sftp_folder, tmp_path, clock, alerta_webhook=webhook.url, alerta_espera_h=1) as pipeline,
    ):
        sensor = build_definitions(pipeline.settings, clock=clock).get_repository_def().get_sensor_def(SENSOR)
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
        assert sensor.minimum_interval_seconds == INTERVAL_S
        for part in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(clock().timestamp(), part, "x"))
        pipeline.deliver(NAMES[0], report(record()))
        assert tick(instance, pipeline.platform).skip_message == "revisado"
        assert webhook.subjects == []
        clock.advance(3700)
        instance.add_daemon_heartbeat(DaemonHeartbeat(clock().timestamp(), "SENSOR", "x"))
        tick(instance, pipeline.platform)
        tick(instance, pipeline.platform)
    assert sorted(subject.partition(":")[0] for subject in webhook.subjects) == [
        "[visitas] ALERTA DEMONIO",
        "[visitas] ALERTA ESPERA",
    ]
