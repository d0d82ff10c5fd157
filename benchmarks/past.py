"""A history written straight into the tables: files that were loaded long ago, and what they brought.

Filling ledger, visits and visitors as loads would have left them belongs here; measuring what meets them does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
from sqlalchemy import Engine, Table, insert, text

from benchmarks.files import addresses
from visitas_dagster.closing.journal import DONE
from visitas_dagster.domain.ladder import Resultado
from visitas_dagster.domain.states import Estado
from visitas_dagster.loading import batch
from visitas_dagster.loading.statements import dialect_of
from visitas_dagster.loading.tables import (
    bitacora_control,
    bitacora_intentos,
    cierres,
    contenidos_cargados,
    estadisticas,
    visitantes,
)
from visitas_dagster.loading.visitors import VisitorTables
from visitas_dagster.loading.writers import LoadDataWriter
from visitas_dagster.resources.platform import Platform

_DAYS: Final = 100
"""Days back to the first file, and to the first close."""
_INSERTED = 5000
_RUN = "00000000-0000-4000-8000-000000000000"


def remember_files(engine: Engine, files: int, records: int, *, first: int = 1) -> None:
    """Write so many loaded files, ``report_<first>.txt`` onwards, into the empty ledger; keys begin at 1."""
    _remember_closes(engine)
    begins = _moments(files)
    for start in range(0, files, _INSERTED):
        entries = range(start + 1, min(start + _INSERTED, files) + 1)
        with engine.begin() as connection:
            connection.execute(
                insert(bitacora_control),
                [_entry(entry, first + entry - 1, records, begins[entry - 1]) for entry in entries],
            )
            connection.execute(insert(contenidos_cargados), [_content(entry) for entry in entries])
            connection.execute(insert(bitacora_intentos), [_attempt(entry, begins[entry - 1]) for entry in entries])
    analyze(engine, bitacora_control, contenidos_cargados, bitacora_intentos)


def _moments(files: int) -> list[datetime]:
    """Return when each file came, naive UTC: evenly, the last one an hour ago."""
    last = datetime.now(UTC).replace(tzinfo=None, microsecond=0) - timedelta(hours=1)
    return [last - timedelta(days=_DAYS) * ((files - entry) / files) for entry in range(1, files + 1)]


def _remember_closes(engine: Engine) -> None:
    """Write that every day was closed in the night after it."""
    today = datetime.now(UTC).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
    days = [today - timedelta(days=number) for number in range(1, _DAYS + 2)]
    with engine.begin() as connection:
        connection.execute(insert(cierres), [_close(day) for day in days])


def _close(day: datetime) -> dict[str, object]:
    begin = day + timedelta(days=1, hours=12)
    return {"fecha": day.date(), "estado": DONE, "intentos": 1, "inicio": begin, "fin": begin + timedelta(minutes=1)}


def _entry(entry: int, number: int, records: int, begin: datetime) -> dict[str, object]:
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


def _attempt(entry: int, begin: datetime) -> dict[str, object]:
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
    for visits in _visits(files, records, visitors):
        with engine.begin() as connection:
            writer.write(connection, "estadisticas", writer.pack(visits), {})
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE estadisticas ADD INDEX {index} (email, fecha_envio)"))
    _add_up(platform)
    analyze(engine, estadisticas, visitantes)


def _visits(files: int, records: int, visitors: int) -> Iterator[pa.Table]:
    """Yield the visits, some hundred files at a time."""
    begins = np.array(_moments(files), "datetime64[s]")
    drawn = np.random.default_rng(0).permutation(np.arange(records, dtype=np.int64) % visitors)
    each = records // files
    together = max(1, 250_000 // each)
    for start in range(0, files, together):
        numbers = drawn[start * each : min(start + together, files) * each]
        entries = start + 1 + np.arange(len(numbers)) // each
        sent = begins[entries - 1]
        zeros = pa.array(np.zeros(len(numbers), np.int64))
        yield pa.table(
            {
                "archivo_id": pa.array(entries),
                "linea": pa.array(2 + np.arange(len(numbers)) % each),
                "email": addresses(numbers, visitors),
                "fecha_envio": pa.array(sent),
                "opens": zeros,
                "opens_virales": zeros,
                "clicks": zeros,
                "clicks_virales": zeros,
            }
        ).sort_by([("archivo_id", "ascending"), ("email", "ascending")])


def _add_up(platform: Platform) -> None:
    dialect = dialect_of(platform.engine)
    with platform.engine.connect() as connection:
        batch.create(connection, dialect)
        connection.commit()
        with connection.begin():
            tables = VisitorTables(connection, dialect, platform.now())
            period = tables.turn_period(platform.today(), alone=True)
            batch.empty(connection)
            connection.execute(text("INSERT INTO lote_correos SELECT DISTINCT email FROM estadisticas ORDER BY email"))
            tables.recount(period)


def analyze(engine: Engine, *tables: Table) -> None:
    """Have the server look at how the tables' values lie, as it does by itself in time."""
    with engine.begin() as connection:
        for table in tables:
            connection.execute(text(f"ANALYZE TABLE {table.name}")).all()
