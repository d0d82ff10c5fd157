"""What an operator may write as mail server, addresses and webhook, and the line that refuses all else.

Reading the settings' values belongs here; sending does not.
"""

import pytest

from visitas_dagster.domain.channels import (
    MailServer,
    Security,
    is_slack,
    parse_addresses,
    parse_smtp_url,
    parse_webhook,
    sender_of,
)
from visitas_dagster.domain.failures import SettingsError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://correo.example", MailServer("correo.example", 25, Security.NONE)),
        ("smtps://correo.example", MailServer("correo.example", 465, Security.TLS)),
        ("smtp+starttls://correo.example", MailServer("correo.example", 587, Security.STARTTLS)),
        (
            " smtps://a%40example.com:p%3A%2F@[::1]:2525/ ",
            MailServer("::1", 2525, Security.TLS, "a@example.com", "p:/"),
        ),
        ("smtp://a:b@127.0.0.1:25", MailServer("127.0.0.1", 25, Security.NONE, "a", "b")),
    ],
)
def test_a_mail_server(url: str, expected: MailServer) -> None:
    assert parse_smtp_url(url) == expected


def test_its_password_is_not_shown() -> None:
    assert "secreta" not in repr(parse_smtp_url("smtps://ana:secreta@correo.example"))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("correo.example:25", "falta el servidor"),
        ("smtp://", "falta el servidor"),
        ("http://correo.example", "debe empezar con smtp://, smtps:// o smtp+starttls://"),
        ("smtp://correo.example:99999", "no es una URL"),
        ("smtp://[correo", "no es una URL"),
        ("smtps://ana@correo.example", "usuario y clave van juntos"),
        ("smtps://ana:se%C3%B1a@correo.example", "usuario y clave solo pueden tener signos ASCII"),
        ("smtp://ana:clave@correo.example", "con smtp:// la clave viajaría sin cifrar"),
    ],
)
def test_no_mail_server(url: str, reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_smtp_url(url)
    assert caught.value.mensaje == f"VISITAS_SMTP_URL: {reason}"
    assert "clave@" not in caught.value.mensaje


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("guardia@example.com", ("guardia@example.com",)),
        (" a@example.com ,b@example.org,", ("a@example.com", "b@example.org")),
    ],
)
def test_addresses(text: str, expected: tuple[str, ...]) -> None:
    assert parse_addresses(text) == expected


@pytest.mark.parametrize(
    "text", ["guardia", "a b@example.com", "a@example.com;b@example.org", "a@b\nBcc: c@d", "<a@b>"]
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^VISITAS_ALERTA_CORREO: "):
        parse_addresses(text)


@pytest.mark.parametrize("url", ["ftp://alertas.example.com", "alertas.example.com/x", "https://", "https://a:x"])
def test_no_webhook(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^VISITAS_ALERTA_WEBHOOK: "):
        parse_webhook(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://hooks.slack.com/services/x", True),
        ("https://hooks.slack-gov.com/services/x", True),
        ("https://hooks.slack.com.example/x", False),
        ("https://alertas.example.com/hooks.slack.com", False),
    ],
)
def test_slacks_own_address(url: str, expected: bool) -> None:
    assert is_slack(parse_webhook(url)) is expected


def test_the_sender_is_one_that_the_server_knows() -> None:
    named, plain = MailServer("h", 1, Security.TLS, "yo@example.net", "x"), MailServer("h", 1, Security.TLS, "yo", "x")
    assert sender_of("otra@example.org", named, ("a@example.com",)) == "otra@example.org"
    assert sender_of(None, named, ("a@example.com",)) == "yo@example.net"
    assert sender_of(None, plain, ("a@example.com",)) == "a@example.com"
