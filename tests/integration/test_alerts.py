"""Alerts through the real pipeline: one when an incident begins, one when it is over, to a real mail and web server.

What is seen, written down and sent belongs here; the wires alone are `test_notifier.py`, the texts a unit's.
"""

import multiprocessing
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Visitas
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import NOON, Pipeline, SteppingClock, put, record, report
from tests.support.receivers import MailReceiver, WebhookReceiver, silent_server
from visitas_dagster.alerts.tell import REST
from visitas_dagster.alerts.watch import close_failed, close_recovered, watch, watch_server
from visitas_dagster.domain.failures import TransientFailure
from visitas_dagster.domain.incidents import DIGEST_EVERY, RATE_WINDOW, Incident, Sign, Subject, Tipo
from visitas_dagster.loading import incidents, tables
from visitas_dagster.loading.incidents import Incidents
from visitas_dagster.resources import notifier
from visitas_dagster.resources.platform import Platform
from visitas_dagster.settings import Settings

WRONG = report(record()).replace(b",jyv,", b",jk,", 1)
GOOD = report(record())

ALERT_OF_50 = "[visitas] ALERTA FALLO_LAYOUT: 50 archivos están en cuarentena: no se pueden leer como reportes"
RECOVERY = "[visitas] RECUPERADO FALLO_LAYOUT: ya no hay archivos en cuarentena por su formato"

on_sqlite = pytest.mark.databases("sqlite")


@pytest.fixture
def mail() -> Iterator[MailReceiver]:
    with MailReceiver() as receiver:
        yield receiver


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def clock() -> SteppingClock:
    return SteppingClock()


@pytest.fixture
def pipeline(
    database: Database,
    sftp_folder: SftpFolder,
    tmp_path: Path,
    clock: SteppingClock,
    mail: MailReceiver,
    webhook: WebhookReceiver,
) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path, clock, **channel_settings(mail, webhook)) as pipeline:
        yield pipeline


def channel_settings(mail: MailReceiver, webhook: WebhookReceiver) -> dict[str, str]:
    return {
        "smtp_url": f"smtp://127.0.0.1:{mail.port}",
        "alerta_correo": "guardia@example.com, jefa@example.org",
        "alerta_remitente": "visitas@example.net",
        "alerta_webhook": webhook.url,
    }


def opened(pipeline: Pipeline) -> list[Incident]:
    return Incidents(pipeline.platform.engine, pipeline.platform.now).open()


def rows(pipeline: Pipeline, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in pipeline.rows(tables.incidentes, *columns)]


# ---------------------------------------------------------------------------------------------------------- bursts


@pytest.mark.databases("mariadb", "sqlite")
def test_a_burst_of_500_bad_files_is_one_alert_and_their_correction_one_recovery(
    pipeline: Pipeline, mail: MailReceiver, webhook: WebhookReceiver
) -> None:
    names = [f"report_{number}.txt" for number in range(1, 501)]
    in_runs_of_50(pipeline, dict.fromkeys(names, WRONG))
    assert mail.subjects == webhook.subjects == [ALERT_OF_50]
    in_runs_of_50(pipeline, {name: report(record(f"{name}@example.com")) for name in names})
    assert mail.subjects == webhook.subjects
    assert mail.subjects[1:] == [RECOVERY]
    assert "En total: 500 archivos." in mail.texts[1]
    assert mail.recipients == [["guardia@example.com", "jefa@example.org"]] * 2
    assert rows(pipeline, "tipo", "veces", "clave") == [("FALLO_LAYOUT", 500, None)]


def in_runs_of_50(pipeline: Pipeline, files: Mapping[str, bytes]) -> None:
    """Deliver the files, and take them as Dagster's runs do: each run looks at its own end."""
    for name, data in files.items():
        pipeline.deliver(name, data)
    names = list(files)
    for start in range(0, len(names), 50):
        pipeline.run(names[start : start + 50])
        watch(pipeline.platform)


@on_sqlite
def test_the_command_alerts_once_over_all_its_runs(
    database: Database, sftp_folder: SftpFolder, tmp_path: Path, mail: MailReceiver, webhook: WebhookReceiver
) -> None:
    settings = {f"VISITAS_{name.upper()}": value for name, value in channel_settings(mail, webhook).items()}
    settings |= {"VISITAS_DB_URL": database.url, "VISITAS_ARCHIVOS_POR_CORRIDA": "4", **sftp_folder.environment()}
    visitas = Visitas(tmp_path, settings)
    assert visitas.run("init").code == 0
    names = [f"report_{number}.txt" for number in range(1, 13)]
    for name in names:
        put(sftp_folder.path, name, WRONG)
    first = visitas.run("dispatch")
    assert (first.code, first.err) == (1, "")
    assert "12 archivos en 3 corridas de Dagster" in first.out
    assert mail.subjects == webhook.subjects
    assert mail.subjects == [ALERT_OF_50.replace("50", "4")]
    for name in names:
        put(sftp_folder.path, name, GOOD)
    assert visitas.run("dispatch").code == 0
    assert mail.subjects == webhook.subjects
    assert mail.subjects[1:] == [RECOVERY]
    assert "En total: 12 archivos." in mail.texts[1]


# ------------------------------------------------------------------------------------------- one of several files


@on_sqlite
def test_the_alert_names_the_files_the_reason_and_what_to_type(pipeline: Pipeline, mail: MailReceiver) -> None:
    for number in range(1, 8):
        pipeline.deliver(f"report_{number}.txt", WRONG)
    pipeline.run_pass()
    watch(pipeline.platform)
    (text,) = mail.texts
    lines = text.splitlines()
    assert lines[0] == "7 archivos están en cuarentena: no se pueden leer como reportes."
    assert lines[1] == "Archivos: report_1.txt, report_2.txt, report_3.txt, report_4.txt, report_5.txt y 2 más"
    assert lines[2].startswith("Motivo de report_1.txt: Faltan columnas: jyv.")
    assert lines[3] == "Para verlo: visitas explain report_1.txt"
    assert "visitas release report_1.txt" in lines[4]


@on_sqlite
def test_files_that_fail_later_are_told_of_once_a_day(
    pipeline: Pipeline, clock: SteppingClock, mail: MailReceiver
) -> None:
    for hour in range(60):
        pipeline.deliver(f"report_{hour}.txt", WRONG)
        pipeline.run_pass()
        watch(pipeline.platform)
        clock.advance(DIGEST_EVERY.total_seconds() / 24)
    assert [subject.partition(":")[0] for subject in mail.subjects] == [
        "[visitas] ALERTA FALLO_LAYOUT",
        "[visitas] CONTINÚA FALLO_LAYOUT",
        "[visitas] CONTINÚA FALLO_LAYOUT",
    ]
    assert "25 archivos en total" in mail.texts[1]


@on_sqlite
def test_an_incident_that_does_not_grow_is_not_told_of_again(
    pipeline: Pipeline, clock: SteppingClock, mail: MailReceiver
) -> None:
    pipeline.deliver("report_1.txt", WRONG)
    pipeline.run_pass()
    for _ in range(10):
        watch(pipeline.platform)
        clock.advance(20 * 3600)
    assert [subject.split()[2] for subject in mail.subjects if "FALLO_LAYOUT" in subject] == ["FALLO_LAYOUT:"]


@on_sqlite
def test_addresses_are_masked(pipeline: Pipeline, mail: MailReceiver, webhook: WebhookReceiver) -> None:
    pipeline.deliver("report_1.txt", report(record()).replace(b",jyv,", b",ana@correo.example,", 1))
    pipeline.run_pass()
    watch(pipeline.platform)
    assert "xxx@xxxxxx.xxxxxxx" in mail.texts[0]
    for told in (mail.texts[0], str(webhook.bodies[0]), str(rows(pipeline, "mensaje"))):
        assert "ana@correo.example" not in told


@on_sqlite
def test_a_system_failure_recovers_when_its_file_is_in_and_not_while_it_is_tried(
    pipeline: Pipeline, clock: SteppingClock, mail: MailReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.deliver("report_1.txt", GOOD)
    with monkeypatch.context() as broken:
        broken.setattr("visitas_dagster.steps.load.load_file", _broken)
        pipeline.run_pass()
    watch(pipeline.platform)
    assert [subject.partition(":")[0] for subject in mail.subjects] == ["[visitas] ALERTA FALLO_SISTEMA"]
    clock.advance(24 * 3600)
    with pipeline.tools() as tools:
        pipeline.validated(tools, "report_1.txt")
        watch(pipeline.platform)
    assert len(mail.subjects) == 1
    pipeline.run_pass()
    watch(pipeline.platform)
    assert [subject.partition(":")[0] for subject in mail.subjects[1:]] == ["[visitas] RECUPERADO FALLO_SISTEMA"]


def _broken(*_: Any, **__: Any) -> Any:
    raise TransientFailure("la base de datos pide repetir la transacción (1213)")


# ------------------------------------------------------------------------------------------------- rates and time


@on_sqlite
def test_too_many_rejected_records_alert_until_a_correction_comes(pipeline: Pipeline, mail: MailReceiver) -> None:
    pipeline.deliver("report_1.txt", report(*[record()] * 9, record("sin arroba")))
    pipeline.run_pass()
    watch(pipeline.platform)
    assert mail.subjects == []
    pipeline.deliver("report_2.txt", report(*[record()] * 8, *[record("sin arroba")] * 2))
    pipeline.run_pass()
    watch(pipeline.platform)
    assert mail.subjects == [
        "[visitas] ALERTA TASA_ERROR: 1 archivo tiene más de 10 % de registros rechazados; los válidos están cargados"
    ]
    assert "El peor, report_2.txt: 2 de 10 (20 %)" in mail.texts[0]
    pipeline.deliver("report_2.txt", report(*[record()] * 10))
    pipeline.run_pass()
    watch(pipeline.platform)
    assert [subject.split()[1] for subject in mail.subjects] == ["ALERTA", "RECUPERADO"]


@on_sqlite
def test_a_day_without_another_ends_it_too(pipeline: Pipeline, clock: SteppingClock, mail: MailReceiver) -> None:
    pipeline.deliver("report_1.txt", report(record(), record("sin arroba")))
    pipeline.run_pass()
    watch(pipeline.platform)
    clock.advance(RATE_WINDOW.total_seconds() + 1)
    watch(pipeline.platform)
    assert [subject.split()[1] for subject in mail.subjects] == ["ALERTA", "RECUPERADO"]


def test_nothing_arrives(pipeline: Pipeline, clock: SteppingClock, mail: MailReceiver) -> None:
    watch_server(pipeline.platform)
    clock.advance(100 * 3600)
    watch_server(pipeline.platform)
    assert mail.subjects == []  # nothing ever arrived: nobody knows when something should
    pipeline.deliver("report_1.txt", GOOD)
    pipeline.run_pass()
    clock.advance(25.9 * 3600)
    watch_server(pipeline.platform)
    assert mail.subjects == []
    clock.advance(0.2 * 3600)
    for _ in range(3):
        watch_server(pipeline.platform)
        watch(pipeline.platform)
    assert [subject.partition(":")[0] for subject in mail.subjects] == ["[visitas] ALERTA DEMORA"]
    # Running an old file again is no arrival.
    pipeline.replay("report_1.txt")
    watch(pipeline.platform)
    assert len(mail.subjects) == 1
    # The same bytes again are one: their sender is alive.
    pipeline.deliver("report_1.txt", GOOD)
    pipeline.run_pass()
    watch(pipeline.platform)
    assert [subject.partition(":")[0] for subject in mail.subjects[1:]] == ["[visitas] RECUPERADO DEMORA"]


def test_a_file_waits_on_the_server(pipeline: Pipeline, clock: SteppingClock, mail: MailReceiver) -> None:
    pipeline.deliver("report_1.txt", GOOD)
    # Its own date is years old: what counts is since when it has been seen.
    watch_server(pipeline.platform)
    clock.advance(1.9 * 3600)
    pipeline.deliver("report_2.txt", GOOD)
    watch_server(pipeline.platform)
    assert mail.subjects == []
    clock.advance(0.2 * 3600)
    watch_server(pipeline.platform)
    watch(pipeline.platform)
    assert mail.subjects == [
        "[visitas] ALERTA ESPERA: 1 archivo espera en el servidor desde hace más de 2 horas, sin que se procese"
    ]
    pipeline.run_pass()
    watch(pipeline.platform)  # does not know of the server, so it ends nothing
    assert len(mail.subjects) == 1
    watch_server(pipeline.platform)
    assert [subject.partition(":")[0] for subject in mail.subjects[1:]] == ["[visitas] RECUPERADO ESPERA"]
    assert pipeline.rows(tables.esperas) == []


@on_sqlite
def test_a_time_of_0_asks_for_no_alert(
    database: Database, sftp_folder: SftpFolder, tmp_path: Path, clock: SteppingClock
) -> None:
    with Pipeline(database, sftp_folder, tmp_path, clock, alerta_demora_h=0, alerta_espera_h=0) as pipeline:
        pipeline.deliver("report_1.txt", GOOD)
        pipeline.run_pass()
        pipeline.deliver("report_2.txt", GOOD)
        watch_server(pipeline.platform)
        clock.advance(1000 * 3600)
        watch_server(pipeline.platform)
        assert rows(pipeline) == []


@on_sqlite
def test_a_server_that_is_down_leaves_what_waits_on_it_as_it_is(
    database: Database, sftp_folder: SftpFolder, tmp_path: Path, clock: SteppingClock, mail: MailReceiver
) -> None:
    with Pipeline(database, sftp_folder, tmp_path, clock, alerta_demora_h=50) as pipeline:
        pipeline.deliver("report_1.txt", GOOD)
        watch_server(pipeline.platform)
        clock.advance(3 * 3600)
        watch_server(pipeline.platform)
        settings = pipeline.settings.model_copy(update={"sftp_port": 1})
        with Platform(settings, clock=clock) as cut_off:
            failure = watch_server(cut_off)
        assert failure is not None
        assert str(failure).startswith("VISITAS_SFTP_HOST")
        assert [incident.subject.tipo for incident in opened(pipeline)] == [Tipo.ESPERA]


# ------------------------------------------------------------------------------------------------------ the close


def test_each_day_whose_close_failed_is_an_incident(pipeline: Pipeline, mail: MailReceiver) -> None:
    monday, tuesday = date(2024, 3, 11), date(2024, 3, 12)
    for day in (monday, monday, tuesday, monday):
        close_failed(pipeline.platform, day, "no hay espacio en disco; lo dice ana@correo.example")
    close_recovered(pipeline.platform, monday)
    close_recovered(pipeline.platform, monday)
    watch(pipeline.platform)  # a look knows nothing of closes
    assert mail.subjects == [
        "[visitas] ALERTA CIERRE 2024-03-11: Falló el cierre del día 2024-03-11: no hay espacio en disco; lo dice "
        "xxx@xxxxxx.xxxxxxx",
        "[visitas] ALERTA CIERRE 2024-03-12: Falló el cierre del día 2024-03-12: no hay espacio en disco; lo dice "
        "xxx@xxxxxx.xxxxxxx",
        "[visitas] RECUPERADO CIERRE 2024-03-11: el día quedó cerrado",
    ]
    assert "visitas close --fecha 2024-03-11" in mail.texts[0]
    assert [incident.subject.asunto for incident in opened(pipeline)] == ["2024-03-12"]


# ------------------------------------------------------------------------------------------------ what goes wrong


@on_sqlite
def test_a_mail_server_that_refuses_gets_it_later_and_the_webhook_only_once(
    pipeline: Pipeline, clock: SteppingClock, mail: MailReceiver, webhook: WebhookReceiver
) -> None:
    mail.answer = "451 come back later"
    pipeline.deliver("report_1.txt", WRONG)
    pipeline.run_pass()
    for _ in range(5):
        watch(pipeline.platform)
    assert (len(mail.subjects), len(webhook.subjects)) == (0, 1)
    clock.advance(REST.total_seconds() + 1)
    watch(pipeline.platform)
    assert (len(mail.subjects), len(webhook.subjects)) == (0, 1)
    mail.answer = None
    clock.advance(REST.total_seconds() + 1)
    for _ in range(3):
        watch(pipeline.platform)
    assert mail.subjects == webhook.subjects
    assert len(mail.subjects) == 1


@on_sqlite
def test_an_incident_that_ends_before_it_could_be_told_of_is_told_of_with_its_end(
    pipeline: Pipeline, clock: SteppingClock, mail: MailReceiver
) -> None:
    mail.answer = "554 not now"
    for data in (WRONG, GOOD):
        pipeline.deliver("report_1.txt", data)
        pipeline.run_pass()
        watch(pipeline.platform)
    mail.answer = None
    clock.advance(REST.total_seconds() + 1)
    watch(pipeline.platform)
    assert [subject.split()[1] for subject in mail.subjects] == ["ALERTA", "RECUPERADO"]


@on_sqlite
def test_servers_that_hang_or_are_not_there_fail_nothing(
    database: Database, sftp_folder: SftpFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "TIMEOUT_S", 0.2)
    with ExitStack() as stack:
        silent = [stack.enter_context(silent_server()) for _ in range(2)]
        settings: dict[str, Any] = {
            "smtp_url": f"smtp://127.0.0.1:{silent[0]}",
            "alerta_correo": "guardia@example.com",
            "alerta_webhook": f"http://127.0.0.1:{silent[1]}/",
            "reintentos": 1,
        }
        pipeline = stack.enter_context(Pipeline(database, sftp_folder, tmp_path, **settings))
        pipeline.deliver("report_1.txt", WRONG)
        pipeline.run_pass()
        watch(pipeline.platform)
        ((intentado, avisado),) = rows(pipeline, "intentado", "avisado")
        assert (intentado is not None, avisado) == (True, None)


@on_sqlite
def test_without_a_channel_alerts_go_to_the_log(
    database: Database, sftp_folder: SftpFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Pipeline(database, sftp_folder, tmp_path) as pipeline:
        for data in (WRONG, GOOD):
            pipeline.deliver("report_1.txt", data)
            pipeline.run_pass()
            watch(pipeline.platform)
            watch(pipeline.platform)
    told = [record.getMessage() for record in caplog.records if record.name == "visitas.alertas"]
    assert [line.partition(":")[0] for line in told] == [
        "[visitas] ALERTA FALLO_LAYOUT",
        "[visitas] RECUPERADO FALLO_LAYOUT",
    ]


def test_a_database_that_is_gone_fails_nothing(pipeline: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    tables.metadata.drop_all(pipeline.platform.engine)
    watch_server(pipeline.platform)
    close_failed(pipeline.platform, date(2024, 3, 11), "falló")
    close_recovered(pipeline.platform, date(2024, 3, 11))
    told = [record.getMessage() for record in caplog.records if record.name == "visitas.vigilancia"]
    missing = "VISITAS_DB_URL: en la base de datos faltan las tablas. ejecute: visitas init"
    assert set(told) == {f"no se pudieron revisar las alertas: {missing}"}


# ------------------------------------------------------------------------------------------------- two at a time


def test_two_processes_at_once_open_one_incident_and_send_one_alert(
    pipeline: Pipeline, mail: MailReceiver, webhook: WebhookReceiver
) -> None:
    for number in range(5):
        pipeline.deliver(f"report_{number}.txt", WRONG)
    pipeline.run_pass()
    spawn = multiprocessing.get_context("spawn")
    gate = spawn.Barrier(3)
    watchers = [spawn.Process(target=_watch_at_the_gate, args=(pipeline.settings, gate)) for _ in range(3)]
    for process in watchers:
        process.start()
    for process in watchers:
        process.join(240)
    assert [process.exitcode for process in watchers] == [0, 0, 0]
    assert rows(pipeline, "tipo", "veces") == [("FALLO_LAYOUT", 5)]
    assert (len(mail.subjects), len(webhook.subjects)) == (1, 1)


def _watch_at_the_gate(settings: Settings, gate: threading.Barrier) -> None:
    with Platform(settings, clock=SteppingClock(NOON + timedelta(seconds=1))) as platform:
        gate.wait()
        for _ in range(5):
            watch(platform)


@pytest.mark.databases("mariadb", "mysql")
def test_a_second_look_that_began_before_the_first_wrote_opens_nothing_more(pipeline: Pipeline) -> None:
    pipeline.deliver("report_1.txt", WRONG)
    pipeline.run_pass()
    first, second = Platform(pipeline.settings, clock=pipeline.clock), Platform(pipeline.settings, clock=pipeline.clock)
    with first, second:
        subject, sign = Subject(Tipo.DEMORA), Sign("x", datetime(2024, 1, 1), datetime(2024, 1, 1))
        looked = first.now()
        with first.engine.begin() as held:
            # One that has not committed yet.
            incidents._open(held, subject, sign, looked)
            waiting = threading.Thread(
                target=Incidents(second.engine, second.now).apply, args=({subject: sign}, second.now())
            )
            waiting.start()
            waiting.join(0.5)
        waiting.join(30)
    assert rows(pipeline, "tipo") == [("DEMORA",)]


@on_sqlite
def test_an_older_look_does_not_undo_a_newer_one(pipeline: Pipeline, clock: SteppingClock) -> None:
    pipeline.deliver("report_1.txt", WRONG)
    pipeline.run_pass()
    subject = Subject(Tipo.DEMORA)
    sign = Sign("x", datetime(2024, 1, 1), datetime(2024, 1, 1))
    table = Incidents(pipeline.platform.engine, pipeline.platform.now)
    before = pipeline.platform.now()
    table.apply({subject: sign}, pipeline.platform.now())
    table.apply({subject: None}, before)
    assert [incident.subject for incident in table.open()] == [subject]
    before = pipeline.platform.now()
    table.apply({subject: None}, pipeline.platform.now())
    table.apply({subject: sign}, before)
    assert table.open() == []


@on_sqlite
def test_a_process_that_dies_after_sending_and_before_noting_it_sends_again(
    pipeline: Pipeline, mail: MailReceiver, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.deliver("report_1.txt", WRONG)
    pipeline.run_pass()
    with monkeypatch.context() as dying:
        dying.setattr(Incidents, "tried", _die)
        with pytest.raises(KeyboardInterrupt):
            watch(pipeline.platform)
    assert (len(mail.subjects), len(webhook.subjects)) == (1, 0)
    watch(pipeline.platform)
    watch(pipeline.platform)
    assert (len(mail.subjects), len(webhook.subjects)) == (2, 1)


def _die(*_: Any) -> None:
    raise KeyboardInterrupt
