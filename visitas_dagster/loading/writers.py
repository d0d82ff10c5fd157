"""Ways to put an Arrow table into a database table, inside a transaction that is open already.

How rows travel belongs here; which rows, and when, does not. ``LOAD DATA LOCAL INFILE`` is used where the server
allows it (65,000 to 140,000 rows/s), multi-row inserts where it does not (19,000 to 28,000), SQLite's own elsewhere.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Engine, text

from visitas_dagster.domain.failures import PermanentFailure
from visitas_dagster.loading.statements import dialect_of
from visitas_dagster.resources.database import reading

log = logging.getLogger("visitas.carga")


@dataclass(frozen=True)
class Packed:
    """Rows made ready to travel.

    Attributes:
        rows: columns named as the table's.
        lines: a text a row as the way to the server wants it, where it wants bytes: what :func:`_lines` makes.
    """

    rows: pa.Table
    lines: pa.StringArray | None = None

    @property
    def wire(self) -> pa.Buffer | None:
        """The lines' bytes, none where there are no lines."""
        if self.lines is None or not len(self.lines):
            return None
        # The texts of an array lie one after the other: together they are the file.
        _, offsets, texts = self.lines.buffers()
        places = np.frombuffer(offsets, np.int32)[self.lines.offset :]
        begin, end = int(places[0]), int(places[len(self.lines)])
        return texts.slice(begin, end - begin)

    def slice(self, begin: int, count: int) -> Packed:
        """So many of the rows, without a copy."""
        lines = None if self.lines is None else self.lines.slice(begin, count)
        return Packed(self.rows.slice(begin, count), lines)


class RowWriter(Protocol):
    """One way to insert rows."""

    name: str

    def pack(self, rows: pa.Table) -> Packed:
        """Make rows ready; another thread may do it while earlier rows travel.

        Args:
            rows: columns named as the table's.
        """

    def write(self, connection: Connection, target: str, packed: Packed, constants: Mapping[str, int]) -> int:
        """Insert every row; return how many the server says went in.

        Args:
            connection: an open transaction.
            target: the table's name, one of this project's own.
            packed: what :meth:`pack` of the same writer made.
            constants: further columns, the same number in every row.

        Raises:
            PermanentFailure: not every row went in, or one of them changed.
        """


def choose_writer(engine: Engine) -> RowWriter:
    """Return the fastest way that the server allows; say so when it is not the fastest there is.

    MySQL ships with ``local_infile`` off. It is never switched on behind the operator's back.
    """
    if dialect_of(engine) == "sqlite":
        return SqliteWriter()
    with reading(engine) as connection:
        allowed = connection.execute(text("SELECT @@GLOBAL.local_infile")).scalar()
    if allowed in {1, "1", "ON"}:
        return LoadDataWriter()
    log.warning(
        "el servidor tiene local_infile apagado: se carga con INSERT de varias filas, unas 4 veces más lento; "
        "si el administrador lo permite: SET GLOBAL local_infile = 1"
    )
    return MultiRowWriter()


class LoadDataWriter:
    """``LOAD DATA LOCAL INFILE``, from memory: nothing is written to disk a second time."""

    name = "LOAD DATA LOCAL INFILE"

    def pack(self, rows: pa.Table) -> Packed:
        """See :class:`RowWriter`."""
        return Packed(rows, _lines(rows) if rows.num_rows else None)

    def write(self, connection: Connection, target: str, packed: Packed, constants: Mapping[str, int]) -> int:
        """See :class:`RowWriter`."""
        rows, wire = packed.rows, packed.wire
        if wire is None:
            return 0
        with _memory_file(wire) as path:
            result = connection.exec_driver_sql(_load_data(target, rows.schema.names, constants, path))
        # With LOCAL a value that does not fit is no error but a warning, and the row goes in, changed.
        if result.context.cursor.warning_count:
            warning = connection.exec_driver_sql("SHOW WARNINGS LIMIT 1").one()
            raise _incomplete(result.rowcount, rows, target, f" (aviso {warning[1]})")
        return _whole(result.rowcount, rows, target)


def _whole(count: int, rows: pa.Table, target: str) -> int:
    if count != rows.num_rows:
        raise _incomplete(count, rows, target)
    return count


def _incomplete(count: int, rows: pa.Table, target: str, why: str = "") -> PermanentFailure:
    return PermanentFailure(
        f"la base de datos cargó {count} de {rows.num_rows} filas en {target}{why}",
        "guarde este mensaje y avise a quien mantiene visitas: nada quedó cargado",
    )


def _load_data(target: str, names: Sequence[str], constants: Mapping[str, int], path: str) -> str:
    # The servers' own format: a null says so by itself. Without it 13 user variables a row told nulls from texts,
    # which cost the servers 4 to 9 % of a load.
    settings = ", ".join(f"{name} = {int(value)}" for name, value in constants.items())
    return (
        f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE {target} CHARACTER SET utf8mb4 "
        r"FIELDS TERMINATED BY '\t' ESCAPED BY '\\' LINES TERMINATED BY '\n' "
        f"({', '.join(names)})" + (f" SET {settings}" if settings else "")
    )


_NULL = r"\N"
_ESCAPED = (("\\", r"\\"), ("\t", r"\t"), ("\n", r"\n"))


def _lines(rows: pa.Table) -> pa.StringArray:
    """Write rows as the servers' ``LOAD DATA`` reads them by default: tabs, ``\\N`` for null, escapes."""
    *columns, last = [_text(column.combine_chunks()) for column in rows.columns]
    ended = pc.binary_join_element_wise(last, "\n", "", null_handling="replace", null_replacement=_NULL)
    return pc.binary_join_element_wise(*columns, ended, "\t", null_handling="replace", null_replacement=_NULL)


def _text(column: pa.Array) -> pa.Array | pa.Scalar:
    if column.null_count == len(column):
        return pa.scalar(_NULL)
    if not pa.types.is_string(column.type):
        return column.cast(pa.string())
    for plain, escaped in _ESCAPED:
        # Hardly any value of a visit has one: looking is three times as fast as replacing.
        if pc.any(pc.match_substring(column, plain)).as_py():
            column = pc.replace_substring(column, plain, escaped)
    return column


@contextmanager
def _memory_file(content: pa.Buffer) -> Iterator[str]:
    """A file that lives in memory, by a path that the driver of this process can open."""
    descriptor = os.memfd_create("visitas-carga")
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as stream:
            stream.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


class MultiRowWriter:
    """Multi-row ``INSERT``: the driver packs an executemany into statements of about 1 MB."""

    name = "INSERT de varias filas"
    placeholder = "%s"

    def pack(self, rows: pa.Table) -> Packed:
        """See :class:`RowWriter`."""
        return Packed(self.prepared(rows))

    def write(self, connection: Connection, target: str, packed: Packed, constants: Mapping[str, int]) -> int:
        """See :class:`RowWriter`."""
        rows = packed.rows
        if not rows.num_rows:
            return 0
        names = [*rows.schema.names, *constants]
        # PyMySQL packs rows into one statement only where every value is a placeholder.
        values = ", ".join([self.placeholder] * len(names))
        statement = f"INSERT INTO {target} ({', '.join(names)}) VALUES ({values})"
        result = connection.exec_driver_sql(statement, list(_tuples(rows, tuple(constants.values()))))
        return _whole(result.rowcount, rows, target)

    def prepared(self, rows: pa.Table) -> pa.Table:
        """Give the values the types that the driver takes."""
        return rows


class SqliteWriter(MultiRowWriter):
    """SQLite's executemany; moments as the text that SQLAlchemy reads back."""

    name = "INSERT de SQLite"
    placeholder = "?"

    def prepared(self, rows: pa.Table) -> pa.Table:
        """Write timestamps as ``YYYY-MM-DD HH:MM:SS.000000``: one form, so that they compare as text."""
        columns = [
            pc.binary_join_element_wise(pc.strftime(column, "%Y-%m-%d %H:%M:%S"), ".000000", "")
            if pa.types.is_timestamp(column.type)
            else column
            for column in rows.columns
        ]
        return pa.table(columns, names=rows.schema.names)


def _tuples(rows: pa.Table, constants: tuple[int, ...]) -> Iterator[tuple[object, ...]]:
    columns = (column.to_pylist() for column in rows.columns)
    return zip(*columns, *(repeat(value, rows.num_rows) for value in constants), strict=True)
