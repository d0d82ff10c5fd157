"""`visitas forget` on every engine: what is left in tables, copies, logs; and what a later load makes of a person.

The whole operation belongs here; what a mask looks like is the domain's own test.
"""

import json
import re
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Visitas
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import Pipeline, finish, record, report, sha256
from tests.support.waiting import wait_until
from visitas_dagster import erasure
from visitas_dagster.domain.failures import PermanentFailure, TransientFailure, UsageError
from visitas_dagster.domain.states import Estado
from visitas_dagster.erasure import forget
from visitas_dagster.loading import tables
from visitas_dagster.loading.erasure import OPERATION
from visitas_dagster.resources.folders import RunFolder
from visitas_dagster.steps.load import load
from visitas_dagster.steps.task import Source

ANA, EVA = "ana@example.com", "eva@example.com"
NOBODY = "olvidado@olvidado.invalid"
MASK = "000@xxxxxxx.xxx"
DATA = report(
    record(ANA, ips="192.0.2.7", links="https://a.example/"),
    record(EVA, links=f"https://a.example/?de={ANA}", envio="02/03/2024 10:00"),
    record(ANA, opens="muchos"),
    record("ANA@Example.com", envio="03/03/2024 10:00"),
    record("mariana@example.com"),
)
NO_HEADER = f"correo,{ANA}\n{record(ANA)}\n".encode()


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path) as pipeline:
        yield pipeline


def take(pipeline: Pipeline, name: str, data: bytes) -> Estado | None:
    pipeline.deliver(name, data)
    (task,) = pipeline.run_pass()
    return task.estado


def content(pipeline: Pipeline) -> dict[str, Any]:
    """What stands in the tables, ids and times aside."""
    return {
        "visits": sorted(
            (tuple(map(str, row.values())) for row in pipeline.rows(tables.estadisticas, *VISIT)),
            key=lambda row: row[0],
        ),
        "rejects": pipeline.rows(tables.errores, "linea", "tipo_error", "campo", "valor", "detalle", "fila_original"),
        "visitors": {row["email"]: tuple(row.values()) for row in pipeline.rows(tables.visitantes, *VISITOR)},
    }


VISIT = ("linea", "email", "fecha_envio", "opens", "links", "ips")
VISITOR = ("email", "fecha_primera_visita", "fecha_ultima_visita", "visitas_totales", "visitas_mes_actual")


def everything(pipeline: Pipeline) -> str:
    """All that the database holds, as one text in lower case."""
    rows = [row for table in tables.metadata.tables.values() for row in pipeline.rows(table)]
    return json.dumps(rows, default=str, ensure_ascii=False).lower()


def test_the_tables_name_the_person_no_more_and_still_add_up(pipeline: Pipeline) -> None:
    take(pipeline, "report_1.txt", DATA)
    done = forget(pipeline.platform, " Ana@Example.com ", "operador")
    assert (done.visits, done.mentions, done.rejects) == (2, 1, 1)
    found = content(pipeline)
    assert [row[:2] + row[4:] for row in found["visits"]] == [
        ("2", NOBODY, "None", "None"),
        ("3", EVA, f"https://a.example/?de={MASK}", "None"),
        ("5", NOBODY, "None", "None"),
        ("6", "mariana@example.com", "None", "None"),
    ]
    (reject,) = found["rejects"]
    assert [reject[name] for name in ("linea", "tipo_error", "campo")] == [4, "ENTERO_INVALIDO", "Opens"]
    assert (reject["valor"], reject["fila_original"]) == ("[olvidado]", "[olvidado]")
    assert [entry["valor"] for entry in reject["detalle"]] == ["[olvidado]"]
    assert set(found["visitors"]) == {NOBODY, EVA, "mariana@example.com"}
    assert [str(value) for value in found["visitors"][NOBODY]] == [
        NOBODY,
        "2024-03-01 10:00:00",
        "2024-03-03 10:00:00",
        "2",
        "2",
    ]
    assert f'"{ANA}' not in everything(pipeline).replace("mariana", "")
    (row,) = pipeline.rows(tables.bitacora_control)
    assert (row["registros_total"], row["registros_validos"], row["registros_invalidos"]) == (5, 4, 1)


def test_it_is_written_down_once_per_operation_and_names_nobody(pipeline: Pipeline) -> None:
    take(pipeline, "report_1.txt", DATA)
    forget(pipeline.platform, ANA, "operador")
    again = forget(pipeline.platform, ANA, "operador")
    assert (again.visits, again.mentions, again.rejects, again.copies) == (0, 0, 0, ())
    first, second = pipeline.rows(tables.auditoria)
    (person,) = pipeline.rows(tables.olvidados)
    assert (first["operacion"], first["quien"]) == (OPERATION, "operador")
    assert first["detalle"] == {
        "huella": person["huella"],
        "visitas": 2,
        "menciones": 1,
        "rechazos": 1,
        "copias": 1,
        "zips": [],
    }
    assert second["detalle"]["huella"] == person["huella"]


@pytest.mark.parametrize("origin", ["backup", "redelivery", "correction", "another name"])
def test_what_comes_later_is_masked_alike(pipeline: Pipeline, origin: str) -> None:
    take(pipeline, "report_1.txt", DATA)
    forget(pipeline.platform, ANA, "operador")
    before = content(pipeline)
    match origin:
        case "backup":
            assert pipeline.replay("report_1.txt").estado is Estado.COMPLETADO_CON_ERRORES
        case "redelivery":
            pipeline.deliver("report_1.txt", DATA)
            pipeline.run(["report_1.txt"], Source.REPLAY)
        case "correction":
            take(pipeline, "report_1.txt", report(record(EVA)))
            assert set(content(pipeline)["visitors"]) == {EVA}
            take(pipeline, "report_1.txt", DATA)
        case _:
            take(pipeline, "report_1.txt", report(record(EVA)))
            take(pipeline, "report_2.txt", DATA)
            pipeline.deliver("report_1.txt", report())
            pipeline.run_pass()
    assert content(pipeline) == before
    assert pipeline.broken_promises(["report_1.txt", "report_2.txt"]) == []


def test_a_quarantined_copy_is_rewritten_and_still_serves(pipeline: Pipeline) -> None:
    assert take(pipeline, "report_1.txt", NO_HEADER) is Estado.FALLO_LAYOUT
    (path,) = pipeline.platform.folders.all_quarantined()
    assert ANA in path.read_text()
    done = forget(pipeline.platform, ANA, "operador")
    assert path in done.copies
    assert path.read_bytes() == NO_HEADER.replace(ANA.encode(), MASK.encode())
    task = pipeline.run(["report_1.txt"], Source.RETRY)[0]
    assert task.estado is Estado.FALLO_LAYOUT
    (row,) = pipeline.rows(tables.bitacora_control)
    assert (row["sha256"], row["intentos"]) == (sha256(NO_HEADER), 2)


def test_a_second_person_is_taken_out_of_the_same_copy(pipeline: Pipeline) -> None:
    take(pipeline, "report_1.txt", DATA)
    forget(pipeline.platform, ANA, "operador")
    forget(pipeline.platform, EVA, "operador")
    (path,) = pipeline.platform.folders.all_loose_backups()
    assert ANA.encode() not in path.read_bytes().lower().replace(b"mariana", b"")
    assert EVA.encode() not in path.read_bytes()
    before = content(pipeline)
    assert set(before["visitors"]) == {NOBODY, "mariana@example.com"}
    assert pipeline.replay("report_1.txt").estado is Estado.COMPLETADO_CON_ERRORES
    assert content(pipeline) == before


def test_sealed_backups_stay_and_are_told_with_their_last_day(pipeline: Pipeline) -> None:
    take(pipeline, "report_1.txt", DATA)
    folders = pipeline.platform.folders
    (loose,) = folders.all_loose_backups()
    sealed, other = (folders.backup / f"backup_202403{day}.zip" for day in ("14", "15"))
    for path, data in ((sealed, DATA), (other, report(record("mariana@example.com")))):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(loose.name, data)
    loose.unlink()
    done = forget(pipeline.platform, ANA, "operador")
    assert [(one.path, str(one.until)) for one in done.sealed] == [(sealed, "2024-06-12")]
    assert pipeline.rows(tables.auditoria)[0]["detalle"]["zips"] == [sealed.name]
    before = content(pipeline)
    assert pipeline.replay("report_1.txt").estado is Estado.COMPLETADO_CON_ERRORES
    assert content(pipeline) == before


def test_a_sealed_backup_that_is_damaged_is_told_and_the_erasure_repeated(pipeline: Pipeline) -> None:
    take(pipeline, "report_1.txt", DATA)
    damaged = pipeline.platform.folders.backup / "backup_20240314.zip"
    damaged.write_bytes(b"PK")
    with pytest.raises(PermanentFailure) as caught:
        forget(pipeline.platform, ANA, "operador")
    assert str(caught.value) == (
        f"{damaged} está dañado, no se puede buscar en él. "
        "restáurelo de una copia, o sáquelo de backup/, y repita: visitas forget"
    )
    damaged.unlink()
    assert forget(pipeline.platform, ANA, "operador").sealed == ()
    assert ANA not in content(pipeline)["visitors"]


def test_logs_and_reports_are_rewritten_too(pipeline: Pipeline) -> None:
    folders = pipeline.platform.folders
    log = folders.logs / "20240314" / "report_1.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"una versión anterior escribía {ANA} y mariana@example.com\n", encoding="utf-8")
    assert forget(pipeline.platform, ANA, "operador").copies == (log,)
    assert log.read_text(encoding="utf-8") == f"una versión anterior escribía {MASK} y mariana@example.com\n"


def test_a_load_that_was_judged_before_the_erasure_is_masked(pipeline: Pipeline) -> None:
    pipeline.deliver("report_1.txt", DATA)
    with pipeline.tools() as tools:
        task = pipeline.validated(tools, "report_1.txt")
        pipeline.erase(ANA)
        load(tools, task)
    assert set(content(pipeline)["visitors"]) == {NOBODY, EVA, "mariana@example.com"}


def test_a_run_under_way_is_waited_for_and_what_it_keeps_is_masked(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.deliver("report_1.txt", DATA)
    with pipeline.tools() as tools:
        task = pipeline.validated(tools, "report_1.txt")
        erasing = threading.Thread(target=forget, args=(pipeline.platform, ANA))
        erasing.start()
        wait_until(lambda: pipeline.rows(tables.auditoria) != [])
        load(tools, task)
        finish(tools, task)
        (copy,) = pipeline.platform.folders.all_loose_backups()
        assert (sha256(copy.read_bytes()), erasing.is_alive()) == (sha256(DATA), True)
    erasing.join(60)
    masked = re.sub(rf"(?<!mari){ANA}", MASK, DATA.decode(), flags=re.IGNORECASE)
    assert copy.read_text("utf-8") == masked
    assert caplog.messages.count("corridas en marcha: 1; se espera a que terminen, para revisar lo que guarden") == 1
    (audit,) = pipeline.rows(tables.auditoria)
    assert audit["detalle"]["copias"] == 1
    assert re.search(rf"(?<!mari){ANA}", everything(pipeline)) is None


@pytest.mark.databases("sqlite")
def test_a_run_that_does_not_end_is_not_waited_for_for_ever(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "MAX_WAIT_S", 0)
    with (
        RunFolder(pipeline.platform.folders, "corrida"),
        pytest.raises(TransientFailure, match=r"una corrida sigue en marcha después de 0 s \(corrida\): las tablas ya"),
    ):
        forget(pipeline.platform, ANA)
    assert forget(pipeline.platform, ANA).copies == ()


def test_loads_beside_erasures_leave_nobody_behind(pipeline: Pipeline) -> None:
    names = [f"report_{number}.txt" for number in range(1, 9)]
    for number, name in enumerate(names):
        pipeline.deliver(name, DATA + record(EVA, envio=f"0{number + 1}/04/2024 10:00").encode() + b"\n")
    loading = threading.Thread(target=pipeline.run, args=(names,))
    loading.start()
    for address in (ANA, EVA):
        pipeline.erase(address)
    loading.join()
    found = content(pipeline)
    assert set(found["visitors"]) == {NOBODY, "mariana@example.com"}
    assert found["visitors"][NOBODY][3] == len(names) * 4
    assert len(found["visits"]) == len(names) * 5


def test_without_the_key_nothing_is_loaded_and_nothing_lost(pipeline: Pipeline) -> None:
    forget(pipeline.platform, ANA, "operador")
    key = pipeline.platform.folders.erasure_key
    assert key.stat().st_mode & 0o777 == 0o600
    kept = key.read_bytes()
    key.unlink()
    pipeline.platform.close()
    del pipeline.platform.__dict__["erasure_key"]
    assert take(pipeline, "report_1.txt", DATA) is Estado.FALLO_SISTEMA
    (row,) = pipeline.rows(tables.bitacora_control)
    assert row["mensaje"] == (
        f"falta {key}: sin esa llave no se sabe a quién se olvidó. restáurela de un respaldo de VISITAS_HOME"
    )
    with pytest.raises(PermanentFailure, match="la llave de los olvidos no es aquella"):
        forget(pipeline.platform, EVA, "operador")
    key.write_bytes(kept)
    del pipeline.platform.__dict__["erasure_key"]
    (task,) = pipeline.run(["report_1.txt"], Source.RETRY)
    assert task.estado is Estado.COMPLETADO_CON_ERRORES
    assert set(content(pipeline)["visitors"]) == {NOBODY, EVA, "mariana@example.com"}


@pytest.mark.parametrize(
    "address", ["", "ana", "@example.com", "ana@", "a b@example.com", "a,b@x.example", "x" * 250 + "@a.co"]
)
@pytest.mark.databases("sqlite")
def test_what_is_no_address_is_refused(pipeline: Pipeline, address: str) -> None:
    with pytest.raises(UsageError, match="CORREO: no es una dirección de correo"):
        forget(pipeline.platform, address)
    assert pipeline.rows(tables.auditoria) == []


def test_the_command_tells_what_it_did(
    pipeline: Pipeline, database: Database, sftp_folder: SftpFolder, tmp_path: Path
) -> None:
    take(pipeline, "report_1.txt", DATA)
    visitas = Visitas(tmp_path, {"VISITAS_DB_URL": database.url, **sftp_folder.environment()})
    ended = visitas.run("forget", ANA)
    (copy,) = pipeline.platform.folders.all_loose_backups()
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "Persona olvidada.",
        "  2 visitas quedaron sin nombre",
        "  1 mención en visitas de otros quedó tapada",
        "  1 registro rechazado quedó vacío",
        "  1 archivo reescrito:",
        f"    {copy}",
        "No queda en ningún respaldo sellado.",
        "Lo que llegue o se repita con esa dirección se carga sin nombre. Quedó anotado en auditoria.",
    ]
    wrong = visitas.run("forget", "ana")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err == "visitas: CORREO: no es una dirección de correo. Escríbala como usuario@dominio\n"
