"""One row per e-mail: the same figures as counting by hand, in whatever parts and order the records come."""

from datetime import datetime
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from visitas_dagster.domain.contract import VALID_SCHEMA
from visitas_dagster.domain.visitors import TALLY_SCHEMA, merge, tally

# The first call into pyarrow or Pandera takes longer than Hypothesis allows an example.
UNHURRIED = settings(deadline=None)

EMAILS = st.sampled_from(["ana@correo.example", "bea@correo.example", "a-na@correo.example", "~@correo.example"])
MOMENTS = st.sampled_from(
    [
        datetime(2013, 2, 8, 18, 30),
        datetime(2013, 2, 1),
        datetime(2013, 1, 31, 23, 59),
        datetime(2012, 2, 29, 12, 0),
        datetime(2014, 2, 8),
        datetime(1970, 1, 1),
        datetime(2099, 12, 31, 23, 59),
    ]
)
VISITS = st.lists(st.tuples(EMAILS, MOMENTS), max_size=12)


def records(visits: list[tuple[str, datetime]]) -> pa.Table:
    rows = [{"linea": number, "email": email, "fecha_envio": sent} for number, (email, sent) in enumerate(visits, 2)]
    return pa.Table.from_pylist(rows, schema=VALID_SCHEMA)


def by_hand(visits: list[tuple[str, datetime]], year: int, month: int) -> list[dict[str, Any]]:
    rows = []
    for email in sorted({email for email, _ in visits}, key=str.encode):
        sent = [moment for visitor, moment in visits if visitor == email]
        rows.append(
            {
                "email": email,
                "fecha_primera_visita": min(sent),
                "fecha_ultima_visita": max(sent),
                "visitas_totales": len(sent),
                "visitas_anio_actual": sum(moment.year == year for moment in sent),
                "visitas_mes_actual": sum((moment.year, moment.month) == (year, month) for moment in sent),
            }
        )
    return rows


@UNHURRIED
@given(VISITS, st.sampled_from([(2013, 2), (2013, 1), (2020, 2)]))
def test_tally(visits: list[tuple[str, datetime]], today: tuple[int, int]) -> None:
    result = tally(records(visits), *today)

    assert result.schema == TALLY_SCHEMA
    assert result.to_pylist() == by_hand(visits, *today)


@UNHURRIED
@given(st.lists(VISITS, max_size=4), st.randoms(use_true_random=False))
def test_tallies_add_up(parts: list[list[tuple[str, datetime]]], random: Any) -> None:
    tallies = [tally(records(visits), 2013, 2) for visits in parts]
    random.shuffle(tallies)
    result = merge(tallies)

    assert result.schema == TALLY_SCHEMA
    assert result.to_pylist() == by_hand([visit for visits in parts for visit in visits], 2013, 2)


def test_nothing_to_merge() -> None:
    assert merge([]).equals(TALLY_SCHEMA.empty_table())
