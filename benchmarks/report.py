"""What a benchmark found, and the Markdown table that shows it.

Figures, what they are held against, their targets and their printing belong here; measuring does not.
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
        against: what it is held against, measured in the same run; empty where there is nothing.
        ratio: of the two, as the line's note or the documentation says; the median of the pairs'.
        target: the target and whether it holds (:func:`at_most`, :func:`at_least`, :func:`below`).
        note: what one must know to read it.
    """

    what: str
    value: str
    against: str = ""
    ratio: float | None = None
    target: str = ""
    note: str = ""


def at_most(value: float, limit: float, unit: str = "") -> str:
    """Return the target ``<= limit`` and whether the value holds it."""
    return f"<= {limit:g}{unit}: {_verdict(value <= limit)}"


def below(value: float, limit: float, unit: str = "") -> str:
    """Return the target ``< limit`` and whether the value holds it."""
    return f"< {limit:g}{unit}: {_verdict(value < limit)}"


def at_least(value: float, limit: float, unit: str = "") -> str:
    """Return the target ``>= limit`` and whether the value holds it."""
    return f">= {limit:g}{unit}: {_verdict(value >= limit)}"


def _verdict(holds: bool) -> str:
    return "holds" if holds else "MISSED"


def heading(title: str, *columns: str) -> None:
    """Print a benchmark's title and the head of its table: that of the figures, unless columns are given."""
    print(f"\n### {title}\n")
    names = columns or ("figure", "measured", "held against", "ratio", "target", "note")
    print_row(*names)
    print_row(*("---" for _ in names))


def show(figure: Figure) -> None:
    """Print one line."""
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    print_row(figure.what, figure.value, figure.against, ratio, figure.target, figure.note)


def print_row(*cells: str) -> None:
    """Print one row of a Markdown table."""
    print("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |", flush=True)


def print_machine() -> None:
    """Print what the figures were taken on; the load tells how far to trust the absolute ones."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    memory = psutil.virtual_memory().total / 2**30
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.system()} {platform.release()}, {platform.machine()}")
    print(f"{os.cpu_count()} processors ({_processor()}), {memory:.0f} GiB of memory, load {load} before the start")
    names = ("dagster", "pandas", "pandera", "pyarrow", "sqlalchemy", "pymysql", "paramiko")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names), flush=True)


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


def median_ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    """Return the median of the pairs' ratios: the two of a pair ran one after the other, under the same load."""
    return statistics.median(mine / other for mine, other in zip(ours, others, strict=True))
