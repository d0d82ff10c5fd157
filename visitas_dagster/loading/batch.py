"""The temporary tables of a session, which hold what one file brings while its transaction is open.

Making, filling and emptying them belongs here; what is asked of them does not.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from visitas_dagster.loading.statements import statement

EMAILS: Final = "lote_correos"
"""The visitors to be counted anew."""

VISITS: Final = "lote_visitas"
"""The visits of a version that replaces another."""

STAYING: Final = "lote_quedan"
"""Which of them stand already."""

LEAVING: Final = "lote_salen"
"""The visits of the replaced version that do not come again."""

ENTERING: Final = "lote_entran"
"""Those of the version that comes which do not stand in their line."""

# What is known of a session, kept with it by SQLAlchemy for as long as it lives.
_MADE = "visitas_lotes"
_FILLED = "visitas_lotes_usados"


def create(connection: Connection, dialect: str) -> None:
    """Create the tables where the session has none yet, outside the load's transaction."""
    if _MADE not in connection.info:
        for name in (EMAILS, VISITS, STAYING, LEAVING, ENTERING):
            connection.execute(statement(f"{name}_crear", dialect))
        connection.commit()
        connection.info[_MADE] = True


def expect(connection: Connection, *names: str) -> None:
    """Say that rows are about to go into these tables."""
    connection.info.setdefault(_FILLED, set()).update(names)


def empty(connection: Connection) -> None:
    """Empty those that the session has filled before."""
    # The marks stay: a transaction that is rolled back brings the rows back.
    for name in connection.info.get(_FILLED, ()):
        connection.exec_driver_sql(f"DELETE FROM {name}")
