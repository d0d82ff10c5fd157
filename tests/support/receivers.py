"""Real receivers of alerts on loopback: a mail server (aiosmtpd) and an HTTP server, each keeping what it was sent.

Receiving and refusing belongs here; what ought to arrive does not.
"""

import email
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.support.ports import free_port


class MailReceiver:
    """A mail server.

    Attributes:
        port: where it listens on 127.0.0.1.
        mails: what it has taken, oldest first.
        recipients: the envelope's recipients, one list a mail.
        answer: what it answers to a mail in place of taking it, e.g. ``451 later``.
        refused: recipients that it does not know.
        logins: the users that have identified themselves.
    """

    def __init__(
        self,
        *,
        implicit_tls: ssl.SSLContext | None = None,
        starttls: ssl.SSLContext | None = None,
        account: tuple[str, str] | None = None,
    ) -> None:
        """Remember how it speaks; an account is asked for where one is given."""
        self.port = free_port()
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.answer: str | None = None
        self.refused: set[str] = set()
        self.logins: list[str] = []
        self._account = account
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            ssl_context=implicit_tls,
            tls_context=starttls,
            require_starttls=starttls is not None,
            authenticator=self._authenticate if account else None,
            auth_required=account is not None,
            # Its own notion of TLS is STARTTLS only.
            auth_require_tls=starttls is not None,
        )

    def __enter__(self) -> Self:
        """Listen."""
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        self._controller.stop()

    @property
    def subjects(self) -> list[str]:
        """The mails' subjects."""
        return [str(mail["Subject"]) for mail in self.mails]

    @property
    def texts(self) -> list[str]:
        """The mails' texts."""
        return [mail.get_content() for mail in self.mails]

    def _authenticate(self, _server: SMTP, _session: Session, _envelope: Envelope, _how: str, data: Any) -> AuthResult:
        given = cast(LoginPassword, data)
        user, password = given.login.decode(), given.password.decode()
        self.logins.append(user)
        return AuthResult(success=(user, password) == self._account, handled=False)

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Take a recipient, or refuse one that is not known."""
        if address in self.refused:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a mail, or answer what it was told to."""
        if self.answer is not None:
            return self.answer
        content = envelope.content
        self.recipients.append(list(envelope.rcpt_tos))
        self.mails.append(email.message_from_bytes(cast(bytes, content), policy=default))
        return "250 OK"


class WebhookReceiver:
    """An HTTP server.

    Attributes:
        url: where to post to.
        bodies: the JSON that was posted, oldest first.
        status: what it answers.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        """Bind it, with TLS where a context is given."""
        self.bodies: list[dict[str, Any]] = []
        self.status = 200
        self.location: str | None = None
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Content-Type"] == "application/json":
                    receiver.bodies.append(json.loads(body))
                self.send_response(receiver.status)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if context else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}/servicios/T0/clave-secreta"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def subjects(self) -> list[str]:
        """The first lines of the posted texts."""
        return [str(body["text"]).partition("\n")[0] for body in self.bodies]


@contextmanager
def silent_server() -> Iterator[int]:
    """Give the port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
