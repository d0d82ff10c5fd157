"""Where alerts go, as the settings say it: the mail server, the addresses, the webhook.

Reading and refusing what an operator wrote belongs here; connecting and sending do not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import SplitResult, unquote, urlsplit

from visitas_dagster.domain.failures import SettingsError

SMTP_SETTING = "VISITAS_SMTP_URL"
MAIL_SETTING = "VISITAS_ALERTA_CORREO"
SENDER_SETTING = "VISITAS_ALERTA_REMITENTE"
WEBHOOK_SETTING = "VISITAS_ALERTA_WEBHOOK"

_EXAMPLE = "ejemplo: smtp+starttls://usuario:clave@smtp.example.com:587"
_ADDRESS = re.compile(r"[^\s@,;<>\"()]+@[^\s@,;<>\"()]+")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_SLACK = re.compile(r"hooks\.slack(?:-gov)?\.com")


class Security(Enum):
    """How a mail connection is protected."""

    NONE = "smtp"
    TLS = "smtps"
    STARTTLS = "smtp+starttls"


_PORTS = {Security.NONE: 25, Security.TLS: 465, Security.STARTTLS: 587}


@dataclass(frozen=True)
class MailServer:
    """A mail server.

    Attributes:
        host, port: where it listens.
        security: how the connection is protected.
        user, password: None where it asks for none.
    """

    host: str
    port: int
    security: Security
    user: str | None = None
    password: str | None = field(default=None, repr=False)


def parse_smtp_url(text: str) -> MailServer:
    """Read ``VISITAS_SMTP_URL``: ``smtp://``, ``smtps://`` or ``smtp+starttls://``, ``user:password@host:port``.

    Raises:
        SettingsError: it is none, or a password would travel in the clear to another machine.
    """
    url, port = _split(text, SMTP_SETTING, _EXAMPLE)
    try:
        security = Security(url.scheme)
    except ValueError:
        raise SettingsError(SMTP_SETTING, "debe empezar con smtp://, smtps:// o smtp+starttls://", _EXAMPLE) from None
    host = url.hostname or ""
    user = unquote(url.username) if url.username else None
    password = unquote(url.password) if url.password else None
    if (user is None) != (password is None):
        raise SettingsError(SMTP_SETTING, "usuario y clave van juntos", _EXAMPLE)
    if not f"{user}{password}".isascii():
        raise SettingsError(SMTP_SETTING, "usuario y clave solo pueden tener signos ASCII", "cambie la clave")
    if user and security is Security.NONE and host not in _LOOPBACK:
        raise SettingsError(
            SMTP_SETTING, "con smtp:// la clave viajaría sin cifrar", "use smtps:// o smtp+starttls:// con ese servidor"
        )
    return MailServer(host, port or _PORTS[security], security, user, password)


def parse_addresses(text: str, setting: str = MAIL_SETTING) -> tuple[str, ...]:
    """Read one or several addresses, separated by commas.

    Raises:
        SettingsError: one of them is none.
    """
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if any(_ADDRESS.fullmatch(address) is None or not address.isprintable() for address in found):
        raise SettingsError(setting, "una dirección está mal escrita", "sepárelas con comas: guardia@example.com")
    return found


def parse_webhook(text: str) -> str:
    """Read ``VISITAS_ALERTA_WEBHOOK``.

    Raises:
        SettingsError: it is no ``http://`` or ``https://`` address.
    """
    example = "ejemplo: https://alertas.example.com/visitas"
    url, _ = _split(text, WEBHOOK_SETTING, example)
    if url.scheme not in ("http", "https"):
        raise SettingsError(WEBHOOK_SETTING, "debe empezar con https://", example)
    return text.strip()


def is_slack(webhook: str) -> bool:
    """Whether a webhook is Slack's own, which takes nothing but its own form."""
    return _SLACK.fullmatch(urlsplit(webhook).hostname or "") is not None


def sender_of(configured: str | None, server: MailServer, recipients: tuple[str, ...]) -> str:
    """Return who alerts come from: what is set, else the server's user if it is an address, else the first recipient.

    Mail servers refuse senders of domains that are not theirs: these two they know.
    """
    if configured:
        return configured.strip()
    if server.user and _ADDRESS.fullmatch(server.user):
        return server.user
    return recipients[0]


def _split(text: str, setting: str, example: str) -> tuple[SplitResult, int | None]:
    try:
        url = urlsplit(text.strip())
        port = url.port
    except ValueError:
        raise SettingsError(setting, "no es una URL", example) from None
    if not url.hostname:
        raise SettingsError(setting, "falta el servidor", example)
    return url, port
