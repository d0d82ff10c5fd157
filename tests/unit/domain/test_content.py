"""Facts about bytes: the same however they are fed, and the same as the standard library's."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visitas_dagster.domain.content import ContentFacts, ContentScan, scan_file

# The first call into pyarrow or Pandera takes longer than Hypothesis allows an example.
UNHURRIED = settings(deadline=None)

FRAGMENTS = st.sampled_from([b"a", b"\xef\xbb\xbf", b"\xc3", b"\xb1", b"\xf0\x9f", b"\x98\x80", b"\0", b"\n", b"\xff"])
BYTES = st.lists(FRAGMENTS | st.binary(max_size=4), max_size=12).map(b"".join)


def scan(*chunks: bytes) -> ContentFacts:
    content = ContentScan()
    for chunk in chunks:
        content.feed(chunk)
    return content.finish()


def encoding_of(data: bytes) -> str:
    try:
        data.decode()
    except UnicodeDecodeError:
        return "windows-1252"
    return "utf-8-sig" if data.startswith(b"\xef\xbb\xbf") else "utf-8"


@UNHURRIED
@given(BYTES, st.lists(st.integers(0, 60)))
def test_facts_do_not_depend_on_the_chunks(data: bytes, cuts: list[int]) -> None:
    ends = sorted(cuts)
    chunks = [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]

    assert scan(*chunks) == ContentFacts(len(data), hashlib.sha256(data).hexdigest(), encoding_of(data), 0 in data)


def test_nothing_fed() -> None:
    assert scan() == ContentFacts(0, hashlib.sha256().hexdigest(), "utf-8", False)


@pytest.mark.parametrize("tail", [b"\xc3\xb1", b"\xc3"])
def test_a_character_across_slices(tail: bytes) -> None:
    data = b"a" * (2**20 - 1) + tail

    assert scan(data).encoding == encoding_of(data)


def test_scan_file(tmp_path: Path) -> None:
    path = tmp_path / "report_1.txt"
    path.write_bytes(b"\xef\xbb\xbfa\0")

    assert scan_file(path) == scan(b"\xef\xbb\xbfa\0")
    with pytest.raises(FileNotFoundError):
        scan_file(tmp_path / "report_2.txt")
