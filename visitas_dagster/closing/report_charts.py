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
_LABELS_PX = 11
_TICKS = 4
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
    values: Sequence[float | None]


def columns(labels: Sequence[str], series: Sequence[Series]) -> Markup:
    """Draw whole numbers as stacked columns, one a label."""
    top = max(
        (sum(value or 0 for value in column) for column in zip(*(s.values for s in series), strict=True)), default=0
    )
    ticks = whole_ticks(top)
    chart = _new("StackedBar", labels, ticks, spacing=4, value_formatter=_whole)
    return _drawn(chart, series)


def lines(labels: Sequence[str], series: Sequence[Series], limit: float | None = None) -> Markup:
    """Draw shares (0 to 1) as lines in percent; ``limit`` is a level drawn across."""
    shown = [
        Series(s.name, s.colour, [value * 100 if value is not None else None for value in s.values]) for s in series
    ]
    if limit is not None:
        shown.append(Series("umbral", "tenue", [limit * 100] * len(labels)))
    top = max((value for s in shown for value in s.values if value is not None), default=0)
    ticks = [0, 25, 50, 75, 100] if top > 50 else share_ticks(top)
    chart = _new("Line", labels, ticks, show_dots=True, dots_size=1.8, value_formatter=_percent)
    return _drawn(chart, shown)


def bars(rows: Sequence[tuple[str, float]], name: str, colour: str, unit: str = "") -> Markup:
    """Draw one bar a row, the first on top, each with its value beside it.

    Args:
        rows: labels and values.
        name: what is counted.
        colour: one of the page's colour names.
        unit: stands behind each value; values with a unit are drawn with one decimal.
    """
    labels = [shortened(label) for label, _ in rows]
    top = max((value for _, value in rows), default=0) or 1
    written = _with_unit(unit) if unit else _whole
    chart = _new(
        "HorizontalBar",
        labels[::-1],
        [],
        height=24 + _ROW * max(1, len(rows)),
        print_values=True,
        print_values_position="top",
        value_formatter=written,
        show_y_labels=False,
        show_y_guides=False,
        range=(0, top * (1.12 + 0.02 * len(written(top)))),
        spacing=6,
    )
    if not rows:
        return Markup("")
    return _drawn(chart, [Series(name, colour, [value for _, value in rows][::-1])])


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
    if top <= 0:
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


def _with_unit(unit: str) -> Any:
    return lambda value: f"{value:,.1f} {unit}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _new(kind: str, labels: Sequence[str], ticks: Sequence[float], **options: Any) -> Any:
    import pygal  # here, not at the top: a command's start should not pay for it
    from pygal.style import Style

    chart = getattr(pygal, kind)(
        **{
            "width": WIDTH,
            "height": HEIGHT,
            "style": Style(
                label_font_size=_LABELS_PX, major_label_font_size=_LABELS_PX, value_font_size=_LABELS_PX + 1
            ),
            "show_legend": False,
            "show_x_guides": False,
            "margin": 6,
            "margin_right": 10,
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


def _drawn(chart: Any, series: Sequence[Series]) -> Markup:
    for one in series:
        chart.add(one.name, list(one.values))
    root = _clean(chart.render_tree(), [one.name for one in series])
    root.set("role", "img")
    root.set("aria-hidden", "true")
    root.set("preserveAspectRatio", "xMidYMid meet")
    colours = {f"color-{number}": f"tono-{one.colour}" for number, one in enumerate(series)}
    for element in root.iter():
        classes = (element.get("class") or "").split()
        if classes:
            element.set("class", " ".join(colours.get(name, name) for name in classes))
    # Every text node is escaped by the serializer.
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _clean(element: Any, names: Sequence[str]) -> ElementTree.Element:
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
            copy.append(_clean(child, names))
    return copy


def _title(copy: ElementTree.Element, value: str, element: Any) -> None:
    label = next((child.text for child in element if "x_label" in (child.get("class") or "")), "")
    title = ElementTree.SubElement(copy, "title")
    title.text = f"{label}: {value}" if label else value


def _tag(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]
