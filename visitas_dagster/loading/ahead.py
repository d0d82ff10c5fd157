"""Work done ahead: the next item is made while the last one is being used.

The hand-over between the two threads belongs here; what is made and used does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class _End:
    """What follows the last item."""


_END = _End()


def ahead(items: Iterator[T], *, worth: bool = True) -> Iterator[T]:
    """Yield the items, the next one being made by another thread meanwhile: one item is held at the most.

    What the making raises comes out here. Whoever stops early waits for the item under way, and no more.

    Args:
        items: makes each item as it is asked for.
        worth: False where one item is all there is: a thread for it costs more than the item of a small file.
    """
    if not worth:
        yield from items
        return
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(next, items, _END)
        while not isinstance(item := coming.result(), _End):
            coming = maker.submit(next, items, _END)
            yield item
