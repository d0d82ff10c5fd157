"""The contents that copies on disk stand for: told from their names, with the ledger's word on each.

Reading names back and asking the ledger belongs here; moving and sealing the copies does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Engine, select

from visitas_dagster.loading.tables import bitacora_control as ledger
from visitas_dagster.resources.database import reading

_LOOKUP = 500
_COPY = re.compile(r"(?P<stem>.*)__(?P<digest>[0-9a-f]{12})(?:\+[0-9a-f]{12})?(?P<suffix>\.[^.]*)?", re.DOTALL)


@dataclass(frozen=True)
class CopyName:
    """What the name of a copy in the backup says.

    Attributes:
        archivo: the report's name.
        digest: the first twelve digits of the content's SHA-256, as it was delivered.
    """

    archivo: str
    digest: str


def copy_name(name: str) -> CopyName | None:
    """Read the name of a copy, as :class:`~visitas_dagster.resources.folders.Folders` makes it; None for others."""
    match = _COPY.fullmatch(name)
    if match is None:
        return None
    return CopyName(match["stem"] + (match["suffix"] or ""), match["digest"])


def second_name(name: str, sha256: str) -> str:
    """Name other bytes that came under a copy's name, by the digest that they have themselves."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}+{sha256[:12]}{dot}{suffix}" if dot else f"{name}+{sha256[:12]}"


def states(engine: Engine, names: Iterable[str]) -> dict[str, str]:
    """Return, by the copy's name, the state that the ledger has for its content; names it does not know are left out.

    Raises:
        SystemFailure: the database failed.
    """
    told = {name: parsed for name in names if (parsed := copy_name(name)) is not None}
    wanted = sorted({parsed.archivo for parsed in told.values()})
    known: dict[CopyName, str] = {}
    with reading(engine) as connection:
        for start in range(0, len(wanted), _LOOKUP):
            rows = connection.execute(
                select(ledger.c.archivo, ledger.c.sha256, ledger.c.estado).where(
                    ledger.c.archivo.in_(wanted[start : start + _LOOKUP]), ledger.c.sha256.is_not(None)
                )
            )
            known.update((CopyName(row.archivo, row.sha256[:12]), row.estado) for row in rows)
    return {name: known[parsed] for name, parsed in told.items() if parsed in known}
