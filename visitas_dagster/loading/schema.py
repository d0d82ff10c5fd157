"""Creating, upgrading and recognising the tables, through Alembic.

The way to the migrations belongs here; what they change stands in ``sql/migrations/versions``.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from visitas_dagster.domain.failures import PermanentFailure
from visitas_dagster.loading.statements import dialect_of, sql_folder
from visitas_dagster.loading.tables import metadata
from visitas_dagster.resources.database import database_errors, missing_tables, reading

VERSION_TABLE = "visitas_version"


def newest() -> str:
    """The revision that this version of the platform works with.

    Revisions are numbered, each after the one before, and the number begins the file's name: Alembic itself, which
    takes half a second to come in, need not be asked (a test holds the two together).
    """
    numbers = [path.name.partition("_")[0] for path in (sql_folder() / "migrations" / "versions").glob("[0-9]*.py")]
    if not numbers:
        raise PermanentFailure("faltan las migraciones de sql/migrations", "reinstale visitas")
    return max(numbers)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return str(found) if found is not None else None


def current(engine: Engine) -> str | None:
    """The revision of the database's tables; None where there are none."""
    if dialect_of(engine) == "sqlite" and engine.url.database and not Path(engine.url.database).exists():
        # SQLite would make the file, and complain of the folder where there is none.
        return None
    with reading(engine) as connection:
        return _revision(connection)


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Create or upgrade the tables; return the revision before and after.

    One that died halfway is taken up where it was: Alembic makes its own table first, so that what stands beside it is
    ours (``sql/migrations/env.py``).

    Raises:
        PermanentFailure: the tables are another version's, which this one cannot upgrade.
        SystemFailure: the database failed.
    """
    from alembic import command  # here: commands that only look need none of it
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(sql_folder() / "migrations").replace("%", "%%"))
    with database_errors(engine), engine.connect() as connection:
        before = _revision(connection)
        if before is not None and before > newest():
            raise _newer(before)
        _refuse_foreign(connection)
        connection.rollback()
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise PermanentFailure(
                f"VISITAS_DB_URL: no se sabe pasar las tablas de la versión {before} a la {newest()}",
                "use una base de datos de visitas, o un respaldo de ella",
            ) from error
        connection.commit()
    return before, newest()


def _refuse_foreign(connection: Connection) -> None:
    """Raise :class:`PermanentFailure` for tables with our names in a database where no upgrade has ever begun."""
    there = set(inspect(connection).get_table_names())
    taken = sorted(there & set(metadata.tables))
    if taken and VERSION_TABLE not in there:
        raise PermanentFailure(
            f"VISITAS_DB_URL: en la base de datos hay tablas con los nombres de las de visitas ({', '.join(taken)})",
            "use una base de datos vacía",
        )


def require_current(engine: Engine) -> None:
    """Raise :class:`PermanentFailure` unless the tables are there, at this version's revision."""
    found, wanted = current(engine), newest()
    if found is None:
        raise missing_tables()
    if found > wanted:
        raise _newer(found)
    if found != wanted:
        raise PermanentFailure(
            f"VISITAS_DB_URL: las tablas están en la versión {found} y se necesita la {wanted}",
            "ejecute: visitas init",
        )


def _newer(found: str) -> PermanentFailure:
    return PermanentFailure(
        f"VISITAS_DB_URL: las tablas están en la versión {found}, más nueva que la {newest()} de este programa",
        "actualice visitas",
    )
