"""The ladder of retries on every engine, by a clock that the tests move; replays; and the commands about both.

What becomes of a file that fails from day to day belongs here; a single failure's name does not.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.support.command import Visitas
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import NOON, Pipeline, SteppingClock, record, report, settings_for, sha256
from visitas_dagster.cli.console import output
from visitas_dagster.cli.progress import Watch
from visitas_dagster.dispatch import Outcome, Passes
from visitas_dagster.domain.failures import PermanentFailure, SystemFailure, TransientFailure
from visitas_dagster.domain.states import Estado
from visitas_dagster.loading import tables
from visitas_dagster.loading.ledger import Ledger
from visitas_dagster.resources.platform import Platform
from visitas_dagster.steps.arrivals import away
from visitas_dagster.steps.task import Source

NAME = "report_1.txt"
DATA = report(record(), record("sin arroba"))


@pytest.fixture
def clock() -> SteppingClock:
    return SteppingClock()


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path, clock: SteppingClock) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path, clock, reintentos=0) as pipeline:
        yield pipeline


class Broken:
    """A database that refuses every load, while it is broken."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch

    def by(self, failure: SystemFailure) -> None:
        """Refuse from now on."""

        def refuse(*arguments: object, **options: object) -> None:
            raise failure

        self._patch.setattr("visitas_dagster.steps.load.load_file", refuse)

    def mend(self) -> None:
        """Refuse no more."""
        self._patch.undo()


@pytest.fixture
def broken() -> Iterator[Broken]:
    with pytest.MonkeyPatch.context() as patch:
        yield Broken(patch)


def results(pipeline: Pipeline) -> list[str | None]:
    """How every attempt ended, oldest first."""
    return [row["resultado"] for row in pipeline.rows(tables.bitacora_intentos)]


def entry(pipeline: Pipeline) -> tuple[str, int, str | None]:
    """State, attempts and message of the only row."""
    (row,) = pipeline.rows(tables.bitacora_control)
    return row["estado"], row["intentos"], row["mensaje"]


def release(pipeline: Pipeline, name: str) -> Estado | None:
    return Ledger(pipeline.platform.engine, pipeline.clock, pipeline.settings.zone).release(name, "ana")


# ------------------------------------------------------------------------------------------------- the ladder


def test_a_passing_failure_climbs_the_ladder_to_its_end(
    pipeline: Pipeline, clock: SteppingClock, broken: Broken
) -> None:
    broken.by(TransientFailure("no responde"))
    pipeline.deliver(NAME, DATA)
    pipeline.run([NAME])
    assert entry(pipeline) == ("EN_PROCESO", 1, "no responde (la corrida se repite)")
    assert pipeline.quarantine("sistema") == set()
    pipeline.run_pass()
    assert entry(pipeline) == ("FALLO_SISTEMA", 2, "no responde")
    assert pipeline.quarantine("sistema") == {sha256(DATA)}
    assert results(pipeline) == ["FALLO_PASAJERO"] * 2

    # The day ends by the setting's zone: 23:30 in Mexico City is 05:30 of the next day in UTC.
    clock.set(datetime(2024, 3, 15, 5, 30, tzinfo=UTC))
    assert pipeline.run_pass() == []
    for further_day in (1, 2):
        clock.set(datetime(2024, 3, 14 + further_day, 6, 30, tzinfo=UTC))
        (task,) = pipeline.run_pass()
        assert (task.estado, pipeline.run_pass()) == (Estado.FALLO_SISTEMA, [])
        assert entry(pipeline) == ("FALLO_SISTEMA", 2 + 2 * further_day, "no responde")
    for later in (3, 4, 30, 400):
        clock.set(NOON + timedelta(days=later))
        assert pipeline.run_pass() == []
    assert results(pipeline) == ["FALLO_PASAJERO"] * 6
    assert pipeline.on_server() == {NAME}
    assert pipeline.backups() == set()
    assert pipeline.rows(tables.estadisticas) == []


def test_the_days_of_a_delivery_count_together_wherever_it_failed(
    pipeline: Pipeline, clock: SteppingClock, broken: Broken
) -> None:
    broken.by(TransientFailure("no responde"))
    pipeline.deliver(NAME, DATA)
    pipeline.run_pass()
    broken.mend()
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*arguments: object) -> None:
            raise TransientFailure("se cortó")

        # From the second day on its bytes do not come: another row, for nobody knows yet that they are the same.
        patch.setattr("visitas_dagster.steps.download._receive", refuse)
        for _ in range(2):
            clock.advance(86_400)
            (task,) = pipeline.run_pass()
            assert task.estado is Estado.FALLO_SISTEMA
        clock.advance(86_400)
        assert pipeline.run_pass() == []
    assert results(pipeline) == ["FALLO_PASAJERO"] * 6


def test_a_release_begins_the_ladder_anew_and_success_ends_it(
    pipeline: Pipeline, clock: SteppingClock, broken: Broken
) -> None:
    broken.by(TransientFailure("no responde"))
    pipeline.deliver(NAME, DATA)
    for day in range(3):
        clock.set(NOON + timedelta(days=day))
        pipeline.run_pass()
    assert release(pipeline, NAME) is Estado.FALLO_SISTEMA
    for _ in range(3):
        (task,) = pipeline.run_pass()
        assert (task.estado, pipeline.run_pass()) == (Estado.FALLO_SISTEMA, [])
        clock.advance(86_400)
    assert pipeline.run_pass() == []
    assert results(pipeline) == [*["FALLO_PASAJERO"] * 6, "LIBERADO", *["FALLO_PASAJERO"] * 6]
    assert pipeline.quarantine("sistema") == {sha256(DATA)}

    broken.mend()
    assert pipeline.run_pass() == []
    release(pipeline, NAME)
    (task,) = pipeline.run_pass()
    assert task.estado is Estado.COMPLETADO_CON_ERRORES
    assert entry(pipeline) == ("COMPLETADO_CON_ERRORES", 13, None)
    assert results(pipeline)[-2:] == ["LIBERADO", "CARGADO"]
    assert pipeline.quarantine("sistema") == set()
    assert pipeline.on_server() == set()
    assert pipeline.broken_promises() == []


def test_what_no_retry_cures_stops_at_once(pipeline: Pipeline, clock: SteppingClock, broken: Broken) -> None:
    broken.by(PermanentFailure("no hay disco", "libere espacio"))
    pipeline.deliver(NAME, DATA)
    (task,) = pipeline.run_pass()
    assert task.estado is Estado.FALLO_SISTEMA
    assert entry(pipeline) == ("FALLO_SISTEMA", 1, "no hay disco. libere espacio")
    assert results(pipeline) == ["FALLO_DURADERO"]
    assert pipeline.quarantine("sistema") == {sha256(DATA)}
    assert pipeline.run_pass() == []
    broken.mend()
    clock.advance(86_400)
    (task,) = pipeline.run_pass()
    assert results(pipeline) == ["FALLO_DURADERO", "CARGADO"]
    assert pipeline.quarantine("sistema") == set()
    assert pipeline.broken_promises() == []


def test_a_run_that_died_is_no_failure_of_the_file(pipeline: Pipeline, broken: Broken) -> None:
    pipeline.deliver(NAME, DATA)
    for _ in range(4):
        with pipeline.tools() as tools:
            pipeline.validated(tools, NAME)
    broken.by(TransientFailure("no responde"))
    pipeline.run([NAME])
    # Four dead runs do not use up the one repetition.
    assert entry(pipeline) == ("EN_PROCESO", 5, "no responde (la corrida se repite)")
    broken.mend()
    pipeline.run_pass()
    assert results(pipeline) == [*["INTERRUMPIDO"] * 4, "FALLO_PASAJERO", "CARGADO"]
    assert pipeline.broken_promises() == []


def test_a_dead_runs_file_that_left_the_server_is_loaded_from_its_backup(pipeline: Pipeline) -> None:
    pipeline.deliver(NAME, DATA)
    with pipeline.tools() as tools:
        task = pipeline.validated(tools, NAME)
        assert task.staged is not None
        # What the next pass does with a dead run's folder.
        kept = pipeline.platform.folders.backed_up(NAME, sha256(DATA), pipeline.platform.today())
        kept.parent.mkdir(parents=True)
        kept.write_bytes(task.staged.read_bytes())
        (pipeline.folder / NAME).unlink()
        assert away(pipeline.platform, ()) == []
    assert away(pipeline.platform, {NAME}) == []
    assert away(pipeline.platform, ()) == [NAME]
    pipeline.run([NAME], Source.RETRY)
    assert entry(pipeline) == ("COMPLETADO_CON_ERRORES", 2, None)
    assert away(pipeline.platform, ()) == []
    assert pipeline.broken_promises() == []


def test_what_is_nowhere_is_given_up_once(pipeline: Pipeline) -> None:
    pipeline.deliver(NAME, DATA)
    with pipeline.tools() as tools:
        pipeline.validated(tools, NAME)
        (pipeline.folder / NAME).unlink()
    (task,) = pipeline.run(away(pipeline.platform, ()), Source.RETRY)
    assert isinstance(task.failure, PermanentFailure)
    assert entry(pipeline)[:2] == ("FALLO_SISTEMA", 2)
    assert results(pipeline) == ["INTERRUMPIDO", "FALLO_DURADERO"]
    assert away(pipeline.platform, ()) == []
    # A release of it is used up by the attempt that finds nothing.
    release(pipeline, NAME)
    assert away(pipeline.platform, ()) == [NAME]
    pipeline.run([NAME], Source.RETRY)
    assert away(pipeline.platform, ()) == []


# -------------------------------------------------------------------------------------------- passes in Dagster


@pytest.mark.databases("sqlite")
def test_a_pass_repeats_a_run_once_and_leaves_the_rest_to_the_next_days(
    pipeline: Pipeline, clock: SteppingClock, broken: Broken
) -> None:
    with dg.DagsterInstance.ephemeral() as instance, Watch(output()) as watch:
        passes = Passes(pipeline.platform, instance, watch)
        broken.by(TransientFailure("no responde"))
        pipeline.deliver(NAME, DATA)
        pipeline.deliver("report_2.txt", report(record()))
        result = passes.pending(limit=1)
        assert result.outcomes == [Outcome(NAME, "FALLO_SISTEMA", detail="no responde")]
        assert (result.left, len(instance.get_runs())) == (1, 2)
        assert results(pipeline) == ["FALLO_PASAJERO"] * 2
        broken.mend()
        assert [one.archivo for one in passes.pending().outcomes] == ["report_2.txt"]
        (outcome,) = passes.pending(insisted=[NAME]).outcomes
        assert outcome == Outcome(NAME, "COMPLETADO_CON_ERRORES", 1, 1)
    assert results(pipeline) == ["FALLO_PASAJERO"] * 2 + ["CARGADO"] * 2
    assert pipeline.broken_promises() == []


# ------------------------------------------------------------------------------------------------------ replays


def standing(pipeline: Pipeline) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, without what each attempt writes anew and without numbers given by the database."""
    names = {
        row["id"]: (row["archivo"], row["sha256"])
        for row in pipeline.rows(tables.bitacora_control, "id", "archivo", "sha256")
    }
    found = {}
    for table in tables.metadata.sorted_tables:
        if table is tables.bitacora_intentos:
            continue
        rows = pipeline.rows(table)
        for row in rows:
            for column in ("archivo_id", "reemplaza_a"):
                if column in row:
                    row[column] = names.get(row[column])
            if table is not tables.periodo_visitantes:
                row.pop("id", None)
            for column in ("inicio", "fin", "duracion_ms", "intentos", "run_id"):
                row.pop(column, None)
        found[table.name] = sorted(rows, key=repr)
    return found


def test_a_replay_of_everything_changes_no_row(pipeline: Pipeline, clock: SteppingClock) -> None:
    two = report(record("ana@example.com"), record("luis@example.org", "01/02/2023 10:00"), record("sin arroba"))
    for deliveries in (
        {
            "report_1.txt": report(record("ana@example.com"), record("eva@example.net")),
            "report_2.txt": two,
            "report_3.txt": two,
            "report_4.txt": report(),
            "report_5.txt": b"nada\n",
            "report_6.txt": report(record("no"), record("sol@example.com", "31/12/2023 23:59")),
        },
        {
            "report_1.txt": report(record("ana@example.com", "02/03/2024 10:00"), record("sol@example.com")),
            "report_5.txt": b"",
        },
        # A correction that fails, and a name that went back to what it had before.
        {"report_6.txt": b"nada\n", "report_4.txt": two},
        {"report_4.txt": report()},
    ):
        for name, data in deliveries.items():
            pipeline.deliver(name, data)
        pipeline.run_pass()
        clock.advance(3600)
    assert pipeline.broken_promises() == []
    assert pipeline.on_server() == set()
    before = standing(pipeline)
    assert [len(before[name]) for name in ("bitacora_control", "estadisticas", "errores")] == [10, 5, 2]
    names = sorted({archivo for archivo, _, _ in pipeline.states()})
    for order in (names, names[::-1]):
        clock.advance(3600)
        tasks = pipeline.process(order, Source.REPLAY)
        assert {task.archivo for task in tasks if task.failure} == {"report_5.txt"}
        assert standing(pipeline) == before
    assert pipeline.broken_promises() == []


# ----------------------------------------------------------------------------------------------------- commands


@pytest.fixture
def visitas(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Visitas:
    visitas = Visitas(tmp_path, sftp_folder.environment() | {"VISITAS_DB_URL": database.url})
    assert visitas.run("init").code == 0
    return visitas


@pytest.mark.databases("sqlite")
def test_a_file_is_explained_released_and_replayed_by_command(
    visitas: Visitas, database: Database, sftp_folder: SftpFolder, tmp_path: Path
) -> None:
    wrong = report(record()).replace(b",jyv,", b",jk,", 1)
    (sftp_folder.path / NAME).write_bytes(wrong)
    (sftp_folder.path / "report_2.txt").write_bytes(report(record(), record("no")))
    assert visitas.run("dispatch").code == 1

    told = visitas.run("explain", NAME, COLUMNS="200")
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines()[:6] == [
        NAME,
        "",
        "Versión 1: FALLO_LAYOUT, vigente",
        f"  contenido:    {sha256(wrong)}",
        f"  bytes:        {len(wrong)}",
        "  codificación: utf-8",
    ]
    assert re.search(r"FALLO_LAYOUT .*Faltan columnas: jyv", told.out)
    digest = sha256(wrong)[:12]
    day = next(path.name for path in (visitas.home / "backup").iterdir())
    assert told.out.split("Dónde están sus bytes\n")[1].splitlines() == [
        "  servidor SFTP: no está",
        f"  versión 1: {visitas.home}/cuarentena/layout/report_1__{digest}.txt",
        f"  versión 1: {visitas.home}/backup/{day}/report_1__{digest}.txt",
    ]

    for command in (["explain", "report_9.txt"], ["replay", NAME, "report_9.txt"]):
        unknown = visitas.run(*command)
        assert (unknown.code, unknown.out) == (2, "")
        assert unknown.err == (
            "visitas: nadie conoce «report_9.txt»: no está en el servidor ni en la bitácora. "
            "Escriba el nombre tal como lo muestra: visitas status\n"
        )
    refused = visitas.run("release", NAME, "report_2.txt")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == ("visitas: «report_2.txt» no tiene una versión fallida. Véalas con: visitas status\n")

    freed = visitas.run("release", NAME)
    assert (freed.code, freed.err) == (0, "")
    assert freed.out == f"{NAME} (FALLO_LAYOUT) queda libre: la siguiente pasada lo toma.\n"
    mended = visitas.run("dispatch", VISITAS_ALIAS_COLUMNAS="jk=jyv")
    assert mended.code == 0
    assert re.search(rf"{NAME} +COMPLETADO +1 +0", mended.out)

    again = visitas.run("replay", "report_2.txt")
    assert (again.code, again.err) == (0, "")
    assert re.search(r"report_2\.txt +COMPLETADO_CON_ERRORES +1 +1", again.out)
    # Without its alias the file is no report any more: what is loaded stays, and a person is told.
    failed = visitas.run("replay", NAME)
    assert failed.code == 1
    assert "Faltan columnas: jyv" in failed.out
    with Platform(settings_for(database.url, sftp_folder.environment(), tmp_path / "etl")) as platform:
        pipeline_rows = [
            (row.archivo, row.estado, row.intentos)
            for row in platform.engine.connect().execute(tables.bitacora_control.select())
        ]
    assert pipeline_rows == [(NAME, "COMPLETADO", 3), ("report_2.txt", "COMPLETADO_CON_ERRORES", 2)]
    last = visitas.run("explain", NAME, COLUMNS="200").out
    shown = re.findall(r"\b(FALLO_LAYOUT|LIBERADO|CARGADO|EN_CURSO)\b", last.split("Intentos")[1])
    assert shown == ["FALLO_LAYOUT", "LIBERADO", "CARGADO", "FALLO_LAYOUT"]
    assert not list((visitas.home / "cuarentena" / "layout").iterdir())
