"""What a benchmark found, and the plain table that shows it.

Figures, their ratio to a floor and their printing belong here; measuring does not.
"""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import psutil

Show = Callable[["Figure"], None]
"""Called with each figure as soon as there is one: a benchmark that is broken off has told what it knew."""


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        what: the name.
        value: the figure with its unit.
        floor: the floor's figure in the same run; empty where there is none to compare with.
        ratio: ours over the floor's (seconds), or the other way round (per second): 1 is as good as the floor,
            less is better.
        note: what one must know to read it.
    """

    what: str
    value: str
    floor: str = ""
    ratio: float | None = None
    note: str = ""


_WIDTHS = (50, 34, 20, 7)


def heading(title: str) -> None:
    """Print a benchmark's title and the table's head."""
    print(f"\n{title}")
    print(_row("figure", "measured", "floor", "ratio", "note"))
    print("-" * 130, flush=True)


def show(figure: Figure) -> None:
    """Print one line."""
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    print(_row(figure.what, figure.value, figure.floor, ratio, figure.note), flush=True)


def _row(*cells: str) -> str:
    fixed = [f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=False)]
    return " ".join([*fixed, *cells[len(_WIDTHS) :]]).rstrip()


def print_machine() -> None:
    """Print what the figures were taken on; the load tells how far to trust the absolute ones."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    memory = psutil.virtual_memory().total / 2**30
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.system()} {platform.release()}, {platform.machine()}")
    print(f"{os.cpu_count()} processors ({_processor()}), {memory:.0f} GiB of memory, load {load} before the start")
    names = ("dagster", "pandas", "pandera", "pyarrow", "sqlalchemy", "pymysql", "paramiko")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names))


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def spread(values: Sequence[float], unit: str = "s") -> str:
    """Return the median, and from where to where the values went if there are several."""
    text = f"{statistics.median(values):.2f} {unit}"
    return text if len(values) == 1 else f"{text} ({min(values):.2f} to {max(values):.2f})"


def median_ratio(ours: Sequence[float], floors: Sequence[float]) -> float:
    """Return the median of the pairs' ratios: the two of a pair ran one after the other, under the same load."""
    return statistics.median(mine / floor for mine, floor in zip(ours, floors, strict=True))
