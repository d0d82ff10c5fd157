"""A report's three files under ``reportes/``: the page, its figures as JSON, and a table as CSV.

Names, formats and durable writing belong here; the numbers are ``figures.py``, the page ``report_page.py``.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from visitas_dagster.closing.figures import (
    Figures,
    FileLine,
    Period,
    Tally,
    each_file,
    gather,
    local,
)
from visitas_dagster.closing.figures import day as day_period
from visitas_dagster.closing.figures import month as month_period
from visitas_dagster.closing.report_page import page
from visitas_dagster.domain.privacy import mask_addresses
from visitas_dagster.domain.spreadsheet import safe_cell
from visitas_dagster.domain.states import Estado
from visitas_dagster.resources.folders import disk_errors, replaced_durably
from visitas_dagster.resources.platform import Platform


@dataclass(frozen=True)
class ReportFiles:
    """Where a report was written."""

    html: Path
    json: Path
    csv: Path


def write_daily(platform: Platform, day: date) -> ReportFiles:
    """Write ``diario_YYYYMMDD`` for a day of ``VISITAS_ZONA_HORARIA``; an earlier one is replaced.

    Raises:
        SystemFailure: the database or the disk failed; each file is whole, the old one or the new one.
    """
    return write(platform, gather(platform, day_period(day)))


def write_monthly(platform: Platform, year: int, month: int) -> ReportFiles:
    """Write ``mensual_YYYYMM`` for a month of ``VISITAS_ZONA_HORARIA``; an earlier one is replaced.

    Raises:
        ValueError: there is no such month.
        SystemFailure: as for :func:`write_daily`.
    """
    return write(platform, gather(platform, month_period(year, month)))


def write(platform: Platform, figures: Figures) -> ReportFiles:
    """Write the report of these figures.

    Raises:
        SystemFailure: as for :func:`write_daily`.
    """
    period = figures.period
    stem = f"mensual_{period.start:%Y%m}" if period.monthly else f"diario_{period.start:%Y%m%d}"
    folder = platform.folders.reportes
    files = ReportFiles(*(folder / f"{stem}.{suffix}" for suffix in ("html", "json", "csv")))
    rows = _day_rows(figures.days) if period.monthly else _file_rows(platform, period)
    _write_durably(files.csv, _csv(rows))
    _write_durably(files.json, [json.dumps(as_json(figures), ensure_ascii=False, indent=2), "\n"])
    # Last: whoever sees the page finds its companions beside it.
    _write_durably(files.html, [page(figures)])
    return files


# ---------------------------------------------------------------------------------------------------------- JSON


def as_json(figures: Figures) -> dict[str, Any]:
    """The figures in JSON's own types, by Spanish names; rates are shares from 0 to 1, null where nothing came."""
    return {
        "periodo": figures.period.name,
        "tipo": "mensual" if figures.period.monthly else "diario",
        "zona_horaria": figures.zone,
        "generado_en": figures.made_at.isoformat(timespec="seconds"),
        **_tally(figures.tally),
        "errores_por_tipo": [{"tipo_error": code, "registros": count} for code, count in figures.error_types],
        "archivos_mas_lentos": [_file(line) for line in figures.slowest],
        "fallos": [_file(line) for line in figures.failures],
        "por_atender": {estado.value: count for estado, count in figures.waiting.items()},
        "visitantes_totales": figures.visitors,
        "tendencia": [{"periodo": tally.period.name, **_tally(tally)} for tally in figures.trend],
        "dias": [{"periodo": tally.period.name, **_tally(tally)} for tally in figures.days],
    }


def _tally(tally: Tally) -> dict[str, Any]:
    return {
        "archivos": tally.file_count,
        "estados": {estado.value: tally.files.get(estado, 0) for estado in Estado},
        "registros_total": tally.total,
        "registros_validos": tally.valid,
        "registros_invalidos": tally.invalid,
        "tasa_exito": _share(tally.success_rate),
        "tasa_error": _share(tally.error_rate),
        "visitantes_nuevos": tally.new_visitors,
        "visitantes_actualizados": tally.known_visitors,
        "bytes": tally.bytes,
        "duracion_ms": tally.busy_ms,
    }


def _file(line: FileLine) -> dict[str, Any]:
    return {
        "archivo": line.archivo,
        "estado": line.estado.value,
        "fin": line.moment.isoformat(timespec="seconds") if line.moment else None,
        "registros_total": line.records,
        "bytes": line.bytes,
        "duracion_ms": line.took_ms,
        "mensaje": line.mensaje,
    }


def _share(rate: float | None) -> float | None:
    return round(rate, 6) if rate is not None else None


# ----------------------------------------------------------------------------------------------------------- CSV


def _file_rows(platform: Platform, period: Period) -> Iterator[Sequence[Any]]:
    """A row a file of the day."""
    columns = (
        "registros_total",
        "registros_validos",
        "registros_invalidos",
        "visitantes_nuevos",
        "visitantes_actualizados",
        "bytes",
        "intentos",
        "duracion_ms",
    )
    yield ("archivo", "estado", "fin", *columns, "mensaje")
    for row in each_file(platform, period):
        moment = local(row["fin"], platform.settings.zone)
        yield (
            _text(row["archivo"]),
            row["estado"],
            moment.isoformat(sep=" ", timespec="seconds") if moment else "",
            *(row[name] for name in columns),
            _text(row["mensaje"] or ""),
        )


def _day_rows(days: Iterable[Tally]) -> Iterator[Sequence[Any]]:
    """A row a day of the month."""
    first = True
    for tally in days:
        flat = {"fecha": tally.period.name, **_tally(tally)}
        states = flat.pop("estados")
        if first:
            yield (*flat, *states)
            first = False
        yield (*flat.values(), *states.values())


def _text(value: str) -> str:
    return safe_cell(mask_addresses(value))


def _csv(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    # Excel takes a file without this mark for one in the machine's own encoding.
    buffer.write("\ufeff")
    for row in rows:
        writer.writerow(["" if cell is None else cell for cell in row])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


# ---------------------------------------------------------------------------------------------------------- disk


def _write_durably(path: Path, pieces: Iterable[str]) -> None:
    """Put a text in its place: a reader sees a whole file, the old one or the new one."""
    with disk_errors("guardar el reporte"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_durably(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as writing:
            writing.writelines(pieces)
