"""Closes of days over real deliveries and a real database, on every engine.

What a close leaves in folders and tables belongs here; Dagster's side, and deaths, are tested elsewhere.
"""

import errno
import os
import threading
import time
import zipfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.support.closing import ONE_DAY, Partitions, at, close_night, loose, sealed
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import NOON, Pipeline, SteppingClock, record, report, sha256
from visitas_dagster.closing import close as closing
from visitas_dagster.closing import sealing
from visitas_dagster.closing.close import Closed, close_days
from visitas_dagster.closing.journal import Journal
from visitas_dagster.closing.lock import alone
from visitas_dagster.closing.sealing import zip_path
from visitas_dagster.domain.failures import PermanentFailure, SystemFailure, TransientFailure
from visitas_dagster.domain.states import Estado
from visitas_dagster.erasure import forget
from visitas_dagster.loading import tables
from visitas_dagster.loading.pages import Pages
from visitas_dagster.nightly import DagsterSide
from visitas_dagster.resources.folders import LAYOUT, SISTEMA, Folders
from visitas_dagster.steps.archive import record_failure

DAY = NOON.date()

GOOD, SOME_BAD, WRONG, COPY = (f"report_{number}.txt" for number in range(1, 5))
FILES = {
    GOOD: report(record("ana@example.com"), record("luis@example.org", "14/03/2024 09:00")),
    SOME_BAD: report(record("eva@example.net"), record("sin arroba")),
    WRONG: report(record()).replace(b",jyv,", b",jk,", 1),
    COPY: report(record("ana@example.com"), record("luis@example.org", "14/03/2024 09:00")),
}


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path, SteppingClock()) as pipeline:
        yield pipeline


one_engine = pytest.mark.databases("sqlite")


@pytest.fixture
def orchestrator(pipeline: Pipeline) -> Partitions:
    return Partitions(pipeline)


def members(*files: tuple[str, bytes]) -> dict[str, str]:
    """What a zip of these files holds."""
    return {Folders.name_in_zip(name, sha256(data)): sha256(data) for name, data in files}


def deliver_all(pipeline: Pipeline) -> None:
    for name, data in FILES.items():
        pipeline.deliver(name, data)


def rows(pipeline: Pipeline) -> list[tuple[date, str, int, str | None]]:
    return [(row["fecha"], row["estado"], row["intentos"], row["mensaje"]) for row in pipeline.rows(tables.cierres)]


def step(closed: Closed, name: str) -> dict[str, Any]:
    (found,) = [step for step in closed.steps if step.name == name]
    assert found.failure is None, found.failure
    return found.facts


# ------------------------------------------------------------------------------------------------- a day's close


def test_a_day_of_every_fate_is_sealed(pipeline: Pipeline, orchestrator: Partitions) -> None:
    deliver_all(pipeline)
    pipeline.run_pass()
    (closed,) = close_night(pipeline, DAY, orchestrator)
    folders = pipeline.platform.folders
    assert closed.message is None
    assert sealed(folders) == {"backup_20240314.zip": members(*FILES.items())}
    assert loose(folders) == set()
    assert pipeline.quarantine(LAYOUT) == {sha256(FILES[WRONG])}
    with zipfile.ZipFile(zip_path(folders, DAY)) as archive:
        manifest = archive.read("manifiesto.json").decode()
    assert [manifest.count(f'"{state}"') for state in ("COMPLETADO", "COMPLETADO_CON_ERRORES", "FALLO_LAYOUT")] == [
        1
    ] * 3
    assert manifest.count('"DUPLICADO"') == 1
    assert rows(pipeline) == [(DAY, "COMPLETADO", 1, None)]
    for kind in ("html", "json", "csv"):
        assert (folders.reportes / f"diario_20240314.{kind}").is_file()
        assert (folders.reportes / f"mensual_202403.{kind}").is_file()


def test_what_is_pending_at_night_goes_to_the_next_days_zip(pipeline: Pipeline, orchestrator: Partitions) -> None:
    pipeline.deliver(GOOD, FILES[GOOD])
    (closed,) = close_night(pipeline, DAY, orchestrator)
    assert step(closed, "pendientes")["archivos"] == 1
    assert sealed(pipeline.platform.folders) == {}
    (closed,) = close_night(pipeline, DAY + ONE_DAY, orchestrator)
    assert sealed(pipeline.platform.folders) == {"backup_20240315.zip": members((GOOD, FILES[GOOD]))}


def test_a_close_run_twice_changes_nothing(pipeline: Pipeline, orchestrator: Partitions) -> None:
    deliver_all(pipeline)
    pipeline.run_pass()
    close_night(pipeline, DAY, orchestrator)
    before = zip_path(pipeline.platform.folders, DAY).read_bytes(), pipeline.tables()
    (closed,) = close_night(pipeline, DAY, orchestrator)
    assert (zip_path(pipeline.platform.folders, DAY).read_bytes(), pipeline.tables()) == before
    assert step(closed, "respaldo")["agregados"] == 0
    assert rows(pipeline) == [(DAY, "COMPLETADO", 2, None)]


def test_a_second_close_of_the_day_adds(pipeline: Pipeline, orchestrator: Partitions) -> None:
    pipeline.deliver(GOOD, FILES[GOOD])
    pipeline.run_pass()
    (first,) = close_days(pipeline.platform, orchestrator, DAY)
    assert step(first, "respaldo")["miembros"] == 1
    pipeline.deliver(SOME_BAD, FILES[SOME_BAD])
    pipeline.run_pass()
    (second,) = close_night(pipeline, DAY, orchestrator)
    assert (step(second, "respaldo")["agregados"], step(second, "respaldo")["miembros"]) == (1, 2)
    assert sealed(pipeline.platform.folders) == {
        "backup_20240314.zip": members((GOOD, FILES[GOOD]), (SOME_BAD, FILES[SOME_BAD]))
    }
    assert loose(pipeline.platform.folders) == set()


def test_a_replay_from_a_sealed_backup_makes_no_second_one(pipeline: Pipeline, orchestrator: Partitions) -> None:
    pipeline.deliver(GOOD, FILES[GOOD])
    pipeline.run_pass()
    close_night(pipeline, DAY, orchestrator)
    before = pipeline.tables().visitantes
    task = pipeline.replay(GOOD)
    assert (task.failure, task.estado) == (None, Estado.COMPLETADO)
    assert pipeline.tables().visitantes == before
    assert loose(pipeline.platform.folders) == set()


def test_a_delivery_after_its_backup_was_sealed_is_backed_up_again(
    pipeline: Pipeline, orchestrator: Partitions
) -> None:
    pipeline.deliver(GOOD, FILES[GOOD])
    pipeline.run_pass()
    close_night(pipeline, DAY, orchestrator)
    pipeline.deliver(GOOD, FILES[GOOD])
    pipeline.run_pass()
    close_night(pipeline, DAY + ONE_DAY, orchestrator)
    held = members((GOOD, FILES[GOOD]))
    assert sealed(pipeline.platform.folders) == {"backup_20240314.zip": held, "backup_20240315.zip": held}


def test_missed_days_are_closed_first_and_in_order(pipeline: Pipeline, orchestrator: Partitions) -> None:
    delivered = {}
    for number in range(4):
        at(pipeline, DAY + number * ONE_DAY, 12)
        if number != 1:
            delivered[number] = report(record(f"v{number}@example.com"))
            pipeline.deliver(f"report_{number}.txt", delivered[number])
            pipeline.run_pass()
        if number == 0:
            close_night(pipeline, DAY, orchestrator)
    at(pipeline, DAY + 5 * ONE_DAY, 2)
    passes = orchestrator.passes
    closed = close_days(pipeline.platform, orchestrator)
    assert [close.day for close in closed] == [DAY + number * ONE_DAY for number in (2, 3, 4)]
    assert orchestrator.passes == passes + 1
    assert sealed(pipeline.platform.folders) == {
        f"backup_202403{14 + number}.zip": members((f"report_{number}.txt", data)) for number, data in delivered.items()
    }
    assert Journal(pipeline.platform).owed() == [DAY + 4 * ONE_DAY]


def test_a_day_closed_before_it_ended_is_owed_a_close(pipeline: Pipeline, orchestrator: Partitions) -> None:
    pipeline.deliver(GOOD, FILES[GOOD])
    pipeline.run_pass()
    close_days(pipeline.platform, orchestrator, DAY)
    at(pipeline, DAY + 3 * ONE_DAY, 2)
    assert Journal(pipeline.platform).owed() == [DAY, DAY + 2 * ONE_DAY]


def test_a_quiet_day_is_none_that_was_missed(pipeline: Pipeline, orchestrator: Partitions) -> None:
    at(pipeline, DAY + 30 * ONE_DAY, 2)
    assert Journal(pipeline.platform).owed() == [DAY + 29 * ONE_DAY]
    (closed,) = close_days(pipeline.platform, orchestrator)
    assert step(closed, "respaldo")["zip"] is None


def test_a_single_day_leaves_the_others(pipeline: Pipeline, orchestrator: Partitions) -> None:
    pipeline.deliver(GOOD, FILES[GOOD])
    pipeline.run_pass()
    at(pipeline, DAY + ONE_DAY, 12)
    assert [close.day for close in close_days(pipeline.platform, orchestrator, DAY + ONE_DAY)] == [DAY + ONE_DAY]
    assert loose(pipeline.platform.folders) != set()


# ------------------------------------------------------------------------------------------- quarantine, staging


def fail_without_quarantine(pipeline: Pipeline, name: str, data: bytes) -> None:
    """Leave what a run leaves that wrote a system failure down, after midnight, and died; its sender takes it back."""
    at(pipeline, DAY + ONE_DAY, 1)
    pipeline.deliver(name, data)
    with pipeline.tools() as tools:
        task = pipeline.validated(tools, name)
        record_failure(tools, task, PermanentFailure("no hay espacio"))
        assert task.staged is not None
        dead = pipeline.platform.folders.staging / "11111111-1111-1111-1111-111111111111"
        dead.mkdir()
        (dead / name).write_bytes(task.staged.read_bytes())
    (pipeline.folder / name).unlink()


def test_what_a_dead_run_left_of_a_system_failure_goes_to_quarantine(
    pipeline: Pipeline, orchestrator: Partitions
) -> None:
    fail_without_quarantine(pipeline, GOOD, FILES[GOOD])
    (pipeline.platform.folders.staging / "suelto.tmp").write_bytes(b"nada")
    (closed,) = close_night(pipeline, DAY, orchestrator)
    assert closed.message is None
    assert step(closed, "limpieza") == {"corridas_muertas": 1, "sueltos": 1}
    assert step(closed, "cuarentena") == {"movidos": 1, "nombres": [GOOD]}
    assert pipeline.quarantine(SISTEMA) == {sha256(FILES[GOOD])}
    assert pipeline.staging() == []
    assert sealed(pipeline.platform.folders) == {}
    assert loose(pipeline.platform.folders) == {"20240315"}
    close_night(pipeline, DAY + ONE_DAY, orchestrator)
    assert loose(pipeline.platform.folders) == set()


def test_what_waits_in_quarantine_for_a_further_day_is_taken(pipeline: Pipeline, orchestrator: Partitions) -> None:
    fail_without_quarantine(pipeline, GOOD, FILES[GOOD])
    close_night(pipeline, DAY, orchestrator)
    assert pipeline.states() == [(GOOD, "FALLO_SISTEMA", True)]
    with dg.DagsterInstance.ephemeral() as instance:
        at(pipeline, DAY + 2 * ONE_DAY, 2)
        (closed,) = close_days(pipeline.platform, DagsterSide(pipeline.platform, instance))
    assert step(closed, "pendientes") == {"archivos": 1, "estados": {"COMPLETADO": 1}, "siguen_llegando": 0}
    assert pipeline.quarantine(SISTEMA) == set()
    close_night(pipeline, DAY + 2 * ONE_DAY, orchestrator)
    assert sealed(pipeline.platform.folders) == {"backup_20240316.zip": members((GOOD, FILES[GOOD]))}


def test_a_file_that_a_run_has_is_left_alone(pipeline: Pipeline, orchestrator: Partitions) -> None:
    fail_without_quarantine(pipeline, GOOD, FILES[GOOD])
    with pipeline.tools() as other:
        assert other.reservations.take(GOOD)
        (closed,) = close_night(pipeline, DAY, orchestrator)
        assert step(closed, "cuarentena")["movidos"] == 0
    (closed,) = close_days(pipeline.platform, orchestrator)
    assert step(closed, "cuarentena")["movidos"] == 1


def test_an_earlier_version_that_failed_stays_in_the_backup(pipeline: Pipeline, orchestrator: Partitions) -> None:
    fail_without_quarantine(pipeline, GOOD, FILES[GOOD])
    pipeline.deliver(GOOD, FILES[SOME_BAD])
    pipeline.run_pass()
    (closed,) = close_night(pipeline, DAY, orchestrator)
    assert step(closed, "cuarentena")["movidos"] == 0
    close_night(pipeline, DAY + ONE_DAY, orchestrator)
    assert sealed(pipeline.platform.folders) == {
        "backup_20240315.zip": members((GOOD, FILES[SOME_BAD]), (GOOD, FILES[GOOD])),
    }


# ---------------------------------------------------------------------------------------------------- the counters


@pytest.mark.parametrize(
    ("last", "year", "month"), [(date(2024, 3, 31), 2, 0), (date(2024, 12, 31), 0, 0), (date(2024, 3, 30), 2, 2)]
)
def test_visitors_that_sent_nothing_are_rolled_over(
    pipeline: Pipeline, orchestrator: Partitions, last: date, year: int, month: int
) -> None:
    at(pipeline, last, 12)
    sent = [f"{day:02}/{last.month:02}/2024 10:00" for day in (1, 2)]
    pipeline.deliver(GOOD, report(*(record("ana@example.com", moment) for moment in sent)))
    pipeline.run_pass()
    (closed,) = close_night(pipeline, last, orchestrator)
    (row,) = pipeline.rows(tables.visitantes)
    assert (row["visitas_totales"], row["visitas_anio_actual"], row["visitas_mes_actual"]) == (2, year, month)
    after = last + ONE_DAY
    assert step(closed, "contadores") == {"anio": after.year, "mes": after.month}


def test_the_month_turns_at_the_operators_midnight(pipeline: Pipeline, orchestrator: Partitions) -> None:
    at(pipeline, date(2024, 3, 31), 12)
    pipeline.deliver(GOOD, report(record("ana@example.com")))
    pipeline.run_pass()
    # In UTC April has begun.
    at(pipeline, date(2024, 3, 31), 23)
    close_days(pipeline.platform, orchestrator)
    (row,) = pipeline.rows(tables.visitantes)
    assert row["visitas_mes_actual"] == 1


# ------------------------------------------------------------------------------------------------------ retention


@one_engine
def test_retention_is_exact_to_the_day(pipeline: Pipeline, orchestrator: Partitions) -> None:
    folders = pipeline.platform.folders
    today = DAY + ONE_DAY
    for age in range(26, 35):
        folder = folders.logs / f"{today - timedelta(days=age):%Y%m%d}"
        folder.mkdir()
        (folder / "report_1.log").write_text("x")
    for age in range(86, 95):
        zip_path(folders, today - timedelta(days=age)).write_bytes(b"PK\x05\x06" + bytes(18))
    (folders.logs / "notas").mkdir()
    (folders.logs / "20230101.txt").write_text("de una persona")
    (folders.backup / "backup_20230101.zip.viejo").write_text("de una persona")
    (closed,) = close_night(pipeline, DAY, orchestrator)
    assert closed.message is None
    assert {path.name for path in folders.logs.iterdir()} == {
        *(f"{today - timedelta(days=age):%Y%m%d}" for age in range(26, 31)),
        "notas",
        "20230101.txt",
    }
    assert {path.name for path in folders.zips()} == {
        f"backup_{today - timedelta(days=age):%Y%m%d}.zip" for age in range(86, 91)
    }
    assert (folders.backup / "backup_20230101.zip.viejo").is_file()
    assert step(closed, "logs_viejos")["borrados"] == step(closed, "respaldos_viejos")["borrados"] == 4


@one_engine
def test_quarantine_and_reports_are_kept_without_end(pipeline: Pipeline, orchestrator: Partitions) -> None:
    pipeline.deliver(WRONG, FILES[WRONG])
    pipeline.run_pass()
    close_night(pipeline, DAY, orchestrator)
    close_night(pipeline, DAY + timedelta(days=400), orchestrator)
    assert pipeline.quarantine(LAYOUT) == {sha256(FILES[WRONG])}
    assert (pipeline.platform.folders.reportes / "diario_20240314.html").is_file()
    assert sealed(pipeline.platform.folders) == {}


def test_a_file_that_came_again_is_kept_as_long_as_its_last_backup(
    pipeline: Pipeline, orchestrator: Partitions
) -> None:
    pipeline.deliver(GOOD, FILES[GOOD])
    orchestrator.dispatch()
    close_night(pipeline, DAY, orchestrator)
    at(pipeline, DAY + 10 * ONE_DAY, 12)
    pipeline.deliver(GOOD, FILES[GOOD])
    pipeline.run_pass()
    keep = pipeline.settings.retencion_backup_dias
    close_night(pipeline, DAY + timedelta(days=keep + 9), orchestrator)
    assert orchestrator.names == [GOOD]
    close_night(pipeline, DAY + timedelta(days=keep + 10), orchestrator)
    assert orchestrator.names == []


# ------------------------------------------------------------------------------------------------- what goes wrong


@pytest.fixture
def alerts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, date]]:
    """The alerts asked for."""
    asked: list[tuple[str, date]] = []
    monkeypatch.setattr(closing, "close_failed", lambda platform, day, message: asked.append((message, day)))
    monkeypatch.setattr(closing, "close_recovered", lambda platform, day: asked.append(("", day)))
    return asked


def test_a_step_that_fails_is_told_and_the_others_are_done(
    pipeline: Pipeline, orchestrator: Partitions, monkeypatch: pytest.MonkeyPatch, alerts: list[tuple[str, date]]
) -> None:
    deliver_all(pipeline)
    pipeline.run_pass()

    def broken() -> dict[str, Any]:
        raise PermanentFailure("el servidor cambió su llave", "averigüe por qué")

    monkeypatch.setattr(orchestrator, "dispatch", broken)
    (closed,) = close_night(pipeline, DAY, orchestrator)
    told = "pendientes: el servidor cambió su llave. averigüe por qué"
    assert closed.message == told
    assert rows(pipeline) == [(DAY, "FALLO", 1, told)]
    assert sealed(pipeline.platform.folders) == {"backup_20240314.zip": members(*FILES.items())}
    assert alerts == [(told, DAY)]
    monkeypatch.undo()
    assert Journal(pipeline.platform).owed() == [DAY]
    assert close_night(pipeline, DAY, orchestrator)[0].message is None
    assert rows(pipeline) == [(DAY, "COMPLETADO", 2, None)]


def test_the_incident_of_a_failed_close_opens_and_ends(
    pipeline: Pipeline, orchestrator: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orchestrator, "dispatch", lambda: 1 // 0)
    (closed,) = close_night(pipeline, DAY, orchestrator)
    assert closed.message is not None
    assert closed.message.startswith("pendientes: error inesperado: ZeroDivisionError")
    (incident,) = pipeline.rows(tables.incidentes)
    assert incident["cerrado"] is None
    monkeypatch.undo()
    close_night(pipeline, DAY, orchestrator)
    (incident,) = pipeline.rows(tables.incidentes)
    assert incident["cerrado"] is not None


def test_a_passing_fault_is_tried_again(
    pipeline: Pipeline, orchestrator: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = iter([TransientFailure("se perdió la conexión")] * 2)
    original = orchestrator.dispatch

    def shaky() -> dict[str, Any]:
        for fault in faults:
            raise fault
        return original()

    monkeypatch.setattr(orchestrator, "dispatch", shaky)
    assert close_night(pipeline, DAY, orchestrator)[0].message is None


@one_engine
def test_a_full_disk_while_sealing_loses_nothing(
    pipeline: Pipeline, orchestrator: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver_all(pipeline)
    pipeline.run_pass()
    before = loose(pipeline.platform.folders)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sealing, "_copy_in", full)
    (closed,) = close_night(pipeline, DAY, orchestrator)
    assert closed.message == (
        "respaldo: no hay espacio en disco para sellar el respaldo del día. libere espacio en VISITAS_HOME"
    )
    assert loose(pipeline.platform.folders) == before
    monkeypatch.undo()
    assert close_night(pipeline, DAY, orchestrator)[0].message is None
    assert sealed(pipeline.platform.folders) == {"backup_20240314.zip": members(*FILES.items())}


@one_engine
def test_without_quarantine_nothing_is_sealed(
    pipeline: Pipeline, orchestrator: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver_all(pipeline)
    pipeline.run_pass()

    def broken(_: Any) -> list[str]:
        raise PermanentFailure("no hay permiso")

    monkeypatch.setattr(closing, "quarantine_failures", broken)
    (closed,) = close_night(pipeline, DAY, orchestrator)
    assert closed.message == (
        "cuarentena: no hay permiso; respaldo: espera a que se pueda apartar lo que va a cuarentena"
    )
    assert sealed(pipeline.platform.folders) == {}


@one_engine
def test_without_a_database_no_close_begins(pipeline: Pipeline, orchestrator: Partitions) -> None:
    with pipeline.platform.engine.begin() as connection:
        tables.cierres.drop(connection)
    with pytest.raises(SystemFailure):
        close_night(pipeline, DAY, orchestrator)
    assert orchestrator.passes == 0


@one_engine
def test_a_second_close_waits_for_the_first(pipeline: Pipeline, orchestrator: Partitions) -> None:
    at(pipeline, DAY + ONE_DAY, 2)
    ended = threading.Event()

    def second() -> None:
        close_days(pipeline.platform, orchestrator)
        ended.set()

    thread = threading.Thread(target=second)
    with alone(pipeline.platform.folders):
        thread.start()
        time.sleep(1)
        assert not ended.is_set()
        assert rows(pipeline) == []
    thread.join(60)
    assert rows(pipeline) == [(DAY, "COMPLETADO", 1, None)]


@one_engine
def test_an_erasure_waits_for_a_close(pipeline: Pipeline) -> None:
    pipeline.deliver(GOOD, FILES[GOOD])
    pipeline.run_pass()
    (copy,) = pipeline.platform.folders.all_loose_backups()
    thread = threading.Thread(target=lambda: forget(pipeline.platform, "ana@example.com"))
    with alone(pipeline.platform.folders):
        thread.start()
        time.sleep(1)
        assert b"ana@example.com" in copy.read_bytes()
    thread.join(60)
    assert b"ana@example.com" not in copy.read_bytes()


@one_engine
def test_a_close_that_does_not_end_is_not_waited_for_for_ever(pipeline: Pipeline) -> None:
    folders = pipeline.platform.folders
    with alone(folders), pytest.raises(TransientFailure, match="otro cierre sigue en marcha"), alone(folders, wait_s=0):
        pass


@one_engine
def test_a_close_that_was_begun_is_owed_however_old_its_day_is(pipeline: Pipeline, orchestrator: Partitions) -> None:
    old = DAY - timedelta(days=300)
    Journal(pipeline.platform).begin(old)
    at(pipeline, DAY + ONE_DAY, 2)
    assert Journal(pipeline.platform).owed() == [old, DAY]
    close_days(pipeline.platform, orchestrator)
    assert Journal(pipeline.platform).owed() == [DAY]


# ------------------------------------------------------------------------------------------------ the server's memory


@one_engine
@pytest.mark.parametrize(("touched", "times"), [(8 << 20, 0), ((8 << 20) + 1, 1)])
def test_a_history_that_does_not_fit_is_told_and_the_close_goes_on(
    pipeline: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    touched: int,
    times: int,
) -> None:
    # What real servers answer is tested beside the question; here they answer what no test has the rows for.
    monkeypatch.setattr(closing, "look_at_pages", lambda engine: Pages(8 << 20, touched))
    (closed,) = close_days(pipeline.platform, Partitions(pipeline), DAY)
    assert closed.message is None
    said = [entry.getMessage() for entry in caplog.records if entry.levelname == "WARNING"]
    assert said == [Pages(8 << 20, touched).notice] * times
