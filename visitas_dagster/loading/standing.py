"""What stands in the tables for a name now, read back as the batches that validation makes.

Reading loaded records belongs here; comparing and writing them does not.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from sqlalchemy import Engine, select

from visitas_dagster.domain.contract import VALID_SCHEMA
from visitas_dagster.domain.states import CURRENT, LOADED
from visitas_dagster.loading.tables import bitacora_control, estadisticas
from visitas_dagster.resources.database import reading

_BATCH = 20_000


def current_version(engine: Engine, archivo: str) -> int | None:
    """The ledger key of the version whose records stand for a name: its own, or of the name it is a duplicate of."""
    own, carrier = bitacora_control.alias("own"), bitacora_control.alias("carrier")
    loaded = [state.value for state in LOADED]
    with reading(engine) as connection:
        return connection.execute(
            select(carrier.c.id)
            .select_from(own.join(carrier, own.c.sha256 == carrier.c.sha256))
            .where(
                own.c.archivo == archivo,
                own.c.vigente,
                own.c.estado.in_([state.value for state in CURRENT]),
                carrier.c.vigente,
                carrier.c.estado.in_(loaded),
            )
            .limit(1)
        ).scalar()


def standing_records(engine: Engine, entry_id: int) -> Iterator[pa.Table]:
    """Yield the records that stand for a ledger row, in tables of ``VALID_SCHEMA``; memory stays bounded."""
    columns = [estadisticas.c[name] for name in VALID_SCHEMA.names]
    with reading(engine) as connection:
        result = connection.execution_options(yield_per=_BATCH).execute(
            select(*columns).where(estadisticas.c.archivo_id == entry_id)
        )
        for rows in result.partitions():
            yield pa.Table.from_pylist([dict(row._mapping) for row in rows], VALID_SCHEMA)
