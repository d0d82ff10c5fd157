"""Whether the server has memory for the pages that every file touches: its e-mails lie all over them.

Looking and saying so belongs here; the memory is the server's administrator's, and what it changes stands in
``docs/performance.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, text

from visitas_dagster.loading.statements import dialect_of
from visitas_dagster.resources.database import reading

_MIB = 1 << 20

# What the account may ask for; the servers tell the size of a single index to administrators only. That of the index by
# file is thus counted as well, of which a load touches the end.
_SIZES = text(
    "SELECT @@GLOBAL.innodb_buffer_pool_size, "
    "COALESCE(SUM(CASE WHEN table_name = 'estadisticas' THEN index_length ELSE data_length END), 0) "
    "FROM information_schema.tables "
    "WHERE table_schema = DATABASE() AND table_name IN ('estadisticas', 'visitantes')"
)


@dataclass(frozen=True)
class Pages:
    """A server's pages.

    Attributes:
        memory: bytes that it has for all of them.
        touched: bytes of the indexes of ``estadisticas`` and of the rows of ``visitantes``, as the server last counted.
    """

    memory: int
    touched: int

    @property
    def notice(self) -> str | None:
        """What to tell the operator: they do not fit, so that a load reads and writes most of them on the disk."""
        if self.touched <= self.memory:
            return None
        return (
            f"la base de datos tiene {_mib(self.memory)} MiB para páginas (innodb_buffer_pool_size), y los índices de "
            f"estadisticas con visitantes ocupan {_mib(self.touched)} MiB: cada archivo tarda hasta el doble; pida a "
            "quien administra el servidor que la suba por encima de eso"
        )


def look_at_pages(engine: Engine) -> Pages | None:
    """Ask the server; None for SQLite, whose pages the system keeps.

    Raises:
        SystemFailure: the database failed.
    """
    if dialect_of(engine) == "sqlite":
        return None
    with reading(engine) as connection:
        memory, touched = connection.execute(_SIZES).one()
    return Pages(int(memory), int(touched))


def _mib(size: int) -> int:
    return round(size / _MIB)
