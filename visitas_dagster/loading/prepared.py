"""A validated file: its good and its rejected records, as Arrow streams on disk or in memory, and their numbers.

Writing and reading that intermediate form belongs here; validating and loading do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from visitas_dagster.domain.report import REJECTED_SCHEMA, Batch
from visitas_dagster.loading.ranges import Held, Range, RangeFiles

SAMPLE_ROWS = 10
"""Rejected records kept at hand for messages and metadata."""


@dataclass(frozen=True)
class Prepared:
    """What validation made of one file.

    Attributes:
        place: a path beside which a load may write, with further endings.
        ranges: the valid records, cut by their e-mails.
        rejected: the others, tables of ``REJECTED_SCHEMA``.
        error_types: rejected records by ``tipo_error``.
        sample: the first rejected records, as dictionaries.
    """

    place: Path
    ranges: tuple[Range | Held, ...]
    rejected: Range | Held
    error_types: Mapping[str, int]
    sample: tuple[dict[str, object], ...]

    @property
    def valid(self) -> int:
        """Valid records."""
        return sum(piece.rows for piece in self.ranges)

    @property
    def invalid(self) -> int:
        """Rejected records."""
        return self.rejected.rows

    @property
    def total(self) -> int:
        """Records of the file."""
        return self.valid + self.invalid

    @property
    def error_rate(self) -> float:
        """Rejected records as a share of all, 0 to 1; 0 for a file without records."""
        return self.invalid / self.total if self.total else 0.0

    def valid_batches(self) -> Iterator[pa.Table]:
        """The valid records, range by range, a bounded batch at a time."""
        for piece in self.ranges:
            yield from piece.batches()

    def rejected_batches(self) -> Iterator[pa.Table]:
        """The rejected records, a bounded batch at a time."""
        return self.rejected.batches()


class _Rejects:
    """What is told of the rejected records, gathered as they pass."""

    def __init__(self) -> None:
        self._types: Counter[str] = Counter()
        self._sample: list[dict[str, object]] = []
        self.rows = 0

    def look(self, rejected: pa.Table) -> None:
        self.rows += rejected.num_rows
        for item in rejected.column("tipo_error").value_counts():
            self._types[item["values"].as_py()] += item["counts"].as_py()
        self._sample += rejected.slice(0, SAMPLE_ROWS - len(self._sample)).to_pylist()

    def types(self) -> Mapping[str, int]:
        return dict(self._types.most_common())

    def sample(self) -> tuple[dict[str, object], ...]:
        return tuple(self._sample)


def prepare(batches: Iterable[Batch], place: Path, cuts: Sequence[str] = ()) -> Prepared:
    """Write a report's validated batches to files and count them; errors of the disk pass through.

    Args:
        batches: in the order of the file.
        place: beside which they go, with endings.
        cuts: e-mails at which the valid records are cut into ranges, a file each.
    """
    rejects = _Rejects()
    rejected_path = place.with_name(f"{place.name}.errores.arrow")
    with (
        RangeFiles(cuts, place.with_name(f"{place.name}.validos.arrow")) as good,
        pa.OSFile(str(rejected_path), "wb") as rejected_file,
        pa.ipc.new_stream(rejected_file, REJECTED_SCHEMA) as bad,
    ):
        for batch in batches:
            good.take(batch.valid)
            if batch.rejected.num_rows:
                bad.write_table(batch.rejected)
                rejects.look(batch.rejected)
    rejected = Range(rejected_path, rejects.rows)
    return Prepared(place, good.ranges(), rejected, rejects.types(), rejects.sample())


def hold(batches: Iterable[Batch], place: Path) -> Prepared:
    """Keep a small report's validated batches in memory: files cost more than they hold, 3 ms each on a busy machine.

    Args:
        batches: in the order of the file.
        place: beside which its load may write.
    """
    rejects = _Rejects()
    valid: list[pa.Table] = []
    rejected: list[pa.Table] = []
    for batch in batches:
        valid.append(batch.valid)
        if batch.rejected.num_rows:
            rejected.append(batch.rejected)
            rejects.look(batch.rejected)
    return Prepared(place, (Held(valid),), Held(rejected), rejects.types(), rejects.sample())
