"""What stands in the logs after runs over files of every fate, executed in this process.

Which fact is told where belongs here; the form of a line and the disk's faults are unit tests.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import Pipeline, record, report, sha256
from visitas_dagster.assets.walk import ORIGIN_TAG
from visitas_dagster.jobs import JOB
from visitas_dagster.partitions import ARCHIVOS
from visitas_dagster.processing import build_processing
from visitas_dagster.resources.sftp import SftpFolder as Sftp
from visitas_dagster.settings import JSON_LINES
from visitas_dagster.steps.task import Source

GOOD, SOME_BAD, WRONG, COPY, AGAIN = (f"report_{number}.txt" for number in range(1, 6))
FILES = {
    GOOD: report(record("ana@example.com"), record("luis@example.org"), record("ana@example.com")),
    SOME_BAD: report(*[record("eva@example.net")] * 3, record("<b>@x"), record(opens="-1")),
    WRONG: report(record()).replace(b",jyv,", b",correo@example.com,", 1),
    COPY: report(record("ana@example.com"), record("luis@example.org"), record("ana@example.com")),
}
DAY = "20240314"

pytestmark = pytest.mark.databases("sqlite")


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path, log_formato=JSON_LINES) as pipeline:
        yield pipeline


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def run(pipeline: Pipeline, instance: dg.DagsterInstance, first: str, last: str) -> str:
    """Run the job over a range of partitions; return the run's id."""
    instance.add_dynamic_partitions(ARCHIVOS, [*FILES])
    tags = {
        ASSET_PARTITION_RANGE_START_TAG: first,
        ASSET_PARTITION_RANGE_END_TAG: last,
        ORIGIN_TAG: Source.SERVER.value,
    }
    job: Any = build_processing(pipeline.settings, clock=pipeline.clock).resolve_job_def(JOB)
    ended: dg.ExecuteInProcessResult = job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)
    return ended.run_id


def lines(pipeline: Pipeline, name: str) -> list[dict[str, str]]:
    """The lines of a log of the day, each read as JSON."""
    text = (pipeline.settings.home / "logs" / DAY / name).read_text()
    return [json.loads(line) for line in text.splitlines()]


def told(pipeline: Pipeline, archivo: str) -> list[tuple[str, str]]:
    """``(step, message)`` of a file's log, its name taken off."""
    found = lines(pipeline, f"{archivo.removesuffix('.txt')}.log")
    return [(line["paso"], line["mensaje"].removeprefix(f"{archivo}: ")) for line in found]


@pytest.fixture
def ran(pipeline: Pipeline, instance: dg.DagsterInstance) -> str:
    """Run over the four files; give the run's id."""
    for name, data in FILES.items():
        pipeline.deliver(name, data)
    return run(pipeline, instance, GOOD, COPY)


def test_a_loaded_file_tells_its_whole_way(pipeline: Pipeline, ran: str) -> None:
    digest = sha256(FILES[GOOD])[:12]
    assert told(pipeline, GOOD) == [
        (
            "descargar",
            f"descargado del servidor: {len(FILES[GOOD])} bytes, sha256 {digest}, utf-8, intento 1",
        ),
        ("validar", "validado: 3 registros, 3 válidos, 0 rechazados"),
        ("cargar", "cargado: COMPLETADO, 3 visitas, 0 rechazos, 2 visitantes nuevos, 0 conocidos"),
        ("archivar", f"copia en backup/{DAY}/report_1__{digest}.txt"),
        ("archivar", "quitado del servidor"),
    ]


def test_every_line_bears_the_run_and_the_time_of_the_zone(pipeline: Pipeline, ran: str) -> None:
    for name in ("report_1.log", "report_3.log", f"orchestrator_{DAY}.log"):
        for line in lines(pipeline, name):
            assert re.fullmatch(r"2024-03-14T12:00:\d\d\.\d{3}-06:00", line["momento"])
            if line["paso"] not in {"vigilancia", "alertas"}:
                assert line["corrida"] == ran


def test_rejected_records_are_told_by_kind(pipeline: Pipeline, ran: str) -> None:
    assert (
        "validar",
        "validado: 5 registros, 3 válidos, 2 rechazados; rechazos: EMAIL_INVALIDO 1, ENTERO_INVALIDO 1",
    ) in told(pipeline, SOME_BAD)


def test_a_wrong_layout_tells_its_reason_masked_and_where_it_is(pipeline: Pipeline, ran: str) -> None:
    digest = sha256(FILES[WRONG])[:12]
    found = told(pipeline, WRONG)
    assert [step for step, _ in found] == ["descargar", "validar", "archivar", "archivar", "archivar"]
    assert found[1][1].startswith("FALLO_LAYOUT: Faltan columnas: jyv. Columnas desconocidas: «xxxxxx@xxxxxxx.xxx»")
    assert found[3][1] == f"copia en cuarentena/layout/report_3__{digest}.txt"
    assert [line["nivel"] for line in lines(pipeline, "report_3.log")].count("ERROR") == 1


def test_a_duplicate_names_the_file_that_carries_its_content(pipeline: Pipeline, ran: str) -> None:
    assert ("cargar", f"DUPLICADO: mismo contenido que {GOOD}") in told(pipeline, COPY)


def test_the_orchestrators_log_tells_of_the_run_and_of_no_single_file(pipeline: Pipeline, ran: str) -> None:
    found = lines(pipeline, f"orchestrator_{DAY}.log")
    told_of_run = [line["mensaje"] for line in found if line["paso"] in {"descargar", "archivar"}]
    assert told_of_run == [
        "corrida iniciada: archivos: 4, origen: servidor",
        "corrida terminada: COMPLETADO 1, COMPLETADO_CON_ERRORES 1, DUPLICADO 1, FALLO_LAYOUT 1",
        'Execution of step "procesar_archivo.archivar" failed.',
    ]
    assert not [line for line in found if "archivo" in line]


def test_what_dagster_remarks_on_an_op_is_left_to_its_web_interface(pipeline: Pipeline, ran: str) -> None:
    pipeline.deliver(GOOD, FILES[GOOD])
    with dg.DagsterInstance.ephemeral() as instance:
        again = run(pipeline, instance, GOOD, GOOD)
        remarks = [entry.user_message for entry in instance.all_logs(again) if "did not yield" in entry.user_message]
    assert remarks
    assert not [line for line in lines(pipeline, f"orchestrator_{DAY}.log") if "did not yield" in line["mensaje"]]


def test_a_delivery_that_changes_nothing_says_so(pipeline: Pipeline, instance: dg.DagsterInstance, ran: str) -> None:
    pipeline.deliver(GOOD, FILES[GOOD])
    run(pipeline, instance, GOOD, GOOD)
    again = told(pipeline, GOOD)[5:]
    assert [step for step, _ in again] == ["descargar", "archivar"]
    assert again[0][1].endswith(", intento 2; ya cargado con este nombre: no cambia nada")


def test_what_another_run_finished_says_so(pipeline: Pipeline, instance: dg.DagsterInstance, ran: str) -> None:
    run(pipeline, instance, GOOD, GOOD)
    assert told(pipeline, GOOD)[5:] == [("descargar", "ya no está en el servidor: otra corrida lo terminó")]


def test_retries_and_the_failure_after_them_stand_with_the_file(
    pipeline: Pipeline, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.deliver(GOOD, FILES[GOOD])

    def refused(*_: object, **__: object) -> None:
        raise ConnectionResetError(104, "reset")

    monkeypatch.setattr("visitas_dagster.resources.sftp.read_pieces", refused)
    run(pipeline, instance, GOOD, GOOD)
    found = lines(pipeline, "report_1.log")
    assert [line["nivel"] for line in found] == ["WARNING", "WARNING", "ERROR"]
    assert "intento 1 de 3" in found[0]["mensaje"]
    assert "intento 2 de 3" in found[1]["mensaje"]
    assert "la conexión se cortó" in found[2]["mensaje"]
    assert {line["paso"] for line in found} == {"descargar"}


def test_an_unexpected_error_leaves_its_traceback_with_the_file(
    pipeline: Pipeline, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.deliver(GOOD, FILES[GOOD])

    def broken(*_: object) -> None:
        raise RuntimeError("ana@example.com rompió algo")

    monkeypatch.setattr(Sftp, "download", broken)
    run(pipeline, instance, GOOD, GOOD)
    first = lines(pipeline, "report_1.log")[0]
    whole = first["mensaje"] + first.get("traza", "")
    assert "Traceback" in whole
    assert "xxx@xxxxxxx.xxx rompió algo" in whole
    assert "ana@" not in whole


def test_a_full_disk_of_logs_fails_no_run(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    day = pipeline.settings.home / "logs" / DAY
    day.mkdir(parents=True)
    for name in ("report_1.log", f"orchestrator_{DAY}.log"):
        (day / name).symlink_to("/dev/full")
    pipeline.deliver(GOOD, FILES[GOOD])
    run(pipeline, instance, GOOD, GOOD)
    assert pipeline.states() == [(GOOD, "COMPLETADO", True)]
