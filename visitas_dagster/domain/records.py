"""Physical lines and their fields, a batch at a time on Arrow, with bounded memory.

How bytes become lines and lines become values belongs here; what the columns mean and which values are right
does not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from visitas_dagster.domain.content import BOM, UTF8_BOM, WINDOWS, ContentFacts
from visitas_dagster.domain.failures import TransientFailure

MAX_LINE_BYTES = 2**24 - 1
"""Longest line kept, in bytes of UTF-8: what a ``mediumtext`` holds (contract §3, ``fila_original``)."""

MAX_BATCH_BYTES = 2**28
"""Largest ``batch_bytes``: three times as many bytes of text still fit Arrow's 32-bit string offsets."""

_NUL, _TAB, _LF, _SPACE, _QUOTE, _COMMA, _DASH = b'\0\t\n ",-'

# Contract §1: a quote opens only at a field's first character, is closed on the same line, and a comma or the
# end follows it. \A and \z instead of ^ and $, which also match beside a line feed.
_FIELD = r'(?:"(?:[^"]|"")*"|[^",]*)'
_WELL_QUOTED = rf"\A{_FIELD}(?:,{_FIELD})*\z"
_BLANK = r"\A[ \t]*\z"

# Places of a character take eight times their number in bytes; a line of 16 MiB may hold nothing else.
_MANY = 2**20

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


class _OpenLine:
    """The line whose end has not been read yet: a bounded part of it, however long it is.

    A line above the limit keeps its first bytes, and eight bytes stand for all the others: blanks if all are
    blank. That is enough for `cut_long` to see that it is too long, and for `is_blank` to see what it is.
    """

    def __init__(self) -> None:
        self._kept = bytearray()
        self._lost = False
        self._lost_text = False
        self._lost_cr = False

    def add(self, data: bytes) -> None:
        # Up to four bytes are given back to end on a whole character, and three may be the file's BOM.
        room = MAX_LINE_BYTES + 8 - len(self._kept)
        self._kept += data[:room]
        rest = data[room:]
        if not rest:
            return
        # The last CR is text unless the LF comes next.
        text = b"\r" + rest if self._lost_cr else rest
        self._lost_cr = text.endswith(b"\r")
        self._lost_text = self._lost_text or bool(text[: len(text) - self._lost_cr].strip(b" \t"))
        self._lost = True

    def close(self, ended: bool) -> bytes:
        """Return the line without its LF; `ended` tells that the LF has come."""
        if not self._lost:
            return bytes(self._kept)
        text = self._lost_text or (self._lost_cr and not ended)
        return _whole_characters(bytes(self._kept)) + (b"x" if text else b" ") * 8


def _whole_characters(data: bytes) -> bytes:
    """Drop the last UTF-8 character, which may be incomplete; of other encodings at most four bytes."""
    end = len(data)
    while end > len(data) - 3 and data[end - 1] & 0xC0 == 0x80:
        end -= 1
    return data[: end - (data[end - 1] >= 0xC0)]


def _blocks(stream: BinaryIO, facts: ContentFacts, batch_bytes: int) -> Iterator[bytes]:
    """Yield the file in blocks of whole lines; only the last line of the file may lack its LF."""
    line = _OpenLine()
    size = 0
    ended = True
    while chunk := stream.read(batch_bytes):
        size += len(chunk)
        ended = chunk.endswith(b"\n")
        first = chunk.find(b"\n")
        if first < 0:
            line.add(chunk)
            continue
        last = chunk.rfind(b"\n")
        line.add(chunk[:first])
        yield b"".join((line.close(ended=True), memoryview(chunk)[first : last + 1]))
        line = _OpenLine()
        line.add(chunk[last + 1 :])
    if not ended:
        yield line.close(ended=False)
    if size != facts.size:
        raise _changed()


def _changed() -> TransientFailure:
    return TransientFailure(
        "El archivo cambió mientras se leía: sus bytes ya no son los que se revisaron",
        "Vuelva a procesarlo; si se repite, revise el disco.",
    )


def _as_utf8(block: bytes, encoding: str) -> bytes:
    if b"\0" in block:
        raise _changed()
    if encoding == WINDOWS:
        return block.decode("cp1252", errors="replace").encode()
    try:
        block.decode()
    except UnicodeDecodeError as error:
        raise _changed() from error
    return block


def _physical_lines(block: bytes) -> pa.StringArray:
    """Cut a block of UTF-8 at its LFs; each LF takes the one CR before it along."""
    text = block.replace(b"\r\n", b"\n") if b"\r" in block else block
    if not text.endswith(b"\n"):
        # After the CRs went: a CR that ends the file without an LF is data.
        text += b"\n"
    data = np.frombuffer(text, np.uint8)
    is_end = data == _LF
    ends = np.flatnonzero(is_end)
    offsets = np.zeros(len(ends) + 1, np.int32)
    offsets[1:] = ends
    offsets[1:] -= np.arange(len(ends), dtype=np.int32)
    return pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(data[~is_end]))


def read_lines(stream: BinaryIO, facts: ContentFacts, batch_bytes: int) -> Iterator[pa.StringArray]:
    """Yield all physical lines of a file in order, blank ones too, as arrays of decoded text.

    A line ends in LF or CRLF, nothing else (contract §1). A line longer than `MAX_LINE_BYTES` comes longer
    than that, but maybe not whole: see `cut_long`. Memory is bounded by `batch_bytes` and `MAX_LINE_BYTES`.

    Args:
        stream: the file from its first byte; `facts` tells that it has no NUL byte.
        facts: what a `ContentScan` of the same bytes found.
        batch_bytes: how many bytes to read at a time, 1 to `MAX_BATCH_BYTES`.

    Raises:
        ValueError: `batch_bytes` is out of its range.
        TransientFailure: the bytes are not those that were scanned.
    """
    if not 1 <= batch_bytes <= MAX_BATCH_BYTES:
        raise ValueError(f"batch_bytes must be 1 to {MAX_BATCH_BYTES}, not {batch_bytes}")
    first = True
    for block in _blocks(stream, facts, batch_bytes):
        if first and facts.encoding == UTF8_BOM:
            block = block.removeprefix(BOM)
        first = False
        if block:
            yield _physical_lines(_as_utf8(block, facts.encoding))


def is_blank(lines: pa.StringArray) -> Mask:
    """Tell which lines hold spaces and tabs only, or nothing: they are no records (contract §1)."""
    return as_mask(pc.match_substring_regex(lines, _BLANK))


def cut_long(lines: pa.StringArray) -> tuple[pa.StringArray, Mask]:
    """Cut lines longer than `MAX_LINE_BYTES` there, at the end of a character; tell which ones were cut."""
    too_long = pc.greater(pc.binary_length(lines), MAX_LINE_BYTES)
    mask = as_mask(too_long)
    if not mask.any():
        return lines, mask
    # A line of that length fills a batch alone, or nearly: one Python object for each costs nothing.
    cut = [text.encode()[:MAX_LINE_BYTES].decode(errors="ignore") for text in lines.filter(too_long).to_pylist()]
    return pc.replace_with_mask(lines, too_long, pa.array(cut, pa.string())), mask


@dataclass(frozen=True)
class Split:
    """Lines split into fields, the broken ones told apart.

    Attributes:
        well_quoted: one flag per line: its quotes keep the rule (contract §1, ``COMILLAS``).
        counts: fields per line; says nothing where the quotes are broken.
        rows: positions, ascending, of the well-quoted lines with as many fields as asked for.
        columns: the values of those lines by field, as `clean` leaves them.
    """

    well_quoted: Mask
    counts: Rows
    rows: Rows
    columns: tuple[pa.StringArray, ...]


def split_fields(lines: pa.StringArray, width: int) -> Split:
    """Split lines without NUL characters into `width` fields each."""
    separable, well_quoted = _separable(lines, _count(lines, _QUOTE) > 0)
    counts = _count(separable, _COMMA) + 1
    good = well_quoted & (counts == width)
    kept = separable if good.all() else separable.filter(pa.array(good))
    text, bounds = text_bytes(kept), _bounds(kept)
    commas = np.flatnonzero(text == _COMMA).reshape(len(kept), width - 1)
    starts = np.column_stack([bounds[:-1], commas + 1])
    ends = np.column_stack([commas, bounds[1:]])
    return Split(well_quoted, counts, np.flatnonzero(good), tuple(_columns(text, starts, ends)))


def _count(lines: pa.StringArray, character: int) -> Rows:
    """Count an ASCII character in each line."""
    found = text_bytes(lines) == character
    if np.count_nonzero(found) > _MANY:
        counts: Rows = pc.count_substring(lines, chr(character)).to_numpy().astype(np.int64)
        return counts
    return np.diff(np.searchsorted(np.flatnonzero(found), _bounds(lines)))


def _bounds(lines: pa.StringArray) -> Rows:
    """Return where each line begins in `text_bytes`, and where the last one ends."""
    offsets = np.frombuffer(lines.buffers()[1], np.int32)[lines.offset : lines.offset + len(lines) + 1]
    bounds: Rows = offsets.astype(np.int64) - offsets[0]
    return bounds


def _columns(text: npt.NDArray[np.uint8], starts: Rows, ends: Rows) -> Iterator[pa.StringArray]:
    """Yield the values of each column as `clean` leaves them, untouched where there is nothing to trim or unquote.

    Args:
        text: bytes of the lines, commas inside quotes hidden.
        starts, ends: where in the text each field lies, a row per record and a column per field.
    """
    records, width = starts.shape
    lengths = ends - starts
    # An empty field has no first and no last byte. What is found instead is masked, or leads to a needless `clean`.
    padded = np.append(text, np.uint8(_NUL))
    first, last = padded[starts], padded[ends - 1]
    null = (lengths == 0) | ((lengths == 1) & (first == _DASH))
    to_trim = np.any(_are_blank(first) | _are_blank(last), axis=0).tolist()
    opened = (first == _QUOTE) & (lengths > 0)
    pieces = _pieces(text, starts, ends)
    for field in range(width):
        places = np.arange(records, dtype=np.int64) * width + field
        values = pieces.take(pa.array(2 * places, mask=null[:, field]))
        quoted = opened[:, field]
        if quoted.any():
            values = pc.replace_with_mask(values, pa.array(quoted), _unquote(values.filter(pa.array(quoted))))
        yield clean(values) if to_trim[field] or quoted.any() else values


def _are_blank(characters: npt.NDArray[np.uint8]) -> Mask:
    blank: Mask = (characters == _SPACE) | (characters == _TAB)
    return blank


def _pieces(text: npt.NDArray[np.uint8], starts: Rows, ends: Rows) -> pa.StringArray:
    """Cut the text without copying it: each field, and after it what lies between it and the next one."""
    offsets = np.column_stack([starts.ravel(), ends.ravel()]).astype(np.int32)
    return pa.StringArray.from_buffers(max(offsets.size - 1, 0), pa.py_buffer(offsets), pa.py_buffer(text))


def split_line(line: str) -> list[str] | None:
    """Return the fields of one line, unquoted and untrimmed, or None if its quotes break the rule."""
    lines = pa.array([line], pa.string())
    separable, well_quoted = _separable(lines, as_mask(pc.match_substring(lines, '"')))
    if not well_quoted[0]:
        return None
    fields: list[str] = _unquote(pc.split_pattern(separable, ",").flatten()).to_pylist()
    return fields


def clean(values: pa.StringArray) -> pa.StringArray:
    """Trim spaces and tabs; an empty value and ``-`` become null (contract §1 *Fields*)."""
    trimmed = pc.ascii_trim(values, characters=" \t")
    return pc.if_else(pc.is_in(trimmed, value_set=pa.array(["", "-"])), None, trimmed)


def as_mask(flags: Any) -> Mask:
    """Return an Arrow array of booleans without nulls as a numpy mask."""
    mask: Mask = flags.to_numpy(zero_copy_only=False)
    return mask


def text_bytes(texts: pa.StringArray) -> npt.NDArray[np.uint8]:
    """Return the UTF-8 bytes of all texts, one after the other, without a copy."""
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
    data = texts.buffers()[2]
    if data is None:
        return np.zeros(0, np.uint8)
    return np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]


def _separable(lines: pa.StringArray, quoted: Mask) -> tuple[pa.StringArray, Mask]:
    """Put NUL, which no report has, for the commas inside quotes; tell which lines keep the quoting rule."""
    well_quoted = np.ones(len(lines), np.bool_)
    if not quoted.any():
        return lines, well_quoted
    with_quotes = lines.filter(pa.array(quoted))
    well_quoted[quoted] = as_mask(pc.match_substring_regex(with_quotes, _WELL_QUOTED))
    change = pa.array(quoted & well_quoted)
    return pc.replace_with_mask(lines, change, _hide_commas(lines.filter(change))), well_quoted


def _hide_commas(lines: pa.StringArray) -> pa.StringArray:
    # Every line has an even number of quotes, so one running parity over all the bytes serves: it is 1 inside
    # quotes, and a doubled quote flips it twice. It may wrap around: 256 is even.
    if not len(lines):
        return lines
    data = text_bytes(lines)
    inside = np.cumsum(data == _QUOTE, dtype=np.uint8) & 1
    hidden = np.where((data == _COMMA) & (inside == 1), np.uint8(_NUL), data)
    offsets = np.zeros(len(lines) + 1, np.int32)
    np.cumsum(pc.binary_length(lines).to_numpy(), out=offsets[1:])
    return pa.StringArray.from_buffers(len(lines), pa.py_buffer(offsets), pa.py_buffer(hidden))


def _unquote(values: pa.StringArray) -> pa.StringArray:
    inner = pc.utf8_slice_codeunits(values, 1, -1)
    bare = pc.if_else(pc.starts_with(values, '"'), pc.replace_substring(inner, '""', '"'), values)
    return pc.replace_substring(bare, "\0", ",")
