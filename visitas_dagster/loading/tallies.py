"""A file's visitors on their way into ``visitantes``: held until its visits have gone in, then written as SQL's rows.

Holding them and writing them for a statement belongs here; adding them up and the statements do not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pyarrow as pa
import pyarrow.compute as pc

SENT_ROWS: Final = 2048
"""Visitors that travel in one statement: 0.25 MB, or 0.7 with the longest addresses; SQLite takes 32,766 values."""

_IN_MEMORY = 1 << 20
"""Bytes held before a file is opened for them."""


@dataclass(frozen=True)
class Rows:
    """Visitors as a statement takes them.

    Attributes:
        emails: at least one.
        figures: what stands behind each, as :func:`figures` writes it.
        now: naive UTC, for ``actualizado_en``.
    """

    emails: Sequence[str]
    figures: Sequence[str]
    now: datetime

    def sql(self, emails: Iterable[str]) -> str:
        """What stands behind ``VALUES``.

        Args:
            emails: a placeholder for each e-mail, or the e-mails as the driver has escaped and quoted them.
        """
        end = f",'{self.now.isoformat(' ', 'microseconds')}')"
        return ",".join([f"({email},{figures}{end}" for email, figures in zip(emails, self.figures, strict=True)])


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
        """Forget them; what a full disk has not taken of them is missed by nobody."""
        with suppress(OSError):
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

    def rows(self, now: datetime) -> Iterator[Rows]:
        """Yield them, at most :data:`SENT_ROWS` at a time; to be asked for once.

        Args:
            now: naive UTC, for ``actualizado_en``.

        Raises:
            OSError: the disk failed.
        """
        if self._stream is None:
            return
        self._stream.close()
        self._file.seek(0)
        with pa.ipc.open_stream(self._file) as stream:
            for batch in stream:
                yield Rows(batch.column(0).to_pylist(), figures(batch.columns[1:]).to_pylist(), now)


def figures(columns: Sequence[pa.Array]) -> pa.StringArray:
    """Write a visitor's moments and counts as SQL does: ``'2024-03-01 10:00:00.000000',…,3,1``.

    Not one parameter a value: the driver would make a Python object of each, and took longer than the server.

    Args:
        columns: seconds and integers, none of them null.
    """
    return pc.binary_join_element_wise(*(_figure(column) for column in columns), ",")


def _figure(column: pa.Array) -> pa.Array:
    text = column.cast(pa.string())
    if pa.types.is_integer(column.type):
        return text
    # With the fraction that SQLAlchemy writes in SQLite, where moments compare as texts.
    return pc.binary_join_element_wise("'", text, ".000000'", "")
