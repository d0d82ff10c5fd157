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

SAMPLE_EMAILS = 1 << 15
"""E-mails kept at hand, by which the load cuts a large file's visitors into ranges."""


@dataclass(frozen=True)
class Prepared:
    """What validation made of one file.

    Attributes:
        valid_path, rejected_path: Arrow IPC streams of ``VALID_SCHEMA`` and ``REJECTED_SCHEMA``.
        valid, invalid: records in each.
        error_types: rejected records by ``tipo_error``.
        sample: the first rejected records, as dictionaries.
        emails: the valid records' e-mails, evenly taken: at most :data:`SAMPLE_EMAILS`, all of a short file.
    """

    valid_path: Path
    rejected_path: Path
    valid: int
    invalid: int
    error_types: Mapping[str, int]
    sample: tuple[dict[str, object], ...]
    emails: tuple[str, ...]

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
    emails = _Sample()
    with (
        pa.OSFile(str(valid_path), "wb") as valid_file,
        pa.ipc.new_stream(valid_file, VALID_SCHEMA) as good,
        pa.OSFile(str(rejected_path), "wb") as rejected_file,
        pa.ipc.new_stream(rejected_file, REJECTED_SCHEMA) as bad,
    ):
        for batch in batches:
            good.write_table(batch.valid)
            valid += batch.valid.num_rows
            emails.take(batch.valid.column("email"))
            if batch.rejected.num_rows:
                bad.write_table(batch.rejected)
                invalid += batch.rejected.num_rows
                error_types.update(_counts(batch.rejected))
                sample += batch.rejected.slice(0, SAMPLE_ROWS - len(sample)).to_pylist()
    return Prepared(
        valid_path,
        rejected_path,
        valid,
        invalid,
        dict(error_types.most_common()),
        tuple(sample),
        tuple(emails.taken),
    )


class _Sample:
    """Takes every n-th value of a column whose length nobody knows yet; n doubles as the sample fills."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self._every = 1
        self._next = 0

    def take(self, column: pa.ChunkedArray) -> None:
        places = range(self._next, len(column), self._every)
        self.taken += column.take(pa.array(places, pa.int64())).to_pylist()
        self._next = self._next + len(places) * self._every - len(column)
        while len(self.taken) > SAMPLE_EMAILS:
            self._next += self._every * (len(self.taken) % 2)
            self.taken = self.taken[::2]
            self._every *= 2


def _counts(rejected: pa.Table) -> dict[str, int]:
    counted = rejected.column("tipo_error").value_counts()
    return {item["values"].as_py(): item["counts"].as_py() for item in counted}


def _read(path: Path) -> Iterator[pa.Table]:
    with pa.OSFile(str(path), "rb") as source, pa.ipc.open_stream(source) as stream:
        for batch in stream:
            yield pa.Table.from_batches([batch])
