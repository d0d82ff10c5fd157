"""A database that cannot be used stops `init`, `dispatch` and `status` with one line that names setting and cure.

Faults at the first look belong here, on each engine; those in the middle of a load do not.
"""

import contextlib
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from tests.support.command import Ended, Visitas
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import settings_for
from tests.support.ports import LOOPBACK, free_port
from visitas_dagster.loading.schema import VERSION_TABLE, newest, upgrade
from visitas_dagster.resources.database import open_engine

on_servers = pytest.mark.databases("mysql", "mariadb")
on_sqlite = pytest.mark.databases("sqlite")

READS = ("status", "dispatch")
EVERY = ("init", *READS)


@pytest.fixture
def visitas(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Visitas:
    """Give an installation over an empty database."""
    return Visitas(tmp_path, {"VISITAS_DB_URL": database.url, **sftp_folder.environment()})


@pytest.fixture
def with_tables(database: Database, visitas: Visitas) -> Visitas:
    """Give it with its tables."""
    engine = open_engine(settings_for(database.url, {}, visitas.home))
    upgrade(engine)
    engine.dispose()
    return visitas


def write(url: str, *statements: str) -> None:
    engine = open_engine(settings_for(url, {}, Path()))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


def refuse(visitas: Visitas, line: str, commands: tuple[str, ...] = EVERY, code: int = 1, **changes: str) -> None:
    """Each command ends with this line, and nothing else is said."""
    for command in commands:
        assert visitas.run(command, **changes) == Ended(code, "", f"visitas: {line}\n"), command


def shown(url: URL) -> str:
    return url.render_as_string(hide_password=False)


# ----------------------------------------------------------------------------------------------- the tables


def test_tables_that_are_not_there(visitas: Visitas) -> None:
    refuse(visitas, "VISITAS_DB_URL: en la base de datos faltan las tablas. Ejecute: visitas init", READS)
    made = visitas.run("init")
    assert (made.code, made.err) == (0, "")
    assert visitas.run("status").code == 0


def test_tables_of_an_older_version(with_tables: Visitas, database: Database) -> None:
    write(database.url, f"UPDATE {VERSION_TABLE} SET version_num = '0000'")
    refuse(
        with_tables,
        f"VISITAS_DB_URL: las tablas están en la versión 0000 y se necesita la {newest()}. Ejecute: visitas init",
        READS,
    )
    # No release ever had it, so there is no way up from it.
    refuse(
        with_tables,
        f"VISITAS_DB_URL: no se sabe pasar las tablas de la versión 0000 a la {newest()}. "
        "Use una base de datos de visitas, o un respaldo de ella",
        ("init",),
    )


def test_tables_of_a_newer_version_are_left_alone(with_tables: Visitas, database: Database) -> None:
    write(database.url, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    refuse(
        with_tables,
        f"VISITAS_DB_URL: las tablas están en la versión 9999, más nueva que la {newest()} de este programa. "
        "Actualice visitas",
    )


def test_tables_that_are_somebody_elses(visitas: Visitas, database: Database) -> None:
    write(database.url, "CREATE TABLE estadisticas (x int)")
    refuse(
        visitas,
        "VISITAS_DB_URL: en la base de datos hay tablas con los nombres de las de visitas (estadisticas). "
        "Use una base de datos vacía",
        ("init",),
    )


# ----------------------------------------------------------------------------------------------- the server


@on_servers
def test_a_port_where_nobody_listens(visitas: Visitas, database: Database) -> None:
    port = free_port()
    refuse(
        visitas,
        f"VISITAS_DB_URL: la base de datos {LOOPBACK}:{port} no responde. "
        "Revise el servidor y el puerto, y que la base de datos esté encendida",
        VISITAS_DB_URL=shown(make_url(database.url).set(port=port)),
    )


@on_servers
def test_a_host_that_no_one_knows(visitas: Visitas, database: Database) -> None:
    url = make_url(database.url).set(host="mysql.invalid")
    refuse(
        visitas,
        f"VISITAS_DB_URL: la base de datos mysql.invalid:{url.port} no responde. "
        "Revise el servidor y el puerto, y que la base de datos esté encendida",
        VISITAS_DB_URL=shown(url),
    )


@on_servers
def test_a_port_where_something_else_listens(visitas: Visitas, database: Database, sftp_folder: SftpFolder) -> None:
    url = make_url(database.url).set(port=sftp_folder.server.port)
    refuse(
        visitas,
        f"VISITAS_DB_URL: {LOOPBACK}:{url.port} no contesta como una base de datos. Revise el servidor y el puerto",
        VISITAS_DB_URL=shown(url),
    )


@contextlib.contextmanager
def silence() -> Iterator[int]:
    """A server that takes connections and says nothing; yield its port."""
    ended = threading.Event()

    class _Silent(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            ended.wait()

    with socketserver.ThreadingTCPServer((LOOPBACK, 0), _Silent) as made:
        made.daemon_threads = True
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        yield made.server_address[1]
        ended.set()
        made.shutdown()


@pytest.mark.databases("mariadb")
def test_a_server_that_says_nothing_is_given_up(visitas: Visitas, database: Database) -> None:
    with silence() as port:
        refuse(
            visitas,
            f"VISITAS_DB_URL: se perdió la conexión con la base de datos {LOOPBACK}:{port}. "
            "Revise que esté encendida y que conteste",
            ("status",),
            VISITAS_DB_URL=shown(make_url(database.url).set(port=port)),
        )


@pytest.mark.databases("mariadb")
def test_a_statement_may_take_longer_than_the_greeting(database: Database, tmp_path: Path) -> None:
    engine = open_engine(settings_for(database.url, {}, tmp_path))
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT SLEEP(11)")).scalar() == 0
    engine.dispose()


@on_servers
@pytest.mark.parametrize("password", ["equivocada", None])
def test_a_wrong_password(visitas: Visitas, database: Database, password: str | None) -> None:
    url = make_url(database.url)
    refuse(
        visitas,
        f"VISITAS_DB_URL: {LOOPBACK}:{url.port} no aceptó al usuario {url.username} en «{url.database}». "
        "Revise usuario, clave, el nombre de la base y los permisos (docs/settings.md)",
        VISITAS_DB_URL=shown(url._replace(password=password)),
    )


@on_servers
def test_a_database_that_this_user_does_not_see(visitas: Visitas, database: Database) -> None:
    url = make_url(database.url)
    refuse(
        visitas,
        f"VISITAS_DB_URL: {LOOPBACK}:{url.port} no aceptó al usuario {url.username} en «otra_base». "
        "Revise usuario, clave, el nombre de la base y los permisos (docs/settings.md)",
        VISITAS_DB_URL=shown(url.set(database="otra_base")),
    )


@on_servers
def test_a_database_that_is_not_there(visitas: Visitas, database: Database) -> None:
    url = make_url(database.url)
    assert database.server is not None
    database.server.execute(f"GRANT SELECT ON *.* TO '{url.username}'@'%%'" % ())
    refuse(
        visitas,
        f"VISITAS_DB_URL: la base «otra_base» no existe en {LOOPBACK}:{url.port}. Créela o corrija el nombre",
        VISITAS_DB_URL=shown(url.set(database="otra_base")),
    )


@on_servers
def test_a_user_that_may_not_make_tables(visitas: Visitas, database: Database) -> None:
    url = make_url(database.url)
    assert database.server is not None
    database.server.execute(f"REVOKE ALL ON `{url.database}`.* FROM '{url.username}'@'%%'" % ())
    database.server.execute(f"GRANT SELECT ON `{url.database}`.* TO '{url.username}'@'%%'" % ())
    refuse(
        visitas,
        f"VISITAS_DB_URL: al usuario {url.username} le falta el permiso CREATE en «{url.database}». "
        "Dé al usuario los permisos de docs/settings.md",
        ("init",),
    )


# ----------------------------------------------------------------------------------------------- the file


@on_sqlite
def test_a_file_whose_folder_is_not_there(visitas: Visitas, tmp_path: Path) -> None:
    path = tmp_path / "nada" / "visitas.db"
    refuse(
        visitas,
        f"VISITAS_DB_URL: no se puede abrir {path} (no existe la carpeta, o no hay permiso). "
        "Revise la ruta y los permisos",
        ("init",),
        VISITAS_DB_URL=f"sqlite:///{path}",
    )
    refuse(
        visitas,
        "VISITAS_DB_URL: en la base de datos faltan las tablas. Ejecute: visitas init",
        READS,
        VISITAS_DB_URL=f"sqlite:///{path}",
    )


@on_sqlite
def test_a_file_that_is_a_folder(visitas: Visitas, tmp_path: Path) -> None:
    refuse(
        visitas,
        f"VISITAS_DB_URL: no se puede abrir {tmp_path} (no existe la carpeta, o no hay permiso). "
        "Revise la ruta y los permisos",
        VISITAS_DB_URL=f"sqlite:///{tmp_path}",
    )


@on_sqlite
def test_a_file_that_is_no_database(visitas: Visitas, tmp_path: Path) -> None:
    path = tmp_path / "notas.txt"
    path.write_text("esto no es una base de datos\n" * 200, encoding="utf-8")
    refuse(
        visitas,
        f"VISITAS_DB_URL: no se puede abrir {path} (no es una base de datos SQLite). Revise la ruta y los permisos",
        VISITAS_DB_URL=f"sqlite:///{path}",
    )
    assert path.read_text(encoding="utf-8").startswith("esto no es una base de datos\n")


@on_sqlite
def test_a_file_that_may_not_be_read(with_tables: Visitas, database: Database) -> None:
    path = Path(make_url(database.url).database or "")
    path.chmod(0o000)
    line = f"VISITAS_DB_URL: no se puede abrir {path} (no existe la carpeta, o no hay permiso). "
    assert with_tables.run_bound_by_permissions("status") == Ended(
        1, "", f"visitas: {line}Revise la ruta y los permisos\n"
    )


@on_sqlite
def test_another_driver_of_sqlite_is_the_same_database(visitas: Visitas, tmp_path: Path) -> None:
    for scheme in ("sqlite", "sqlite+pysqlite", "sqlite+aiosqlite"):
        ended = visitas.run("init", VISITAS_DB_URL=f"{scheme}:///{tmp_path / 'otra.db'}")
        assert (ended.code, ended.err) == (0, "")


# ------------------------------------------------------------------------------------------------- init


def test_init_says_what_it_made_and_is_harmless_twice(visitas: Visitas, database: Database) -> None:
    address = make_url(database.url).render_as_string()
    rest = f"({address})\nCarpetas: {visitas.home}\nDagster: {visitas.home / 'dagster'}\n"
    assert visitas.run("init") == Ended(0, f"Tablas: ahora en la versión {newest()} {rest}")
    before = snapshot(visitas.home)
    assert visitas.run("init") == Ended(0, f"Tablas: ya estaban en la versión {newest()} {rest}")
    assert snapshot(visitas.home).keys() == before.keys()
    assert {path.name for path in visitas.home.iterdir()} >= {"staging", "backup", "cuarentena", "logs", "reportes"}


def test_init_keeps_what_an_operator_wrote_for_dagster(visitas: Visitas) -> None:
    home = visitas.home / "dagster"
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    assert visitas.run("init").code == 0
    assert (home / "dagster.yaml").read_text(encoding="utf-8") == "telemetry:\n  enabled: false\n"


def snapshot(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}
