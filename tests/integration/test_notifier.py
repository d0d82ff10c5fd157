"""The two channels over real sockets: what a mail server and a web server receive, and how their refusals are told.

One message on its way belongs here; which message is sent when is `test_alerts.py`.
"""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.receivers import MailReceiver, WebhookReceiver, server_context, silent_server
from visitas_dagster.domain.failures import PermanentFailure, SystemFailure, TransientFailure
from visitas_dagster.domain.incidents import Message
from visitas_dagster.resources import notifier
from visitas_dagster.resources.notifier import Webhook, channels, deliver, half_set, shared_body, slack_body
from visitas_dagster.settings import load_settings

ACCOUNT = ("visitas@example.net", "cl@ve:/1")
LOGIN = "visitas%40example.net:cl%40ve%3A%2F1"
MESSAGE = Message(
    "[visitas] ALERTA FALLO_LAYOUT: 50 archivos están en cuarentena: no se pueden leer como reportes de visitas",
    "Motivo de report_1.txt: «jk» <no> es una columna & sobra\nPara verlo: visitas explain report_1.txt",
)


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Give a server's side of TLS whose authority this process trusts."""
    authority = Authority(tmp_path / "ca", "autoridad de prueba")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca_file))
    return server_context(*authority.issue("servidor", "127.0.0.1"))


@pytest.fixture
def stranger(tmp_path: Path) -> ssl.SSLContext:
    """Give one whose authority nobody trusts."""
    return server_context(*Authority(tmp_path / "otra", "otra").issue("servidor", "127.0.0.1"))


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


def mail_to(url: str, correo: str = "guardia@example.com", **others: Any) -> notifier.Channel:
    (channel,) = channels(load_settings(_env_file=None, smtp_url=url, alerta_correo=correo, **others))
    return channel


def refusal(channel: notifier.Channel) -> SystemFailure:
    with pytest.raises(SystemFailure) as caught:
        channel.send(MESSAGE)
    return caught.value


# ------------------------------------------------------------------------------------------------------------ mail


def test_a_mail_carries_subject_text_sender_and_recipients() -> None:
    with MailReceiver() as receiver:
        mail_to(f"smtp://127.0.0.1:{receiver.port}", "guardia@example.com, jefa@example.org").send(MESSAGE)
    (mail,) = receiver.mails
    assert mail["Subject"] == MESSAGE.subject
    assert mail.get_content() == MESSAGE.text + "\n"
    assert (mail["From"], mail["To"]) == ("guardia@example.com", "guardia@example.com, jefa@example.org")
    assert receiver.recipients == [["guardia@example.com", "jefa@example.org"]]
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"].endswith("@example.com>")


def test_starttls_and_an_account(certificate: ssl.SSLContext) -> None:
    with MailReceiver(starttls=certificate, account=ACCOUNT) as receiver:
        mail_to(f"smtp+starttls://{LOGIN}@127.0.0.1:{receiver.port}").send(MESSAGE)
    assert receiver.subjects == [MESSAGE.subject]
    assert receiver.logins == [ACCOUNT[0]]
    assert receiver.mails[0]["From"] == ACCOUNT[0]


def test_tls_from_the_first_byte_and_an_account(certificate: ssl.SSLContext) -> None:
    with MailReceiver(implicit_tls=certificate, account=ACCOUNT) as receiver:
        mail_to(f"smtps://{LOGIN}@127.0.0.1:{receiver.port}", alerta_remitente="alertas@example.net").send(MESSAGE)
    assert receiver.subjects == [MESSAGE.subject]
    assert receiver.mails[0]["From"] == "alertas@example.net"


def test_a_certificate_of_a_stranger_gets_neither_password_nor_mail(
    certificate: ssl.SSLContext, stranger: ssl.SSLContext
) -> None:
    with (
        MailReceiver(implicit_tls=stranger, account=ACCOUNT) as first,
        MailReceiver(starttls=stranger, account=ACCOUNT) as second,
    ):
        for url in (f"smtps://{LOGIN}@127.0.0.1:{first.port}", f"smtp+starttls://{LOGIN}@127.0.0.1:{second.port}"):
            failure = refusal(mail_to(url))
            assert isinstance(failure, PermanentFailure)
            assert "no se confía en su certificado" in failure.mensaje
    assert (first.logins, second.logins, first.mails, second.mails) == ([], [], [], [])


def test_a_server_without_starttls_gets_neither_password_nor_mail() -> None:
    with MailReceiver() as receiver:
        failure = refusal(mail_to(f"smtp+starttls://{LOGIN}@127.0.0.1:{receiver.port}"))
    assert isinstance(failure, PermanentFailure)
    assert "no ofrece cifrado" in failure.mensaje
    assert (receiver.logins, receiver.mails) == ([], [])


def test_tls_with_a_server_that_speaks_none_is_told() -> None:
    with MailReceiver() as receiver:
        failure = refusal(mail_to(f"smtps://127.0.0.1:{receiver.port}"))
    assert isinstance(failure, PermanentFailure)
    assert failure.mensaje == f"VISITAS_SMTP_URL: 127.0.0.1:{receiver.port} no habla TLS"


def test_a_wrong_password_is_not_repeated_in_the_message(certificate: ssl.SSLContext) -> None:
    with MailReceiver(starttls=certificate, account=(ACCOUNT[0], "otra")) as receiver:
        failure = refusal(mail_to(f"smtp+starttls://{LOGIN}@127.0.0.1:{receiver.port}"))
    assert isinstance(failure, PermanentFailure)
    assert failure.mensaje == f"VISITAS_SMTP_URL: 127.0.0.1:{receiver.port} no aceptó usuario y clave"


@pytest.mark.parametrize(
    ("answer", "kind"), [("451 later", TransientFailure), ("554 never", PermanentFailure)], ids=["later", "never"]
)
def test_an_answer_of_4xx_may_pass_and_one_of_5xx_stays(answer: str, kind: type[SystemFailure]) -> None:
    with MailReceiver() as receiver:
        receiver.answer = answer
        failure = refusal(mail_to(f"smtp://127.0.0.1:{receiver.port}"))
    assert type(failure) is kind
    assert f"respondió {answer[:3]}" in failure.mensaje


def test_one_refused_recipient_does_not_keep_it_from_the_other() -> None:
    with MailReceiver() as receiver:
        receiver.refused = {"guardia@example.com"}
        mail_to(f"smtp://127.0.0.1:{receiver.port}", "guardia@example.com,jefa@example.org").send(MESSAGE)
        assert receiver.recipients == [["jefa@example.org"]]
        receiver.refused.add("jefa@example.org")
        failure = refusal(mail_to(f"smtp://127.0.0.1:{receiver.port}", "guardia@example.com,jefa@example.org"))
    assert failure.mensaje == "VISITAS_ALERTA_CORREO: 127.0.0.1 no aceptó a ningún destinatario"


def test_a_server_that_is_silent_or_not_there_may_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "TIMEOUT_S", 0.2)
    with silent_server() as port:
        told = f"VISITAS_SMTP_URL: 127.0.0.1:{port} no contestó a tiempo o cortó la conexión"
        assert refusal(mail_to(f"smtp://127.0.0.1:{port}")).mensaje == told
    port = free_port()
    told = f"VISITAS_SMTP_URL: 127.0.0.1:{port} no responde (conexión rechazada)"
    assert refusal(mail_to(f"smtp://127.0.0.1:{port}")).mensaje == told


# --------------------------------------------------------------------------------------------------------- webhook


def test_the_webhook_gets_what_slack_and_teams_take(webhook: WebhookReceiver) -> None:
    Webhook(webhook.url).send(MESSAGE)
    (body,) = webhook.bodies
    assert body == shared_body(MESSAGE)
    # Slack's form, its three signs as entities.
    assert body["text"] == (
        f"{MESSAGE.subject}\nMotivo de report_1.txt: «jk» &lt;no&gt; es una columna &amp; sobra\n"
        "Para verlo: visitas explain report_1.txt"
    )
    # The form of a Teams workflow: an Adaptive Card as the one attachment.
    assert body["type"] == "message"
    ((attachment),) = body["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
    runs = [run for block in card["body"] for run in block["inlines"]]
    assert {run["type"] for run in runs} == {"TextRun"}
    assert [run["text"] for run in runs] == [MESSAGE.subject, *MESSAGE.text.splitlines()]


def test_slack_itself_gets_its_own_form_only(monkeypatch: pytest.MonkeyPatch, webhook: WebhookReceiver) -> None:
    posted: list[Any] = []
    post = requests.post

    def to_the_receiver(url: str, **how: Any) -> Any:
        posted.append((url, how["json"]))
        return post(webhook.url, **how)

    monkeypatch.setattr(requests, "post", to_the_receiver)
    Webhook("https://hooks.slack.com/services/T0/B0/x").send(MESSAGE)
    assert posted == [("https://hooks.slack.com/services/T0/B0/x", slack_body(MESSAGE))]
    assert set(slack_body(MESSAGE)) == {"text", "mrkdwn"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [(500, TransientFailure), (429, TransientFailure), (404, PermanentFailure), (302, PermanentFailure)],
)
def test_an_answer_other_than_2xx_is_a_failure(
    webhook: WebhookReceiver, status: int, kind: type[SystemFailure]
) -> None:
    webhook.status, webhook.location = status, webhook.url
    failure = refusal(Webhook(webhook.url))
    assert type(failure) is kind
    assert failure.mensaje == f"VISITAS_ALERTA_WEBHOOK: el servidor respondió {status}"
    assert len(webhook.bodies) == 1


def test_https_and_a_strangers_certificate(certificate: ssl.SSLContext, stranger: ssl.SSLContext) -> None:
    with WebhookReceiver(certificate) as receiver, WebhookReceiver(stranger) as other:
        Webhook(receiver.url).send(MESSAGE)
        failure = refusal(Webhook(other.url))
    assert (len(receiver.bodies), len(other.bodies)) == (1, 0)
    assert failure.mensaje == "VISITAS_ALERTA_WEBHOOK: no se confía en el certificado del servidor"


def test_what_a_failure_says_never_holds_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "TIMEOUT_S", 0.2)
    with silent_server() as port:
        secret = f"http://127.0.0.1:{port}/servicios/clave-secreta"
        failures = [refusal(Webhook(secret)), refusal(Webhook(f"http://127.0.0.1:{free_port()}/clave-secreta"))]
    assert [failure.mensaje for failure in failures] == [
        "VISITAS_ALERTA_WEBHOOK: el servidor no contestó a tiempo",
        "VISITAS_ALERTA_WEBHOOK: no hay conexión con el servidor",
    ]
    assert "secreta" not in repr(failures)


# ---------------------------------------------------------------------------------------------------- which, again


def test_the_settings_name_the_channels() -> None:
    def names(**values: str) -> list[str]:
        return [channel.name for channel in channels(load_settings(_env_file=None, **values))]

    mail = {"smtp_url": "smtp://127.0.0.1", "alerta_correo": "guardia@example.com"}
    hook = {"alerta_webhook": "https://alertas.example.com/x"}
    assert names() == []
    assert names(**mail) == ["correo"]
    assert names(**hook) == ["webhook"]
    assert names(**mail, **hook) == ["correo", "webhook"]
    assert names(smtp_url="smtp://127.0.0.1") == names(alerta_correo="guardia@example.com") == []
    assert half_set(load_settings(_env_file=None, smtp_url="smtp://127.0.0.1")) == "VISITAS_ALERTA_CORREO"
    assert half_set(load_settings(_env_file=None, alerta_correo="guardia@example.com")) == "VISITAS_SMTP_URL"
    assert half_set(load_settings(_env_file=None, **mail)) is None


def test_a_passing_fault_is_tried_again_and_a_lasting_one_is_not(webhook: WebhookReceiver) -> None:
    webhook.status = 503
    with pytest.raises(TransientFailure):
        deliver(Webhook(webhook.url), MESSAGE, tries=3, base_s=0)
    assert len(webhook.bodies) == 3
    webhook.status = 404
    with pytest.raises(PermanentFailure):
        deliver(Webhook(webhook.url), MESSAGE, tries=3, base_s=0)
    assert len(webhook.bodies) == 4
