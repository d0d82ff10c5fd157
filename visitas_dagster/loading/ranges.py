"""A file's visits on disk, cut into ranges of the e-mail: as many visits at a time as memory should hold.

Cutting, keeping and reading ranges belongs here; what makes a visit valid and where it goes do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from visitas_dagster.domain.contract import VALID_SCHEMA

MIN_MEMORY_MIB = 512
"""What the smallest ranges take, everything else included."""

_SMALLEST_ROWS = 1 << 16
_ROW_BYTES = 700

MAX_RANGES = 256
"""Files open at a time; a report of more than 67 million visits has larger ranges, which are cut again."""

IN_ORDER = [("email", "ascending"), ("fecha_envio", "ascending")]
"""The order of the secondary index of ``estadisticas``, in which its pages fill in order."""

_SAMPLED = 1 << 15
_NONE = VALID_SCHEMA.empty_table()


def rows_in(memory_mib: int) -> int:
    """Return how many visits a range should have, for a process of so much memory.

    Up to twice as many are held at a time, as they were and sorted, with what is made of them to travel.
    """
    return _SMALLEST_ROWS + max(0, memory_mib - MIN_MEMORY_MIB) * 2**20 // _ROW_BYTES


def boundaries(sample: Sequence[str], rows: int, held: int) -> list[str]:
    """Return the e-mails at which a file's visits are cut into ranges.

    Args:
        sample: e-mails of the file's visits, evenly taken.
        rows: visits of the file, at least roughly.
        held: visits that a range should have, see :func:`rows_in`.

    Returns:
        The first e-mail of each range but the first, ascending, none twice; none where memory holds them all.
    """
    count = min(-(-rows // held), MAX_RANGES)
    ordered = sorted(sample)
    cuts = {ordered[place * len(ordered) // count] for place in range(1, count)} if ordered else set()
    return sorted(cuts)


@dataclass(frozen=True)
class Range:
    """Records on disk; of the valid ones those whose e-mails lie between two cuts.

    Attributes:
        path: an Arrow IPC stream, in the order of the file.
        rows: how many there are.
    """

    path: Path
    rows: int

    def batches(self) -> Iterator[pa.Table]:
        """The records, a bounded batch at a time."""
        with pa.OSFile(str(self.path), "rb") as source, pa.ipc.open_stream(source) as stream:
            for batch in stream:
                yield pa.Table.from_batches([batch])


@dataclass(frozen=True)
class Held:
    """Records of a small file, in memory.

    Attributes:
        tables: in the order of the file.
    """

    tables: Sequence[pa.Table]

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(table.num_rows for table in self.tables)

    def batches(self) -> Iterator[pa.Table]:
        """The records."""
        yield from self.tables


class RangeFiles:
    """Takes a file's visits in any order, and leaves them in one file a range; a context manager."""

    def __init__(self, cuts: Sequence[str], place: Path) -> None:
        """Remember them; nothing is opened yet.

        Args:
            cuts: as :func:`boundaries` returns them.
            place: the only range's path; of several, each has a number in its name. They are overwritten.
        """
        self._cuts = cuts
        self._paths = [_beside(place, str(number)) for number in range(len(cuts) + 1)] if cuts else [place]
        self._rows = np.zeros(len(self._paths), np.int64)
        self._streams: list[pa.ipc.RecordBatchStreamWriter] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Open the files."""
        with ExitStack() as stack:
            for path in self._paths:
                file = stack.enter_context(pa.OSFile(str(path), "wb"))
                self._streams.append(stack.enter_context(pa.ipc.new_stream(file, VALID_SCHEMA)))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        self._stack.close()

    def take(self, visits: pa.Table) -> None:
        """Put each visit into its range."""
        for number, piece in self._pieces(visits):
            self._streams[number].write_table(piece)
            self._rows[number] += piece.num_rows

    def ranges(self) -> tuple[Range, ...]:
        """The ranges, ascending."""
        return tuple(Range(path, int(rows)) for path, rows in zip(self._paths, self._rows, strict=True))

    def _pieces(self, visits: pa.Table) -> Iterator[tuple[int, pa.Table]]:
        if not self._cuts:
            yield 0, visits
            return
        emails = visits.column("email").combine_chunks()
        # E-mails compare by their bytes, here and in the tables. A search in the cuts would make each a Python string.
        reached = (pc.greater_equal(emails, cut).cast(pa.int16()).to_numpy() for cut in self._cuts)
        numbers = reduce(np.add, reached)
        order = np.argsort(numbers, kind="stable")
        ordered = visits.take(pa.array(order))
        ends = np.searchsorted(numbers[order], np.arange(len(self._paths)), side="right").tolist()
        for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            if end > start:
                yield number, ordered.slice(start, end - start)


def _beside(place: Path, what: str) -> Path:
    # With the ending by which recovery knows what is no delivery.
    return place.with_name(f"{place.name}.{what}.validos.arrow")


Mask = Callable[[pa.Table], pa.Table]


def in_order(
    ranges: Sequence[Range | Held], place: Path, held: int, mask: Mask | None = None
) -> Iterator[Iterator[pa.Table]]:
    """Yield a file's visits in the order of their e-mails, as groups of sorted tables that share no e-mail.

    A group is one table of at most twice ``held`` visits, but for an e-mail with more visits than that: its group has
    several. Each group is to be used up before the next one is asked for.

    Args:
        ranges: ascending, as :class:`RangeFiles` leaves them.
        place: a path whose name, with endings, serves for what must be cut again.
        held: visits that a range should have.
        mask: applied to the visits; it may change an e-mail, and with it the range that a visit belongs to.

    Raises:
        OSError: the disk failed.
    """
    if mask is not None and len(ranges) > 1:
        masked = _beside(place, "olvidos")
        ranges, mask = _recut(_all(ranges, mask), ranges, held, masked), None
    for piece in ranges:
        if piece.rows <= 2 * held:
            yield _sorted_tables(piece, held, mask)
            continue
        # The sample that it was cut by was not like the file, or one e-mail has most of it.
        again = _beside(place, "otra")
        for part in _recut(_all([piece], mask), [piece], held, again):
            yield _sorted_tables(part, held)
            part.path.unlink()


def _recut(visits: Iterator[pa.Table], source: Sequence[Range | Held], held: int, place: Path) -> tuple[Range, ...]:
    with RangeFiles(boundaries(_sample(source), sum(piece.rows for piece in source), held), place) as files:
        for table in visits:
            files.take(table)
    return files.ranges()


def _all(ranges: Iterable[Range | Held], mask: Mask | None) -> Iterator[pa.Table]:
    for piece in ranges:
        for table in piece.batches():
            yield table if mask is None else mask(table)


def _sample(ranges: Sequence[Range | Held]) -> list[str]:
    """E-mails, evenly taken: about :data:`_SAMPLED` at the most."""
    every = max(1, sum(piece.rows for piece in ranges) // _SAMPLED)
    taken: list[str] = []
    begin = 0
    for piece in ranges:
        for table in piece.batches():
            places = np.arange(begin, table.num_rows, every)
            taken += table.column("email").take(pa.array(places)).to_pylist()
            begin = (begin - table.num_rows) % every
    return taken


def _sorted_tables(piece: Range | Held, held: int, mask: Mask | None = None) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    rows = 0
    for table in _all([piece], mask):
        waiting.append(table)
        rows += table.num_rows
        if rows >= 2 * held:
            yield together(waiting).sort_by(IN_ORDER)
            waiting, rows = [], 0
    if waiting or not piece.rows:
        yield together(waiting).sort_by(IN_ORDER)


def together(tables: Iterable[pa.Table]) -> pa.Table:
    """Visits of several tables in one, in one piece; of none, a table without any."""
    return pa.concat_tables([_NONE, *tables]).combine_chunks()
