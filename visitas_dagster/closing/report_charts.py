"""The charts of a report: numbers into small SVG drawings that carry no script, no style and no reference.

Drawing belongs here; colours and letters are the page's, which numbers are shown is the page's too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log10
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

WIDTH, HEIGHT = 480, 210
"""The drawing's own units; the page scales it to its column."""

_ROW = 30
# What pygal leaves room for; it takes a letter for 0.6 of its height, and capitals are wider.
_LABELS_PX = 11
_NAMES_PX = 15
_TICKS = 4
_LEAST_PERCENT = 0.001
_LONGEST_LABEL = 26

# Whatever else pygal writes (scripts, style sheets, the places of its tooltips) stays out.
_KEPT = frozenset({"svg", "g", "rect", "path", "line", "circle", "text", "title"})
_ATTRIBUTES = frozenset(
    {"class", "transform", "viewBox", "x", "y", "width", "height", "rx", "ry", "d", "cx", "cy", "r"}
)


@dataclass(frozen=True)
class Series:
    """One series of a chart.

    Attributes:
        name: what it counts; shown in the legend and with each value.
        colour: one of the page's colour names, e.g. ``bien``.
        values: one a period; None where there is nothing to tell.
    """

    name: str
    colour: str
    values: Sequence[Any]


def columns(labels: Sequence[str], series: Sequence[Series]) -> Markup:
    """Draw whole numbers as stacked columns, one a label."""
    top = max(
        (sum(value or 0 for value in column) for column in zip(*(s.values for s in series), strict=True)), default=0
    )
    ticks = whole_ticks(top)
    chart = _new("StackedBar", labels, ticks, spacing=4, value_formatter=_whole)
    return _drawn(chart, series)


def lines(labels: Sequence[str], series: Sequence[Series], limit: float | None = None) -> Markup:
    """Draw shares (0 to 1) as lines in percent; ``limit`` is a level drawn across: see :func:`is_near`."""
    shown = [
        Series(s.name, s.colour, [value * 100 if value is not None else None for value in s.values]) for s in series
    ]
    if limit is not None and any(is_near(s.values, limit) for s in series):
        shown.append(Series("umbral", "tenue", [limit * 100] * len(labels)))
    top = max((value for s in shown for value in s.values if value is not None), default=0)
    ticks = [0, 25, 50, 75, 100] if top > 50 else share_ticks(top)
    chart = _new("Line", labels, ticks, show_dots=True, dots_size=1.8, value_formatter=_percent)
    return _drawn(chart, shown)


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        label: what it is.
        value: its length.
        written: the value as shown beside it.
        colour: one of the page's colour names.
    """

    label: str
    value: float
    written: str
    colour: str


def bars(rows: Sequence[Bar]) -> Markup:
    """Draw one bar a row, the first on top, each with its label before it and its value behind it."""
    if not rows:
        return Markup("")
    rows = rows[::-1]
    top = max(row.value for row in rows) or 1
    chart = _new(
        "HorizontalBar",
        [shortened(row.label) for row in rows],
        [],
        height=14 + _ROW * len(rows),
        print_values=True,
        print_values_position="top",
        show_x_labels=False,
        show_y_guides=False,
        # Room behind the longest bar for what is written there.
        range=(0, top * (1.1 + 0.035 * max(len(row.written) for row in rows))),
        spacing=6,
    )
    values = [{"value": row.value, "formatter": lambda _, row=row: row.written} for row in rows]
    return _drawn(chart, [Series("", "", values)], [row.colour for row in rows])


def is_near(values: Sequence[float | None], limit: float) -> bool:
    """Whether a level is drawn: far above all values it would press them flat."""
    return max((value for value in values if value is not None), default=0) >= limit / 3


def shortened(label: str) -> str:
    """A label of bounded length, its end kept: names differ there."""
    half = _LONGEST_LABEL // 2
    return label if len(label) <= _LONGEST_LABEL else f"{label[:half]}…{label[-half + 1 :]}"


def whole_ticks(top: float) -> list[int]:
    """Round whole numbers from 0 to ``top`` or just above, five at the most."""
    step = next(step for step in _steps() if step * _TICKS >= top)
    return list(range(0, step * (max(1, ceil(top / step)) + 1), step))


def share_ticks(top: float) -> list[float]:
    """Round percentages from 0 to ``top`` or just above, six at the most."""
    if top < _LEAST_PERCENT:
        return [0, 1]
    magnitude = 10.0 ** (ceil(log10(top)) - 1)
    step = next(step for step in (magnitude / 5, magnitude / 2, magnitude, magnitude * 2) if step * 5 >= top)
    return [round(step * number, 10) for number in range(ceil(round(top / step, 9)) + 1)]


def _steps() -> Any:
    size = 1
    while True:
        yield from (size, 2 * size, 5 * size)
        size *= 10


def _whole(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _percent(value: float) -> str:
    return f"{value:.3g} %"


def _new(kind: str, labels: Sequence[str], ticks: Sequence[float], **options: Any) -> Any:
    import pygal  # here, not at the top: a command's start should not pay for it
    from pygal.style import Style

    letters = _NAMES_PX if kind == "HorizontalBar" else _LABELS_PX
    chart = getattr(pygal, kind)(
        **{
            "width": WIDTH,
            "height": HEIGHT,
            "style": Style(label_font_size=letters, major_label_font_size=letters, value_font_size=letters),
            "show_legend": False,
            "show_x_guides": False,
            "margin": 6,
            "margin_right": 20,
            "truncate_label": -1,
            "js": [],
            "css": [],
            "disable_xml_declaration": True,
            **options,
        }
    )
    chart.x_labels = list(labels)
    if ticks:
        chart.y_labels = list(ticks)
        chart.range = (ticks[0], ticks[-1])
    if len(labels) > _TICKS * 4 and kind != "HorizontalBar":
        # The last one is the day itself.
        every = 5
        chart.x_labels_major = [label for place, label in enumerate(labels) if (len(labels) - 1 - place) % every == 0]
        chart.show_minor_x_labels = False
    return chart


def _drawn(chart: Any, series: Sequence[Series], bar_colours: Sequence[str] = ()) -> Markup:
    """Draw, and keep of the drawing what may stay; ``bar_colours`` are those of single bars, in their order."""
    for one in series:
        chart.add(one.name, list(one.values))
    root = _clean(chart.render_tree())
    root.set("role", "img")
    root.set("aria-hidden", "true")
    root.set("preserveAspectRatio", "xMidYMid meet")
    colours = {f"color-{number}": f"tono-{one.colour}" for number, one in enumerate(series) if one.colour}
    for element in root.iter():
        classes = (element.get("class") or "").split()
        if classes:
            element.set("class", " ".join(colours.get(name, name) for name in classes))
    single = (element for element in root.iter("g") if element.get("class") == "bar")
    for element, colour in zip(single, bar_colours, strict=False):
        element.set("class", f"bar tono-{colour}")
    # Every text node is escaped by the serializer.
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _clean(element: Any) -> ElementTree.Element:
    """Copy what may stay; a value's description becomes a title, which browsers show without a script."""
    copy = ElementTree.Element(_tag(element))
    copy.text = element.text
    for name, value in element.attrib.items():
        if name in _ATTRIBUTES:
            copy.set(name, value)
    for child in element:
        if not isinstance(child.tag, str):
            continue
        classes = (child.get("class") or "").split()
        if _tag(child) == "desc" and "value" in classes:
            _title(copy, child.text or "", element)
        elif _tag(child) in _KEPT and "tooltip-overlay" not in classes and "legends" not in classes:
            copy.append(_clean(child))
    return copy


def _title(copy: ElementTree.Element, value: str, element: Any) -> None:
    label = next((child.text for child in element if "x_label" in (child.get("class") or "")), "")
    title = ElementTree.SubElement(copy, "title")
    title.text = f"{label}: {value}" if label else value


def _tag(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]
