"""The SQL statements of ``sql/``, one file a statement, found by name and dialect.

Finding and splitting the files belongs here; what they say stands in them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from sqlalchemy import Engine, Insert, TextClause, text

_PACKAGE = Path(__file__).resolve().parent.parent


def sql_folder() -> Path:
    """The folder ``sql/``: inside an installed wheel, or at the top of a checkout."""
    installed = _PACKAGE / "_sql"
    return installed if installed.is_dir() else _PACKAGE.parent / "sql"


def dialect_of(engine: Engine) -> str:
    """``mysql`` for MySQL and MariaDB, ``sqlite`` for SQLite."""
    return "sqlite" if engine.dialect.name == "sqlite" else "mysql"


@cache
def statement(name: str, dialect: str) -> TextClause:
    """Return the statement ``sql/load/<name>.<dialect>.sql``, or ``<name>.sql`` where one serves every dialect."""
    folder = sql_folder() / "load"
    specific = folder / f"{name}.{dialect}.sql"
    path = specific if specific.is_file() else folder / f"{name}.sql"
    return text(path.read_text(encoding="utf-8"))


def or_ignore(insertion: Insert) -> Insert:
    """An insert that leaves out the rows whose key is there already; their values must fit their columns."""
    for dialect, words in (("mysql", "IGNORE"), ("mariadb", "IGNORE"), ("sqlite", "OR IGNORE")):
        insertion = insertion.prefix_with(words, dialect=dialect)
    return insertion
