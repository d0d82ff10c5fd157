"""Records to visitors: one row per e-mail, and how such rows of several reports add up.

Aggregates of valid records belong here; what makes a record valid and how rows reach a table do not.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

TALLY_SCHEMA = pa.schema(
    [
        ("email", pa.string()),
        ("fecha_primera_visita", pa.timestamp("s")),
        ("fecha_ultima_visita", pa.timestamp("s")),
        ("visitas_totales", pa.int64()),
        ("visitas_anio_actual", pa.int64()),
        ("visitas_mes_actual", pa.int64()),
    ]
)
"""One row per e-mail, sorted by the e-mail's bytes: the figures of table ``visitantes`` (contract §3)."""

_HOW = {
    "fecha_primera_visita": "min",
    "fecha_ultima_visita": "max",
    "visitas_totales": "sum",
    "visitas_anio_actual": "sum",
    "visitas_mes_actual": "sum",
}


def tally(valid: pa.Table, year: int, month: int, *, each: str | None = None) -> pa.Table:
    """Count visits per e-mail: one valid record is one visit, at its ``fecha_envio`` (contract §1 *Visit*).

    Args:
        valid: records with at least the columns ``email`` and ``fecha_envio`` of `contract.VALID_SCHEMA`.
        year: the current year, in the operator's time zone.
        month: the current month, 1 to 12.
        each: a further column; visits are counted for each of its values alone.

    Returns:
        A table of `TALLY_SCHEMA`; with ``each`` that column comes before the others, and first in the order.
    """
    sent = valid["fecha_envio"]
    this_year = pc.equal(pc.year(sent), year)
    this_month = pc.and_(this_year, pc.equal(pc.month(sent), month))
    visits = [sent, sent, pc.cast(pc.is_valid(sent), pa.int64()), this_year, this_month]
    columns = [valid["email"], *visits[:3], *(pc.cast(flags, pa.int64()) for flags in visits[3:])]
    rows = pa.table(columns, schema=TALLY_SCHEMA)
    return _add_up(rows) if each is None else _add_up(rows.add_column(0, each, valid[each]), each)


def merge(tallies: Sequence[pa.Table]) -> pa.Table:
    """Add up tallies made for the same year and month, in any order; none at all make an empty tally."""
    return _add_up(pa.concat_tables([TALLY_SCHEMA.empty_table(), *tallies]))


def _add_up(rows: pa.Table, *each: str) -> pa.Table:
    keys = [*each, "email"]
    grouped = rows.group_by(keys, use_threads=False).aggregate(list(_HOW.items()))
    named = [*(grouped[key] for key in keys), *(grouped[f"{name}_{how}"] for name, how in _HOW.items())]
    return pa.table(named, schema=rows.schema).sort_by([(key, "ascending") for key in keys])
