"""Groups of a run's files: in their order, within every limit, and as large as the limits let them be."""

from collections.abc import Iterator
from itertools import pairwise
from operator import itemgetter

from hypothesis import given
from hypothesis import strategies as st

from visitas_dagster.steps.groups import Limit, grouped

MOST = (7, 20)
LIMITS: list[Limit[tuple[int, int]]] = [Limit(itemgetter(which), most) for which, most in enumerate(MOST)]


def within(group: list[tuple[int, int]]) -> bool:
    return all(sum(sizes) <= most for sizes, most in zip(zip(*group, strict=True), MOST, strict=True))


@given(items=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 25)), max_size=30))
def test_groups_are_within_every_limit_and_no_smaller_than_that(items: list[tuple[int, int]]) -> None:
    groups = list(grouped(items, *LIMITS))
    assert [item for group in groups for item in group] == items
    assert all(within(group) or len(group) == 1 for group in groups)
    assert not any(within([*group, following[0]]) for group, following in pairwise(groups))


def test_items_are_taken_as_they_are_asked_for() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            taken.append(number)
            yield number

    assert next(grouped(items(), Limit(lambda number: 1, 3))) == [0, 1, 2]
    assert taken == [0, 1, 2, 3]
