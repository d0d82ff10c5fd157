"""What a correction would change, told from two versions' records.

Counting added, removed, changed and kept records is tested here; reading the versions is not.
"""

from collections import Counter
from datetime import datetime

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from visitas_dagster.domain.comparison import Change, compare, fingerprints
from visitas_dagster.domain.contract import VALID_SCHEMA

Visit = tuple[str, int, int | None, str | None]


def version(visits: list[Visit], per_batch: int = 3) -> list[pa.Table]:
    rows = [
        dict.fromkeys(VALID_SCHEMA.names)
        | {
            "linea": line,
            "email": f"{who}@example.com",
            "fecha_envio": datetime(2026, 1, day),
            "opens": opens,
            "ips": ips,
        }
        for line, (who, day, opens, ips) in enumerate(visits, start=2)
    ]
    return [
        pa.Table.from_pylist(rows[start : start + per_batch], VALID_SCHEMA) for start in range(0, len(rows), per_batch)
    ]


def change(old: list[Visit], new: list[Visit]) -> Change:
    return compare(fingerprints(version(old)), fingerprints(version(new, 2)))


def test_each_kind_of_change_is_counted_once() -> None:
    old: list[Visit] = [("ana", 1, 0, None), ("ana", 2, 0, None), ("luis", 1, 1, "x"), ("eva", 1, 0, None)]
    new: list[Visit] = [("eva", 1, 0, None), ("ana", 1, 5, None), ("luis", 1, 1, "x"), ("leo", 9, 0, None)]
    assert change(old, new) == Change(added=1, removed=1, changed=1, kept=2, visitors=2)


def test_a_null_is_no_text() -> None:
    assert change([("ana", 1, None, None)], [("ana", 1, None, "None")]).changed == 1
    assert change([("ana", 1, 0, None)], [("ana", 1, None, None)]).changed == 1


def test_nothing_against_nothing() -> None:
    assert change([], []) == Change(0, 0, 0, 0, 0)


_visits = st.lists(
    st.tuples(
        st.sampled_from(["ana", "eva", "leo"]),
        st.integers(1, 2),
        st.sampled_from([None, 0, 1]),
        st.sampled_from([None, "a"]),
    ),
    max_size=8,
)


@given(_visits, _visits)
def test_equals_plain_counting(old: list[Visit], new: list[Visit]) -> None:
    left, right = Counter(old), Counter(new)
    kept = (left & right).total()
    old_keys = Counter(visit[:2] for visit in (left - right).elements())
    new_keys = Counter(visit[:2] for visit in (right - left).elements())
    changed = (old_keys & new_keys).total()
    touched = {visit[0] for visit in (*(left - right), *(right - left))}
    assert change(old, new) == Change(
        (new_keys - old_keys).total(), (old_keys - new_keys).total(), changed, kept, len(touched)
    )


@given(_visits)
def test_the_same_version_changes_nothing(visits: list[Visit]) -> None:
    assert change(visits, visits[::-1]) == Change(0, 0, 0, len(visits), 0)
