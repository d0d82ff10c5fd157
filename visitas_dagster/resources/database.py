"""The database: its engine, its session's settings, and its errors in words an operator can act on.

Opening connections and telling errors apart belong here; what is read and written does not.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pymysql.connections
from pymysql.converters import conversions, escape_string
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from visitas_dagster.domain.failures import PermanentFailure, SettingsError, SystemFailure, TransientFailure
from visitas_dagster.domain.privacy import mask_addresses
from visitas_dagster.resources import tls
from visitas_dagster.settings import Settings

if TYPE_CHECKING:
    import sqlite3

READ_ONLY = "visitas_solo_lectura"
"""Execution option of a connection that only reads: SQLite then takes no write lock."""

_ENCRYPTED = "visitas_con_tls"
_CONNECT_TIMEOUT_S = 10
_FRESH_S = 1.0
"""Seconds for which a server that answered is taken to be there: a file asks three times whether it is."""
_SQLITE_WAIT_S = 60
# Strict: a value that does not fit is an error, never a truncated value. UTC: the ledger's clock.
_SESSION = (
    "SET SESSION sql_mode='STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ENGINE_SUBSTITUTION', time_zone='+00:00'"
)


@dataclass(frozen=True)
class Escaped:
    """A parameter of a MySQL or MariaDB statement that is SQL already; of what came from outside only `quoted` texts.

    Attributes:
        text: what takes the placeholder's place.
    """

    text: str = field(repr=False)


def quoted(text: str) -> str:
    """Write a text as MySQL and MariaDB take it, in a session that knows backslashes: as each one opened here does."""
    return f"'{escape_string(text)}'"


_CONVERSIONS: Mapping[Any, Any] = {**conversions, Escaped: lambda parameter, _mapping: parameter.text}


def open_engine(settings: Settings) -> Engine:
    """Return an engine on ``VISITAS_DB_URL``; nothing is connected yet.

    Raises:
        SettingsError: the URL is malformed, names a database the platform does not support, or has a parameter
            that is unknown or would leave TLS unverified.
        PermanentFailure: a certificate's file that it names cannot be used.
    """
    url = _parse(settings)
    if url.get_backend_name() == "sqlite":
        tls.refuse_parameters(url)
        return _sqlite_engine(url)
    url, wanted = tls.split(url)
    engine = create_engine(
        url,
        # An error's text goes to logs and to Dagster's pages: without this it carries the rows.
        hide_parameters=True,
        execution_options={_ENCRYPTED: wanted is not None},
        isolation_level="READ COMMITTED",
        pool_size=settings.conexiones_db,
        max_overflow=0,
        pool_pre_ping=True,
        # A connection that is closed has rolled back what it had open: once more, for the pool, is a question in vain.
        pool_reset_on_return=None,
        pool_recycle=1800,
        connect_args={
            "local_infile": True,
            "init_command": _SESSION,
            "conv": _CONVERSIONS,
            "connect_timeout": _CONNECT_TIMEOUT_S,
            # For the greeting only: a port that takes connections and says nothing would be waited for without end.
            "read_timeout": _CONNECT_TIMEOUT_S,
            # A context, once given, is a must: the driver stops before the login where the server has no TLS.
            **({"ssl": wanted.context()} if wanted else {}),
        },
    )

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> _Session:
        return _Session(*arguments, **options)

    @event.listens_for(engine, "connect")
    def _greeted(connection: Any, _record: Any) -> None:
        # A statement may take as long as it needs.
        connection._read_timeout = None
        if wanted is not None and not isinstance(connection._sock, ssl.SSLSocket):
            # Not with PyMySQL as it is. Should it ever fall back, it is noticed before a row is read or sent.
            connection.close()
            raise engine.dialect.loaded_dbapi.OperationalError(tls.SERVER_WITHOUT_TLS, "it fell back to plain text")

    return engine


class _Session(pymysql.connections.Connection):
    """The driver's connection, but for what it does without need, at each connection or for each file."""

    _answered = 0.0

    def ping(self, reconnect: Literal[False] | None = False) -> None:  # type: ignore[override]  # it never does
        """Ask whether the server is there, unless it answered just now."""
        if time.monotonic() - self._answered > _FRESH_S:
            super().ping(reconnect)

    def _read_query_result(self, unbuffered: bool = False) -> Any:
        affected: Any = super()._read_query_result(unbuffered)  # type: ignore[misc]  # not in its stubs
        self._answered = time.monotonic()
        return affected

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        # Nobody is verified where the URL asks for no TLS, and the machine's certificates are read for nothing:
        # 21 ms of a processor a connection.
        if isinstance(sslp, dict) and not sslp:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        made: ssl.SSLContext = super()._create_ssl_ctx(sslp)  # type: ignore[misc]  # not in its stubs
        return made


def _parse(settings: Settings) -> URL:
    try:
        url = make_url(settings.database_url)
    except (ArgumentError, ValueError):
        raise _wrong_url("no es una URL de base de datos") from None
    tls.refuse_blanks(settings.database_url)
    match url.get_backend_name():
        case "mysql" | "mariadb":
            if not url.database:
                raise _wrong_url("falta el nombre de la base de datos")
            # One dialect for both: SQLAlchemy's "mysql" recognises a MariaDB server by its version.
            return url.set(drivername="mysql+pymysql")
        case "sqlite":
            return url.set(drivername="sqlite")
        case other:
            raise _wrong_url(f"no se admite «{other}»")


def _wrong_url(message: str) -> SettingsError:
    return SettingsError("VISITAS_DB_URL", message, "ejemplo: mysql+pymysql://usuario:clave@servidor:3306/visitas")


def _sqlite_engine(url: URL) -> Engine:
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": _SQLITE_WAIT_S})

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: Any) -> None:
        # The driver's own BEGIN comes late and deferred: two loads would read, then fail to upgrade their locks.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get(READ_ONLY)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a connection for reading only; errors come out as failures."""
    with database_errors(engine), engine.connect().execution_options(**{READ_ONLY: True}) as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open one transaction, committed at the end; errors come out as failures."""
    with database_errors(engine), engine.begin() as connection:
        yield connection


@contextmanager
def database_errors(engine: Engine) -> Iterator[None]:
    """Turn SQLAlchemy's errors into failures that tell a passing fault from a lasting one."""
    try:
        yield
    except PoolTimeout as error:
        raise TransientFailure(
            "todas las conexiones a la base de datos están ocupadas", "espere o suba VISITAS_CONEXIONES_DB"
        ) from error
    except DBAPIError as error:
        raise _database_failure(error, engine) from error
    except SQLAlchemyError as error:
        raise PermanentFailure(f"error de base de datos: {_one_line(error)}") from error


# MySQL's and MariaDB's error numbers (their manuals, "Server Error Message Reference").
_UNREACHABLE = {2002, 2003, 2005}
_LOST = {2006, 2013, 2014, 2055, 1053, 1077, 1079, 1927, 4031}
_REFUSED = {1044, 1045, 1698, 1130, 2061, 2059}
_NO_DATABASE = 1044
_DENIED = {1142, 1143, 1227}
_PERMISSION = re.compile(r"([A-Z]+(?: [A-Z]+)*) command denied|you need \(at least one of\) the (.+?) privilege")
_TEMPORARY = "CREATE TEMPORARY TABLE"
_RETRY = {1205, 1213, 1020, 1040, 1203, 1226, 3101, 3572}
_FULL = {1021, 1114}


def _database_failure(error: DBAPIError, engine: Engine) -> SystemFailure:
    if engine.dialect.name == "sqlite":
        return _sqlite_failure(error, engine)
    return _server_failure(error, engine)


def _server_failure(error: DBAPIError, engine: Engine) -> SystemFailure:
    arguments = error.orig.args if error.orig is not None else ()
    number = arguments[0] if arguments and isinstance(arguments[0], int) else 0
    url = engine.url
    address = f"{url.host or 'localhost'}:{url.port or 3306}"
    failure = tls.failure(number, error.orig, address)
    if failure is not None:
        return failure
    if number in _UNREACHABLE:
        return TransientFailure(
            f"VISITAS_DB_URL: la base de datos {address} no responde",
            "revise el servidor y el puerto, y que la base de datos esté encendida",
        )
    if "Packet sequence number wrong" in str(error.orig):
        return TransientFailure(
            f"VISITAS_DB_URL: {address} no contesta como una base de datos", "revise el servidor y el puerto"
        )
    if (permission := _missing_permission(number, error)) is not None:
        return PermanentFailure(
            f"VISITAS_DB_URL: al usuario {url.username} le falta el permiso {permission} en «{url.database}»",
            "dé al usuario los permisos de docs/settings.md",
        )
    if number in _REFUSED:
        # The server does not tell a missing client certificate from a wrong password.
        certificate = ", certificado de cliente" if engine.get_execution_options().get(_ENCRYPTED) else ""
        return PermanentFailure(
            f"VISITAS_DB_URL: {address} no aceptó al usuario {url.username} en «{url.database}»",
            f"revise usuario, clave{certificate}, el nombre de la base y los permisos (docs/settings.md)",
        )
    if number == 1049:
        return PermanentFailure(
            f"VISITAS_DB_URL: la base «{url.database}» no existe en {address}", "créela o corrija el nombre"
        )
    if number == 1146:
        return missing_tables()
    if number == 1050:
        return _foreign_tables(error)
    if number in _FULL:
        return PermanentFailure("la base de datos no tiene espacio en disco", "libere espacio en su servidor")
    if number in _LOST or error.connection_invalidated:
        return TransientFailure(
            f"VISITAS_DB_URL: se perdió la conexión con la base de datos {address}",
            "revise que esté encendida y que conteste",
        )
    if number in _RETRY:
        return TransientFailure(f"la base de datos pide repetir la transacción ({number})")
    return PermanentFailure(f"la base de datos rechazó la operación: {_one_line(error)}")


def _missing_permission(number: int, error: DBAPIError) -> str | None:
    """The privilege that a statement lacked, as GRANT calls it; None where something else is wrong."""
    if number in _DENIED:
        named = _PERMISSION.search(str(error.orig))
        return next(filter(None, named.groups())) if named else _one_line(error)
    # The servers answer this one as if the database were closed to the user, and name no privilege.
    if number == _NO_DATABASE and _TEMPORARY in (error.statement or "").upper():
        return "CREATE TEMPORARY TABLES"
    return None


def _sqlite_failure(error: DBAPIError, engine: Engine) -> SystemFailure:
    text = _one_line(error)
    if "no such table" in text:
        return missing_tables()
    if "locked" in text or "busy" in text:
        return TransientFailure("otra operación tiene ocupada la base de datos SQLite")
    if "full" in text:
        return PermanentFailure("no hay espacio en disco para la base de datos", "libere espacio en VISITAS_HOME")
    if "already exists" in text:
        return _foreign_tables(error)
    for words, reason in _SQLITE_REFUSALS.items():
        if words in text:
            return PermanentFailure(
                f"VISITAS_DB_URL: no se puede abrir {engine.url.database} ({reason})", "revise la ruta y los permisos"
            )
    return PermanentFailure(f"la base de datos rechazó la operación: {text}")


_SQLITE_REFUSALS = {
    "unable to open": "no existe la carpeta, o no hay permiso",
    "readonly": "es de solo lectura",
    "not a database": "no es una base de datos SQLite",
}


def missing_tables() -> PermanentFailure:
    """The failure of a database without the platform's tables."""
    return PermanentFailure("VISITAS_DB_URL: en la base de datos faltan las tablas", "ejecute: visitas init")


def _foreign_tables(error: SQLAlchemyError) -> PermanentFailure:
    return PermanentFailure(
        f"VISITAS_DB_URL: en la base de datos hay tablas con los nombres de las de visitas ({_one_line(error)})",
        "use una base de datos vacía",
    )


def _one_line(error: SQLAlchemyError) -> str:
    """The driver's own words: SQLAlchemy's would repeat the statement with its values, which hold addresses."""
    original = error.orig if isinstance(error, DBAPIError) else error
    # «Duplicate entry 'ana@…' for key»: the driver quotes values too.
    return mask_addresses(" ".join(str(original).split())[:500])
