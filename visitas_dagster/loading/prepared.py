"""A validated file on disk: its good and its rejected records, as Arrow streams, and their numbers.

Writing and reading that intermediate form belongs here; validating and loading do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from visitas_dagster.domain.report import REJECTED_SCHEMA, Batch
from visitas_dagster.loading.ranges import Range, RangeFiles, stored

SAMPLE_ROWS = 10
"""Rejected records kept at hand for messages and metadata."""


@dataclass(frozen=True)
class Prepared:
    """What validation made of one file.

    Attributes:
        ranges: the valid records, cut by their e-mails.
        rejected_path: an Arrow IPC stream of ``REJECTED_SCHEMA``.
        valid, invalid: records in each.
        error_types: rejected records by ``tipo_error``.
        sample: the first rejected records, as dictionaries.
    """

    ranges: tuple[Range, ...]
    rejected_path: Path
    valid: int
    invalid: int
    error_types: Mapping[str, int]
    sample: tuple[dict[str, object], ...]

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
        return stored(self.rejected_path)


def prepare(batches: Iterable[Batch], valid_path: Path, rejected_path: Path, cuts: Sequence[str] = ()) -> Prepared:
    """Write a report's validated batches to files and count them; errors of the disk pass through.

    Args:
        batches: in the order of the file.
        valid_path, rejected_path: where they go; with cuts the valid ones have one file a range, with endings.
        cuts: e-mails at which the valid records are cut into ranges.
    """
    valid = invalid = 0
    error_types: Counter[str] = Counter()
    sample: list[dict[str, object]] = []
    with (
        RangeFiles(cuts, valid_path) as good,
        pa.OSFile(str(rejected_path), "wb") as rejected_file,
        pa.ipc.new_stream(rejected_file, REJECTED_SCHEMA) as bad,
    ):
        for batch in batches:
            good.take(batch.valid)
            valid += batch.valid.num_rows
            if batch.rejected.num_rows:
                bad.write_table(batch.rejected)
                invalid += batch.rejected.num_rows
                error_types.update(_counts(batch.rejected))
                sample += batch.rejected.slice(0, SAMPLE_ROWS - len(sample)).to_pylist()
    return Prepared(good.ranges(), rejected_path, valid, invalid, dict(error_types.most_common()), tuple(sample))


def _counts(rejected: pa.Table) -> dict[str, int]:
    counted = rejected.column("tipo_error").value_counts()
    return {item["values"].as_py(): item["counts"].as_py() for item in counted}
