"""`bitacora_control` and the reservations, attempt by attempt, on every engine.

Claiming, identifying, closing and reserving belong here; the load's transaction does not.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import NOON, Pipeline, SteppingClock, record, report, sha256
from visitas_dagster.domain.arrivals import Listed
from visitas_dagster.domain.content import ContentFacts
from visitas_dagster.domain.failures import LayoutFailure, PermanentFailure, TransientFailure, VisitasError
from visitas_dagster.domain.ladder import Attempt, Resultado
from visitas_dagster.domain.states import Estado
from visitas_dagster.loading import tables
from visitas_dagster.loading.history import History
from visitas_dagster.loading.ledger import MAX_MESSAGE, Entry, Ledger, close_attempt
from visitas_dagster.loading.reservations import open_reservations
from visitas_dagster.steps.arrivals import look, owed
from visitas_dagster.steps.task import Source

NAME = "report_1.txt"
A, B = ContentFacts(10, "a" * 64, "utf-8", False), ContentFacts(20, "b" * 64, "windows-1252", False)
RUN, OTHER_RUN = "1" * 36, "2" * 36
START = NOON.replace(tzinfo=None)


def listed(mtime: int = 1_700_000_000, size: int = 10) -> Listed:
    return Listed(NAME, size, mtime)


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path, SteppingClock()) as pipeline:
        yield pipeline


@pytest.fixture
def ledger(pipeline: Pipeline) -> Ledger:
    return Ledger(pipeline.platform.engine, pipeline.clock, pipeline.settings.zone)


@pytest.fixture
def history(pipeline: Pipeline) -> History:
    return History(pipeline.platform.engine, pipeline.settings.zone)


def loaded(ledger: Ledger, entry: Entry) -> Entry:
    """Make a row its name's loaded version, as a load does."""
    values = {"estado": "COMPLETADO", "fin": ledger.now(), "mensaje": None, "registros_total": 0}
    with ledger.engine.begin() as connection:
        connection.execute(
            sa.update(tables.bitacora_control)
            .where(tables.bitacora_control.c.archivo == entry.archivo)
            .values(vigente=False)
        )
        connection.execute(
            sa.update(tables.bitacora_control)
            .where(tables.bitacora_control.c.id == entry.id)
            .values(vigente=True, **values)
        )
        close_attempt(connection, entry, Resultado.CARGADO, ledger.now())
    return replace(entry, estado=Estado.COMPLETADO, vigente=True)


def attempts(pipeline: Pipeline) -> list[tuple[int, str | None, str | None, str | None]]:
    """Version, first digit of the run, result and message of every attempt, oldest first."""
    return [
        (row["archivo_id"], row["run_id"] and row["run_id"][0], row["resultado"], row["mensaje"])
        for row in pipeline.rows(tables.bitacora_intentos)
    ]


def states(history: History) -> list[tuple[str | None, str, int, bool]]:
    """First digit of the content, state, attempts, current; of each version, oldest first."""
    return [
        (row["sha256"] and row["sha256"][0], row["estado"], row["intentos"], row["vigente"])
        for row in history.versions(NAME)
    ]


def test_a_claim_opens_a_row(pipeline: Pipeline, ledger: Ledger, history: History) -> None:
    entry = ledger.claim(NAME, RUN, listed())
    assert entry == Entry(entry.id, NAME, None, Estado.EN_PROCESO, True, 1, RUN, None, entry.attempt)
    (row,) = history.versions(NAME)
    assert (row["bytes"], row["modificado_origen"], row["inicio"], row["fin"]) == (
        10,
        listed().modificado,
        START + timedelta(milliseconds=1),
        None,
    )
    (attempt,) = pipeline.rows(tables.bitacora_intentos)
    assert attempt == {
        "id": entry.attempt,
        "archivo_id": entry.id,
        "run_id": RUN,
        "inicio": START + timedelta(milliseconds=2),
        "fin": None,
        "resultado": None,
        "mensaje": None,
    }


def test_a_second_claim_takes_the_open_row_over(pipeline: Pipeline, ledger: Ledger, history: History) -> None:
    first = ledger.claim(NAME, RUN, listed())
    second = ledger.claim(NAME, OTHER_RUN, listed(size=11))
    assert second == replace(first, intentos=2, run_id=OTHER_RUN, attempt=second.attempt)
    assert history.versions(NAME)[0]["bytes"] == 11
    assert second.attempt != first.attempt
    assert ledger.fail(first, PermanentFailure("tarde")) is None
    assert states(history) == [(None, "EN_PROCESO", 2, True)]
    assert attempts(pipeline) == [
        (first.id, "1", "INTERRUMPIDO", "la corrida murió sin terminar"),
        (first.id, "2", None, None),
    ]


def test_a_claim_whose_answer_was_lost_counts_once(pipeline: Pipeline, ledger: Ledger, history: History) -> None:
    first = ledger.claim(NAME, RUN, listed())
    assert ledger.claim(NAME, RUN, listed()) == first
    assert states(history) == [(None, "EN_PROCESO", 1, True)]
    assert attempts(pipeline) == [(first.id, "1", None, None)]


def test_a_claim_without_a_listing_keeps_what_the_row_knows(ledger: Ledger, history: History) -> None:
    ledger.claim(NAME, RUN, listed())
    ledger.claim(NAME, OTHER_RUN, None)
    assert history.versions(NAME)[0]["modificado_origen"] == listed().modificado


def test_identify_writes_the_content_down(ledger: Ledger, history: History) -> None:
    entry = ledger.identify(ledger.claim(NAME, RUN, listed()), B)
    assert entry.sha256 == B.sha256
    (row,) = history.versions(NAME)
    assert (row["sha256"], row["bytes"], row["codificacion"]) == (B.sha256, 20, "windows-1252")


def test_known_bytes_go_on_in_their_own_row(pipeline: Pipeline, ledger: Ledger, history: History) -> None:
    first = loaded(ledger, ledger.identify(ledger.claim(NAME, RUN, listed()), A))
    end = history.versions(NAME)[0]["fin"]
    again = ledger.identify(ledger.claim(NAME, OTHER_RUN, listed(1_700_000_001)), A)
    assert again == replace(first, intentos=2, run_id=OTHER_RUN, attempt=again.attempt)
    assert again.is_loaded
    assert states(history) == [("a", "COMPLETADO", 2, True)]
    ledger.close_known(again)
    assert attempts(pipeline) == [(first.id, "1", "CARGADO", None), (first.id, "2", "SIN_CAMBIO", None)]
    (row,) = history.versions(NAME)
    assert row["inicio"] > end
    assert row["fin"] > row["inicio"]
    assert row["modificado_origen"] == listed(1_700_000_001).modificado


def test_other_bytes_get_a_row_and_leave_the_loaded_one_current(ledger: Ledger, history: History) -> None:
    loaded(ledger, ledger.identify(ledger.claim(NAME, RUN, listed()), A))
    correction = ledger.identify(ledger.claim(NAME, OTHER_RUN, listed()), B)
    assert not correction.vigente
    assert states(history) == [("a", "COMPLETADO", 1, True), ("b", "EN_PROCESO", 1, False)]
    assert ledger.fail(correction, PermanentFailure("no hubo disco")) is Estado.FALLO_SISTEMA
    assert states(history) == [("a", "COMPLETADO", 1, True), ("b", "FALLO_SISTEMA", 1, False)]


def test_bytes_that_a_name_had_before_are_processed_again(ledger: Ledger, history: History) -> None:
    first = loaded(ledger, ledger.identify(ledger.claim(NAME, RUN, listed()), A))
    loaded(ledger, ledger.identify(ledger.claim(NAME, RUN, listed()), B))
    again = ledger.identify(ledger.claim(NAME, OTHER_RUN, listed()), A)
    assert (again.id, again.estado, again.vigente) == (first.id, Estado.EN_PROCESO, False)
    assert states(history) == [("a", "EN_PROCESO", 2, False), ("b", "COMPLETADO", 1, True)]


def test_bytes_of_a_dead_run_are_told_from_the_next_delivery(
    pipeline: Pipeline, ledger: Ledger, history: History
) -> None:
    ledger.identify(ledger.claim(NAME, RUN, listed()), A)
    second = ledger.identify(ledger.claim(NAME, OTHER_RUN, listed(1_700_000_001)), B)
    # An attempt counts at the content that it brought.
    assert states(history) == [("a", "FALLO_SISTEMA", 1, False), ("b", "EN_PROCESO", 1, True)]
    set_aside = history.versions(NAME)[0]
    assert set_aside["mensaje"].startswith("llegó otra entrega")
    # Its size and time stay those of its own delivery.
    assert (set_aside["bytes"], set_aside["modificado_origen"]) == (listed().bytes, listed().modificado)
    third = ledger.identify(ledger.claim(NAME, RUN, listed(1_700_000_002)), A)
    assert third.id < second.id
    assert states(history) == [("a", "EN_PROCESO", 2, True), ("b", "FALLO_SISTEMA", 1, False)]
    died = ("INTERRUMPIDO", "la corrida murió sin terminar")
    assert attempts(pipeline) == [(third.id, "1", *died), (second.id, "2", *died), (third.id, "1", None, None)]


def test_while_nothing_loaded_the_last_delivered_is_current(ledger: Ledger, history: History) -> None:
    first = ledger.identify(ledger.claim(NAME, RUN, listed()), A)
    assert ledger.fail(first, LayoutFailure("encabezado")) is Estado.FALLO_LAYOUT
    second = ledger.identify(ledger.claim(NAME, RUN, listed()), B)
    assert ledger.fail(second, LayoutFailure("encabezado")) is Estado.FALLO_LAYOUT
    assert states(history) == [("a", "FALLO_LAYOUT", 1, False), ("b", "FALLO_LAYOUT", 1, True)]
    ledger.identify(ledger.claim(NAME, RUN, listed()), A)
    assert states(history) == [("a", "EN_PROCESO", 2, True), ("b", "FALLO_LAYOUT", 1, False)]


def test_a_failure_dates_the_end_and_keeps_the_message_within_its_column(ledger: Ledger, history: History) -> None:
    entry = ledger.identify(ledger.claim(NAME, RUN, listed()), A)
    assert ledger.fail(entry, PermanentFailure("ñ" * (MAX_MESSAGE + 1))) is Estado.FALLO_SISTEMA
    (row,) = history.versions(NAME)
    assert (row["estado"], row["mensaje"]) == ("FALLO_SISTEMA", "ñ" * MAX_MESSAGE)
    assert row["duracion_ms"] == (row["fin"] - row["inicio"]) / timedelta(milliseconds=1)


def test_a_failure_is_the_ladders_to_judge(pipeline: Pipeline, ledger: Ledger, history: History) -> None:
    first = ledger.identify(ledger.claim(NAME, RUN, listed()), A)
    assert ledger.fail(first, TransientFailure("no responde")) is Estado.EN_PROCESO
    (row,) = history.versions(NAME)
    assert (row["mensaje"], row["fin"] is None) == ("no responde (la corrida se repite)", False)
    second = ledger.identify(ledger.claim(NAME, OTHER_RUN, listed()), A)
    assert (second.id, second.intentos) == (first.id, 2)
    assert ledger.fail(second, TransientFailure("no responde")) is Estado.FALLO_SISTEMA
    assert history.versions(NAME)[0]["mensaje"] == "no responde"
    assert attempts(pipeline) == [
        (first.id, "1", "FALLO_PASAJERO", "no responde"),
        (first.id, "2", "FALLO_PASAJERO", "no responde"),
    ]
    day = NOON.date()
    assert history.attempts([first.id, 0]) == {first.id: [Attempt(day, Resultado.FALLO_PASAJERO)] * 2}


def test_a_failure_of_what_is_loaded_changes_its_attempt_only(
    pipeline: Pipeline, ledger: Ledger, history: History
) -> None:
    loaded(ledger, ledger.identify(ledger.claim(NAME, RUN, listed()), A))
    again = ledger.identify(ledger.claim(NAME, OTHER_RUN, None), A)
    before = history.versions(NAME)
    assert ledger.fail(again, PermanentFailure("no hay disco")) is Estado.COMPLETADO
    assert history.versions(NAME) == before
    assert [result for _, _, result, _ in attempts(pipeline)] == ["CARGADO", "FALLO_DURADERO"]


@pytest.mark.parametrize("standing", ["loaded", "failed"])
def test_a_claim_for_bytes_that_are_here_goes_on_in_their_row(
    pipeline: Pipeline, ledger: Ledger, history: History, standing: str
) -> None:
    """A pass that dies before it took them leaves no row of no content beside it, and the next one goes on there."""
    first = ledger.identify(ledger.claim(NAME, RUN, listed()), A)
    if standing == "loaded":
        loaded(ledger, first)
    else:
        ledger.fail(first, PermanentFailure("no hay disco"))
    (before,) = history.versions(NAME)
    for _ in range(2):
        # The answer to the first may have been lost.
        again = ledger.claim(NAME, OTHER_RUN, None, A.sha256)
        (row,) = history.versions(NAME)
        assert (again.id, again.sha256, again.intentos) == (first.id, A.sha256, 2)
        estado = before["estado"] if standing == "loaded" else "EN_PROCESO"
        assert (row["estado"], row["vigente"], row["run_id"]) == (estado, True, OTHER_RUN)
        assert (row["bytes"], row["modificado_origen"]) == (before["bytes"], before["modificado_origen"])
    third = ledger.claim(NAME, RUN, None, A.sha256)
    assert ledger.identify(third, A) == third
    assert third.intentos == 3
    results = [(entry_id, result) for entry_id, _, result, _ in attempts(pipeline)]
    ended = "CARGADO" if standing == "loaded" else "FALLO_DURADERO"
    assert results == [(first.id, ended), (first.id, "INTERRUMPIDO"), (first.id, None)]


def test_a_claim_for_bytes_that_nobody_knows_opens_a_row(pipeline: Pipeline, ledger: Ledger, history: History) -> None:
    ledger.fail(ledger.identify(ledger.claim(NAME, RUN, listed()), A), PermanentFailure("no hay disco"))
    entry = ledger.claim(NAME, OTHER_RUN, None, B.sha256)
    assert (entry.sha256, entry.vigente, entry.intentos) == (None, True, 1)
    assert len(history.versions(NAME)) == 2


def test_a_release_is_used_up_by_the_next_attempt(pipeline: Pipeline, ledger: Ledger, history: History) -> None:
    assert ledger.release(NAME, "ana") is None
    entry = ledger.identify(ledger.claim(NAME, RUN, listed()), A)
    assert ledger.failed_versions([NAME, "report_2.txt"]) == set()
    ledger.fail(entry, PermanentFailure("no hay disco"))
    assert ledger.failed_versions([NAME, "report_2.txt"]) == {NAME}
    assert ledger.release(NAME, "ana") is Estado.FALLO_SISTEMA
    assert history.released() == [NAME]
    (written,) = pipeline.rows(tables.auditoria, "operacion", "quien", "detalle")
    assert written == {
        "operacion": "LIBERAR",
        "quien": "ana",
        "detalle": {"archivo": NAME, "estado": "FALLO_SISTEMA"},
    }
    ledger.identify(ledger.claim(NAME, OTHER_RUN, listed()), A)
    assert history.released() == []
    assert attempts(pipeline) == [
        (entry.id, "1", "FALLO_DURADERO", "no hay disco"),
        (entry.id, None, "LIBERADO", "ana"),
        (entry.id, "2", None, None),
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [("sigue en el servidor: no hay permiso", None), ("mismo contenido que x", "mismo contenido que x")],
)
def test_a_removal_that_succeeds_takes_its_warning_back(
    ledger: Ledger, history: History, before: str, after: str | None
) -> None:
    entry = loaded(ledger, ledger.identify(ledger.claim(NAME, RUN, listed()), A))
    ledger.note(entry, before)
    ledger.close_known(entry)
    assert history.versions(NAME)[0]["mensaje"] == after


def test_newest_is_the_row_that_was_touched_last(ledger: Ledger, history: History) -> None:
    first = ledger.identify(ledger.claim(NAME, RUN, listed()), A)
    ledger.fail(first, LayoutFailure("encabezado"))
    loaded(ledger, ledger.identify(ledger.claim(NAME, RUN, listed()), B))
    assert history.newest([NAME, "report_2.txt"])[NAME].bytes == 20
    ledger.identify(ledger.claim(NAME, RUN, listed(1_700_000_009)), A)
    newest = history.newest([NAME, "report_2.txt"])
    assert list(newest) == [NAME]
    assert (newest[NAME].bytes, newest[NAME].modificado, newest[NAME].estado) == (
        10,
        listed(1_700_000_009).modificado,
        Estado.EN_PROCESO,
    )


def test_newest_of_more_names_than_a_query_takes(ledger: Ledger, history: History) -> None:
    names = [f"report_{number}.txt" for number in range(1201)]
    with ledger.engine.begin() as connection:
        connection.execute(
            sa.insert(tables.bitacora_control),
            [{"archivo": name, "estado": "COMPLETADO", "intentos": 1, "vigente": True} for name in names],
        )
    assert history.newest(names).keys() == set(names)
    assert history.totals() == {Estado.COMPLETADO: (1201, 0, 0)}


def test_names_are_told_apart_by_their_bytes(ledger: Ledger, history: History) -> None:
    for name in ("José.txt", "JOSÉ.txt", "jose.txt", "jose\u0301.txt"):
        ledger.claim(name, RUN, None)
    assert [len(history.versions(name)) for name in ("José.txt", "jose.txt", "JOSE.txt")] == [1, 1, 0]


def test_rows_by_state_come_last_touched_first(ledger: Ledger, history: History) -> None:
    for number in (1, 2, 3):
        entry = ledger.claim(f"report_{number}.txt", RUN, None)
        ledger.fail(entry, PermanentFailure("x") if number != 2 else LayoutFailure("x"))
    failed = history.in_states({Estado.FALLO_SISTEMA}, limit=5)
    assert [row["archivo"] for row in failed] == ["report_3.txt", "report_1.txt"]
    assert len(history.in_states(Estado, limit=2)) == 2


def test_failed_leaves_out_what_a_newer_version_made_good(ledger: Ledger, history: History) -> None:
    stories: dict[str, list[tuple[ContentFacts, VisitasError | None]]] = {
        "report_1.txt": [(A, LayoutFailure("x")), (B, None)],
        "report_2.txt": [(A, None), (B, PermanentFailure("x"))],
        "report_3.txt": [(A, LayoutFailure("x"))],
    }
    for name, outcomes in stories.items():
        for facts, failure in outcomes:
            entry = ledger.identify(ledger.claim(name, RUN, None), facts)
            if failure is None:
                loaded(ledger, entry)
            else:
                ledger.fail(entry, failure)
    assert [row["archivo"] for row in history.failed(limit=5)] == ["report_3.txt", "report_2.txt"]
    assert [row["archivo"] for row in history.failed(limit=1)] == ["report_3.txt"]


def test_totals_count_what_stands_in_the_tables(pipeline: Pipeline, history: History) -> None:
    pipeline.deliver(NAME, report(record(), record(), record("no")))
    pipeline.deliver("report_2.txt", report(record("luis@example.org")))
    pipeline.deliver("report_3.txt", b"")
    pipeline.run_pass()
    pipeline.deliver(NAME, report(record("eva@example.net"), record("no")))
    pipeline.run_pass()
    assert history.totals() == {
        Estado.COMPLETADO: (1, 1, 0),
        Estado.COMPLETADO_CON_ERRORES: (2, 1, 1),
        Estado.FALLO_LAYOUT: (1, 0, 0),
    }


def test_standing_counts_the_rows_of_each_version(pipeline: Pipeline, history: History) -> None:
    pipeline.deliver(NAME, report(record(), record(), record("no")))
    pipeline.deliver("report_2.txt", report())
    first, second = (task.entry for task in pipeline.run_pass())
    assert first is not None
    assert second is not None
    assert history.standing([first.id, second.id]) == {first.id: (2, 1), second.id: (0, 0)}
    assert {row["archivo"] for row in history.find_all([first.id, second.id])} == {NAME, "report_2.txt"}


# ---------------------------------------------------------------------------------------------- reservations


def test_a_name_is_reserved_by_one_run_at_a_time(pipeline: Pipeline) -> None:
    locks = pipeline.platform.folders.locks
    first, second = (open_reservations(pipeline.platform.engine, locks) for _ in range(2))
    assert first.take(NAME)
    assert first.take(NAME)
    assert not second.take(NAME)
    assert second.take("report_2.txt")
    first.free(NAME)
    assert second.take(NAME)
    second.close()
    assert first.take("report_2.txt")
    first.free("report_3.txt")
    first.close()
    first.close()


def test_a_live_run_keeps_its_file_from_the_next_pass_and_a_dead_one_does_not(pipeline: Pipeline) -> None:
    pipeline.deliver(NAME, report(record()))
    with pipeline.tools() as tools:
        pipeline.validated(tools, NAME)
        standing = [seen.listed for seen in look(pipeline.platform, {}).values()]
        assert owed(pipeline.platform, standing) == []
        (task,) = pipeline.run([NAME])
        assert task.skipped == "lo tiene otra corrida"
    assert pipeline.states() == [(NAME, "EN_PROCESO", True)]
    (task,) = pipeline.run_pass()
    assert task.estado is Estado.COMPLETADO
    (row,) = pipeline.rows(tables.bitacora_control)
    assert row["intentos"] == 2
    assert pipeline.broken_promises() == []


# ---------------------------------------------------------------------------------------------- whole attempts


def test_the_same_bytes_again_are_counted_and_removed(pipeline: Pipeline) -> None:
    data = report(record(), record("no"))
    for attempt in (1, 2, 3):
        pipeline.deliver(NAME, data)
        (task,) = pipeline.run_pass()
        assert (task.loaded is None, task.estado) == (attempt > 1, Estado.COMPLETADO_CON_ERRORES)
        (row,) = pipeline.rows(tables.bitacora_control)
        assert (row["intentos"], row["registros_total"], row["sha256"]) == (attempt, 2, sha256(data))
        assert row["fin"] > row["inicio"]
        assert pipeline.on_server() == set()
        assert len(pipeline.rows(tables.estadisticas)) == 1


def test_a_system_failure_stays_on_the_server_until_somebody_insists(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = report(record())
    pipeline.deliver(NAME, data)

    def fail(*arguments: object, **options: object) -> None:
        raise PermanentFailure("no hay disco")

    with monkeypatch.context() as patched:
        patched.setattr("visitas_dagster.steps.load.load_file", fail)
        (task,) = pipeline.run_pass()
    assert isinstance(task.failure, PermanentFailure)
    (row,) = pipeline.rows(tables.bitacora_control)
    assert (row["estado"], row["mensaje"], row["vigente"]) == ("FALLO_SISTEMA", "no hay disco", True)
    assert pipeline.quarantine("sistema") == {sha256(data)}
    assert pipeline.on_server() == {NAME}
    assert pipeline.backups() == set()
    assert pipeline.run_pass() == []
    (task,) = pipeline.run([NAME], Source.RETRY)
    assert task.estado is Estado.COMPLETADO
    assert pipeline.quarantine("sistema") == set()
    assert pipeline.broken_promises() == []


def test_a_failure_before_the_content_is_known_keeps_one_row(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.deliver(NAME, report(record()))

    def fail(*arguments: object) -> None:
        raise PermanentFailure("no hay permiso")

    with monkeypatch.context() as patched:
        patched.setattr("visitas_dagster.steps.download._receive", fail)
        pipeline.run_pass()
    (row,) = pipeline.rows(tables.bitacora_control)
    assert (row["estado"], row["sha256"], row["mensaje"]) == ("FALLO_SISTEMA", None, "no hay permiso")
    assert pipeline.run_pass() == []
    # A delivery with another time is another one: it is taken without anybody's word.
    pipeline.deliver(NAME, report(record()))
    pipeline.run_pass()
    assert pipeline.states() == [(NAME, "COMPLETADO", True)]
    assert pipeline.rows(tables.bitacora_control)[0]["intentos"] == 2
    assert pipeline.broken_promises() == []


def test_the_copy_of_the_version_that_failed_is_what_a_retry_takes(pipeline: Pipeline) -> None:
    good, wrong = report(record()), b"nada\n"
    pipeline.deliver(NAME, good)
    pipeline.run_pass()
    pipeline.deliver(NAME, wrong)
    pipeline.run_pass()
    (retried,) = pipeline.run([NAME], Source.RETRY)
    assert isinstance(retried.failure, LayoutFailure)
    replayed = pipeline.replay(NAME)
    assert replayed.facts is not None
    assert (replayed.facts.sha256, replayed.estado) == (sha256(good), Estado.COMPLETADO)
    assert pipeline.states() == [(NAME, "COMPLETADO", True), (NAME, "FALLO_LAYOUT", False)]
    assert [row["intentos"] for row in pipeline.rows(tables.bitacora_control)] == [2, 2]
    assert pipeline.broken_promises() == []


def test_a_replay_of_what_is_nowhere_says_so(pipeline: Pipeline) -> None:
    task = pipeline.replay("report_9.txt")
    assert isinstance(task.failure, PermanentFailure)
    assert task.failure.mensaje == "report_9.txt no está en el servidor, ni en la cuarentena, ni en los respaldos"
    assert pipeline.rows(tables.bitacora_control) == []
    assert pipeline.staging() == []
