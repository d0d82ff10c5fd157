"""How large each benchmark is: as the targets say, or small enough to see that everything works.

Numbers of files and records belong here; how often something is repeated, and the targets, do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Sizes:
    """Files and records.

    Attributes:
        records: of the big file.
        ten: of the file ten times as big.
        to_sql: records of the loader as most people write it.
        small_files: a burst.
        small_records: of each file of a burst.
        default_files: those that Dagster's default executor gets.
        starts: how often each command is started, at the least.
        past_files, past_records, past_visitors: the history that a file meets.
        arriving: records of the file that meets it.
        ledger: files that the ledger and Dagster know.
        new_files: those that a tick finds.
        shared_files: those that two processes share.
    """

    records: int
    ten: int
    to_sql: int
    small_files: int
    small_records: int
    default_files: int
    starts: int
    past_files: int
    past_records: int
    past_visitors: int
    arriving: int
    ledger: int
    new_files: int
    shared_files: int


FULL: Final = Sizes(
    records=1_000_000,
    ten=10_000_000,
    to_sql=100_000,
    small_files=600,
    small_records=500,
    default_files=5,
    starts=9,
    past_files=5_000,
    past_records=5_000_000,
    past_visitors=1_000_000,
    arriving=50_000,
    ledger=100_000,
    new_files=1_000,
    shared_files=1_200,
)

QUICK: Final = Sizes(
    records=100_000,
    ten=1_000_000,
    to_sql=10_000,
    small_files=100,
    small_records=500,
    default_files=2,
    starts=3,
    past_files=200,
    past_records=200_000,
    past_visitors=40_000,
    arriving=5_000,
    ledger=5_000,
    new_files=200,
    shared_files=100,
)
