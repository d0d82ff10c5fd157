"""What ``VISITAS_DB_URL`` asks of the connection beyond the address: its parameters, and TLS among them.

Reading the parameters, the certificates they name and the errors of TLS belongs here; opening connections does not.

The rule: a URL that asks for TLS gets it verified, or no connection at all. There is no parameter for an encrypted
connection that trusts whoever answers.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import parse_qsl

from sqlalchemy.engine import URL

from visitas_dagster.domain.causes import cause
from visitas_dagster.domain.failures import PermanentFailure, SettingsError

SETTING = "VISITAS_DB_URL"

_SWITCHES = ("tls", "ssl", "ssl_verify_cert", "ssl_verify_identity")
"""Each of them, set to true, asks for the whole verification; PyMySQL's names and two short ones."""
_FILES = ("ssl_ca", "ssl_cert", "ssl_key")
_PARAMETERS = ("charset", "unix_socket", *_SWITCHES, "ssl_check_hostname", *_FILES)
_YES = {"1", "true", "yes", "on", "si", "sí"}
_NO = {"0", "false", "no", "off"}


@dataclass(frozen=True)
class Tls:
    """A verified connection.

    Attributes:
        ca: PEM file of the authorities that are trusted; None for the system's.
        cert, key: the client's certificate and its private key, PEM; the key may stand in the certificate's file.
        checks_name: whether the certificate must be the host's that the URL names.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    checks_name: bool = True

    def context(self) -> ssl.SSLContext:
        """Read the files; raise :class:`PermanentFailure` naming the one that cannot be used."""
        context = ssl.create_default_context()
        if self.ca is not None:
            # Those alone: a private authority's database must not be impersonated with a public certificate.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            with _readable("ssl_ca", self.ca, "no tiene certificados en PEM"):
                context.load_verify_locations(self.ca)
        # Debian's Python leaves the choice to OpenSSL's own configuration.
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # The authorities that MySQL makes for itself break this rule of form, on by default from Python 3.13.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.check_hostname = self.checks_name
        context.verify_mode = ssl.CERT_REQUIRED
        if self.cert is not None:
            _load_client(context, self.cert, self.key)
        return context


def split(url: URL) -> tuple[URL, Tls | None]:
    """Return a server's URL without the parameters about TLS, and what they ask for; None where they ask nothing.

    Raises:
        SettingsError: a parameter is unknown, repeated, contradicts another, or would leave TLS unverified.
    """
    values = _values(url)
    if values.get("charset", "utf8mb4") != "utf8mb4":
        raise _wrong("siempre se usa charset=utf8mb4", "quite charset de la URL")
    rest = {name: value for name, value in values.items() if name == "unix_socket"}
    return url.set(query={**rest, "charset": "utf8mb4"}), _tls(values)


def refuse_blanks(url: str) -> None:
    """Raise :class:`SettingsError` where a parameter has no value: SQLAlchemy would drop it, and TLS with it."""
    rest = url.partition("://")[2]
    # A question mark in the password begins no parameters.
    query = (rest.partition("@")[2] or rest).partition("?")[2]
    for name, value in parse_qsl(query, keep_blank_values=True):
        if not value:
            raise _wrong(f"el parámetro «{name}» no tiene valor", "complételo o quítelo de la URL")


def refuse_parameters(url: URL) -> None:
    """Raise :class:`SettingsError` where a URL that takes no parameters (SQLite's) carries one."""
    for name in url.query:
        raise _wrong(f"SQLite no admite el parámetro «{name}»", "quítelo de la URL")


def _values(url: URL) -> dict[str, str]:
    values = {}
    for name, value in url.query.items():
        if name not in _PARAMETERS:
            near = get_close_matches(name.lower(), _PARAMETERS, 1)
            hint = f" (¿quiso decir «{near[0]}»?)" if near else ""
            raise _wrong(f"no se conoce el parámetro «{name}»{hint}", f"se admiten: {', '.join(_PARAMETERS)}")
        if not isinstance(value, str):
            raise _wrong(f"el parámetro «{name}» está repetido", "déjelo una vez")
        values[name] = value
    return values


def _tls(values: dict[str, str]) -> Tls | None:
    switches = {name: _yes_or_no(name, values[name]) for name in _SWITCHES if name in values}
    files = {name: _path(name, values[name]) for name in _FILES if name in values}
    checks_name = _yes_or_no("ssl_check_hostname", values.get("ssl_check_hostname", "true"))
    for name, wanted in switches.items():
        # `tls=0` alone is a plain connection; a check that is switched off never is what it seems to be.
        if not wanted and (name.startswith("ssl_") or files or len(switches) > 1 or "ssl_check_hostname" in values):
            raise _wrong(
                f"{name}={values[name]} dejaría la conexión sin verificar", f"quite {name}: TLS se verifica siempre"
            )
    if not (any(switches.values()) or files or "ssl_check_hostname" in values):
        return None
    if "ssl_key" in files and "ssl_cert" not in files:
        raise _wrong("hay ssl_key y falta ssl_cert", "agregue ssl_cert=/ruta/cliente.pem")
    if not checks_name and "ssl_ca" not in files:
        raise _wrong(
            "ssl_check_hostname=false sin ssl_ca aceptaría a cualquier servidor con un certificado público",
            "agregue ssl_ca=/ruta/ca.pem, o quite ssl_check_hostname",
        )
    return Tls(files.get("ssl_ca"), files.get("ssl_cert"), files.get("ssl_key"), checks_name)


def _yes_or_no(name: str, value: str) -> bool:
    if value.lower() in _YES | _NO:
        return value.lower() in _YES
    raise _wrong(f"el parámetro «{name}» debe ser true o false", "corrija la URL")


def _path(name: str, value: str) -> Path:
    try:
        path = Path(value).expanduser()
    except RuntimeError:
        path = Path(value)
    if not path.is_absolute():
        # A run is executed by another process than the one that was called, maybe in another folder.
        raise _wrong(f"{name} debe ser una ruta completa", f"ejemplo: {name}=/ruta/archivo.pem")
    return path


def _wrong(message: str, remedy: str) -> SettingsError:
    return SettingsError(SETTING, message, remedy)


# ------------------------------------------------------------------------------------------------------- files


@contextmanager
def _readable(name: str, path: Path, malformed: str) -> Iterator[None]:
    """Turn the errors of reading a PEM file into a failure that names parameter and file."""
    try:
        yield
    except ssl.SSLError as error:
        raise PermanentFailure(f"{SETTING}: {name}: {path} {malformed}", "corrija la ruta o el archivo") from error
    except OSError as error:
        raise PermanentFailure(
            f"{SETTING}: {name}: no se puede leer {path}: {cause(error)}", "corrija la ruta o los permisos"
        ) from error


def _load_client(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    def asked() -> str:
        # Without this OpenSSL asks on the terminal, or waits for ever where there is none.
        raise PermanentFailure(f"{SETTING}: la llave {key or cert} pide contraseña", "use una llave sin contraseña")

    with _readable("ssl_cert, ssl_key", key or cert, "no es la llave del certificado, o no está en PEM"):
        for path in filter(None, (cert, key)):
            path.open("rb").close()
        context.load_cert_chain(cert, key, asked)


# ------------------------------------------------------------------------------------------------------ errors

SERVER_WITHOUT_TLS = 2026
"""The driver's number (CR_SSL_CONNECTION_ERROR): the server offers no TLS; nothing was sent to it."""
PLAIN_REFUSED = 3159
"""The server's number (ER_SECURE_TRANSPORT_REQUIRED)."""

_OTHER_NAME = ("su certificado es de otro nombre", "use en la URL el nombre que está en el certificado")
_UNKNOWN_ISSUER = (
    "ninguna autoridad de confianza firma su certificado",
    "revise ssl_ca: debe ser la autoridad del servidor",
)
_REASONS = {
    9: ("su certificado todavía no es válido", "revise la fecha de esta máquina y del servidor"),
    10: ("su certificado ya venció", "renuévelo en el servidor"),
    **dict.fromkeys((18, 19, 20, 21), _UNKNOWN_ISSUER),
    **dict.fromkeys((62, 64), _OTHER_NAME),
}
"""By OpenSSL's number of the verification's result (X509_V_ERR_*)."""


def failure(number: int, error: BaseException | None, address: str) -> PermanentFailure | None:
    """Return why no encrypted connection came about; None where that is not what happened.

    Args:
        number: the driver's or the server's error number.
        error: the driver's error.
        address: ``host:port``, for the message.
    """
    if number == SERVER_WITHOUT_TLS:
        return PermanentFailure(
            f"{SETTING}: la URL pide TLS y {address} no lo ofrece; no se envió la clave",
            "encienda TLS en el servidor, o averigüe quién contesta en su lugar",
        )
    if number == PLAIN_REFUSED:
        return PermanentFailure(f"{SETTING}: {address} solo acepta conexiones con TLS", "agregue ?tls=1 a la URL")
    found = _tls_error(error)
    if isinstance(found, ssl.SSLCertVerificationError):
        otherwise = (f"su certificado no pasa la revisión ({found.verify_message})", "renuévelo en el servidor")
        reason, remedy = _REASONS.get(found.verify_code, otherwise)
        return PermanentFailure(f"{SETTING}: no se confía en {address}: {reason}; no se envió la clave", remedy)
    if found is not None:
        return PermanentFailure(
            f"{SETTING}: {address} y visitas no acordaron una conexión con TLS ({found.reason})",
            "revise ssl_cert y ssl_key si el servidor pide certificado, y sus versiones de TLS",
        )
    return None


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """The error of TLS behind the driver's; None where there is none, or only a connection that broke."""
    seen = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            broken = isinstance(seen, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError))
            return None if broken else seen
        seen = getattr(seen, "original_exception", None) or seen.__cause__ or seen.__context__
    return None
