"""A validated file on disk: its good and its rejected records, as Arrow streams, and their numbers.

Writing and reading that intermediate form belongs here; validating and loading do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from visitas_dagster.domain.report import REJECTED_SCHEMA, VALID_SCHEMA, Batch

SAMPLE_ROWS = 10
"""Rejected records kept at hand for messages and metadata."""


@dataclass(frozen=True)
class Prepared:
    """What validation made of one file.

    Attributes:
        valid_path, rejected_path: Arrow IPC streams of ``VALID_SCHEMA`` and ``REJECTED_SCHEMA``.
        valid, invalid: records in each.
        error_types: rejected records by ``tipo_error``.
        sample: the first rejected records, as dictionaries.
    """

    valid_path: Path
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
        """The valid records, a bounded batch at a time."""
        return _read(self.valid_path)

    def rejected_batches(self) -> Iterator[pa.Table]:
        """The rejected records, a bounded batch at a time."""
        return _read(self.rejected_path)


def prepare(batches: Iterable[Batch], valid_path: Path, rejected_path: Path) -> Prepared:
    """Write a report's validated batches to two files and count them; errors of the disk pass through."""
    valid = invalid = 0
    error_types: Counter[str] = Counter()
    sample: list[dict[str, object]] = []
    with (
        pa.OSFile(str(valid_path), "wb") as valid_file,
        pa.ipc.new_stream(valid_file, VALID_SCHEMA) as good,
        pa.OSFile(str(rejected_path), "wb") as rejected_file,
        pa.ipc.new_stream(rejected_file, REJECTED_SCHEMA) as bad,
    ):
        for batch in batches:
            good.write_table(batch.valid)
            valid += batch.valid.num_rows
            if batch.rejected.num_rows:
                bad.write_table(batch.rejected)
                invalid += batch.rejected.num_rows
                error_types.update(_counts(batch.rejected))
                sample += batch.rejected.slice(0, SAMPLE_ROWS - len(sample)).to_pylist()
    return Prepared(valid_path, rejected_path, valid, invalid, dict(error_types.most_common()), tuple(sample))


def _counts(rejected: pa.Table) -> dict[str, int]:
    counted = rejected.column("tipo_error").value_counts()
    return {item["values"].as_py(): item["counts"].as_py() for item in counted}


def _read(path: Path) -> Iterator[pa.Table]:
    with pa.OSFile(str(path), "rb") as source, pa.ipc.open_stream(source) as stream:
        for batch in stream:
            yield pa.Table.from_batches([batch])
