"""The Dagster graph, executed in this process: which partitions are made, what is shown of them, what fails.

Events, metadata and checks belong here; what the steps do is tested without Dagster.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan, execute_plan
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import Pipeline, record, report, sha256
from visitas_dagster.assets import checks
from visitas_dagster.assets.closing import ASSET as CLOSE
from visitas_dagster.assets.closing import JOB as CLOSE_JOB
from visitas_dagster.assets.graph import ASSETS
from visitas_dagster.assets.walk import ORIGIN_TAG
from visitas_dagster.definitions import build_definitions
from visitas_dagster.domain.failures import PermanentFailure
from visitas_dagster.domain.states import Estado
from visitas_dagster.instance import POOL_DATABASE, POOL_SFTP
from visitas_dagster.jobs import JOB
from visitas_dagster.loading import tables
from visitas_dagster.partitions import ARCHIVOS, archivos
from visitas_dagster.steps.task import Source
from visitas_dagster.steps.validate import validate

GOOD, SOME_BAD, MOST_BAD, WRONG, COPY, EMPTY = (f"report_{number}.txt" for number in range(1, 7))

FILES = {
    GOOD: report(record("ana@example.com"), record("luis@example.org"), record("ana@example.com")),
    SOME_BAD: report(*[record("eva@example.net")] * 19, record("sin arroba")),
    MOST_BAD: report(record("<script>@x"), record(opens="-1"), record("no es", opens="x"), record("sol@example.com")),
    WRONG: report(record()).replace(b",jyv,", b",jk,", 1),
    COPY: report(record("ana@example.com"), record("luis@example.org"), record("ana@example.com")),
    EMPTY: report(),
}

pytestmark = pytest.mark.databases("sqlite")


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path) as pipeline:
        yield pipeline


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@dataclass(frozen=True)
class Run:
    """A run that ended, and the instance that keeps its events.

    Attributes:
        result: what the execution gave back.
        instance: where it ran.
    """

    result: dg.ExecuteInProcessResult
    instance: dg.DagsterInstance

    @property
    def success(self) -> bool:
        """Whether it ended well."""
        return self.result.success

    @property
    def run_id(self) -> str:
        """Its id."""
        return self.result.run_id

    def logged(self, kind: dg.DagsterEventType) -> list[dg.DagsterEvent]:
        """Its events of a kind, as Dagster keeps and shows them: those of a failed step are there as well."""
        entries = self.instance.all_logs(self.run_id, of_type=kind)
        return [entry.dagster_event for entry in entries if entry.dagster_event is not None]


def job_of(pipeline: Pipeline) -> Any:
    return build_definitions(pipeline.settings, clock=pipeline.clock).resolve_job_def(JOB)


def execute(
    pipeline: Pipeline, instance: dg.DagsterInstance, first: str, last: str, source: Source | None = Source.SERVER
) -> Run:
    """Run the job over a range of partitions, which are registered if need be."""
    instance.add_dynamic_partitions(ARCHIVOS, [*FILES])
    tags = {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
    if source is not None:
        tags[ORIGIN_TAG] = source.value
    result: dg.ExecuteInProcessResult = job_of(pipeline).execute_in_process(
        instance=instance, tags=tags, raise_on_error=False
    )
    return Run(result, instance)


@pytest.fixture
def run(pipeline: Pipeline, instance: dg.DagsterInstance) -> Run:
    """Give the run over six files, one of them with a wrong header."""
    for name, data in FILES.items():
        pipeline.deliver(name, data)
    return execute(pipeline, instance, GOOD, EMPTY)


def materialized(run: Run, asset: str) -> dict[str, Mapping[str, Any]]:
    """The metadata of an asset's materializations, by partition."""
    found: dict[str, Mapping[str, Any]] = {}
    for event in run.logged(dg.DagsterEventType.ASSET_MATERIALIZATION):
        made = event.step_materialization_data.materialization
        if made.asset_key == dg.AssetKey(asset):
            assert made.partition is not None
            assert made.partition not in found
            found[made.partition] = {name: value.value for name, value in made.metadata.items()}
    return found


def evaluations(run: Run, name: str) -> dict[str | None, tuple[bool, str]]:
    """Whether a check passed, and its severity, by partition."""
    found = {}
    for event in run.logged(dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        evaluation = event.asset_check_evaluation_data
        if evaluation.check_name == name:
            assert evaluation.partition not in found
            found[evaluation.partition] = (evaluation.passed, evaluation.severity.value)
    return found


# ------------------------------------------------------------------------------------------------- partitions


def test_each_file_makes_its_own_partitions(run: Run) -> None:
    made = {asset: set(materialized(run, asset)) for asset in ASSETS}
    assert made == {
        "raw_file": set(FILES),
        **dict.fromkeys(ASSETS[1:], set(FILES) - {WRONG}),
    }


def test_dagster_knows_which_partitions_are_there(run: Run, instance: dg.DagsterInstance) -> None:
    there = {asset: instance.get_materialized_partitions(dg.AssetKey(asset)) for asset in ASSETS}
    assert there == {"raw_file": set(FILES), **dict.fromkeys(ASSETS[1:], set(FILES) - {WRONG})}


def test_the_run_fails_and_names_the_failed_file_only(run: Run, instance: dg.DagsterInstance) -> None:
    assert not run.success
    (failed,) = [event for event in run.result.all_node_events if event.is_step_failure]
    assert failed.node_name == "archivar"
    reason = failed.step_failure_data.user_failure_data
    assert reason is not None
    assert reason.description is not None
    assert reason.description.startswith(f"{WRONG}: Faltan columnas: jyv.")
    assert "\n" not in reason.description
    assert list(reason.metadata) == [WRONG]
    assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]


def test_the_steps_that_had_work_for_other_files_do_not_fail(run: Run) -> None:
    done = {event.node_name for event in run.result.all_node_events if event.is_step_success}
    assert done == {"descargar", "validar", "cargar"}
    assert not [event for event in run.result.all_node_events if event.is_step_up_for_retry]


def test_the_files_end_as_they_would_without_dagster(run: Run, pipeline: Pipeline) -> None:
    assert {name: (estado, vigente) for name, estado, vigente in pipeline.states()} == {
        GOOD: ("COMPLETADO", True),
        SOME_BAD: ("COMPLETADO_CON_ERRORES", True),
        MOST_BAD: ("COMPLETADO_CON_ERRORES", True),
        WRONG: ("FALLO_LAYOUT", True),
        COPY: ("DUPLICADO", True),
        EMPTY: ("COMPLETADO", True),
    }
    assert {row["run_id"] for row in pipeline.rows(tables.bitacora_control)} == {run.run_id}
    assert pipeline.broken_promises() == []
    assert pipeline.on_server() == set()


def test_a_run_without_failures_succeeds(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    for name in (GOOD, SOME_BAD, MOST_BAD):
        pipeline.deliver(name, FILES[name])
    assert execute(pipeline, instance, GOOD, MOST_BAD).success


def test_a_run_takes_its_partitions_and_no_other(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    for name, data in FILES.items():
        pipeline.deliver(name, data)
    run = execute(pipeline, instance, SOME_BAD, MOST_BAD)
    assert set(materialized(run, "visitantes")) == {SOME_BAD, MOST_BAD}
    assert pipeline.on_server() == {GOOD, WRONG, COPY, EMPTY}


def test_one_partition_by_its_key(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions(ARCHIVOS, [GOOD])
    pipeline.deliver(GOOD, FILES[GOOD])
    result = job_of(pipeline).execute_in_process(
        instance=instance, partition_key=GOOD, tags={ORIGIN_TAG: Source.SERVER.value}
    )
    run = Run(result, instance)
    assert set(materialized(run, "estadisticas")) == {GOOD}
    assert pipeline.states() == [(GOOD, "COMPLETADO", True)]


# --------------------------------------------------------------------------------------------------- metadata


def test_what_is_shown_of_the_bytes(run: Run) -> None:
    shown = materialized(run, "raw_file")[SOME_BAD]
    assert {name: shown[name] for name in ("bytes", "sha256", "codificacion", "origen", "intentos")} == {
        "bytes": len(FILES[SOME_BAD]),
        "sha256": sha256(FILES[SOME_BAD]),
        "codificacion": "utf-8",
        "origen": "servidor SFTP",
        "intentos": 1,
    }


@pytest.mark.parametrize(
    ("name", "valid", "total", "rate"),
    [(GOOD, 3, 3, 0.0), (SOME_BAD, 19, 20, 0.05), (MOST_BAD, 1, 4, 0.75), (EMPTY, 0, 0, 0.0)],
)
def test_what_is_shown_of_the_records(run: Run, name: str, valid: int, total: int, rate: float) -> None:
    shown = materialized(run, "validated_records")[name]
    assert shown["dagster/row_count"] == valid
    assert (shown["registros_total"], shown["registros_invalidos"]) == (total, total - valid)
    assert shown["tasa_error"] == pytest.approx(rate)
    assert ("primeros_rechazos" in shown) == (valid < total)


@pytest.mark.parametrize("asset", ["validated_records", "errores"])
def test_rejects_are_shown_as_a_table(run: Run, asset: str) -> None:
    shown = materialized(run, asset)[MOST_BAD]
    rejects = [dict(row.data) for row in shown["primeros_rechazos"].records]
    assert rejects == [
        {"linea": 2, "tipo_error": "EMAIL_INVALIDO", "campo": "email", "valor": "<xxxxxx>@x"},
        {"linea": 3, "tipo_error": "ENTERO_INVALIDO", "campo": "Opens", "valor": "-1"},
        {"linea": 4, "tipo_error": "EMAIL_INVALIDO", "campo": "email", "valor": "xx xx"},
    ]
    chart, _, table = shown["tipos_de_error"].partition("\n\n")
    assert chart.startswith("![Errores por tipo](data:image/svg+xml;base64,")
    assert table.splitlines()[2:] == ["| EMAIL_INVALIDO | 2 |", "| ENTERO_INVALIDO | 1 |"]


def test_what_is_shown_of_the_tables(run: Run, pipeline: Pipeline) -> None:
    entries = {row["archivo"]: row["id"] for row in pipeline.rows(tables.bitacora_control)}
    assert materialized(run, "errores")[SOME_BAD]["dagster/row_count"] == 1
    assert materialized(run, "errores")[SOME_BAD]["archivo_id"] == entries[SOME_BAD]
    assert materialized(run, "estadisticas")[SOME_BAD]["dagster/row_count"] == 19
    assert materialized(run, "visitantes")[GOOD] == {
        "estado": "COMPLETADO",
        "archivo_id": entries[GOOD],
        "visitantes_nuevos": 2,
        "visitantes_actualizados": 0,
    }
    copy = materialized(run, "estadisticas")[COPY]
    assert (copy["estado"], copy["mismo_contenido_que"], copy["dagster/row_count"]) == ("DUPLICADO", GOOD, 0)
    assert "dagster/row_count" not in materialized(run, "errores")[COPY]


def test_a_correction_shows_what_it_replaces(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    pipeline.deliver(GOOD, FILES[GOOD])
    execute(pipeline, instance, GOOD, GOOD)
    pipeline.deliver(GOOD, FILES[SOME_BAD])
    run = execute(pipeline, instance, GOOD, GOOD)
    first, second = pipeline.rows(tables.bitacora_control)
    assert materialized(run, "estadisticas")[GOOD]["reemplaza_a"] == first["id"]
    assert second["reemplaza_a"] == first["id"]


# ----------------------------------------------------------------------------------------------------- checks


def test_the_header_is_checked_file_by_file(run: Run) -> None:
    assert evaluations(run, checks.LAYOUT.name) == {
        **dict.fromkeys(FILES, (True, "ERROR")),
        WRONG: (False, "ERROR"),
    }


def test_the_error_rate_warns_file_by_file(run: Run) -> None:
    found = evaluations(run, checks.ERROR_RATE.name)
    assert {name: found[name] for name in FILES if name != WRONG} == {
        GOOD: (True, "WARN"),
        SOME_BAD: (True, "WARN"),
        MOST_BAD: (False, "WARN"),
        COPY: (True, "WARN"),
        EMPTY: (True, "WARN"),
    }
    assert not found.get(WRONG, (False, ""))[0]


def test_the_ledger_is_compared_with_the_tables_file_by_file(run: Run) -> None:
    assert evaluations(run, checks.LEDGER.name) == {name: (True, "ERROR") for name in FILES if name != WRONG}


def test_rows_that_are_missing_fail_the_ledgers_check(
    pipeline: Pipeline, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.deliver(GOOD, FILES[GOOD])
    monkeypatch.setattr(
        "visitas_dagster.loading.history.History.standing",
        lambda history, entry_ids: dict.fromkeys(entry_ids, (2, 0)),
    )
    run = execute(pipeline, instance, GOOD, GOOD)
    assert evaluations(run, checks.LEDGER.name) == {GOOD: (False, "ERROR")}


# ---------------------------------------------------------------------------------------------- ways to start


def test_a_run_that_begins_in_the_middle_says_what_to_do(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions(ARCHIVOS, [GOOD])
    pipeline.deliver(GOOD, FILES[GOOD])
    job = job_of(pipeline)
    plan = create_execution_plan(job, step_keys_to_execute=["procesar_archivo.validar"])
    run = instance.create_run_for_job(job, execution_plan=plan, tags={"dagster/partition": GOOD})
    events = execute_plan(plan, InMemoryJob(job), instance, run)
    (failed,) = [event for event in events if event.is_step_failure]
    assert "Esta corrida no puede seguir a la mitad de otra: use «Re-execute all» (repetir todo)." in str(
        failed.step_failure_data
    )
    assert pipeline.on_server() == {GOOD}
    assert pipeline.rows(tables.bitacora_control) == []


def test_a_backfill_from_the_web_interface_is_a_replay(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    pipeline.deliver(GOOD, FILES[GOOD])
    execute(pipeline, instance, GOOD, GOOD)
    run = execute(pipeline, instance, GOOD, GOOD, source=None)
    assert run.success
    assert materialized(run, "raw_file")[GOOD]["origen"] == "copia local (cuarentena o respaldo)"
    assert materialized(run, "estadisticas")[GOOD]["dagster/row_count"] == 3
    (row,) = pipeline.rows(tables.bitacora_control)
    assert (row["estado"], row["intentos"], row["run_id"]) == (Estado.COMPLETADO, 2, run.run_id)


def test_a_sensors_run_over_what_is_gone_does_nothing(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    run = execute(pipeline, instance, GOOD, GOOD)
    assert run.success
    assert run.logged(dg.DagsterEventType.ASSET_MATERIALIZATION) == []
    assert pipeline.rows(tables.bitacora_control) == []


def test_a_fault_in_one_file_leaves_the_others(
    pipeline: Pipeline, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (GOOD, SOME_BAD, MOST_BAD):
        pipeline.deliver(name, FILES[name])

    def fail_once(tools: Any, task: Any) -> None:
        if task.archivo == SOME_BAD:
            raise MemoryError
        validate(tools, task)

    monkeypatch.setattr("visitas_dagster.assets.validated_records.validate", fail_once)
    run = execute(pipeline, instance, GOOD, MOST_BAD)
    assert set(materialized(run, "visitantes")) == {GOOD, MOST_BAD}
    assert [estado for _, estado, _ in pipeline.states()] == [
        "COMPLETADO",
        "FALLO_SISTEMA",
        "COMPLETADO_CON_ERRORES",
    ]
    assert pipeline.on_server() == {SOME_BAD}
    assert pipeline.quarantine("sistema") == {sha256(FILES[SOME_BAD])}


def test_a_file_that_cannot_be_removed_is_loaded_and_told(
    pipeline: Pipeline, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Any, archivo: str) -> None:
        raise PermanentFailure("no da permiso")

    monkeypatch.setattr("visitas_dagster.resources.sftp.SftpFolder.remove", refuse)
    pipeline.deliver(GOOD, FILES[GOOD])
    run = execute(pipeline, instance, GOOD, GOOD)
    assert not run.success
    assert set(materialized(run, "visitantes")) == {GOOD}
    (row,) = pipeline.rows(tables.bitacora_control)
    assert (row["estado"], row["mensaje"]) == ("COMPLETADO", "sigue en el servidor: no da permiso")
    assert pipeline.backups() == {sha256(FILES[GOOD])}
    # Nobody asks for it again until a person did something.
    assert pipeline.run_pass() == []


# ------------------------------------------------------------------------------------------------ definitions


def test_the_definitions_hang_together(pipeline: Pipeline) -> None:
    definitions = build_definitions(pipeline.settings, clock=pipeline.clock)
    dg.Definitions.validate_loadable(definitions)
    graph = definitions.resolve_asset_graph()
    upstream = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    assert upstream == {
        "raw_file": set(),
        "validated_records": {"raw_file"},
        "errores": {"validated_records"},
        "estadisticas": {"validated_records"},
        "visitantes": {"estadisticas"},
        CLOSE: set(),
    }
    assert {key.name for key in graph.asset_check_keys} == {spec.name for spec in checks.ALL}
    assert {graph.get(dg.AssetKey(name)).partitions_def for name in ASSETS} == {archivos}


def test_the_ops_that_connect_stand_in_a_pool(pipeline: Pipeline) -> None:
    pools = {handle.name: op.pool for handle, op in _ops(job_of(pipeline))}
    assert pools == {"descargar": POOL_SFTP, "validar": None, "cargar": POOL_DATABASE, "archivar": POOL_SFTP}


def _ops(job: Any) -> Iterator[tuple[Any, Any]]:
    for node in job.graph.node_dict["procesar_archivo"].definition.node_dict.values():
        yield node, node.definition


def test_a_backfills_run_is_one_process_too(pipeline: Pipeline) -> None:
    """The web UI's backfills run in Dagster's own job, which would else take a process a step."""
    repository = build_definitions(pipeline.settings).get_repository_def()
    jobs = {job.name: job.executor_def.name for job in repository.get_all_jobs()}
    assert jobs == {JOB: "in_process", CLOSE_JOB: "in_process", "__ASSET_JOB": "in_process"}
