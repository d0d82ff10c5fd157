"""The ways to persons: e-mail by SMTP, and a webhook that Slack and Microsoft Teams understand.

Sending one message and telling why it failed belongs here; what is told, when and how often does not.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.header import Header
from email.mime.text import MIMEText
from email.utils import formatdate, make_msgid
from functools import partial
from typing import Any, Protocol

from pydantic import SecretStr
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, stop_after_delay, wait_exponential

from visitas_dagster.domain.causes import cause
from visitas_dagster.domain.channels import (
    MAIL_SETTING,
    SENDER_SETTING,
    SMTP_SETTING,
    WEBHOOK_SETTING,
    MailServer,
    Security,
    is_slack,
    parse_addresses,
    parse_smtp_url,
    parse_webhook,
    sender_of,
)
from visitas_dagster.domain.failures import PermanentFailure, SystemFailure, TransientFailure
from visitas_dagster.domain.incidents import Message
from visitas_dagster.settings import Settings

TIMEOUT_S = 10
"""Seconds that a server may stay silent."""

PATIENCE_S = 20
"""Seconds after which a message is not tried again by the same look."""

_PASSING_STATUS = 500


class Channel(Protocol):
    """A way to persons.

    Attributes:
        name: one word, kept in ``incidentes.canales``.
    """

    name: str

    def send(self, message: Message) -> None:
        """Send it.

        Raises:
            TransientFailure: it did not go out, and a later try may.
            PermanentFailure: it did not go out, and the settings or the server must change first.
        """


class Mail:
    """E-mail by SMTP."""

    name = "correo"

    def __init__(self, server: MailServer, recipients: tuple[str, ...], sender: str) -> None:
        """Remember them; nothing connects."""
        self._server = server
        self._recipients = recipients
        self._sender = sender

    def send(self, message: Message) -> None:
        """See :class:`Channel`. A server that refuses some of the recipients and takes others has sent it."""
        mail = self._composed(message)
        where = f"{SMTP_SETTING}: {self._server.host}:{self._server.port}"
        try:
            with self._connection() as connection:
                if self._server.user and self._server.password:
                    connection.login(self._server.user, self._server.password)
                connection.send_message(mail)
        except smtplib.SMTPAuthenticationError as error:
            raise _refusal(error.smtp_code, f"{where} no aceptó usuario y clave") from None
        except smtplib.SMTPRecipientsRefused:
            raise PermanentFailure(f"{MAIL_SETTING}: {self._server.host} no aceptó a ningún destinatario") from None
        except smtplib.SMTPSenderRefused as error:
            raise _refusal(error.smtp_code, f"{SENDER_SETTING}: {self._server.host} no aceptó al remitente") from None
        except smtplib.SMTPNotSupportedError:
            raise PermanentFailure(
                f"{where} no ofrece cifrado o identificación", "revise el principio de la URL y el puerto"
            ) from None
        except smtplib.SMTPResponseException as error:
            raise _refusal(error.smtp_code, f"{where} respondió {error.smtp_code}") from None
        except ssl.SSLCertVerificationError as error:
            raise PermanentFailure(f"{where}: no se confía en su certificado ({error.verify_message})") from None
        except ssl.SSLError:
            raise PermanentFailure(f"{where} no habla TLS", "revise el principio de la URL y el puerto") from None
        except smtplib.SMTPException:
            # The library says of a server that stays silent, too, that it has hung up.
            raise TransientFailure(f"{where} no contestó a tiempo o cortó la conexión") from None
        except OSError as error:
            raise TransientFailure(f"{where} no responde ({cause(error)})") from None

    @contextmanager
    def _connection(self) -> Iterator[smtplib.SMTP]:
        host, port, context = self._server.host, self._server.port, ssl.create_default_context()
        if self._server.security is Security.TLS:
            connection: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_S, context=context)
        else:
            connection = smtplib.SMTP(host, port, timeout=TIMEOUT_S)
        try:
            if self._server.security is Security.STARTTLS:
                connection.starttls(context=context)
            yield connection
            # The message is taken: a farewell that goes wrong must not have it sent again.
            with suppress(OSError, smtplib.SMTPException):
                connection.quit()
        finally:
            connection.close()

    def _composed(self, message: Message) -> MIMEText:
        # The newer EmailMessage doubles blanks where it folds a long subject with accents.
        mail = MIMEText(message.text + "\n", "plain", "utf-8")
        mail["Subject"] = Header(message.subject, "utf-8", header_name="Subject").encode()
        mail["From"] = self._sender
        mail["To"] = ", ".join(self._recipients)
        mail["Date"] = formatdate(localtime=True)
        mail["Message-ID"] = make_msgid(domain=self._sender.rpartition("@")[2])
        # RFC 3834: no holiday notice answers it.
        mail["Auto-Submitted"] = "auto-generated"
        return mail


class Webhook:
    """One POST of JSON."""

    name = "webhook"

    def __init__(self, url: str) -> None:
        """Remember the URL, which is a secret: whoever has it can write to the channel."""
        self._url = url

    def send(self, message: Message) -> None:
        """See :class:`Channel`."""
        import requests  # here, not at the top: every pass looks for incidents, and few have any to tell

        body = slack_body(message) if is_slack(self._url) else shared_body(message)
        try:
            # A redirect would turn the POST into a GET.
            answer = requests.post(self._url, json=body, timeout=TIMEOUT_S, allow_redirects=False)
        except requests.exceptions.SSLError:
            raise PermanentFailure(f"{WEBHOOK_SETTING}: no se confía en el certificado del servidor") from None
        except requests.exceptions.Timeout:
            raise TransientFailure(f"{WEBHOOK_SETTING}: el servidor no contestó a tiempo") from None
        except requests.exceptions.ConnectionError:
            raise TransientFailure(f"{WEBHOOK_SETTING}: no hay conexión con el servidor") from None
        except (requests.exceptions.RequestException, ValueError) as error:
            raise PermanentFailure(f"{WEBHOOK_SETTING}: no se pudo enviar ({type(error).__name__})") from None
        if not 200 <= answer.status_code < 300:
            told = f"{WEBHOOK_SETTING}: el servidor respondió {answer.status_code}"
            if answer.status_code >= _PASSING_STATUS or answer.status_code == 429:
                raise TransientFailure(told)
            raise PermanentFailure(told, "revise la URL")


def slack_body(message: Message) -> dict[str, Any]:
    """What Slack's incoming webhooks take: text in which three signs are written as entities, and nothing is a link."""
    text = f"{message.subject}\n{message.text}"
    return {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"), "mrkdwn": False}


def shared_body(message: Message) -> dict[str, Any]:
    """The same, with the Adaptive Card that a Teams workflow takes out of ``attachments``; each ignores the other's.

    Runs of text know no Markdown: a file name with underscores or brackets stays what it is.
    """

    def block(text: str, **style: Any) -> dict[str, Any]:
        return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **style}]}

    return {
        "type": "message",
        **slack_body(message),
        "attachments": [
            {
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": None,
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.4",
                    "fallbackText": message.subject,
                    "body": [
                        block(message.subject, weight="Bolder", size="Medium"),
                        *(block(line) for line in message.text.splitlines()),
                    ],
                },
            }
        ],
    }


def channels(settings: Settings) -> list[Channel]:
    """Return the channels that the settings name; empty where alerts go to the log only."""
    found: list[Channel] = []
    recipients = parse_addresses(settings.alerta_correo or "")
    if settings.smtp_url is not None and recipients:
        server = parse_smtp_url(settings.smtp_url.get_secret_value())
        found.append(Mail(server, recipients, sender_of(settings.alerta_remitente, server, recipients)))
    if settings.alerta_webhook is not None:
        found.append(Webhook(parse_webhook(settings.alerta_webhook.get_secret_value())))
    return found


def half_set(settings: Settings) -> str | None:
    """The setting that is missing where e-mail is only half configured."""
    match settings.smtp_url, settings.alerta_correo:
        case SecretStr(), None:
            return MAIL_SETTING
        case None, str():
            return SMTP_SETTING
        case _:
            return None


def deliver(channel: Channel, message: Message, *, tries: int, base_s: float) -> None:
    """Send, and again after a passing fault, for :data:`PATIENCE_S` seconds at the most.

    Raises:
        SystemFailure: the last fault, or the first that no retry cures.
    """
    retrying = Retrying(
        retry=retry_if_exception_type(TransientFailure),
        stop=stop_after_attempt(tries) | stop_after_delay(PATIENCE_S),
        wait=wait_exponential(multiplier=base_s, max=PATIENCE_S),
        reraise=True,
    )
    retrying(partial(channel.send, message))


def _refusal(code: int, told: str) -> SystemFailure:
    """Mail servers answer 4xx to what may go later, 5xx to what will not."""
    return TransientFailure(told) if 400 <= code < 500 else PermanentFailure(told, "revise los ajustes de correo")
