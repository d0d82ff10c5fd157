"""Dagster's history of very many files: what one real run left in SQLite, repeated under other names.

Copying a run's rows, its partitions' events above all, belongs here; running and measuring do not.

The rows are those of the index over all runs and of the table of runs, which is what the web's pages over assets and
partitions read. The log of a single run, a file of its own, is not repeated.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final
from uuid import UUID

TEMPLATE_FIRST: Final = 9_000_001
"""The number of the first file of the run that is repeated: its names must be told apart from those made of them."""

_NAME = re.compile(r"report_9(\d{6})\.txt")
_BATCH = 20

# Columns that hold a key of ``event_logs``: they go on counting with it.
_KEYS: Final = {
    "event_logs": ("id",),
    "asset_check_executions": ("id", "evaluation_event_storage_id", "materialization_event_storage_id"),
    "runs": ("id",),
    "run_tags": ("id",),
}

Row = tuple[object, ...]


def repeat_run(home: Path, files: int) -> None:
    """Repeat the only run in a Dagster home, over ``report_<TEMPLATE_FIRST>.txt`` onwards, for other files.

    Args:
        home: Dagster's home, its storage in SQLite, nobody using it.
        files: ``report_1.txt`` to ``report_<files>.txt`` get the events; their partitions are the caller's to add.
    """
    for name, tables in (
        ("history/runs/index.db", ("event_logs", "asset_check_executions")),
        ("history/runs.db", ("runs", "run_tags")),
    ):
        with closing(sqlite3.connect(home / name)) as connection:
            run_id = _only_run(home)
            for table in tables:
                _repeat(connection, table, run_id, files)
            # A server of long standing knows its tables.
            connection.execute("ANALYZE")
            connection.commit()


def _only_run(home: Path) -> str:
    with closing(sqlite3.connect(home / "history/runs.db")) as connection:
        ((run_id,),) = connection.execute("SELECT run_id FROM runs ORDER BY id LIMIT 1")
    return str(run_id)


def _repeat(connection: sqlite3.Connection, table: str, run_id: str, files: int) -> None:
    cursor = connection.execute(f"SELECT * FROM {table} WHERE run_id = ? ORDER BY id", (run_id,))
    names = [column[0] for column in cursor.description]
    rows: list[Row] = cursor.fetchall()
    keys = [names.index(key) for key in _KEYS[table]]
    step = max(int(str(row[place])) for row in rows for place in keys if row[place] is not None)
    each = _files_of(connection, run_id, rows)
    insertion = f"INSERT INTO {table} VALUES ({', '.join('?' * len(names))})"
    runs = -(-files // each)
    for first in range(1, runs + 1, _BATCH):
        connection.executemany(
            insertion,
            (
                row
                for number in range(first, min(first + _BATCH, runs + 1))
                for row in _renamed(rows, keys, step * number, run_id, str(UUID(int=number)), each * (number - 1))
            ),
        )
        connection.commit()


def _files_of(connection: sqlite3.Connection, run_id: str, rows: Sequence[Row]) -> int:
    """Return how many files the run took: the highest number that its rows name."""
    return max(int(found) for row in rows for cell in row if isinstance(cell, str) for found in _NAME.findall(cell))


def _renamed(
    rows: Sequence[Row], keys: Sequence[int], ahead: int, run_id: str, other: str, before: int
) -> Iterator[Row]:
    """Yield the rows as another run over the files after ``before`` would have left them."""

    def name(found: re.Match[str]) -> str:
        return f"report_{before + int(found[1])}.txt"

    for row in rows:
        cells = [_NAME.sub(name, cell.replace(run_id, other)) if isinstance(cell, str) else cell for cell in row]
        for place in keys:
            if (key := row[place]) is not None:
                cells[place] = int(str(key)) + ahead
        yield tuple(cells)
