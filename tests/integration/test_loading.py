"""What a load leaves in the tables, value by value, on every engine and by every way rows go in.

The transaction, the visitors and the writers belong here; arbitrary deliveries are in `test_oracle_agreement.py`.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from tests.oracle.strategies import SEPARATORS, TEXTS
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import Pipeline, SteppingClock, record, report, sha256
from visitas_dagster.domain.failures import LayoutFailure, PermanentFailure, TransientFailure
from visitas_dagster.domain.report import open_report
from visitas_dagster.domain.states import Estado
from visitas_dagster.loading import batch, tables
from visitas_dagster.loading.ready import Ready
from visitas_dagster.loading.transaction import Loaded, load_file
from visitas_dagster.loading.visitors import Period, VisitorTables
from visitas_dagster.loading.writers import (
    LoadDataWriter,
    MultiRowWriter,
    Packed,
    RowWriter,
    SqliteWriter,
    choose_writer,
)
from visitas_dagster.steps.load import make_ready
from visitas_dagster.steps.task import FileTask, Source
from visitas_dagster.steps.tools import RunTools

VISITOR = (
    "email",
    "fecha_primera_visita",
    "fecha_ultima_visita",
    *(f"visitas_{n}" for n in ("totales", "anio_actual", "mes_actual")),
)
COUNTS = ("registros_total", "registros_validos", "registros_invalidos", "visitantes_nuevos", "visitantes_actualizados")

ANA, LUIS, EVA = "ana@example.com", "luis@example.org", "eva@example.net"


@pytest.fixture
def clock() -> SteppingClock:
    return SteppingClock()


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path, clock: SteppingClock) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path, clock) as pipeline:
        yield pipeline


def take(pipeline: Pipeline, name: str, data: bytes) -> FileTask:
    """Deliver one file and take it; nothing else waits."""
    pipeline.deliver(name, data)
    (task,) = pipeline.run_pass()
    return task


def visitors(pipeline: Pipeline) -> dict[str, tuple[datetime, datetime, int, int, int]]:
    """`visitantes` by e-mail: first, last, total, this year, this month."""
    rows = (tuple(row.values()) for row in pipeline.rows(tables.visitantes, *VISITOR))
    return {row[0]: row[1:] for row in rows}


def ledger(pipeline: Pipeline, name: str) -> list[dict[str, Any]]:
    """The ledger's rows of a name, oldest first."""
    return [row for row in pipeline.rows(tables.bitacora_control) if row["archivo"] == name]


def day(year: int, month: int, day_of_month: int, hour: int = 10) -> datetime:
    return datetime(year, month, day_of_month, hour)


# ------------------------------------------------------------------------------------------------- visitors


def test_a_first_load_counts_each_visitor(pipeline: Pipeline) -> None:
    task = take(
        pipeline,
        "report_1.txt",
        report(
            record(ANA, "01/03/2024 10:00"),
            record("ANA@example.com", "31/12/2023 10:00"),
            record(ANA, "15/01/2024 10:00"),
            record(LUIS, "01/04/2024 10:00"),
        ),
    )
    assert task.loaded == Loaded(Estado.COMPLETADO, valid=4, invalid=0, new_visitors=2, known_visitors=0)
    assert visitors(pipeline) == {
        ANA: (day(2023, 12, 31), day(2024, 3, 1), 3, 2, 1),
        LUIS: (day(2024, 4, 1), day(2024, 4, 1), 1, 1, 0),
    }


def test_a_second_file_adds_to_the_visitors_that_are_there(pipeline: Pipeline) -> None:
    take(pipeline, "report_1.txt", report(record(ANA, "02/03/2024 10:00"), record(LUIS, "02/03/2024 10:00")))
    before = {row["email"]: row["actualizado_en"] for row in pipeline.rows(tables.visitantes)}
    task = take(
        pipeline,
        "report_2.txt",
        report(record(ANA, "01/03/2024 10:00"), record(ANA, "03/03/2024 10:00"), record(EVA, "05/05/2020 10:00")),
    )
    after = {row["email"]: row["actualizado_en"] for row in pipeline.rows(tables.visitantes)}
    assert task.loaded == Loaded(Estado.COMPLETADO, valid=3, invalid=0, new_visitors=1, known_visitors=1)
    assert visitors(pipeline) == {
        ANA: (day(2024, 3, 1), day(2024, 3, 3), 3, 3, 3),
        LUIS: (day(2024, 3, 2), day(2024, 3, 2), 1, 1, 1),
        EVA: (day(2020, 5, 5), day(2020, 5, 5), 1, 0, 0),
    }
    assert after[ANA] > before[ANA]
    assert after[LUIS] == before[LUIS]


def test_a_correction_counts_its_visitors_anew(pipeline: Pipeline) -> None:
    take(pipeline, "report_1.txt", report(record(ANA, "02/03/2024 10:00"), record(LUIS, "02/03/2024 10:00")))
    take(pipeline, "report_2.txt", report(record(ANA, "03/01/2022 10:00")))
    before = {row["email"]: row["actualizado_en"] for row in pipeline.rows(tables.visitantes)}
    task = take(pipeline, "report_1.txt", report(record(EVA, "01/03/2024 10:00"), record(LUIS, "02/03/2024 10:00")))
    after = {row["email"]: row["actualizado_en"] for row in pipeline.rows(tables.visitantes)}
    first, second = ledger(pipeline, "report_1.txt")
    # The visitors that had a row when the correction came are known, also the one that it leaves without a change.
    assert task.loaded == Loaded(
        Estado.COMPLETADO, valid=2, invalid=0, new_visitors=1, known_visitors=1, replaces=first["id"]
    )
    assert (second["reemplaza_a"], first["vigente"], second["vigente"]) == (first["id"], False, True)
    assert visitors(pipeline) == {
        ANA: (day(2022, 1, 3), day(2022, 1, 3), 1, 0, 0),
        LUIS: (day(2024, 3, 2), day(2024, 3, 2), 1, 1, 1),
        EVA: (day(2024, 3, 1), day(2024, 3, 1), 1, 1, 1),
    }
    assert after[LUIS] == before[LUIS]
    assert {row["archivo_id"] for row in pipeline.rows(tables.estadisticas)} == {
        second["id"],
        ledger(pipeline, "report_2.txt")[0]["id"],
    }


def test_a_visitor_without_a_visit_left_has_no_row(pipeline: Pipeline) -> None:
    take(pipeline, "report_1.txt", report(record(ANA), record(LUIS)))
    take(pipeline, "report_1.txt", report(record(LUIS)))
    assert list(visitors(pipeline)) == [LUIS]
    take(pipeline, "report_1.txt", report())
    assert visitors(pipeline) == {}


@pytest.mark.parametrize("rows_at_once", [1, 3])
def test_visitors_that_do_not_fit_in_memory_are_counted_in_parts(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    monkeypatch.setattr("visitas_dagster.steps.load.rows_in", lambda memory_mib: rows_at_once)
    monkeypatch.setattr("visitas_dagster.steps.validate.open_report", partial(open_report, batch_bytes=40))
    lines = [record(email, f"0{number}/03/2024 10:00") for number in (2, 1, 3) for email in (ANA, LUIS, EVA)]
    task = take(pipeline, "report_1.txt", report(*lines))
    assert task.loaded == Loaded(Estado.COMPLETADO, valid=9, invalid=0, new_visitors=3, known_visitors=0)
    expected = (day(2024, 3, 1), day(2024, 3, 3), 3, 3, 3)
    assert visitors(pipeline) == {ANA: expected, EVA: expected, LUIS: expected}


# ------------------------------------------------------------------------------------------- turn of the month


def test_the_year_turns_for_visitors_that_sent_nothing(pipeline: Pipeline, clock: SteppingClock) -> None:
    # 23:30 of the 31st in Mexico City is the 1st in UTC: the setting's zone decides.
    clock.set(datetime(2024, 1, 1, 5, 30, tzinfo=UTC))
    take(
        pipeline,
        "report_1.txt",
        report(record(ANA, "30/12/2023 10:00"), record(ANA, "01/11/2023 10:00"), record(LUIS, "01/01/2024 00:00")),
    )
    assert pipeline.rows(tables.periodo_visitantes) == [{"id": 1, "anio": 2023, "mes": 12}]
    assert visitors(pipeline) == {
        ANA: (day(2023, 11, 1), day(2023, 12, 30), 2, 2, 1),
        LUIS: (day(2024, 1, 1, 0), day(2024, 1, 1, 0), 1, 0, 0),
    }
    clock.set(datetime(2024, 1, 1, 6, 30, tzinfo=UTC))
    take(pipeline, "report_2.txt", report(record(EVA, "01/01/2024 10:00")))
    assert pipeline.rows(tables.periodo_visitantes) == [{"id": 1, "anio": 2024, "mes": 1}]
    assert visitors(pipeline) == {
        ANA: (day(2023, 11, 1), day(2023, 12, 30), 2, 0, 0),
        LUIS: (day(2024, 1, 1, 0), day(2024, 1, 1, 0), 1, 1, 1),
        EVA: (day(2024, 1, 1), day(2024, 1, 1), 1, 1, 1),
    }


def test_the_month_turns_within_a_year(pipeline: Pipeline, clock: SteppingClock) -> None:
    take(pipeline, "report_1.txt", report(record(ANA, "31/03/2024 23:59"), record(ANA, "01/04/2024 00:00")))
    assert visitors(pipeline)[ANA][2:] == (2, 2, 1)
    clock.set(datetime(2024, 4, 2, 18, tzinfo=UTC))
    take(pipeline, "report_2.txt", report(record(LUIS, "30/04/2024 23:59"), record(LUIS, "01/05/2024 00:00")))
    assert visitors(pipeline)[ANA][2:] == (2, 2, 1)
    assert visitors(pipeline)[LUIS][2:] == (2, 2, 1)


def test_a_clock_that_is_behind_does_not_turn_the_month_back(pipeline: Pipeline, clock: SteppingClock) -> None:
    clock.set(datetime(2024, 4, 1, 18, tzinfo=UTC))
    take(pipeline, "report_1.txt", report(record(ANA, "01/04/2024 10:00")))
    clock.set(datetime(2024, 3, 31, 18, tzinfo=UTC))
    take(pipeline, "report_2.txt", report(record(ANA, "02/04/2024 10:00")))
    assert pipeline.rows(tables.periodo_visitantes) == [{"id": 1, "anio": 2024, "mes": 4}]
    assert visitors(pipeline)[ANA][2:] == (2, 2, 2)


# --------------------------------------------------------------------------------------------------- outcomes


def test_the_ledger_row_of_a_load(pipeline: Pipeline) -> None:
    data = report(record(ANA), record("sin arroba"), "", record(LUIS))
    mtime = pipeline.deliver("report_1.txt", data)
    pipeline.run_pass()
    (row,) = ledger(pipeline, "report_1.txt")
    assert row["fin"] > row["inicio"]
    assert row["duracion_ms"] == round((row["fin"] - row["inicio"]).total_seconds() * 1000)
    assert len(row["run_id"]) == 36
    fixed = {name: value for name, value in row.items() if name not in ("id", "inicio", "fin", "duracion_ms", "run_id")}
    assert fixed == {
        "archivo": "report_1.txt",
        "sha256": sha256(data),
        "bytes": len(data),
        "modificado_origen": datetime.fromtimestamp(mtime, UTC).replace(tzinfo=None),
        "codificacion": "utf-8",
        "estado": "COMPLETADO_CON_ERRORES",
        "intentos": 1,
        "registros_total": 3,
        "registros_validos": 2,
        "registros_invalidos": 1,
        "visitantes_nuevos": 2,
        "visitantes_actualizados": 0,
        "mensaje": None,
        "reemplaza_a": None,
        "vigente": True,
    }
    (reject,) = pipeline.rows(tables.errores)
    (broken,) = reject["detalle"]
    assert broken.pop("regla").startswith("El correo debe tener")
    assert {name: value for name, value in reject.items() if name != "id"} == {
        "archivo_id": row["id"],
        "linea": 3,
        "tipo_error": "EMAIL_INVALIDO",
        "campo": "email",
        "valor": "sin arroba",
        "detalle": [{"tipo_error": "EMAIL_INVALIDO", "campo": "email", "valor": "sin arroba"}],
        "fila_original": record("sin arroba"),
    }


def test_a_duplicate_loads_nothing_and_names_the_carrier(pipeline: Pipeline) -> None:
    data = report(record(ANA))
    take(pipeline, "report_1.txt", data)
    task = take(pipeline, "report_2.txt", data)
    (row,) = ledger(pipeline, "report_2.txt")
    assert task.loaded == Loaded(Estado.DUPLICADO, duplicate_of="report_1.txt")
    assert row["mensaje"] == "mismo contenido que report_1.txt"
    assert [row[name] for name in COUNTS] == [0, 0, 0, 0, 0]
    assert len(pipeline.rows(tables.estadisticas)) == 1


def test_a_duplicate_inherits_the_rows_of_a_carrier_that_moves_on(pipeline: Pipeline) -> None:
    data = report(record(ANA), record("sin arroba"))
    for number in (1, 2, 3):
        take(pipeline, f"report_{number}.txt", data)
    before = visitors(pipeline)
    kept = [row["id"] for row in pipeline.rows(tables.estadisticas)]
    task = take(pipeline, "report_1.txt", report(record(LUIS)))
    assert task.loaded is not None
    assert task.loaded.heir == "report_2.txt"
    (heir,) = ledger(pipeline, "report_2.txt")
    assert (heir["estado"], heir["mensaje"]) == (
        "COMPLETADO_CON_ERRORES",
        "tomó el lugar de report_1.txt, que pasó a otro contenido",
    )
    assert [heir[name] for name in COUNTS[:3]] == [2, 1, 1]
    visits = {row["id"]: row["archivo_id"] for row in pipeline.rows(tables.estadisticas)}
    assert [visits[number] for number in kept] == [heir["id"]]
    assert [row["archivo_id"] for row in pipeline.rows(tables.errores)] == [heir["id"]]
    assert [estado for _, estado, _ in pipeline.states()][2] == "DUPLICADO"
    assert visitors(pipeline)[ANA] == before[ANA]


def test_a_correction_that_fails_its_layout_leaves_the_earlier_version(pipeline: Pipeline) -> None:
    take(pipeline, "report_1.txt", report(record(ANA)))
    before = (pipeline.rows(tables.estadisticas), pipeline.rows(tables.visitantes))
    wrong = b"jk,nada\n1,2\n"
    task = take(pipeline, "report_1.txt", wrong)
    assert isinstance(task.failure, LayoutFailure)
    assert pipeline.states() == [
        ("report_1.txt", "COMPLETADO", True),
        ("report_1.txt", "FALLO_LAYOUT", False),
    ]
    assert (pipeline.rows(tables.estadisticas), pipeline.rows(tables.visitantes)) == before
    assert ledger(pipeline, "report_1.txt")[1]["mensaje"] == str(task.failure)
    assert pipeline.quarantine("layout") == {sha256(wrong)}
    assert pipeline.broken_promises() == []


def test_a_name_that_failed_twice_has_the_last_delivery_current(pipeline: Pipeline) -> None:
    take(pipeline, "report_1.txt", b"")
    take(pipeline, "report_1.txt", b"nada\n")
    assert pipeline.states() == [
        ("report_1.txt", "FALLO_LAYOUT", False),
        ("report_1.txt", "FALLO_LAYOUT", True),
    ]
    take(pipeline, "report_1.txt", report(record(ANA)))
    assert [vigente for _, _, vigente in pipeline.states()] == [False, False, True]
    assert pipeline.quarantine("layout") == {sha256(b""), sha256(b"nada\n")}


def test_files_without_records_are_complete_and_never_duplicates(pipeline: Pipeline) -> None:
    for number in (1, 2):
        task = take(pipeline, f"report_{number}.txt", report())
        assert task.loaded == Loaded(Estado.COMPLETADO)
    assert pipeline.states() == [("report_1.txt", "COMPLETADO", True), ("report_2.txt", "COMPLETADO", True)]
    assert pipeline.rows(tables.contenidos_cargados) == []


def test_a_loaded_layout_failure_leaves_the_quarantine(
    database: Database, sftp_folder: SftpFolder, tmp_path: Path
) -> None:
    data = report(record(ANA)).replace(b",jyv,", b",jk,", 1)
    with Pipeline(database, sftp_folder, tmp_path) as strict:
        take(strict, "report_1.txt", data)
        assert strict.quarantine("layout") == {sha256(data)}
    with Pipeline(database, sftp_folder, tmp_path, alias_columnas="jk=jyv") as lenient:
        (task,) = lenient.run(["report_1.txt"], Source.RETRY)
        assert task.loaded == Loaded(Estado.COMPLETADO, valid=1, new_visitors=1)
        assert lenient.states() == [("report_1.txt", "COMPLETADO", True)]
        assert ledger(lenient, "report_1.txt")[0]["intentos"] == 2
        assert lenient.quarantine("layout") == set()
        assert lenient.broken_promises() == []


def test_a_replay_loads_the_same_rows_once(pipeline: Pipeline) -> None:
    take(pipeline, "report_1.txt", report(record(ANA), record("sin arroba")))
    before = visitors(pipeline)
    task = pipeline.replay("report_1.txt")
    (row,) = ledger(pipeline, "report_1.txt")
    # The visitor was new when the file came.
    assert task.loaded == Loaded(Estado.COMPLETADO_CON_ERRORES, valid=1, invalid=1, new_visitors=1, known_visitors=0)
    assert (row["estado"], row["intentos"], row["reemplaza_a"]) == ("COMPLETADO_CON_ERRORES", 2, None)
    assert (row["visitantes_nuevos"], row["visitantes_actualizados"]) == (1, 0)
    assert visitors(pipeline) == before
    assert [len(pipeline.rows(table)) for table in (tables.estadisticas, tables.errores)] == [1, 1]
    assert pipeline.broken_promises() == []


# ------------------------------------------------------------------------------------------ one transaction


@pytest.fixture
def tools(pipeline: Pipeline) -> Iterator[RunTools]:
    with pipeline.tools() as tools:
        yield tools


def load_now(tools: RunTools, task: FileTask, writer: RowWriter | None = None, ready: Ready | None = None) -> Loaded:
    """Load a validated file once, without retries."""
    assert task.entry is not None
    assert task.prepared is not None
    return load_file(
        tools.platform.engine,
        writer or tools.writer,
        task.entry,
        task.prepared,
        now=tools.ledger.now,
        today=tools.platform.today(),
        key=tools.platform.erasure_key,
        held=1000,
        ready=ready,
    )


def test_a_load_whose_answer_was_lost_is_recognised(pipeline: Pipeline, tools: RunTools) -> None:
    take(pipeline, "report_1.txt", report(record(LUIS)))
    pipeline.deliver("report_1.txt", report(record(ANA), record(EVA), record("sin arroba")))
    task = pipeline.validated(tools, "report_1.txt")
    first = load_now(tools, task)
    before = pipeline.tables()
    assert load_now(tools, task, FailingWriter(tools.writer, at=0)) == first
    assert first.replaces == ledger(pipeline, "report_1.txt")[0]["id"]
    assert (first.valid, first.invalid, first.new_visitors, first.known_visitors) == (2, 1, 2, 0)
    assert pipeline.tables() == before


def test_a_duplicate_whose_answer_was_lost_is_told_as_one(pipeline: Pipeline, tools: RunTools) -> None:
    take(pipeline, "report_1.txt", report(record(ANA)))
    pipeline.deliver("report_2.txt", report(record(ANA)))
    task = pipeline.validated(tools, "report_2.txt")
    first = load_now(tools, task)
    assert first == Loaded(Estado.DUPLICADO, duplicate_of="report_1.txt")
    assert load_now(tools, task) == first


def test_a_replay_whose_answer_was_lost_is_recognised(pipeline: Pipeline, tools: RunTools) -> None:
    take(pipeline, "report_1.txt", report(record(ANA)))
    task = pipeline.validated(tools, "report_1.txt", Source.REPLAY)
    first = load_now(tools, task)
    before = pipeline.tables()
    assert load_now(tools, task, FailingWriter(tools.writer, at=0)) == first
    assert pipeline.tables() == before


def test_a_replay_by_a_machine_whose_clock_is_behind_is_carried_out(
    database: Database, sftp_folder: SftpFolder, tmp_path: Path
) -> None:
    clock = SteppingClock()
    with Pipeline(database, sftp_folder, tmp_path, clock) as pipeline:
        take(pipeline, "report_1.txt", report(record(ANA), record(EVA)))
        with pipeline.platform.engine.begin() as connection:
            connection.execute(sa.delete(tables.estadisticas).where(tables.estadisticas.c.email == ANA))
        clock.advance(-3600)
        assert pipeline.replay("report_1.txt").failure is None
        assert [row["email"] for row in pipeline.rows(tables.estadisticas)] == [EVA, ANA]
        assert [row["resultado"] for row in pipeline.rows(tables.bitacora_intentos)] == ["CARGADO", "CARGADO"]
        assert pipeline.broken_promises() == []


def test_a_run_that_lost_its_file_to_another_loads_nothing(pipeline: Pipeline, tools: RunTools) -> None:
    pipeline.deliver("report_1.txt", report(record(ANA)))
    task = pipeline.validated(tools, "report_1.txt")
    assert task.entry is not None
    stale = replace(task, entry=replace(task.entry, run_id="00000000-0000-0000-0000-000000000000"))
    with pytest.raises(TransientFailure, match=r"otra corrida tomó report_1\.txt"):
        load_now(tools, stale)
    assert pipeline.rows(tables.estadisticas) == []
    assert pipeline.states() == [("report_1.txt", "EN_PROCESO", True)]


class LosingWriter:
    """Loses the last row of every batch for one table."""

    name = "pierde filas"

    def __init__(self, writer: RowWriter, table: str) -> None:
        self._writer = writer
        self._table = table

    def pack(self, rows: pa.Table) -> Packed:
        return self._writer.pack(rows)

    def write(self, connection: sa.Connection, target: str, packed: Packed, constants: Mapping[str, int]) -> int:
        if target == self._table:
            packed = self.pack(packed.rows.slice(0, packed.rows.num_rows - 1))
        return self._writer.write(connection, target, packed, constants)


@pytest.mark.parametrize("table", ["estadisticas", "errores"])
def test_rows_that_are_not_all_there_are_never_complete(pipeline: Pipeline, tools: RunTools, table: str) -> None:
    pipeline.deliver("report_1.txt", report(record(ANA), record("sin arroba")))
    task = pipeline.validated(tools, "report_1.txt")
    with pytest.raises(PermanentFailure, match=f"no cuadra: en {table} entraron 0 filas de report_1.txt y deben ser 1"):
        load_now(tools, task, LosingWriter(tools.writer, table))
    assert [pipeline.rows(table) for table in (tables.estadisticas, tables.visitantes, tables.errores)] == [[], [], []]
    assert pipeline.states() == [("report_1.txt", "EN_PROCESO", True)]


@pytest.mark.parametrize(
    ("table", "told"), [(batch.VISITS, "estadisticas entraron 1 filas"), ("errores", "errores entraron 0 filas")]
)
def test_a_correction_that_is_not_all_there_changes_nothing(
    pipeline: Pipeline, tools: RunTools, table: str, told: str
) -> None:
    take(pipeline, "report_1.txt", report(record(LUIS), record(ANA)))
    before = (pipeline.rows(tables.estadisticas), pipeline.rows(tables.visitantes))
    pipeline.deliver("report_1.txt", report(record(ANA), record(LUIS, "02/03/2024 10:00"), record("sin arroba")))
    task = pipeline.validated(tools, "report_1.txt")
    with pytest.raises(PermanentFailure, match=f"no cuadra: en {told} de report_1.txt"):
        load_now(tools, task, LosingWriter(tools.writer, table))
    assert (pipeline.rows(tables.estadisticas), pipeline.rows(tables.visitantes)) == before
    assert pipeline.rows(tables.errores) == []
    assert pipeline.states() == [("report_1.txt", "COMPLETADO", True), ("report_1.txt", "EN_PROCESO", False)]


def test_rows_that_stand_for_a_file_before_its_load_are_never_complete(pipeline: Pipeline, tools: RunTools) -> None:
    pipeline.deliver("report_1.txt", report(record(ANA)))
    task = pipeline.validated(tools, "report_1.txt")
    assert task.entry is not None
    stray = {"archivo_id": task.entry.id, "linea": 9, "tipo_error": "COMILLAS", "detalle": [], "fila_original": "x"}
    with tools.platform.engine.begin() as connection:
        connection.execute(sa.insert(tables.errores).values(**stray))
    with pytest.raises(PermanentFailure, match=r"no cuadra: errores tiene ya filas de report_1\.txt"):
        load_now(tools, task)
    assert pipeline.rows(tables.estadisticas) == []
    assert pipeline.states() == [("report_1.txt", "EN_PROCESO", True)]


class FailingWriter:
    """Fails like a lost connection at the n-th write."""

    name = "falla"

    def __init__(self, writer: RowWriter, at: int) -> None:
        self._writer = writer
        self._left = at

    def pack(self, rows: pa.Table) -> Packed:
        return self._writer.pack(rows)

    def write(self, connection: sa.Connection, target: str, packed: Packed, constants: Mapping[str, int]) -> int:
        if not self._left:
            raise TransientFailure("se perdió la conexión")
        self._left -= 1
        return self._writer.write(connection, target, packed, constants)


def _lose_connection(*_: object, **__: object) -> None:
    raise TransientFailure("se perdió la conexión")


@pytest.mark.parametrize("at", [0, 1, None], ids=["rejects", "visits", "visitors"])
def test_a_load_that_fails_between_its_writes_leaves_nothing(
    pipeline: Pipeline, tools: RunTools, at: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.deliver("report_1.txt", report(record(ANA), record("sin arroba")))
    task = pipeline.validated(tools, "report_1.txt")
    writer = tools.writer if at is None else FailingWriter(tools.writer, at)
    with monkeypatch.context() as patched:
        if at is None:
            patched.setattr(VisitorTables, "add", _lose_connection)
        with pytest.raises(TransientFailure):
            load_now(tools, task, writer)
    for table in (tables.estadisticas, tables.errores, tables.visitantes, tables.contenidos_cargados):
        assert pipeline.rows(table) == []
    assert load_now(tools, task) == Loaded(Estado.COMPLETADO_CON_ERRORES, valid=1, invalid=1, new_visitors=1)


@pytest.mark.parametrize("found", ["as expected", "somebody erased", "another month", "a version that stands"])
def test_files_made_ready_together_load_as_what_they_find_asks_for(
    pipeline: Pipeline, tools: RunTools, found: str
) -> None:
    """What was made ready before the transaction holds only where the transaction finds what it was made for."""
    deliveries = {
        "report_1.txt": report(record(LUIS), record(ANA), record(ANA, "01/02/2024 10:00"), record("sin arroba")),
        "report_2.txt": report(record(ANA), record(EVA, "01/03/2023 10:00")),
        "report_3.txt": report(),
    }
    if found == "a version that stands":
        take(pipeline, "report_1.txt", report(record(EVA), record(ANA)))
    for name, data in deliveries.items():
        pipeline.deliver(name, data)
    tasks = [pipeline.validated(tools, name) for name in deliveries]
    make_ready(tools, tasks)
    made = [task.ready for task in tasks]
    assert [len(ready.emails) for ready in made if ready is not None] == [2, 2, 0]
    match found:
        case "somebody erased":
            pipeline.erase(ANA)
        case "another month":
            made = [replace(ready, period=Period(2020, 1)) for ready in made if ready is not None]
    loaded = [load_now(tools, task, ready=ready) for task, ready in zip(tasks, made, strict=True)]
    assert [(one.valid, one.invalid) for one in loaded] == [(3, 1), (2, 0), (0, 0)]
    new = 1 if found == "a version that stands" else 2
    assert [(one.new_visitors, one.known_visitors) for one in loaded] == [(new, 2 - new), (1, 1), (0, 0)]
    emails = Counter(row["email"] for row in pipeline.rows(tables.estadisticas))
    assert (emails.total(), emails[ANA]) == (5, 0 if found == "somebody erased" else 3)
    counted = {row["email"]: row["visitas_mes_actual"] for row in pipeline.rows(tables.visitantes)}
    assert (sorted(counted.values()), counted[EVA]) == ([0, 1, 2], 0)


@pytest.mark.databases("mysql", "mariadb")
def test_a_deadlock_over_a_content_passes(database: Database, pipeline: Pipeline, tools: RunTools) -> None:
    """Another transaction holds the content's key and then wants the period that the load holds shared."""
    assert database.server is not None
    pipeline.deliver("report_1.txt", report(record(ANA)))
    task = pipeline.validated(tools, "report_1.txt")
    other = pipeline.platform.engine.connect()
    ledger_row = {"estado": "COMPLETADO", "intentos": 1, "vigente": True}
    # The server ends the transaction that changed less: this one changes much.
    rows = [ledger_row | {"archivo": f"report_{number}.txt"} for number in range(1000, 1500)]
    other.execute(sa.insert(tables.bitacora_control), rows)
    carrier = other.execute(sa.select(sa.func.max(tables.bitacora_control.c.id))).scalar_one()
    assert task.entry is not None
    other.execute(sa.insert(tables.contenidos_cargados).values(sha256=task.entry.sha256, archivo_id=carrier))
    outcome: list[BaseException | Loaded] = []

    def load_it() -> None:
        try:
            outcome.append(load_now(tools, task))
        except Exception as failure:
            outcome.append(failure)

    loading = threading.Thread(target=load_it)
    loading.start()
    waits = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    while database.server.execute(waits)[0][0] == 0 and loading.is_alive():
        time.sleep(0.05)
    other.execute(sa.select(tables.periodo_visitantes).with_for_update())
    loading.join()
    other.rollback()
    other.close()
    assert [type(one) for one in outcome] == [TransientFailure]
    assert load_now(tools, task) == Loaded(Estado.COMPLETADO, valid=1, new_visitors=1)


# --------------------------------------------------------------------------------------------- ways to insert


def test_the_writer_is_the_fastest_that_the_server_allows(
    database: Database, pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    if database.server is None:
        assert isinstance(choose_writer(pipeline.platform.engine), SqliteWriter)
        return
    with database.server.with_local_infile(True):
        assert type(choose_writer(pipeline.platform.engine)) is LoadDataWriter
    assert caplog.records == []
    with database.server.with_local_infile(False):
        assert type(choose_writer(pipeline.platform.engine)) is MultiRowWriter
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "el servidor tiene local_infile apagado"
    ]


HARD_TEXTS = (
    "NULL",
    "null",
    "\\N",
    "\\",
    "\\\\",
    "a\\",
    "\\n",
    "\\'",
    "'",
    "''",
    '"',
    '""',
    'a"b',
    "a,b",
    ",",
    "😀",
    "e\u0301",
    "a\rb",
    "%",
    "%s",
    "%(x)s",
    ":x",
    "?",
    "/* */ -- #",
    "0",
    "ß",
    *TEXTS,
    *(f"x{char}y" for char in SEPARATORS),
)

INVISIBLE_TEXTS = ("\x1c", "\x01", "\x7f", "\u200b", "\u00ad", "\ufeff", "\u0301", "\u2060", "\u3000", "\u00a0")
"""Not empty, though a collation may take them for nothing."""


def quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def texts_report(texts: tuple[str, ...]) -> bytes:
    """A record and a reject for each text, which stands in every text column."""
    lines = []
    for text in texts:
        columns = dict.fromkeys(("jyv", "badmail", "baja", "links", "ips", "navegadores", "plataformas"), quoted(text))
        lines += [record(**columns), record(quoted(text), **columns)]
    return report(*lines)


def stored_texts(pipeline: Pipeline) -> tuple[list[tuple[str, ...]], list[tuple[str, str]]]:
    visits = [
        tuple(row.values())
        for row in sorted(
            pipeline.rows(
                tables.estadisticas,
                *("linea", "jyv", "badmail", "baja", "links", "ips", "navegadores", "plataformas"),
            ),
            key=lambda row: row["linea"],
        )
    ]
    rejects = [
        tuple(row.values())
        for row in sorted(
            pipeline.rows(tables.errores, "linea", "valor", "fila_original"), key=lambda row: row["linea"]
        )
    ]
    return [visit[1:] for visit in visits], [(reject[1], reject[2]) for reject in rejects]


@pytest.mark.parametrize("texts", [HARD_TEXTS, INVISIBLE_TEXTS], ids=["hard", "invisible"])
@pytest.mark.parametrize("allowed", [False, True], ids=["multi-row", "load-data"])
@pytest.mark.databases("mysql", "mariadb")
def test_a_server_keeps_every_text_as_it_came(
    database: Database, pipeline: Pipeline, allowed: bool, texts: tuple[str, ...]
) -> None:
    assert database.server is not None
    with database.server.with_local_infile(allowed):
        assert_texts_are_kept(pipeline, texts)


@pytest.mark.parametrize("texts", [HARD_TEXTS, INVISIBLE_TEXTS], ids=["hard", "invisible"])
@pytest.mark.databases("sqlite")
def test_sqlite_keeps_every_text_as_it_came(pipeline: Pipeline, texts: tuple[str, ...]) -> None:
    assert_texts_are_kept(pipeline, texts)


def assert_texts_are_kept(pipeline: Pipeline, texts: tuple[str, ...]) -> None:
    data = texts_report(texts)
    task = take(pipeline, "report_1.txt", data)
    assert task.failure is None
    visits, rejects = stored_texts(pipeline)
    assert visits == [(text,) * 7 for text in texts]
    lines = data.decode().split("\n")[2:-1:2]
    assert rejects == list(zip(texts, lines, strict=True))


@pytest.mark.databases("mysql", "mariadb")
def test_both_ways_into_a_server_make_the_same_rows(database: Database, pipeline: Pipeline) -> None:
    assert database.server is not None
    nulls = report(
        record(),
        record(fecha_open="02/03/2024 00:00", opens="0", opens_virales="2147483647", clicks="007"),
        record(links='"0,3"', fecha_click="31/12/2099 23:59", clicks_virales="1"),
        "roto",
        record("-"),
    )
    found = []
    for allowed in (False, True):
        pipeline.clear()
        with database.server.with_local_infile(allowed):
            take(pipeline, "report_1.txt", nulls)
        found.append(
            tuple(
                [{name: value for name, value in row.items() if name not in ("id", "archivo_id")} for row in rows]
                for rows in (
                    pipeline.rows(tables.estadisticas),
                    pipeline.rows(tables.errores),
                    pipeline.rows(tables.visitantes, *VISITOR),
                )
            )
        )
    assert found[0] == found[1]
    assert len(found[0][0]) == 3
    assert [(row["tipo_error"], row["campo"], row["valor"]) for row in found[0][1]] == [
        ("NUMERO_DE_CAMPOS", None, None),
        ("EMAIL_NULO", "email", None),
    ]
