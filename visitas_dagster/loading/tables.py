"""The tables as SQLAlchemy Core sees them: the contract's section 3 and the two small ones the load needs.

Names and types belong here; creating them is the migrations' work (``sql/migrations``), a test holds the two together.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

metadata = MetaData()

_MYSQL: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_engine": "InnoDB"}


def _key() -> TypeEngine[int]:
    """A bigint; SQLite numbers rows by itself only for INTEGER."""
    return BigInteger().with_variant(Integer(), "sqlite")


def _exact(length: int) -> TypeEngine[str]:
    """Text that compares by its bytes: the servers' default collations take ``josé`` for ``JOSE``."""
    return String(length).with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql")


def _digest() -> TypeEngine[str]:
    return String(64).with_variant(mysql.CHAR(64, charset="ascii", collation="ascii_bin"), "mysql")


def _second() -> TypeEngine[datetime]:
    """Whole seconds, 5 bytes: SQLAlchemy 2.1 makes a plain DateTime one of 8 bytes with microseconds."""
    return DateTime().with_variant(mysql.DATETIME(fsp=0), "mysql")


def _moment() -> TypeEngine[datetime]:
    """UTC with microseconds."""
    return DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")


def _long_text() -> TypeEngine[str]:
    return Text().with_variant(mysql.MEDIUMTEXT(), "mysql")


bitacora_control = Table(
    "bitacora_control",
    metadata,
    Column("id", _key(), primary_key=True, autoincrement=True),
    Column("archivo", _exact(255), nullable=False),
    Column("sha256", _digest()),
    Column("bytes", BigInteger),
    Column("modificado_origen", _second()),
    Column("codificacion", String(32)),
    Column("estado", String(32), nullable=False),
    Column("intentos", Integer, nullable=False),
    Column("registros_total", Integer),
    Column("registros_validos", Integer),
    Column("registros_invalidos", Integer),
    Column("visitantes_nuevos", Integer),
    Column("visitantes_actualizados", Integer),
    Column("inicio", _moment()),
    Column("fin", _moment()),
    Column("duracion_ms", BigInteger),
    Column("mensaje", Text),
    Column("run_id", String(36).with_variant(mysql.CHAR(36), "mysql")),
    Column("reemplaza_a", _key()),
    Column("vigente", Boolean, nullable=False),
    UniqueConstraint("archivo", "sha256", name="uq_bitacora_archivo_contenido"),
    Index("ix_bitacora_contenido", "sha256"),
    Index("ix_bitacora_estado_cuentas", "estado", "fin", "vigente", "registros_validos", "registros_invalidos"),
    **_MYSQL,
)
"""One row per distinct content of a name."""

estadisticas = Table(
    "estadisticas",
    metadata,
    Column("id", _key(), primary_key=True, autoincrement=True),
    Column(
        "archivo_id",
        _key(),
        ForeignKey("bitacora_control.id", name="fk_estadisticas_archivo"),
        nullable=False,
    ),
    Column("linea", Integer, nullable=False),
    Column("email", _exact(254), nullable=False),
    Column("jyv", String(64)),
    Column("badmail", String(64)),
    Column("baja", String(64)),
    Column("fecha_envio", _second(), nullable=False),
    Column("fecha_open", _second()),
    Column("opens", Integer),
    Column("opens_virales", Integer),
    Column("fecha_click", _second()),
    Column("clicks", Integer),
    Column("clicks_virales", Integer),
    Column("links", String(1024)),
    Column("ips", String(1024)),
    Column("navegadores", String(1024)),
    Column("plataformas", String(1024)),
    Index("ix_estadisticas_archivo", "archivo_id"),
    Index("ix_estadisticas_email_fecha", "email", "fecha_envio"),
    **_MYSQL,
)
"""One row per visit."""

errores = Table(
    "errores",
    metadata,
    Column("id", _key(), primary_key=True, autoincrement=True),
    Column("archivo_id", _key(), ForeignKey("bitacora_control.id", name="fk_errores_archivo"), nullable=False),
    Column("linea", Integer, nullable=False),
    Column("tipo_error", String(32), nullable=False),
    Column("campo", String(64)),
    Column("valor", _long_text()),
    Column("detalle", JSON, nullable=False),
    Column("fila_original", _long_text(), nullable=False),
    Index("ix_errores_archivo", "archivo_id"),
    Index("ix_errores_archivo_tipo", "archivo_id", "tipo_error", "campo"),
    **_MYSQL,
)
"""One row per rejected record."""

visitantes = Table(
    "visitantes",
    metadata,
    Column("email", _exact(254), primary_key=True),
    Column("fecha_primera_visita", _second(), nullable=False),
    Column("fecha_ultima_visita", _second(), nullable=False),
    Column("visitas_totales", Integer, nullable=False),
    Column("visitas_anio_actual", Integer, nullable=False),
    Column("visitas_mes_actual", Integer, nullable=False),
    Column("actualizado_en", _moment(), nullable=False),
    **_MYSQL,
)
"""One row per e-mail: the aggregate of its rows in ``estadisticas``."""

contenidos_cargados = Table(
    "contenidos_cargados",
    metadata,
    Column("sha256", _digest(), primary_key=True),
    Column(
        "archivo_id",
        _key(),
        ForeignKey("bitacora_control.id", name="fk_contenidos_archivo"),
        nullable=False,
        unique=True,
    ),
    **_MYSQL,
)
"""Which ledger row carries a loaded content. The key makes "every distinct content once" the database's own
promise: of six copies that load in parallel, five wait on it and then find themselves duplicates."""

periodo_visitantes = Table(
    "periodo_visitantes",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("anio", SmallInteger, nullable=False),
    Column("mes", SmallInteger, nullable=False),
    **_MYSQL,
)
"""One row: the year and month that ``visitas_anio_actual`` and ``visitas_mes_actual`` stand for."""

bitacora_intentos = Table(
    "bitacora_intentos",
    metadata,
    Column("id", _key(), primary_key=True, autoincrement=True),
    Column("archivo_id", _key(), ForeignKey("bitacora_control.id", name="fk_intentos_archivo"), nullable=False),
    Column("run_id", String(36).with_variant(mysql.CHAR(36), "mysql")),
    Column("inicio", _moment(), nullable=False),
    Column("fin", _moment()),
    Column("resultado", String(32)),
    Column("mensaje", Text),
    Index("ix_intentos_archivo", "archivo_id", "id"),
    Index("ix_intentos_resultado", "resultado", "fin"),
    Index("ix_intentos_inicio", "inicio"),
    **_MYSQL,
)
"""One row per attempt at a content: ``bitacora_control`` counts them, this tells them. Where a file stands on the
ladder of retries follows from these rows alone."""

auditoria = Table(
    "auditoria",
    metadata,
    Column("id", _key(), primary_key=True, autoincrement=True),
    Column("momento", _moment(), nullable=False),
    Column("operacion", String(32), nullable=False),
    Column("quien", String(128), nullable=False),
    Column("detalle", JSON, nullable=False),
    **_MYSQL,
)
"""What persons did by hand that changes what is kept: releases, erasures."""

olvidados = Table(
    "olvidados",
    metadata,
    Column("huella", _digest(), primary_key=True),
    Column("llave", String(16), nullable=False),
    Column("momento", _moment(), nullable=False),
    **_MYSQL,
)
"""One row per erased person: a keyed digest of the address, never the address; ``llave`` tells the key apart."""

copias_olvidadas = Table(
    "copias_olvidadas",
    metadata,
    Column("sha256", _digest(), primary_key=True),
    Column("sha256_copia", _digest(), primary_key=True),
    **_MYSQL,
)
"""Copies on disk that an erasure rewrote: the content's digest as it was delivered, and the copy's own."""

incidentes = Table(
    "incidentes",
    metadata,
    Column("id", _key(), primary_key=True, autoincrement=True),
    Column("tipo", String(32), nullable=False),
    Column("asunto", String(64), nullable=False),
    Column("clave", String(96), unique=True),
    Column("abierto", _moment(), nullable=False),
    Column("visto", _moment(), nullable=False),
    Column("veces", Integer, nullable=False),
    Column("desde", _moment(), nullable=False),
    Column("ultimo", _moment(), nullable=False),
    Column("mensaje", Text, nullable=False),
    Column("avisado", _moment()),
    Column("contado", _moment()),
    Column("cerrado", _moment()),
    Column("cierre_avisado", _moment()),
    Column("intentado", _moment()),
    Column("canales", String(64), nullable=False),
    Index("ix_incidentes_tipo", "tipo", "cerrado"),
    Index("ix_incidentes_por_avisar", "cierre_avisado", "cerrado"),
    **_MYSQL,
)
"""One row per incident that persons are told of, from its first sign to its recovery. ``clave`` is what it is about,
and null once it is over: its uniqueness makes "opened once" the database's own promise."""

esperas = Table(
    "esperas",
    metadata,
    Column("archivo", _exact(255), primary_key=True),
    Column("desde", _moment(), nullable=False),
    **_MYSQL,
)
"""The reports on the server, and since when a look has found each there, by our clock."""

cierres = Table(
    "cierres",
    metadata,
    Column("fecha", Date, primary_key=True),
    Column("estado", String(32), nullable=False),
    Column("intentos", Integer, nullable=False),
    Column("inicio", _moment(), nullable=False),
    Column("fin", _moment()),
    Column("mensaje", Text),
    Column("detalle", JSON),
    **_MYSQL,
)
"""One row per day that was closed, or whose close was begun."""

zona_cambios = Table(
    "zona_cambios",
    metadata,
    Column("anio", SmallInteger, primary_key=True, autoincrement=False),
    Column("desde", _second(), primary_key=True),
    Column("hasta", _second(), nullable=False),
    Column("desfase_s", Integer, nullable=False),
    Column("desfase_anterior_s", Integer, nullable=False),
    Column("zona", String(64), nullable=False),
    **_MYSQL,
)
"""The offsets of ``VISITAS_ZONA_HORARIA``, UTC year by UTC year: a view cannot read settings. ``loading/zone.py``
fills it."""
