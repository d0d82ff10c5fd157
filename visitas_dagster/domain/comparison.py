"""What a correction would change: the records of two versions of a report, compared.

Comparing tables of valid records belongs here; where the versions come from does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

Hashes = npt.NDArray[np.uint64]

_KEY = ("email", "fecha_envio")
_LINE = "linea"


@dataclass(frozen=True)
class Change:
    """How two versions of a report differ, in records.

    A visit is known by its e-mail and moment: one that both versions have, with other values, is *changed*; what
    only the new version has is *added*, what only the old one has *removed*. The line number plays no part.

    Attributes:
        added, removed, changed, kept: records.
        visitors: distinct e-mails with a record that is not kept.
    """

    added: int
    removed: int
    changed: int
    kept: int
    visitors: int


@dataclass(frozen=True)
class Fingerprints:
    """The records of one version, 24 bytes each whatever their length: a version of any size can be compared.

    Attributes:
        rows: of all values but the line number.
        keys: of e-mail and moment.
        emails: of the e-mail.
    """

    rows: Hashes
    keys: Hashes
    emails: Hashes


def fingerprints(batches: Iterable[pa.Table]) -> Fingerprints:
    """Hash a version's valid records (``VALID_SCHEMA``), batch by batch."""
    parts = [_hashed(batch) for batch in batches if batch.num_rows]
    if not parts:
        empty = np.zeros(0, np.uint64)
        return Fingerprints(empty, empty, empty)
    rows, keys, emails = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Fingerprints(rows, keys, emails)


def _hashed(batch: pa.Table) -> tuple[Hashes, Hashes, Hashes]:
    frame = batch.drop_columns([_LINE]).to_pandas(types_mapper=pd.ArrowDtype)
    # As text, with a mark for null: the hash of a null differs between pandas' versions and types.
    text = frame.astype("object").where(frame.notna(), "\0").astype(str)
    return tuple(
        pd.util.hash_pandas_object(text[list(columns)], index=False).to_numpy(np.uint64)
        for columns in (text.columns, _KEY, _KEY[:1])
    )  # type: ignore[return-value]  # three columns, three arrays


def compare(old: Fingerprints, new: Fingerprints) -> Change:
    """Compare two versions; records that occur several times count as often."""
    old_left, new_left = _without_common(old.rows, new.rows)
    kept = len(old.rows) - len(old_left)
    old_keys, new_keys = old.keys[old_left], new.keys[new_left]
    only_old, only_new = _without_common(old_keys, new_keys)
    changed = len(old_keys) - len(only_old)
    touched = np.union1d(old.emails[old_left], new.emails[new_left])
    return Change(len(only_new), len(only_old), changed, kept, len(touched))


def _without_common(left: Hashes, right: Hashes) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the positions of what is left of each side after taking out pairs of equal values."""
    values, codes = np.unique(np.concatenate([left, right]), return_inverse=True)
    left_codes, right_codes = codes[: len(left)], codes[len(left) :]
    common = np.minimum(np.bincount(left_codes, minlength=len(values)), np.bincount(right_codes, minlength=len(values)))
    return _beyond(left_codes, common), _beyond(right_codes, common)


def _beyond(codes: npt.NDArray[np.intp], common: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Positions of the occurrences of each value beyond its first ``common`` ones."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    starts = np.searchsorted(ordered, ordered)
    occurrence = np.arange(len(ordered)) - starts
    return order[occurrence >= common[ordered]]
