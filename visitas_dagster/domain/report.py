"""A whole report, from its bytes to batches of valid and rejected records.

How the parts of the domain follow each other belongs here; the rules, the lines and the header do not.
"""

import json
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice, pairwise
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from visitas_dagster.domain.content import ContentFacts
from visitas_dagster.domain.contract import (
    FIELD_COUNT,
    LINE_LENGTH,
    QUOTES,
    REJECTED_SCHEMA,
    RULES,
    VALID_SCHEMA,
    Broken,
    broken_rules,
    typed,
)
from visitas_dagster.domain.failures import LayoutFailure
from visitas_dagster.domain.layout import COLUMNS, Layout, read_header
from visitas_dagster.domain.records import Rows, Split, cut_long, is_blank, read_lines, split_fields

__all__ = [
    "BATCH_BYTES",
    "BATCH_LINES",
    "REJECTED_SCHEMA",
    "VALID_SCHEMA",
    "Batch",
    "Report",
    "Slice",
    "judge",
    "judge_together",
    "open_report",
]

BATCH_BYTES = 8 * 2**20

BATCH_LINES = 2**15
"""Lines of a batch at the most: a rejected record takes many times its bytes, so these alone bound nothing."""

_HANDS = 2
"""Threads that judge a large report's lines, while a third reads them and writes what became of them: Arrow and numpy
let go of the interpreter, and nobody needs the second processor before the load."""

_MAX_LINE_NUMBER = 2**31 - 1


@dataclass(frozen=True)
class Batch:
    """Some records of a report, judged; each one is in exactly one of the two tables, both ordered by line.

    Attributes:
        valid: `VALID_SCHEMA`.
        rejected: `REJECTED_SCHEMA`.
    """

    valid: pa.Table
    rejected: pa.Table

    @property
    def records(self) -> int:
        """How many records the batch has, valid and rejected."""
        return int(self.valid.num_rows + self.rejected.num_rows)


@dataclass(frozen=True)
class Slice:
    """Some lines of a report, not judged yet.

    Attributes:
        lines: lines after the header, decoded, without ends and NUL characters.
        numbers: the number of each line (the header's is 1), ascending, none twice, at most 2147483647.
        layout: the report's.
    """

    lines: pa.StringArray
    numbers: Rows
    layout: Layout


class Report:
    """A report whose header has been read; either `batches` or `slices` can be walked through, once.

    Attributes:
        layout: where its columns stand.
    """

    def __init__(self, layout: Layout, slices: Iterator[Slice]) -> None:
        """Take what `open_report` found."""
        self.layout = layout
        self._slices: Iterator[Slice] | None = slices

    def batches(self) -> Iterator[Batch]:
        """Return the report's records, in the order of the file; batches without records do not occur.

        Raises:
            RuntimeError, TransientFailure, LayoutFailure: as `slices` does.
        """
        return _judged(self.slices())

    def slices(self) -> Iterator[Slice]:
        """Return the lines after the header in their order, at most `BATCH_LINES` at a time, for `judge_together`.

        Raises:
            RuntimeError: they have been asked for before, or the batches; the stream serves one walk, and a
                second one would look like a report without records.
            TransientFailure: while iterating: the bytes are not those that were scanned.
            LayoutFailure: while iterating: the file has more lines than the tables can number.
        """
        slices, self._slices = self._slices, None
        if slices is None:
            raise RuntimeError("a report's batches can be walked through only once")
        return slices


def open_report(
    stream: BinaryIO, facts: ContentFacts, aliases: Mapping[str, str], *, batch_bytes: int = BATCH_BYTES
) -> Report:
    """Read a report's header (contract §1).

    Args:
        stream: the file from its first byte; it must stay open while the batches are read.
        facts: what a `ContentScan` of the same bytes found.
        aliases: canonical column name by delivered name, see `layout.parse_aliases`.
        batch_bytes: how many bytes to read at a time, 1 to `records.MAX_BATCH_BYTES`; the result is the same.

    Raises:
        LayoutFailure: the file has no content or a NUL byte, or its header is wrong.
        TransientFailure: the bytes are not those that were scanned.
        ValueError: `batch_bytes` is out of its range.
    """
    if facts.has_nul:
        raise LayoutFailure(
            "El archivo contiene bytes NUL: no es texto en UTF-8 ni en Windows-1252",
            "Pida al emisor el archivo como texto en UTF-8; puede venir en UTF-16, comprimido o dañado.",
        )
    blocks = read_lines(stream, facts, batch_bytes)
    for lines in blocks:
        content = np.flatnonzero(~is_blank(lines))
        if len(content):
            header = int(content[0])
            layout = read_header(lines[header].as_py(), aliases)
            return Report(layout, _sliced(lines[header + 1 :], blocks, layout))
    raise LayoutFailure(
        f"El archivo no tiene contenido ({facts.size} bytes, ninguna línea con texto)",
        "Pida al emisor que lo envíe de nuevo.",
    )


def _sliced(first: pa.StringArray, blocks: Iterator[pa.StringArray], layout: Layout) -> Iterator[Slice]:
    """Yield the lines with their numbers; `first` begins with line 2, the one after the header."""
    number = 2
    while True:
        if number + len(first) - 1 > _MAX_LINE_NUMBER:
            raise LayoutFailure(f"El archivo tiene más de {_MAX_LINE_NUMBER} líneas")
        for start in range(0, len(first), BATCH_LINES):
            lines = first[start : start + BATCH_LINES]
            yield Slice(lines, np.arange(number, number + len(lines), dtype=np.int64), layout)
            number += len(lines)
        following = next(blocks, None)
        if following is None:
            return
        first = following


def _judged(slices: Iterator[Slice]) -> Iterator[Batch]:
    return (batch for batch in _judge_in_turn(slices) if batch.records)


def _judge_in_turn(slices: Iterator[Slice]) -> Iterator[Batch]:
    first = list(islice(slices, 2))
    if len(first) < 2:
        # A thread costs more than the lines of a small file.
        yield from map(_judge_slice, first)
        return
    with ThreadPoolExecutor(_HANDS) as hands:
        under_way: deque[Future[Batch]] = deque()
        for piece in chain(first, slices):
            under_way.append(hands.submit(_judge_slice, piece))
            if len(under_way) > _HANDS:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def _judge_slice(piece: Slice) -> Batch:
    return judge(piece.lines, piece.numbers, piece.layout)


def judge_together(slices: Sequence[Slice]) -> list[Batch]:
    """Judge lines of several reports: each slice's batch is what `judge` gives for it alone.

    The fixed cost of a call, which is most of a small report's, is paid once for all that have the same order
    of columns. Memory grows with all of the slices; their text must stay below 2 GiB.
    """
    alike: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, piece in enumerate(slices):
        alike[piece.layout.positions].append(place)
    found: dict[int, Batch] = {}
    for places in alike.values():
        found.update(zip(places, _judge_alike([slices[place] for place in places]), strict=True))
    return [found[place] for place in range(len(slices))]


def _judge_alike(slices: Sequence[Slice]) -> Iterator[Batch]:
    """Judge lines of one order of columns as one table, each line numbered by its position, and cut it again."""
    lines = pa.concat_arrays([piece.lines for piece in slices])
    numbers = np.concatenate([piece.numbers for piece in slices])
    ends = np.cumsum([len(piece.lines) for piece in slices])
    whole = judge(lines, np.arange(len(lines), dtype=np.int64), slices[0].layout)
    for valid, rejected in zip(_cut(whole.valid, numbers, ends), _cut(whole.rejected, numbers, ends), strict=True):
        yield Batch(valid, rejected)


def _cut(table: pa.Table, numbers: Rows, ends: Rows) -> Iterator[pa.Table]:
    """Cut records whose ``linea`` is a position at the positions `ends`; put the numbers of the lines there."""
    places = table.column("linea").to_numpy()
    numbered = table.set_column(0, table.field(0), pa.array(numbers[places], pa.int32()))
    for start, end in pairwise([0, *np.searchsorted(places, ends).tolist()]):
        yield numbered.slice(start, end - start)


def judge(lines: pa.StringArray, numbers: Rows, layout: Layout) -> Batch:
    """Split physical lines into fields and judge them by every rule of contract §1.

    Args:
        lines, numbers, layout: as in a `Slice`; blank lines are left out.
    """
    content = ~is_blank(lines)
    if not content.all():
        lines, numbers = lines.filter(pa.array(content)), numbers[content]
    if not len(lines):
        return Batch(VALID_SCHEMA.empty_table(), REJECTED_SCHEMA.empty_table())
    lines, cut = cut_long(lines)
    split = split_fields(lines, layout.width)
    values = pa.table(
        {column.field: split.columns[place] for column, place in zip(COLUMNS, layout.positions, strict=True)}
    )
    by_columns = broken_rules(values, numbers[split.rows])
    broken = Broken.of(
        [
            np.flatnonzero(~split.well_quoted),
            np.flatnonzero(split.well_quoted & (split.counts != layout.width)),
            split.rows[by_columns.rows],
            np.flatnonzero(cut),
        ],
        [QUOTES, FIELD_COUNT, by_columns.rules, LINE_LENGTH],
    )
    if not len(broken.rows):
        return Batch(typed(values, numbers), REJECTED_SCHEMA.empty_table())
    good = ~np.isin(split.rows, broken.rows)
    valid = typed(values.filter(pa.array(good)), numbers[split.rows[good]])
    return Batch(valid, _rejected(lines, numbers, broken, split, values))


def _rejected(lines: pa.StringArray, numbers: Rows, broken: Broken, split: Split, values: pa.Table) -> pa.Table:
    delivered = _delivered_values(broken, split, values)
    rows, starts = np.unique(broken.rows, return_index=True)
    firsts = [RULES[rule] for rule in broken.rules[starts].tolist()]
    columns = [
        pa.array(numbers[rows], pa.int32()),
        pa.array([first.rule.code for first in firsts], pa.string()),
        pa.array([first.header for first in firsts], pa.string()),
        pa.array([delivered[start] for start in starts.tolist()], pa.string()),
        pa.array(_details(broken, delivered, starts, split), pa.string()),
        lines.take(pa.array(rows)),
    ]
    return pa.Table.from_arrays(columns, schema=REJECTED_SCHEMA)


def _delivered_values(broken: Broken, split: Split, values: pa.Table) -> list[str | None]:
    """Return the value that breaks each rule; None for rules about the record."""
    delivered = np.full(len(broken.rules), None, object)
    for rule in np.unique(broken.rules).tolist():
        field = RULES[rule].field
        if field is not None:
            which = np.flatnonzero(broken.rules == rule)
            places = np.searchsorted(split.rows, broken.rows[which])
            delivered[which] = values[field].take(pa.array(places)).to_pylist()
    return list(delivered)


def _details(broken: Broken, delivered: list[str | None], starts: Rows, split: Split) -> Iterator[str]:
    """Yield each rejected record's ``detalle``, a JSON list of all its broken rules."""
    expected = len(split.columns)
    encode = json.JSONEncoder(ensure_ascii=False).encode
    entries = []
    for rule, value, found in zip(broken.rules.tolist(), delivered, split.counts[broken.rows].tolist(), strict=True):
        before, after = _around_value(rule, found if rule == FIELD_COUNT else expected, expected)
        entries.append(f"{before}{encode(value)}{after}")
    for start, end in pairwise([*starts.tolist(), len(entries)]):
        yield f"[{', '.join(entries[start:end])}]"


@lru_cache(maxsize=256)
def _around_value(rule: int, found: int, expected: int) -> tuple[str, str]:
    """Return a broken rule's JSON object but for its value; encoding it whole each time costs far more."""
    entry = RULES[rule]
    sentence = entry.rule.sentence
    if rule == FIELD_COUNT:
        sentence = f"{sentence.rstrip('.')}: se esperan {expected} y hay {found}."
    before = json.dumps({"tipo_error": entry.rule.code, "campo": entry.header}, ensure_ascii=False)
    after = json.dumps({"regla": sentence}, ensure_ascii=False)
    return f'{before[:-1]}, "valor": ', f", {after[1:]}"
