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
from visitas_dagster.domain.failures import LayoutFailure, PermanentFailure
from visitas_dagster.domain.states import Estado
from visitas_dagster.loading import tables
from visitas_dagster.loading.ledger import MAX_MESSAGE, Entry, Ledger
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
    return Ledger(pipeline.platform.engine, pipeline.clock)


def loaded(ledger: Ledger, entry: Entry) -> Entry:
    """Make a row its name's loaded version, as a load does."""
    assert ledger.finish(entry, Estado.COMPLETADO, None, vigente=True, registros_total=0)
    return replace(entry, estado=Estado.COMPLETADO, vigente=True)


def states(ledger: Ledger) -> list[tuple[str | None, str, int, bool]]:
    """First digit of the content, state, attempts, current; of each version, oldest first."""
    return [
        (row["sha256"] and row["sha256"][0], row["estado"], row["intentos"], row["vigente"])
        for row in ledger.versions(NAME)
    ]


def test_a_claim_opens_a_row(ledger: Ledger) -> None:
    entry = ledger.claim(NAME, RUN, listed())
    assert entry == Entry(entry.id, NAME, None, Estado.EN_PROCESO, True, 1, RUN, None)
    (row,) = ledger.versions(NAME)
    assert (row["bytes"], row["modificado_origen"], row["inicio"], row["fin"]) == (
        10,
        listed().modificado,
        START + timedelta(milliseconds=1),
        None,
    )


def test_a_second_claim_takes_the_open_row_over(ledger: Ledger) -> None:
    first = ledger.claim(NAME, RUN, listed())
    second = ledger.claim(NAME, OTHER_RUN, listed(size=11))
    assert second == replace(first, intentos=2, run_id=OTHER_RUN)
    assert ledger.versions(NAME)[0]["bytes"] == 11
    assert not ledger.finish(first, Estado.FALLO_SISTEMA, "tarde")
    assert states(ledger) == [(None, "EN_PROCESO", 2, True)]


def test_a_claim_without_a_listing_keeps_what_the_row_knows(ledger: Ledger) -> None:
    ledger.claim(NAME, RUN, listed())
    ledger.claim(NAME, OTHER_RUN, None)
    assert ledger.versions(NAME)[0]["modificado_origen"] == listed().modificado


def test_identify_writes_the_content_down(ledger: Ledger) -> None:
    entry = ledger.identify(ledger.claim(NAME, RUN, listed()), B)
    assert entry.sha256 == B.sha256
    (row,) = ledger.versions(NAME)
    assert (row["sha256"], row["bytes"], row["codificacion"]) == (B.sha256, 20, "windows-1252")


def test_known_bytes_go_on_in_their_own_row(ledger: Ledger) -> None:
    first = loaded(ledger, ledger.identify(ledger.claim(NAME, RUN, listed()), A))
    end = ledger.versions(NAME)[0]["fin"]
    again = ledger.identify(ledger.claim(NAME, OTHER_RUN, listed(1_700_000_001)), A)
    assert again == replace(first, intentos=2, run_id=OTHER_RUN)
    assert again.is_loaded
    assert states(ledger) == [("a", "COMPLETADO", 2, True)]
    ledger.close_known(again)
    (row,) = ledger.versions(NAME)
    assert row["inicio"] > end
    assert row["fin"] > row["inicio"]
    assert row["modificado_origen"] == listed(1_700_000_001).modificado


def test_other_bytes_get_a_row_and_leave_the_loaded_one_current(ledger: Ledger) -> None:
    loaded(ledger, ledger.identify(ledger.claim(NAME, RUN, listed()), A))
    correction = ledger.identify(ledger.claim(NAME, OTHER_RUN, listed()), B)
    assert not correction.vigente
    assert states(ledger) == [("a", "COMPLETADO", 1, True), ("b", "EN_PROCESO", 1, False)]
    assert ledger.finish(correction, Estado.FALLO_SISTEMA, "no hubo disco")
    assert states(ledger) == [("a", "COMPLETADO", 1, True), ("b", "FALLO_SISTEMA", 1, False)]


def test_bytes_that_a_name_had_before_are_processed_again(ledger: Ledger) -> None:
    first = loaded(ledger, ledger.identify(ledger.claim(NAME, RUN, listed()), A))
    with ledger.engine.begin() as connection:
        connection.execute(sa.update(tables.bitacora_control).values(vigente=False))
    loaded(ledger, ledger.identify(ledger.claim(NAME, RUN, listed()), B))
    again = ledger.identify(ledger.claim(NAME, OTHER_RUN, listed()), A)
    assert (again.id, again.estado, again.vigente) == (first.id, Estado.EN_PROCESO, False)
    assert states(ledger) == [("a", "EN_PROCESO", 2, False), ("b", "COMPLETADO", 1, True)]


def test_bytes_of_a_dead_run_are_told_from_the_next_delivery(ledger: Ledger) -> None:
    ledger.identify(ledger.claim(NAME, RUN, listed()), A)
    second = ledger.identify(ledger.claim(NAME, OTHER_RUN, listed(1_700_000_001)), B)
    assert states(ledger) == [("a", "FALLO_SISTEMA", 2, False), ("b", "EN_PROCESO", 1, True)]
    assert ledger.versions(NAME)[0]["mensaje"].startswith("llegó otra entrega")
    third = ledger.identify(ledger.claim(NAME, RUN, listed(1_700_000_002)), A)
    assert third.id < second.id
    assert states(ledger) == [("a", "EN_PROCESO", 3, True), ("b", "FALLO_SISTEMA", 2, False)]


def test_while_nothing_loaded_the_last_delivered_is_current(ledger: Ledger) -> None:
    first = ledger.identify(ledger.claim(NAME, RUN, listed()), A)
    ledger.finish(first, Estado.FALLO_LAYOUT, "encabezado")
    second = ledger.identify(ledger.claim(NAME, RUN, listed()), B)
    ledger.finish(second, Estado.FALLO_LAYOUT, "encabezado")
    assert states(ledger) == [("a", "FALLO_LAYOUT", 1, False), ("b", "FALLO_LAYOUT", 1, True)]
    ledger.identify(ledger.claim(NAME, RUN, listed()), A)
    assert states(ledger) == [("a", "EN_PROCESO", 2, True), ("b", "FALLO_LAYOUT", 1, False)]


def test_finish_dates_the_end_and_keeps_the_message_within_its_column(ledger: Ledger) -> None:
    entry = ledger.identify(ledger.claim(NAME, RUN, listed()), A)
    assert ledger.finish(entry, Estado.FALLO_SISTEMA, "ñ" * (MAX_MESSAGE + 1))
    (row,) = ledger.versions(NAME)
    assert (row["estado"], row["mensaje"]) == ("FALLO_SISTEMA", "ñ" * MAX_MESSAGE)
    assert row["duracion_ms"] == (row["fin"] - row["inicio"]) / timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("before", "after"),
    [("sigue en el servidor: no hay permiso", None), ("mismo contenido que x", "mismo contenido que x")],
)
def test_a_removal_that_succeeds_takes_its_warning_back(ledger: Ledger, before: str, after: str | None) -> None:
    entry = loaded(ledger, ledger.identify(ledger.claim(NAME, RUN, listed()), A))
    ledger.note(entry, before)
    ledger.close_known(entry)
    assert ledger.versions(NAME)[0]["mensaje"] == after


def test_newest_is_the_row_that_was_touched_last(ledger: Ledger) -> None:
    first = ledger.identify(ledger.claim(NAME, RUN, listed()), A)
    ledger.finish(first, Estado.FALLO_LAYOUT, "encabezado")
    loaded(ledger, ledger.identify(ledger.claim(NAME, RUN, listed()), B))
    assert ledger.newest([NAME, "report_2.txt"])[NAME].bytes == 20
    ledger.identify(ledger.claim(NAME, RUN, listed(1_700_000_009)), A)
    newest = ledger.newest([NAME, "report_2.txt"])
    assert list(newest) == [NAME]
    assert (newest[NAME].bytes, newest[NAME].modificado, newest[NAME].estado) == (
        10,
        listed(1_700_000_009).modificado,
        Estado.EN_PROCESO,
    )


def test_newest_of_more_names_than_a_query_takes(ledger: Ledger) -> None:
    names = [f"report_{number}.txt" for number in range(1201)]
    with ledger.engine.begin() as connection:
        connection.execute(
            sa.insert(tables.bitacora_control),
            [{"archivo": name, "estado": "COMPLETADO", "intentos": 1, "vigente": True} for name in names],
        )
    assert ledger.newest(names).keys() == set(names)
    assert ledger.totals() == {Estado.COMPLETADO: (1201, 0, 0)}


def test_names_are_told_apart_by_their_bytes(ledger: Ledger) -> None:
    for name in ("José.txt", "JOSÉ.txt", "jose.txt", "jose\u0301.txt"):
        ledger.claim(name, RUN, None)
    assert [len(ledger.versions(name)) for name in ("José.txt", "jose.txt", "JOSE.txt")] == [1, 1, 0]


def test_rows_by_state_come_last_touched_first(ledger: Ledger) -> None:
    for number in (1, 2, 3):
        entry = ledger.claim(f"report_{number}.txt", RUN, None)
        ledger.finish(entry, Estado.FALLO_SISTEMA if number != 2 else Estado.FALLO_LAYOUT, "x")
    failed = ledger.in_states({Estado.FALLO_SISTEMA}, limit=5)
    assert [row["archivo"] for row in failed] == ["report_3.txt", "report_1.txt"]
    assert len(ledger.in_states(Estado, limit=2)) == 2


def test_failed_leaves_out_what_a_newer_version_made_good(ledger: Ledger) -> None:
    for name, outcomes in {
        "report_1.txt": [(A, Estado.FALLO_LAYOUT), (B, Estado.COMPLETADO)],
        "report_2.txt": [(A, Estado.COMPLETADO), (B, Estado.FALLO_SISTEMA)],
        "report_3.txt": [(A, Estado.FALLO_LAYOUT)],
    }.items():
        for facts, estado in outcomes:
            entry = ledger.identify(ledger.claim(name, RUN, None), facts)
            ledger.finish(entry, estado, "x", vigente=estado is Estado.COMPLETADO)
    assert [row["archivo"] for row in ledger.failed(limit=5)] == ["report_3.txt", "report_2.txt"]
    assert [row["archivo"] for row in ledger.failed(limit=1)] == ["report_3.txt"]


def test_totals_count_what_stands_in_the_tables(pipeline: Pipeline, ledger: Ledger) -> None:
    pipeline.deliver(NAME, report(record(), record(), record("no")))
    pipeline.deliver("report_2.txt", report(record("luis@example.org")))
    pipeline.deliver("report_3.txt", b"")
    pipeline.run_pass()
    pipeline.deliver(NAME, report(record("eva@example.net"), record("no")))
    pipeline.run_pass()
    assert ledger.totals() == {
        Estado.COMPLETADO: (1, 1, 0),
        Estado.COMPLETADO_CON_ERRORES: (2, 1, 1),
        Estado.FALLO_LAYOUT: (1, 0, 0),
    }


def test_standing_counts_the_rows_of_each_version(pipeline: Pipeline, ledger: Ledger) -> None:
    pipeline.deliver(NAME, report(record(), record(), record("no")))
    pipeline.deliver("report_2.txt", report())
    first, second = (task.entry for task in pipeline.run_pass())
    assert first is not None
    assert second is not None
    assert ledger.standing([first.id, second.id]) == {first.id: (2, 1), second.id: (0, 0)}
    assert {row["archivo"] for row in ledger.find_all([first.id, second.id])} == {NAME, "report_2.txt"}


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
