"""The look at a report before it is read: even over the file, right about its length, deaf to what is no e-mail."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pipeline import record, report
from visitas_dagster.domain.content import ContentScan
from visitas_dagster.domain.layout import COLUMNS, read_header
from visitas_dagster.domain.sampling import Sample, sample_report

HEADERS = [column.header for column in COLUMNS]


def sample(data: bytes, header: str = ",".join(HEADERS)) -> Sample:
    scan = ContentScan()
    scan.feed(data)
    return sample_report(BytesIO(data), scan.finish(), read_header(header, {}))


def test_the_sample_is_even_whatever_the_order() -> None:
    emails = [f"v{number:06}@example.com" for number in range(50_000)]
    found = sample(report(*map(record, emails)))

    assert 49_000 < found.lines < 51_000
    assert set(found.emails) <= set(emails)
    for tenth in range(10):
        part = emails[tenth * 5000 : (tenth + 1) * 5000]
        assert 0.08 < sum(part[0] <= email <= part[-1] for email in found.emails) / len(found.emails) < 0.12


def test_the_email_is_found_in_its_column_and_in_lower_case() -> None:
    header = ",".join([*HEADERS[1:], HEADERS[0]])
    line = ",".join(["ñ"] * 14 + [" Ana@Example.com\t"])
    data = "\r\n".join([header, *[line] * 20, ""]).encode("cp1252")
    assert set(sample(data, header).emails) == {"ana@example.com"}


@given(st.binary(max_size=20_000))
def test_any_bytes_give_some_sample(data: bytes) -> None:
    found = sample(data)
    assert found.lines >= 0
    assert all(found.emails)


@pytest.mark.parametrize("data", [b"", b"\n", report()])
def test_a_file_without_records_has_no_sample(data: bytes) -> None:
    assert sample(data).emails == ()
