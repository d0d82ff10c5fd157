"""Records of erased persons: what is left of a visit and of a reject once nobody may tell whose it was.

The masking of batches belongs here; who is erased, and the copies on disk, do not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from visitas_dagster.domain.privacy import IsErased, erased_in, mask_erased

ERASED_EMAIL = "olvidado@olvidado.invalid"
"""The e-mail under which the visits of all erased persons stand: one, so that nobody is told apart. Its domain ends
in a label that is nobody's (RFC 2606)."""

ERASED_TEXT = "[olvidado]"
"""What stands for a rejected line, and for its values."""

PERSONAL_LISTS = ("links", "ips", "navegadores", "plataformas")
"""Columns that tell of a person's devices and places: null in an erased visit."""

_UNUSUAL = re.compile("[^a-z0-9_.+@'-]")

TEXTS = ("jyv", "badmail", "baja", *PERSONAL_LISTS)
"""Text columns in which anybody's record may mention an erased person."""


def masked_visits(visits: pa.Table, is_erased: IsErased) -> pa.Table:
    """Mask the visits of erased persons, and mentions of them in others' visits.

    Args:
        visits: `VALID_SCHEMA`; the result has the same rows in the same order.
        is_erased: asked with addresses in lower case.
    """
    emails = visits.column("email").combine_chunks().dictionary_encode()
    addresses = emails.dictionary.to_pylist()
    theirs = [is_erased(address) for address in addresses]
    if any(theirs):
        own = pa.array(theirs, pa.bool_()).take(emails.indices)
        for name in PERSONAL_LISTS:
            visits = _replace(visits, name, pc.if_else(own, pa.scalar(None, pa.string()), visits.column(name)))
    others = [masked_email(address, is_erased) for address in addresses]
    if others != addresses:
        visits = _replace(visits, "email", pa.array(others, pa.string()).take(emails.indices))
    for name in TEXTS:
        visits = _replace(visits, name, _mapped(visits.column(name), lambda text: mask_erased(text, is_erased)))
    return visits


def masked_email(address: str, is_erased: IsErased) -> str:
    """The e-mail under which a visit stands: nobody's for an erased person's, with a mention of one masked in it.

    ``correo=ana@example.com`` is a valid address, and names ``ana@example.com``.
    """
    if is_erased(address):
        return ERASED_EMAIL
    # Most have nothing that could set a second address apart from the first: looking closer costs ten times as much.
    return mask_erased(address, is_erased) if _UNUSUAL.search(address) else address


def masked_rejects(rejects: pa.Table, is_erased: IsErased) -> pa.Table:
    """Leave of a rejected record that names an erased person its line's number, its faults and their columns.

    Args:
        rejects: `REJECTED_SCHEMA`; the result has the same rows in the same order.
        is_erased: asked with addresses in lower case.
    """
    lines = rejects.column("fila_original").combine_chunks()
    candidates = _with_sign(lines)
    named = [row for row in candidates if any(erased_in(lines[row].as_py(), is_erased))]
    if not named:
        return rejects
    rows = pa.array(named, pa.int64())
    for name, mask in (("valor", _erased_value), ("detalle", erased_detail), ("fila_original", _erased_line)):
        column = rejects.column(name).combine_chunks()
        rejects = _replace(rejects, name, _with(column, rows, [mask(text) for text in column.take(rows).to_pylist()]))
    return rejects


def erased_detail(detail: str) -> str:
    """Take the values out of a rejected record's ``detalle``, a JSON list of its broken rules."""
    entries = json.loads(detail)
    for entry in entries:
        entry["valor"] = _erased_value(entry["valor"])
    return json.dumps(entries, ensure_ascii=False)


def _erased_value(value: str | None) -> str | None:
    return None if value is None else ERASED_TEXT


def _erased_line(_line: str) -> str:
    return ERASED_TEXT


def _replace(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)


def _mapped(column: pa.ChunkedArray, change: Callable[[str], str]) -> pa.Array:
    """Change the values that may hold an address; the others are not looked at one by one."""
    values = column.combine_chunks()
    rows = _with_sign(values)
    if not rows:
        return values
    return _with(values, pa.array(rows, pa.int64()), [change(values[row].as_py()) for row in rows])


def _with_sign(values: pa.Array) -> list[int]:
    """The places of values with an ``@`` or a ``%40``."""
    found = reduce(pc.or_, [pc.match_substring(values, sign) for sign in ("@", "%40")])
    places: list[int] = pc.indices_nonzero(pc.fill_null(found, False)).to_pylist()
    return places


def _with(values: pa.Array, rows: pa.Array, changed: list[str | None]) -> pa.Array:
    """The values, with others at some places."""
    mask = np.zeros(len(values), bool)
    mask[rows.to_numpy()] = True
    return pc.replace_with_mask(values, pa.array(mask), pa.array(changed, values.type))
