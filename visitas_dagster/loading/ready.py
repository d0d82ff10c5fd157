"""Small files made ready for their first loads, many in one pass: what a call costs is most of what one takes.

Sorting, adding up and packing the records of several files at once belongs here; the load of a file, which does the
same for one that was not made ready, does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from visitas_dagster.domain.visitors import TALLY_SCHEMA, tally
from visitas_dagster.loading.prepared import Prepared
from visitas_dagster.loading.ranges import IN_ORDER, together
from visitas_dagster.loading.tallies import SENT_ROWS, Rows, figures
from visitas_dagster.loading.visitors import Period
from visitas_dagster.loading.writers import Packed, RowWriter

_FILE = "archivo"


@dataclass(frozen=True)
class Ready:
    """What a file's first load sends, as long as nobody is erased and the month is the same.

    Attributes:
        visits: in the order of their e-mails.
        emails: its visitors, in the same order.
        figures: of each, as :func:`visitas_dagster.loading.tallies.figures` writes them.
        period: of "this year" and "this month" in these.
    """

    visits: Packed
    emails: Sequence[str]
    figures: Sequence[str]
    period: Period

    def rows(self, now: datetime) -> Iterator[Rows]:
        """The visitors as statements take them; ``now`` (naive UTC) dates them."""
        for begin in range(0, len(self.emails), SENT_ROWS):
            end = begin + SENT_ROWS
            yield Rows(self.emails[begin:end], self.figures[begin:end], now)


def ready_together(files: Sequence[Prepared], writer: RowWriter, period: Period) -> list[Ready]:
    """Make files ready; their records are held in memory, all at once.

    Args:
        files: at least one.
        writer: by which their visits will go in.
        period: the current one, as it seems: the load holds it against the one that it finds.

    Returns:
        One for each file, in the same order.

    Raises:
        OSError: the disk failed.
    """
    tables = [together(file.valid_batches()) for file in files]
    counts = [table.num_rows for table in tables]
    numbered = together(tables).append_column(_FILE, pa.array(np.repeat(np.arange(len(files)), counts)))
    ordered = numbered.sort_by([(_FILE, "ascending"), *IN_ORDER])
    packed = writer.pack(ordered.drop_columns([_FILE]))
    counted = tally(ordered, period.year, period.month, each=_FILE).combine_chunks()
    emails, *columns = (counted[name].combine_chunks() for name in TALLY_SCHEMA.names)
    visitors, written = emails.to_pylist(), figures(columns).to_pylist()
    ends = np.searchsorted(counted[_FILE].to_numpy(), np.arange(len(files)), side="right").tolist()
    begins = np.cumsum([0, *counts]).tolist()
    return [
        Ready(packed.slice(begin, count), visitors[first:end], written[first:end], period)
        for begin, count, first, end in zip(begins, counts, [0, *ends], ends, strict=False)
    ]
