"""The charts of a report: what may stand in a drawing, its scales, and that labels from outside stay text.

Drawings belong here; what is drawn is the page's.
"""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visitas_dagster.closing.report_charts import (
    Bar,
    Series,
    bars,
    columns,
    is_near,
    lines,
    share_ticks,
    shortened,
    whole_ticks,
)

LABELS = [f"{number} nov" for number in range(1, 31)]
# What XML can hold: a database column may hold more, and the page leaves it out.
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"]), max_size=40)

COLUMNS = columns(LABELS, [Series("Válidos", "acento", [*range(30)]), Series("Rechazados", "mal", [1] * 30)])
LINES = lines(LABELS, [Series("Tasa", "mal", [None, *[0.01] * 29])], 0.02)
BARS = bars([Bar("uno", 3, "3 · 75 %", "bien"), Bar("dos", 1, "1 · 25 %", "mal")])
every_drawing = pytest.mark.parametrize("svg", [COLUMNS, LINES, BARS], ids=["columns", "lines", "bars"])


@every_drawing
def test_a_drawing_is_shapes_and_letters_only(svg: str) -> None:
    root = ElementTree.fromstring(svg)
    assert {element.tag.rpartition("}")[2] for element in root.iter()} <= {
        "svg",
        "g",
        "rect",
        "path",
        "line",
        "circle",
        "text",
        "title",
    }
    names = {name for element in root.iter() for name in element.attrib}
    assert not [name for name in names if name.startswith("on") or "href" in name or name in {"style", "id"}]
    assert not re.search(r"https?:|javascript|@import|url\(", svg)


@every_drawing
def test_a_drawing_is_left_out_for_those_who_hear_the_page(svg: str) -> None:
    assert ElementTree.fromstring(svg).get("aria-hidden") == "true"


def test_columns_carry_their_values_and_colours() -> None:
    root = ElementTree.fromstring(COLUMNS)
    titles = [element.text for element in root.iter() if element.tag.endswith("title")]
    assert "30 nov: 29" in titles
    assert titles.count("7 nov: 1") == 1
    classes = " ".join(element.get("class") or "" for element in root.iter()).split()
    assert {"tono-acento", "tono-mal"} <= set(classes)
    assert not [name for name in classes if name.startswith("color-")]


def test_of_thirty_labels_every_fifth_is_shown_and_the_last() -> None:
    texts = re.findall(r">(\d+ nov)</text>", COLUMNS)
    assert texts == ["5 nov", "10 nov", "15 nov", "20 nov", "25 nov", "30 nov"]


def test_each_bar_has_its_label_its_value_and_its_colour() -> None:
    assert re.findall(r'class="bar tono-(\w+)"', BARS) == ["mal", "bien"]
    assert all(text in BARS for text in ("uno", "dos", "3 · 75 %", "1 · 25 %"))
    assert bars([]) == ""


@given(TEXT, TEXT)
@settings(max_examples=30, deadline=None)
def test_a_label_stays_text(label: str, written: str) -> None:
    root = ElementTree.fromstring(bars([Bar(label, 2, written, "bien"), Bar("otro", 1, "1", "mal")]))
    texts = [element.text or "" for element in root.iter() if element.tag.rpartition("}")[2] == "text"]
    assert not [element for element in root.iter() if "script" in element.tag]
    if label.strip():
        assert shortened(label) in texts
    if written.strip():
        assert written in texts


def test_markup_in_a_label_is_escaped() -> None:
    drawn = bars([Bar('<script>"&', 1, "</svg><img src=x onerror=y>", "bien")])
    assert "<script" not in drawn
    assert "<img" not in drawn
    assert "&lt;script&gt;" in drawn


@given(st.text(max_size=300))
def test_a_long_label_keeps_both_ends(label: str) -> None:
    found = shortened(label)
    assert len(found) <= 26
    assert found == label or (label.startswith(found[:13]) and label.endswith(found[14:]) and found[13] == "…")


@given(st.integers(0, 10**12))
def test_whole_ticks_are_few_even_and_reach_the_top(top: int) -> None:
    ticks = whole_ticks(top)
    assert ticks[0] == 0
    assert 2 <= len(ticks) <= 6
    assert ticks[-1] >= top
    assert len({after - before for before, after in pairwise(ticks)}) == 1


@given(st.floats(0, 50))
def test_share_ticks_are_few_and_reach_the_top(top: float) -> None:
    ticks = share_ticks(top)
    assert ticks[0] == 0
    assert 2 <= len(ticks) <= 7
    assert ticks[-1] >= top * (1 - 1e-6)


def test_a_level_far_above_the_values_is_not_drawn() -> None:
    low = [Series("Tasa", "mal", [0.001, 0.002])]
    assert not is_near(low[0].values, 0.1)
    assert "tono-tenue" not in lines(["a", "b"], low, 0.1)
    assert "tono-tenue" in lines(["a", "b"], [Series("Tasa", "mal", [0.001, 0.05])], 0.1)
    assert not is_near([None], 0.1)
