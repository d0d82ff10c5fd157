"""``visitas dispatch`` with a stop-watch on its steps and its SQL statements: `python -m benchmarks.traced FILE`.

What is timed and under which name belongs here; the command itself runs as it is, nothing of it is replaced. A
handful of clock reads per batch of 32,768 records costs nothing that shows.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql.connections
from sqlalchemy import Connection, Engine, event

import visitas_dagster.loading.transaction as transaction
import visitas_dagster.loading.writers as writers
from benchmarks.process import MIB, forget_high_water, high_water
from visitas_dagster.assets import raw_file, tables, validated_records
from visitas_dagster.cli.app import app

LOAD = "step: cargar"


class Watch:
    """Adds up seconds by name.

    Attributes:
        seconds: by name, what :meth:`timed` and :meth:`statements` found.
        peaks: by step, the process's resident memory at its peak while the step ran, MiB.
    """

    def __init__(self) -> None:
        """Nothing timed yet."""
        self.seconds: dict[str, float] = defaultdict(float)
        self.peaks: dict[str, float] = defaultdict(float)
        self._open: list[str] = []

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the block's seconds; for a step, keep its peak of memory too."""
        step = name.startswith("step:")
        self._open.append(name)
        if step:
            forget_high_water()
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - begin
            self._open.remove(name)
            if step:
                self.peaks[name] = max(self.peaks[name], high_water(os.getpid()) / MIB)

    def wrap(self, owner: Any, attribute: str, name: str, within: str | None = None) -> None:
        """Time every call of ``owner.attribute``, or only those within another name's block."""
        call: Callable[..., Any] = getattr(owner, attribute)

        @functools.wraps(call)
        def timed(*arguments: Any, **options: Any) -> Any:
            if within is not None and within not in self._open:
                return call(*arguments, **options)
            with self.timed(name):
                return call(*arguments, **options)

        setattr(owner, attribute, timed)

    def statements(self) -> None:
        """Time the SQL statements of the load, by :func:`statement_name`."""

        def before(connection: Connection, *_: Any) -> None:
            connection.info["bench_begin"] = time.perf_counter()

        def after(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
            if LOAD in self._open:
                self.seconds[statement_name(statement)] += time.perf_counter() - connection.info["bench_begin"]

        event.listen(Engine, "before_cursor_execute", before)
        event.listen(Engine, "after_cursor_execute", after)


def statement_name(statement: str) -> str:
    """Return ``sql: VERB table`` for the statements that take time, ``sql: other`` for the rest."""
    text = " ".join(statement.split())
    for table in ("estadisticas", "errores"):
        if f"INTO TABLE {table} " in text or text.startswith(f"INSERT INTO {table} ("):
            return f"sql: rows into {table}"
    if "INSERT INTO visitantes" in text:
        return "sql: upsert into visitantes"
    if text.startswith(("SELECT count(*)", "SELECT COUNT(*)")) or "INNER JOIN visitantes" in text:
        return "sql: counts"
    return "sql: other"


def watched() -> Watch:
    """Put the stop-watch on the steps as the ops call them, and on what the load does besides its SQL."""
    watch = Watch()
    watch.wrap(raw_file, "download", "step: descargar")
    watch.wrap(validated_records, "validate", "step: validar")
    watch.wrap(tables, "load", LOAD)
    watch.wrap(tables, "archive", "step: archivar")
    watch.wrap(transaction, "tally", "load: tally per e-mail")
    watch.wrap(writers.LoadDataWriter, "write", "load: rows, CSV and SQL")
    watch.wrap(writers.MultiRowWriter, "write", "load: rows, CSV and SQL")
    watch.wrap(pymysql.connections.Connection, "commit", "sql: commit", within=LOAD)
    watch.statements()
    return watch


def main(target: str) -> None:
    """Run ``visitas dispatch`` and write the seconds by name as JSON, also where it exits with a code."""
    watch = watched()
    try:
        with watch.timed("whole: visitas dispatch, imported"):
            app(["dispatch"], standalone_mode=False)
    finally:
        Path(target).write_text(json.dumps({"seconds": watch.seconds, "peaks": watch.peaks}), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
