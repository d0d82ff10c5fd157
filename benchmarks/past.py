"""A history written straight into the tables: files that were loaded long ago, and what they brought.

Filling ledger, visits and visitors as loads would have left them belongs here; measuring what meets them does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
from sqlalchemy import Engine, Table, insert, text

from benchmarks.files import addresses
from visitas_dagster.domain.ladder import Resultado
from visitas_dagster.domain.states import Estado
from visitas_dagster.loading.statements import dialect_of
from visitas_dagster.loading.tables import (
    bitacora_control,
    bitacora_intentos,
    contenidos_cargados,
    estadisticas,
    visitantes,
)
from visitas_dagster.loading.visitors import VisitorTables
from visitas_dagster.loading.writers import LoadDataWriter
from visitas_dagster.resources.platform import Platform

_BEGIN: Final = datetime(2012, 1, 1)
_EVERY: Final = timedelta(hours=1)
_INSERTED = 5000
_RUN = "00000000-0000-4000-8000-000000000000"


def remember_files(engine: Engine, files: int, records: int, *, first: int = 1) -> None:
    """Write so many loaded files, ``report_<first>.txt`` onwards, into the empty ledger; keys begin at 1."""
    for start in range(0, files, _INSERTED):
        entries = range(start + 1, min(start + _INSERTED, files) + 1)
        with engine.begin() as connection:
            connection.execute(
                insert(bitacora_control), [_entry(entry, first + entry - 1, records) for entry in entries]
            )
            connection.execute(insert(contenidos_cargados), [_content(entry) for entry in entries])
            connection.execute(insert(bitacora_intentos), [_attempt(entry) for entry in entries])
    analyze(engine, bitacora_control, contenidos_cargados, bitacora_intentos)


def _entry(entry: int, number: int, records: int) -> dict[str, object]:
    begin = _BEGIN + _EVERY * entry
    return {
        "id": entry,
        "archivo": f"report_{number}.txt",
        "sha256": f"{entry:064x}",
        "bytes": records * 74,
        "modificado_origen": begin,
        "codificacion": "utf-8",
        "estado": Estado.COMPLETADO.value,
        "intentos": 1,
        "registros_total": records,
        "registros_validos": records,
        "registros_invalidos": 0,
        "visitantes_nuevos": 0,
        "visitantes_actualizados": records,
        "inicio": begin,
        "fin": begin + timedelta(seconds=1),
        "duracion_ms": 1000,
        "run_id": _RUN,
        "vigente": True,
    }


def _content(entry: int) -> dict[str, object]:
    return {"sha256": f"{entry:064x}", "archivo_id": entry}


def _attempt(entry: int) -> dict[str, object]:
    begin = _BEGIN + _EVERY * entry
    return {
        "archivo_id": entry,
        "run_id": _RUN,
        "inicio": begin,
        "fin": begin + timedelta(seconds=1),
        "resultado": Resultado.CARGADO.value,
    }


def remember_visits(platform: Platform, files: int, records: int, visitors: int) -> None:
    """Write what the first ``files`` rows of the ledger brought: ``records`` visits in all, by so many visitors.

    Every visitor comes as often as the others, in no order; a file's visits lie together, in the order of its
    e-mails, as a load leaves them. The index over the e-mails is made at the end, as after a restored backup; the
    visitors are added up by the platform's own statements.
    """
    engine = platform.engine
    index = "ix_estadisticas_email_fecha"
    writer = LoadDataWriter()
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE estadisticas DROP INDEX {index}"))
    for batch in _visits(files, records, visitors):
        with engine.begin() as connection:
            writer.write(connection, "estadisticas", writer.pack(batch), {})
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE estadisticas ADD INDEX {index} (email, fecha_envio)"))
    _add_up(platform)
    analyze(engine, estadisticas, visitantes)


def _visits(files: int, records: int, visitors: int) -> Iterator[pa.Table]:
    """Yield the visits, some hundred files at a time."""
    drawn = np.random.default_rng(0).permutation(np.arange(records, dtype=np.int64) % visitors)
    each = records // files
    together = max(1, 250_000 // each)
    for start in range(0, files, together):
        numbers = drawn[start * each : min(start + together, files) * each]
        entries = start + 1 + np.arange(len(numbers)) // each
        sent = np.datetime64(_BEGIN, "s") + entries * np.timedelta64(_EVERY)
        zeros = pa.array(np.zeros(len(numbers), np.int64))
        yield pa.table(
            {
                "archivo_id": pa.array(entries),
                "linea": pa.array(2 + np.arange(len(numbers)) % each),
                "email": addresses(numbers, visitors),
                "fecha_envio": pa.array(sent.astype("datetime64[s]")),
                "opens": zeros,
                "opens_virales": zeros,
                "clicks": zeros,
                "clicks_virales": zeros,
            }
        ).sort_by([("archivo_id", "ascending"), ("email", "ascending")])


def _add_up(platform: Platform) -> None:
    dialect = dialect_of(platform.engine)
    with platform.engine.connect() as connection:
        VisitorTables.create_temporary(connection, dialect)
        connection.commit()
        with connection.begin():
            tables = VisitorTables(connection, dialect, _BEGIN)
            period = tables.turn_period(platform.today(), alone=True)
            tables.empty_batch()
            connection.execute(text("INSERT INTO lote_correos SELECT DISTINCT email FROM estadisticas ORDER BY email"))
            tables.recount(period)


def analyze(engine: Engine, *tables: Table) -> None:
    """Have the server look at how the tables' values lie, as it does by itself in time."""
    with engine.begin() as connection:
        for table in tables:
            connection.execute(text(f"ANALYZE TABLE {table.name}")).all()
