"""Lines and fields: the vectorised way gives what a slow and plain one does, whatever bytes and batches."""

import io
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from visitas_dagster.domain import records
from visitas_dagster.domain.content import ContentFacts, ContentScan
from visitas_dagster.domain.failures import TransientFailure
from visitas_dagster.domain.records import (
    MAX_BATCH_BYTES,
    MAX_LINE_BYTES,
    clean,
    cut_long,
    is_blank,
    read_lines,
    split_fields,
    split_line,
    text_bytes,
)

# The first call into pyarrow or Pandera takes longer than Hypothesis allows an example.
UNHURRIED = settings(deadline=None)

PIECES = st.sampled_from(
    # What lines are made of, and then what some readers take for the end of a line or for a blank.
    ("\n", "\r", "\r\n", "\r\r\n", " ", "\t", '"', '""', ",", "a", "ñ", "漢", "😀", "-")
) | st.sampled_from(("\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\ufeff", "\u00a0", "e\u0301"))
TEXTS = st.lists(PIECES | st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40).map("".join)
LINES = st.lists(st.sampled_from(['"', ",", "a", "ñ", " ", "\t", "-", "\r", "\u2028"]), max_size=14).map("".join)


def facts_of(data: bytes) -> ContentFacts:
    scan = ContentScan()
    scan.feed(data)
    return scan.finish()


def read(data: bytes, batch_bytes: int) -> pa.StringArray:
    lines = list(read_lines(io.BytesIO(data), facts_of(data), batch_bytes))
    return pa.concat_arrays([pa.array([], pa.string()), *lines])


def plain_lines(data: bytes) -> list[str]:
    """The rule of contract §1 in plain Python: LF or CRLF, nothing else."""
    facts = facts_of(data)
    text = data.decode("cp1252" if facts.encoding == "windows-1252" else facts.encoding, errors="replace")
    *ended, last = text.split("\n")
    return [line.removesuffix("\r") for line in ended] + ([last] if last else [])


def plain_split(line: str) -> list[str] | None:
    """The quoting rule of contract §1, character by character; None if it is broken."""
    fields = []
    rest: str | None = line
    while rest is not None:
        if rest.startswith('"'):
            value, place, closed = "", 1, False
            while place < len(rest) and not closed:
                if rest[place : place + 2] == '""':
                    value, place = value + '"', place + 2
                elif rest[place] == '"':
                    place, closed = place + 1, True
                else:
                    value, place = value + rest[place], place + 1
            if not closed or rest[place : place + 1] not in {"", ","}:
                return None
            fields.append(value)
            rest = rest[place + 1 :] if place < len(rest) else None
        else:
            value, comma, after = rest.partition(",")
            if '"' in value:
                return None
            fields.append(value)
            rest = after if comma else None
    return fields


def plain_value(text: str) -> str | None:
    trimmed = text.strip(" \t")
    return None if trimmed in {"", "-"} else trimmed


@UNHURRIED
@given(
    TEXTS.map(str.encode) | st.binary(max_size=40).map(lambda data: data.replace(b"\0", b"")),
    st.integers(1, 50),
)
@example("\ufeff\ufeffa\r\nb\r".encode(), 1)
@example(b"\r\n\r\r\n\r", 3)
@example(b"\xf1\x81\r\n", 2)
def test_lines_are_the_same_in_any_batches(data: bytes, batch_bytes: int) -> None:
    lines = read(data, batch_bytes)

    assert lines.to_pylist() == plain_lines(data)
    assert is_blank(lines).tolist() == [not line.strip(" \t") for line in plain_lines(data)]
    lines.validate(full=True)


LONG_TEXTS = st.lists(st.sampled_from(["a", " ", "\t", "\r", "\n", "ñ", "漢", "😀"]), max_size=60).map("".join)


@UNHURRIED
@given(LONG_TEXTS, st.integers(1, 70))
@example("a" * 12 + "\n", 5)
@example("a" * 12 + "\r\n", 5)
# Blanks and a CR: before the LF it belongs to the end, at the end of the file or before a blank it is text.
@example(" " * 40 + "\r\n" + " " * 40 + "\r", 5)
@example(" " * 25 + "\r" + " " * 9 + "\n", 13)
@example("\ufeff" + "a" * 12 + "\n", 100)
@example("\ufeff" + "a" * 10 + "😀" * 9, 5)
def test_long_lines_are_cut_the_same_in_any_batches(text: str, batch_bytes: int) -> None:
    limit = 12
    for data in (text.encode(), text.encode("cp1252", errors="ignore")):
        with mock.patch.object(records, "MAX_LINE_BYTES", limit):
            lines = read(data, batch_bytes)
            blank = is_blank(lines)
            cut_lines, cut = cut_long(lines.filter(pa.array(~blank)))
        whole = plain_lines(data)
        not_blank = [line for line in whole if line.strip(" \t")]

        assert blank.tolist() == [not line.strip(" \t") for line in whole]
        assert cut_lines.to_pylist() == [line.encode()[:limit].decode(errors="ignore") for line in not_blank]
        assert cut.tolist() == [len(line.encode()) > limit for line in not_blank]


@pytest.mark.parametrize("before", range(20))
@pytest.mark.parametrize("char", ["ñ", "漢", "😀", "\u0085"])
def test_a_long_line_is_cut_between_characters(before: int, char: str) -> None:
    data = ("a" * before + char * 30).encode()
    with mock.patch.object(records, "MAX_LINE_BYTES", 12):
        cut = {cut_long(read(data, batch_bytes))[0][0].as_py() for batch_bytes in (1, 5, 1000)}

    assert cut == {data[:12].decode(errors="ignore")}


def test_a_line_without_end_takes_bounded_memory() -> None:
    class Endless(io.RawIOBase):
        left = 80

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            return b"y" * 2**20 if self.left >= 0 else b""

    facts = ContentFacts(80 * 2**20, "", "utf-8", False)
    (line,) = read_lines(Endless(), facts, 2**20)  # type: ignore[arg-type]

    assert len(line) == 1
    assert MAX_LINE_BYTES < line.nbytes < MAX_LINE_BYTES + 100
    cut, which = cut_long(line)
    assert which.tolist() == [True]
    assert cut[0].as_py() == "y" * MAX_LINE_BYTES


@UNHURRIED
@given(st.lists(LINES, min_size=1, max_size=30), st.integers(1, 5))
def test_fields_are_those_of_the_plain_splitter(lines: list[str], width: int) -> None:
    split = split_fields(pa.array(lines, pa.string()), width)
    expected = [plain_split(line) for line in lines]
    kept = [(row, fields) for row, fields in enumerate(expected) if fields is not None and len(fields) == width]

    assert split.well_quoted.tolist() == [fields is not None for fields in expected]
    assert [int(count) for count, well_quoted in zip(split.counts, split.well_quoted, strict=True) if well_quoted] == [
        len(fields) for fields in expected if fields is not None
    ]
    assert split.rows.tolist() == [row for row, _ in kept]
    assert len(split.columns) == width
    for place, column in enumerate(split.columns):
        assert column.to_pylist() == [plain_value(fields[place]) for _, fields in kept]


@UNHURRIED
@given(st.lists(LINES, max_size=20), st.integers(1, 3), st.integers(0, 9))
def test_lines_full_of_commas_or_quotes_are_split_alike(lines: list[str], width: int, many: int) -> None:
    texts = pa.array(lines, pa.string())
    usual = split_fields(texts, width)
    with mock.patch.object(records, "_MANY", many):
        crowded = split_fields(texts, width)

    assert crowded.counts.tolist() == usual.counts.tolist()
    assert crowded.columns == usual.columns


@UNHURRIED
@given(st.lists(LINES, min_size=3, max_size=20), st.integers(1, 3))
def test_a_slice_of_lines_is_split_like_a_copy(lines: list[str], width: int) -> None:
    sliced = split_fields(pa.array(lines, pa.string())[1:-1], width)
    copied = split_fields(pa.array(lines[1:-1], pa.string()), width)

    assert sliced.rows.tolist() == copied.rows.tolist()
    assert [column.to_pylist() for column in sliced.columns] == [column.to_pylist() for column in copied.columns]


@UNHURRIED
@given(LINES)
def test_one_line(line: str) -> None:
    assert split_line(line) == plain_split(line)


@UNHURRIED
@given(st.lists(st.text(st.sampled_from(" \t-añ\u00a0\r\x0b\u3000"), max_size=6), max_size=10))
def test_only_spaces_and_tabs_are_trimmed(texts: list[str]) -> None:
    assert clean(pa.array(texts, pa.string())).to_pylist() == [plain_value(text) for text in texts]


@pytest.mark.parametrize(
    ("data", "facts"),
    [
        (b"a\nb", ContentFacts(4, "", "utf-8", False)),
        (b"a\nb\n", ContentFacts(3, "", "utf-8", False)),
        (b"", ContentFacts(1, "", "utf-8", False)),
        (b"a\n\xf1\n", ContentFacts(4, "", "utf-8", False)),
        (b"a\n\0\n", ContentFacts(4, "", "utf-8", False)),
        (b"a\n\0\n", ContentFacts(4, "", "windows-1252", False)),
    ],
)
def test_bytes_that_are_not_the_scanned_ones(data: bytes, facts: ContentFacts) -> None:
    with pytest.raises(TransientFailure, match="cambió mientras se leía"):
        list(read_lines(io.BytesIO(data), facts, 100))


@pytest.mark.parametrize("batch_bytes", [0, -1, MAX_BATCH_BYTES + 1])
def test_batch_bytes_out_of_range(batch_bytes: int) -> None:
    with pytest.raises(ValueError, match="batch_bytes"):
        list(read_lines(io.BytesIO(b""), facts_of(b""), batch_bytes))


def test_bytes_of_a_slice() -> None:
    texts = pa.array(["uno", "ñ", None, "", "tres"], pa.string())

    assert text_bytes(texts[1:4]).tobytes() == "ñ".encode()
    assert text_bytes(texts[4:]).tobytes() == b"tres"
    assert text_bytes(texts[:0]).tobytes() == text_bytes(pa.array([], pa.string())).tobytes() == b""


def test_no_lines() -> None:
    split = split_fields(pa.array([], pa.string()), 15)

    assert split.rows.tolist() == []
    assert [len(column) for column in split.columns] == [0] * 15
    assert is_blank(pa.array([], pa.string())).dtype == np.bool_
