"""A file's visitors, added up in ranges of the e-mail: as many at a time as memory should hold.

Cutting, keeping and adding up tallies belongs here; what a tally counts is the domain's, and where it goes is not.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa

from visitas_dagster.domain.visitors import TALLY_SCHEMA, merge
from visitas_dagster.resources.folders import disk_errors

RANGE_ROWS = 262_144
"""Visits whose visitors are added up at a time: about 60 MiB."""

_WHAT = "reunir a los visitantes"

MAX_RANGES = 256
"""Files open at a time; a report of more than 67 million visits has larger ranges."""


def boundaries(sample: Sequence[str], rows: int) -> list[str]:
    """Return the e-mails at which a file's visitors are cut into ranges of about :data:`RANGE_ROWS` visits.

    Args:
        sample: e-mails of the file's visits, evenly taken.
        rows: visits of the file.

    Returns:
        The first e-mail of each range but the first, ascending, none twice; none where memory holds them all.
    """
    count = min(-(-rows // RANGE_ROWS), MAX_RANGES)
    ordered = sorted(sample)
    cuts = {ordered[place * len(ordered) // count] for place in range(1, count)} if ordered else set()
    return sorted(cuts)


class VisitorRanges:
    """Takes the tallies of a file's batches, gives back one row a visitor, in the order of the e-mail's bytes.

    With more than one range the tallies wait on disk: the server would sort and group them too, and took 10 of 28
    seconds a million visits for it.
    """

    def __init__(self, cuts: Sequence[str], place: Path) -> None:
        """Remember the cuts.

        Args:
            cuts: as :func:`boundaries` returns them.
            place: a path whose name, with endings, serves for the files; they are overwritten, and go at the end.
        """
        self._cuts = cuts
        self._paths = [place.with_name(f"{place.name}.{number}.arrow") for number in range(len(cuts) + 1)]
        self._held: list[pa.Table] = []

    def gather(self, tallies: Iterator[pa.Table]) -> None:
        """Take the tallies of all batches, each as `visitas_dagster.domain.visitors.tally` makes it.

        Raises:
            SystemFailure: the disk failed.
        """
        if not self._cuts:
            self._held = list(tallies)
            return
        with ExitStack() as stack:
            with disk_errors(_WHAT):
                files = [stack.enter_context(pa.OSFile(str(path), "wb")) for path in self._paths]
                streams = [stack.enter_context(pa.ipc.new_stream(file, TALLY_SCHEMA)) for file in files]
            for tally in tallies:
                with disk_errors(_WHAT):
                    for stream, piece in zip(streams, self._pieces(tally), strict=True):
                        stream.write_table(piece)

    def merged(self) -> Iterator[pa.Table]:
        """Yield each range's visitors: `TALLY_SCHEMA`, sorted, no e-mail twice.

        Raises:
            SystemFailure: the disk failed.
        """
        if not self._cuts:
            yield merge(self._held)
            return
        for path in self._paths:
            with disk_errors(_WHAT):
                with pa.OSFile(str(path), "rb") as source, pa.ipc.open_stream(source) as stream:
                    visitors = merge([stream.read_all()])
                path.unlink()
            yield visitors

    def _pieces(self, tally: pa.Table) -> Iterator[pa.Table]:
        """Cut a tally, which is sorted, into the ranges."""
        emails = tally.column("email").combine_chunks()
        start = 0
        for cut in self._cuts:
            end = bisect_left(emails, cut, lo=start, key=pa.StringScalar.as_py)
            yield tally.slice(start, end - start)
            start = end
        yield tally.slice(start)
