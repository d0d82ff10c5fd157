"""`visitas init` killed after any of its statements: the next one goes on where it was.

What stands afterwards belongs here; how it is killed is `tests/faults/dying_init.py`.
"""

import subprocess
import sys
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.fixtures import Database
from tests.support.pipeline import PROJECT
from visitas_dagster.loading import tables
from visitas_dagster.loading.schema import VERSION_TABLE, newest, upgrade

# SQLite takes a migration back whole.
pytestmark = pytest.mark.databases("mysql", "mariadb")


def shape(url: str) -> dict[str, Any]:
    """Columns, keys, indexes and rows of every table of a database."""
    engine = sa.create_engine(url)
    found: dict[str, Any] = {}
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        for name in inspector.get_table_names():
            found[name] = (
                [(column["name"], str(column["type"]), column["nullable"]) for column in inspector.get_columns(name)],
                inspector.get_pk_constraint(name)["constrained_columns"],
                sorted((str(index["name"]), index["column_names"]) for index in inspector.get_indexes(name)),
                sorted((str(key["name"]), key["referred_table"]) for key in inspector.get_foreign_keys(name)),
                [tuple(row) for row in connection.exec_driver_sql(f"SELECT * FROM {name}")],
            )
    engine.dispose()
    return found


def dying_init(url: str) -> int:
    """Run it over the database; return how many processes died."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.dying_init", url],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_an_init_that_dies_after_each_statement_ends_with_the_same_tables(database: Database) -> None:
    assert database.server is not None
    whole = database.server.create_database()
    engine = sa.create_engine(whole)
    upgrade(engine)
    engine.dispose()
    deaths = dying_init(database.url)
    expected = shape(whole)
    database.server.drop_database(whole)
    assert shape(database.url) == expected
    assert set(expected) == {*tables.metadata.tables, VERSION_TABLE}
    assert expected[VERSION_TABLE][-1] == [(newest(),)]
    indexes = sum(len(table.indexes) for table in tables.metadata.sorted_tables)
    # At each table and index, and at each row of the version's own table, at the least.
    assert deaths >= len(expected) + indexes + int(newest())
