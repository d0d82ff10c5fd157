"""The asset ``cierre_diario`` and its schedule: what a close shows in the web UI, and when it is asked for.

Events, metadata and ticks belong here; what a close does to folders and tables is tested without Dagster.
"""

import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import NOON, Pipeline, SteppingClock, record, report
from visitas_dagster.assets.closing import ASSET, FIRST_DAY, JOB
from visitas_dagster.closing.close import Closed
from visitas_dagster.definitions import build_definitions
from visitas_dagster.jobs import JOB as FILES_JOB
from visitas_dagster.loading import tables
from visitas_dagster.nightly import tell_dagster
from visitas_dagster.partitions import ARCHIVOS
from visitas_dagster.schedules import CRON, SCHEDULE

DAY = NOON.date()

pytestmark = pytest.mark.databases("sqlite")


@pytest.fixture
def clock() -> SteppingClock:
    return SteppingClock()


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path, clock: SteppingClock) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path, clock) as pipeline:
        yield pipeline


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def close(pipeline: Pipeline, instance: dg.DagsterInstance, day: date) -> dg.ExecuteInProcessResult:
    """Execute the job over a day, as the daemon's run does."""
    job = build_definitions(pipeline.settings, clock=pipeline.clock).resolve_job_def(JOB)
    result: dg.ExecuteInProcessResult = job.execute_in_process(
        instance=instance, partition_key=day.isoformat(), raise_on_error=False
    )
    return result


def shown(instance: dg.DagsterInstance, day: date) -> dict[str, Any]:
    """The metadata of the day's materialization."""
    found = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(ASSET), asset_partitions=[day.isoformat()]), limit=1
    )
    (record,) = found.records
    assert record.asset_materialization is not None
    return {name: value.value for name, value in record.asset_materialization.metadata.items()}


def at_two(day: date, clock: SteppingClock, pipeline: Pipeline) -> datetime:
    """Move the clock to two in the morning of a day; return the moment."""
    moment = datetime(day.year, day.month, day.day, 2, tzinfo=pipeline.settings.zone).astimezone(UTC)
    clock.set(moment)
    return moment


def test_a_close_takes_what_is_pending_in_runs_of_its_own_and_shows_what_it_did(
    pipeline: Pipeline, instance: dg.DagsterInstance, clock: SteppingClock
) -> None:
    pipeline.deliver("report_1.txt", report(record()))
    pipeline.run_pass()
    pipeline.deliver("report_2.txt", report(record("luis@example.org")))
    at_two(DAY + timedelta(days=1), clock, pipeline)

    assert close(pipeline, instance, DAY).success

    (told,) = [run for run in instance.get_runs() if run.job_name == JOB]
    said = [entry.user_message for entry in instance.all_logs(told.run_id)]
    assert "pendientes: {'archivos': 1, 'estados': {'COMPLETADO': 1}, 'siguen_llegando': 0}" in said
    (run,) = instance.get_runs(dg.RunsFilter(job_name=FILES_JOB))
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert pipeline.on_server() == set()
    metadata = shown(instance, DAY)
    folders = pipeline.platform.folders
    assert metadata["pendientes/archivos"] == 1
    assert metadata["pendientes/estados"] == {"COMPLETADO": 1}
    assert metadata["respaldo/miembros"] == metadata["respaldo/agregados"] == 1
    assert metadata["respaldo"] == str(folders.backup / "backup_20240314.zip")
    assert metadata["reporte_diario"] == str(folders.reportes / "diario_20240314.html")
    assert metadata["reporte_mensual_csv"] == str(folders.reportes / "mensual_202403.csv")
    assert all(Path(metadata[name]).is_file() for name in metadata if name.startswith("reporte_"))
    (row,) = pipeline.rows(tables.cierres)
    assert (row["fecha"], row["estado"], row["intentos"], row["mensaje"]) == (DAY, "COMPLETADO", 1, None)
    assert row["detalle"]["respaldo"] == {
        "zip": "backup_20240314.zip",
        "agregados": 1,
        "miembros": 1,
        "quedan_sueltos": 0,
    }


def test_a_step_that_fails_makes_the_run_fail_and_the_others_are_done(
    pipeline: Pipeline, instance: dg.DagsterInstance, clock: SteppingClock
) -> None:
    pipeline.deliver("report_1.txt", report(record()))
    pipeline.run_pass()
    pipeline.folder.rename(pipeline.folder.with_name("se_fue"))
    at_two(DAY + timedelta(days=1), clock, pipeline)

    result = close(pipeline, instance, DAY)

    assert not result.success
    (row,) = pipeline.rows(tables.cierres)
    assert row["estado"] == "FALLO"
    assert row["mensaje"].startswith("pendientes: VISITAS_SFTP_DIR")
    with zipfile.ZipFile(pipeline.platform.folders.backup / "backup_20240314.zip") as archive:
        assert len(archive.namelist()) == 2
    assert (pipeline.platform.folders.reportes / "diario_20240314.html").is_file()


def test_the_schedule_is_at_two_in_the_operators_zone(pipeline: Pipeline) -> None:
    schedule = build_definitions(pipeline.settings).get_repository_def().get_schedule_def(SCHEDULE)
    assert CRON == "0 2 * * *"
    assert schedule.cron_schedule == CRON
    assert schedule.execution_timezone == "America/Mexico_City"
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert schedule.job_name == JOB


def asked(pipeline: Pipeline, instance: dg.DagsterInstance, moment: datetime) -> list[tuple[str | None, str | None]]:
    """Partition and run key of each run that the schedule asks for at this moment."""
    repository = build_definitions(pipeline.settings, clock=pipeline.clock).get_repository_def()
    schedule = repository.get_schedule_def(SCHEDULE)
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=moment, repository_def=repository)
    requests = schedule.evaluate_tick(context).run_requests or []
    return [(request.partition_key, request.run_key) for request in requests]


def test_the_schedule_asks_for_yesterday_and_the_missed_days(
    pipeline: Pipeline, instance: dg.DagsterInstance, clock: SteppingClock
) -> None:
    pipeline.deliver("report_1.txt", report(record()))
    pipeline.run_pass()
    moment = at_two(DAY + timedelta(days=3), clock, pipeline)
    assert asked(pipeline, instance, moment) == [
        ("2024-03-14", "2024-03-17:2024-03-14"),
        ("2024-03-16", "2024-03-17:2024-03-16"),
    ]
    assert close(pipeline, instance, DAY).success
    assert asked(pipeline, instance, moment) == [("2024-03-16", "2024-03-17:2024-03-16")]


def test_a_database_that_does_not_answer_still_has_yesterday_asked_for(
    pipeline: Pipeline, instance: dg.DagsterInstance, clock: SteppingClock
) -> None:
    moment = at_two(DAY + timedelta(days=1), clock, pipeline)
    with pipeline.platform.engine.begin() as connection:
        tables.cierres.drop(connection)
    assert asked(pipeline, instance, moment) == [("2024-03-14", "2024-03-15:2024-03-14")]


def test_every_day_since_the_first_has_a_partition_and_today_too(pipeline: Pipeline) -> None:
    definitions = build_definitions(pipeline.settings)
    partitions = definitions.resolve_assets_def(ASSET).partitions_def
    assert isinstance(partitions, dg.DailyPartitionsDefinition)
    keys = partitions.get_partition_keys(current_time=NOON)
    assert (keys[0], keys[-1]) == (FIRST_DAY.isoformat(), DAY.isoformat())


def test_partitions_of_files_past_their_time_go_and_a_redelivery_registers_anew(
    pipeline: Pipeline, instance: dg.DagsterInstance, clock: SteppingClock
) -> None:
    for name in ("report_1.txt", "report_2.txt"):
        pipeline.deliver(name, report(record(f"{name}@example.com")))
    pipeline.deliver("report_3.txt", b"nada\n")
    pipeline.run_pass()
    instance.add_dynamic_partitions(ARCHIVOS, ["report_1.txt", "report_2.txt", "report_3.txt", "report_4.txt"])
    assert close_at(pipeline, instance, clock, DAY + timedelta(days=1)).success

    keep = pipeline.settings.retencion_backup_dias
    assert close_at(pipeline, instance, clock, DAY + timedelta(days=keep)).success
    assert len(instance.get_dynamic_partitions(ARCHIVOS)) == 4
    assert close_at(pipeline, instance, clock, DAY + timedelta(days=keep + 1)).success
    # The one whose layout failed waits in quarantine; of the last nobody knows a thing.
    assert list(instance.get_dynamic_partitions(ARCHIVOS)) == ["report_3.txt", "report_4.txt"]

    pipeline.deliver("report_1.txt", report(record("otra@example.com")))
    assert close_at(pipeline, instance, clock, DAY + timedelta(days=keep + 2)).success
    assert list(instance.get_dynamic_partitions(ARCHIVOS)) == ["report_3.txt", "report_4.txt", "report_1.txt"]


def close_at(
    pipeline: Pipeline, instance: dg.DagsterInstance, clock: SteppingClock, day: date
) -> dg.ExecuteInProcessResult:
    """Close the day before, at two in the morning of this one."""
    at_two(day, clock, pipeline)
    return close(pipeline, instance, day - timedelta(days=1))


def test_a_day_before_the_first_partition_is_not_shown(instance: dg.DagsterInstance) -> None:
    for day in (FIRST_DAY - timedelta(days=1), FIRST_DAY):
        tell_dagster(instance, Closed(day))
    assert instance.get_materialized_partitions(dg.AssetKey(ASSET)) == {FIRST_DAY.isoformat()}
