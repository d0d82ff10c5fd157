"""How the files of a run are put into groups for what is done with many of them at once.

The cutting belongs here; what a group may hold stands beside what is done with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Limit(Generic[Item]):
    """What a group may hold of one measure.

    Attributes:
        size: of an item.
        most: of a group.
    """

    size: Callable[[Item], int]
    most: int


def grouped(items: Iterable[Item], *limits: Limit[Item]) -> Iterator[list[Item]]:
    """Yield the items in their order, in groups within every limit; one that is beyond a limit by itself."""
    group: list[Item] = []
    left = [limit.most for limit in limits]
    for item in items:
        sizes = [limit.size(item) for limit in limits]
        if group and any(size > rest for size, rest in zip(sizes, left, strict=True)):
            yield group
            group, left = [], [limit.most for limit in limits]
        group.append(item)
        left = [rest - size for size, rest in zip(sizes, left, strict=True)]
    if group:
        yield group
