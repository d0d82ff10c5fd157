"""The tables as each engine has them after `visitas init`: what the contract names, and what the code believes.

DDL and its migrations belong here; rows do not.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from tests.support.fixtures import Database
from tests.support.pipeline import settings_for
from visitas_dagster.domain.failures import PermanentFailure, SettingsError
from visitas_dagster.loading import tables
from visitas_dagster.loading.schema import VERSION_TABLE, current, newest, require_current, upgrade
from visitas_dagster.resources.database import open_engine

# Contract §3: names in order, and the servers' types. "text?" may be null, "text" may not.
SERVER_COLUMNS = {
    "bitacora_control": {
        "id": "bigint",
        "archivo": "varchar(255)",
        "sha256": "char(64)?",
        "bytes": "bigint?",
        "modificado_origen": "datetime?",
        "codificacion": "varchar(32)?",
        "estado": "varchar(32)",
        "intentos": "int",
        "registros_total": "int?",
        "registros_validos": "int?",
        "registros_invalidos": "int?",
        "visitantes_nuevos": "int?",
        "visitantes_actualizados": "int?",
        "inicio": "datetime(6)?",
        "fin": "datetime(6)?",
        "duracion_ms": "bigint?",
        "mensaje": "text?",
        "run_id": "char(36)?",
        "reemplaza_a": "bigint?",
        "vigente": "tinyint",
    },
    "estadisticas": {
        "id": "bigint",
        "archivo_id": "bigint",
        "linea": "int",
        "email": "varchar(254)",
        "jyv": "varchar(64)?",
        "badmail": "varchar(64)?",
        "baja": "varchar(64)?",
        "fecha_envio": "datetime",
        "fecha_open": "datetime?",
        "opens": "int?",
        "opens_virales": "int?",
        "fecha_click": "datetime?",
        "clicks": "int?",
        "clicks_virales": "int?",
        "links": "varchar(1024)?",
        "ips": "varchar(1024)?",
        "navegadores": "varchar(1024)?",
        "plataformas": "varchar(1024)?",
    },
    "errores": {
        "id": "bigint",
        "archivo_id": "bigint",
        "linea": "int",
        "tipo_error": "varchar(32)",
        "campo": "varchar(64)?",
        "valor": "mediumtext?",
        "detalle": "json",
        "fila_original": "mediumtext",
    },
    "visitantes": {
        "email": "varchar(254)",
        "fecha_primera_visita": "datetime",
        "fecha_ultima_visita": "datetime",
        "visitas_totales": "int",
        "visitas_anio_actual": "int",
        "visitas_mes_actual": "int",
        "actualizado_en": "datetime(6)",
    },
}

on_servers = pytest.mark.databases("mysql", "mariadb")


@pytest.fixture
def bare(database: Database, tmp_path: Path) -> Iterator[sa.Engine]:
    """Give an engine on an empty database."""
    engine = open_engine(settings_for(database.url, {}, tmp_path))
    yield engine
    engine.dispose()


@pytest.fixture
def engine(bare: sa.Engine) -> sa.Engine:
    """Give an engine on a database with the tables."""
    upgrade(bare)
    return bare


def ask(engine: sa.Engine, query: str, **values: Any) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query), values)]


def test_the_migrations_make_what_the_code_believes(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "version_table": VERSION_TABLE})
        assert compare_metadata(context, tables.metadata) == []


def test_the_columns_stand_in_the_contracts_order(engine: sa.Engine) -> None:
    inspector = sa.inspect(engine)
    found = {name: [column["name"] for column in inspector.get_columns(name)] for name in SERVER_COLUMNS}
    assert found == {name: list(columns) for name, columns in SERVER_COLUMNS.items()}
    assert set(inspector.get_table_names()) == {*tables.metadata.tables, VERSION_TABLE}


@on_servers
def test_the_columns_have_the_contracts_types(database: Database, engine: sa.Engine) -> None:
    rows = ask(
        engine,
        "SELECT table_name, column_name, column_type, is_nullable FROM information_schema.columns "
        "WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position",
    )
    found: dict[str, dict[str, str]] = {}
    for table, column, kind, nullable in rows:
        plain = _without_display_width(kind) + ("?" if nullable == "YES" else "")
        found.setdefault(table, {})[column] = plain
    expected = {table: dict(columns) for table, columns in SERVER_COLUMNS.items()}
    if database.engine == "mariadb":
        # MariaDB's json is longtext with a check.
        expected["errores"]["detalle"] = "longtext"
    assert {table: found[table] for table in expected} == expected


def _without_display_width(kind: str) -> str:
    """MariaDB writes `int(11)` where MySQL writes `int`."""
    name = kind.partition("(")[0]
    return name if name in {"int", "bigint", "tinyint", "smallint"} else kind


@on_servers
def test_text_is_utf8mb4_and_emails_compare_by_their_bytes(engine: sa.Engine) -> None:
    rows = ask(
        engine,
        "SELECT table_name, column_name, character_set_name, collation_name FROM information_schema.columns "
        "WHERE table_schema = DATABASE() AND character_set_name IS NOT NULL AND table_name <> :version "
        "AND table_name NOT IN (SELECT table_name FROM information_schema.views WHERE table_schema = DATABASE())",
        version=VERSION_TABLE,
    )
    sets = {(table, column): charset for table, column, charset, _ in rows}
    collations = {(table, column): collation for table, column, _, collation in rows}
    digests = {
        ("bitacora_control", "sha256"),
        ("contenidos_cargados", "sha256"),
        ("olvidados", "huella"),
        ("copias_olvidadas", "sha256_copia"),
        ("copias_olvidadas", "sha256"),
    }
    assert {column for column, charset in sets.items() if charset != "utf8mb4"} == digests
    for table, column in (("estadisticas", "email"), ("visitantes", "email"), ("bitacora_control", "archivo")):
        assert collations[table, column] == "utf8mb4_bin"


@on_servers
def test_every_table_is_transactional(engine: sa.Engine) -> None:
    rows = ask(
        engine,
        "SELECT table_name, engine FROM information_schema.tables "
        "WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'",
    )
    assert {kind for _, kind in rows} == {"InnoDB"}


def test_the_keys_and_what_they_point_to(engine: sa.Engine) -> None:
    inspector = sa.inspect(engine)
    keys = {name: inspector.get_pk_constraint(name)["constrained_columns"] for name in tables.metadata.tables}
    assert keys == {
        "bitacora_control": ["id"],
        "estadisticas": ["id"],
        "errores": ["id"],
        "visitantes": ["email"],
        "contenidos_cargados": ["sha256"],
        "periodo_visitantes": ["id"],
        "bitacora_intentos": ["id"],
        "auditoria": ["id"],
        "olvidados": ["huella"],
        "copias_olvidadas": ["sha256", "sha256_copia"],
        "incidentes": ["id"],
        "esperas": ["archivo"],
        "cierres": ["fecha"],
        "zona_cambios": ["anio", "desde"],
    }
    for name in ("estadisticas", "errores", "contenidos_cargados", "bitacora_intentos"):
        (foreign,) = inspector.get_foreign_keys(name)
        assert (foreign["constrained_columns"], foreign["referred_table"], foreign["referred_columns"]) == (
            ["archivo_id"],
            "bitacora_control",
            ["id"],
        )


def test_rows_without_their_file_are_refused(engine: sa.Engine) -> None:
    with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
        connection.execute(
            sa.insert(tables.errores).values(archivo_id=7, linea=1, tipo_error="x", detalle=[], fila_original="x")
        )


def test_one_row_a_content_of_a_name(engine: sa.Engine) -> None:
    row = {"archivo": "report_1.txt", "estado": "COMPLETADO", "intentos": 1, "vigente": True}
    with engine.begin() as connection:
        # Content that is not known yet stands beside any other.
        connection.execute(sa.insert(tables.bitacora_control), [row | {"sha256": None}, row | {"sha256": None}])
        connection.execute(sa.insert(tables.bitacora_control), [row | {"sha256": "a" * 64}])
    with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
        connection.execute(sa.insert(tables.bitacora_control), [row | {"sha256": "a" * 64}])


@on_servers
def test_a_value_that_does_not_fit_is_refused_and_never_cut(engine: sa.Engine) -> None:
    with pytest.raises(sa.exc.DataError), engine.begin() as connection:
        connection.execute(
            sa.insert(tables.bitacora_control).values(archivo="x" * 256, estado="COMPLETADO", intentos=1, vigente=True)
        )


def test_the_period_stands_in_its_one_row(engine: sa.Engine) -> None:
    assert ask(engine, "SELECT id, anio, mes FROM periodo_visitantes") == [(1, 1970, 1)]


# ------------------------------------------------------------------------------------------------- versions


def test_an_upgrade_says_where_it_came_from(bare: sa.Engine) -> None:
    assert current(bare) is None
    assert upgrade(bare) == (None, newest())
    assert current(bare) == newest()


def test_an_upgrade_twice_is_harmless(engine: sa.Engine) -> None:
    row = {"archivo": "report_1.txt", "estado": "COMPLETADO", "intentos": 1, "vigente": True}
    with engine.begin() as connection:
        connection.execute(sa.insert(tables.bitacora_control), [row])
    assert upgrade(engine) == (newest(), newest())
    assert ask(engine, "SELECT archivo, intentos FROM bitacora_control") == [("report_1.txt", 1)]
    assert ask(engine, "SELECT COUNT(*) FROM periodo_visitantes") == [(1,)]


def test_tables_of_this_version_are_accepted(engine: sa.Engine) -> None:
    require_current(engine)


def test_missing_tables_are_named_with_the_cure(bare: sa.Engine) -> None:
    with pytest.raises(PermanentFailure) as caught:
        require_current(bare)
    assert str(caught.value) == "VISITAS_DB_URL: en la base de datos faltan las tablas. ejecute: visitas init"


def test_tables_of_another_version_are_named_with_the_cure(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '0000'"))
    with pytest.raises(PermanentFailure) as caught:
        require_current(engine)
    assert str(caught.value) == (
        f"VISITAS_DB_URL: las tablas están en la versión 0000 y se necesita la {newest()}. ejecute: visitas init"
    )


# ----------------------------------------------------------------------------------------------- connections


@on_servers
def test_a_session_is_strict_in_utc_and_read_committed(database: Database, bare: sa.Engine) -> None:
    ((mode, zone, charset),) = ask(
        bare, "SELECT @@SESSION.sql_mode, @@SESSION.time_zone, @@SESSION.character_set_client"
    )
    assert "STRICT_TRANS_TABLES" in mode.split(",")
    assert (zone, charset) == ("+00:00", "utf8mb4")
    isolation = "tx_isolation" if database.engine == "mariadb" else "transaction_isolation"
    assert ask(bare, f"SELECT @@SESSION.{isolation}") == [("READ-COMMITTED",)]


@on_servers
def test_a_session_knows_backslashes_whatever_the_servers_default(database: Database, bare: sa.Engine) -> None:
    """Addresses are escaped with them, by the driver's function as by LOAD DATA."""
    assert database.server is not None
    ((before,),) = database.server.execute("SELECT @@GLOBAL.sql_mode")
    database.server.execute("SET GLOBAL sql_mode = %s", f"{before},NO_BACKSLASH_ESCAPES")
    try:
        ((mode,),) = ask(bare, "SELECT @@SESSION.sql_mode")
        ((given,),) = ask(bare, "SELECT @@GLOBAL.sql_mode")
    finally:
        database.server.execute("SET GLOBAL sql_mode = %s", before)
    assert "NO_BACKSLASH_ESCAPES" in given.split(",")
    assert "NO_BACKSLASH_ESCAPES" not in mode.split(",")


@pytest.mark.databases("sqlite")
def test_sqlite_is_durable_and_checks_its_keys(bare: sa.Engine) -> None:
    pragmas = {name: ask(bare, f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous", "foreign_keys")}
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


@pytest.mark.databases("mariadb")
def test_a_url_of_either_name_reaches_the_server(database: Database, tmp_path: Path) -> None:
    for scheme in ("mysql", "mariadb", "mysql+pymysql", "mariadb+pymysql"):
        url = database.url.replace("mysql+pymysql", scheme, 1)
        engine = open_engine(settings_for(url, {}, tmp_path))
        assert ask(engine, "SELECT 1") == [(1,)]
        engine.dispose()


@pytest.mark.databases("mysql", "mariadb")
@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("password", "VISITAS_DB_URL: {host}:{port} no aceptó al usuario {user} en «{database}»"),
        ("database", "VISITAS_DB_URL: {host}:{port} no aceptó al usuario {user} en «otra_base»"),
    ],
)
def test_a_wrong_login_is_named_and_hides_its_password(
    database: Database, tmp_path: Path, part: str, message: str
) -> None:
    url = sa.make_url(database.url)
    wrong = url.set(password="secreto") if part == "password" else url.set(database="otra_base")
    engine = open_engine(settings_for(wrong.render_as_string(hide_password=False), {}, tmp_path))
    with pytest.raises(PermanentFailure) as caught:
        current(engine)
    assert caught.value.mensaje == message.format(
        host=url.host, port=url.port, user=url.username, database=url.database
    )
    assert "secreto" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("no es url", "VISITAS_DB_URL: no es una URL de base de datos"),
        ("postgresql://u:secreto@h/b", "VISITAS_DB_URL: no se admite «postgresql»"),
    ],
)
@pytest.mark.databases("sqlite")
def test_a_url_that_leads_nowhere_is_named(database: Database, tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_engine(settings_for(url, {}, tmp_path))
    assert (caught.value.ajuste, caught.value.mensaje) == ("VISITAS_DB_URL", message)
    assert "secreto" not in str(caught.value)
