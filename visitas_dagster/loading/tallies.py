"""A file's visitors on their way into ``visitantes``: held until its visits have gone in, then written as SQL's rows.

Holding them and writing them for a statement belongs here; adding them up and the statements do not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pyarrow as pa
import pyarrow.compute as pc

SENT_ROWS: Final = 2048
"""Visitors that travel in one statement: 0.25 MB, or 0.7 with the longest addresses; SQLite takes 1 MB."""

_IN_MEMORY = 1 << 20
"""Bytes held before a file is opened for them."""


@dataclass(frozen=True)
class Rows:
    """Visitors as a statement takes them.

    Attributes:
        count: how many there are.
        sql: what stands behind ``VALUES``.
    """

    count: int
    sql: str

    @classmethod
    def of(cls, visitors: Sequence[str], now: datetime) -> Rows:
        """Make them of what :func:`literals` has written, at least one, and of ``actualizado_en`` (naive UTC)."""
        end = f",'{now.isoformat(' ', 'microseconds')}')"
        return cls(len(visitors), f"({f'{end},('.join(visitors)}{end}")


class HeldTallies:
    """Visitors of one file, in the order in which they came; a context manager.

    Not sent as they come: their rows would be locked until the last visit is in, for minutes of a large file, and
    every other load that meets one of them would wait.
    """

    def __init__(self, folder: Path) -> None:
        """Hold none yet.

        Args:
            folder: on whose disk many of them wait, in a file without a name.
        """
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, dir=str(folder))  # noqa: SIM115 - its end is ours
        self._stream: pa.ipc.RecordBatchStreamWriter | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget them."""
        self._file.close()

    def hold(self, tally: pa.Table) -> None:
        """Keep a table of :data:`~visitas_dagster.domain.visitors.TALLY_SCHEMA`.

        Raises:
            OSError: the disk failed.
        """
        if not tally.num_rows:
            return
        if self._stream is None:
            self._stream = pa.ipc.new_stream(self._file, tally.schema)
        self._stream.write_table(tally, SENT_ROWS)

    def rows(self, now: datetime, dialect: str) -> Iterator[Rows]:
        """Yield them, at most :data:`SENT_ROWS` at a time; to be asked for once.

        Args:
            now: naive UTC, for ``actualizado_en``.
            dialect: ``mysql`` or ``sqlite``.

        Raises:
            OSError: the disk failed.
        """
        if self._stream is None:
            return
        self._stream.close()
        self._file.seek(0)
        with pa.ipc.open_stream(self._file) as stream:
            for batch in stream:
                yield Rows.of(literals(batch.columns, dialect).to_pylist(), now)


def literals(columns: Sequence[pa.Array], dialect: str) -> pa.StringArray:
    """Write rows as SQL does, but for the last column: ``'ana@…','2024-03-01 10:00:00.000000',…``.

    Not one placeholder a value: the driver would make a Python object of each, and took longer than the server.

    Args:
        columns: texts, seconds and integers, none of them null.
        dialect: ``mysql`` or ``sqlite``; in MySQL's texts the backslash escapes (``NO_BACKSLASH_ESCAPES`` is not in
            the mode that every session sets).
    """
    return pc.binary_join_element_wise(*(_literals(column, dialect) for column in columns), ",")


def _literals(column: pa.Array, dialect: str) -> pa.Array:
    if pa.types.is_integer(column.type):
        return column.cast(pa.string())
    if pa.types.is_timestamp(column.type):
        # With the fraction that SQLAlchemy writes in SQLite, where moments compare as texts.
        return pc.binary_join_element_wise("'", column.cast(pa.string()), ".000000'", "")
    for plain, escaped in (("\\", "\\\\"), ("'", "''")) if dialect == "mysql" else (("'", "''"),):
        if pc.any(pc.match_substring(column, plain)).as_py():
            column = pc.replace_substring(column, plain, escaped)
    return pc.binary_join_element_wise("'", column, "'", "")
