"""What the web UI shows of a partition: numbers, a table of rejects, a chart of error types, column schemas.

Turning results into Dagster's metadata belongs here; computing them does not.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

import dagster as dg
from dagster import MetadataValue, TableColumn, TableColumnConstraints, TableRecord, TableSchema

from visitas_dagster.domain.contract import SCHEMA
from visitas_dagster.domain.failures import VisitasError
from visitas_dagster.domain.layout import COLUMNS
from visitas_dagster.domain.privacy import mask_addresses, mask_value
from visitas_dagster.loading.prepared import Prepared
from visitas_dagster.loading.tables import metadata as tables
from visitas_dagster.steps.task import FileTask

Metadata = dict[str, MetadataValue]

_EMAIL = COLUMNS[0].header
_STOPPED = "El archivo no pasó de aquí; el porqué está en «motivo»."
_CELL = 80
"""Characters of a value shown in a table."""


def contract_columns() -> TableSchema:
    """The report's columns as the Pandera contract declares them, with their rules."""
    return TableSchema(
        [
            TableColumn(
                name,
                "string",
                f"{column.title}: {column.description}",
                TableColumnConstraints(other=[check.name for check in column.checks]),
            )
            for name, column in SCHEMA.columns.items()
        ]
    )


def table_columns(name: str) -> TableSchema:
    """The columns of one of the database's tables; those of the report keep the contract's descriptions."""
    described = {field: column.description for field, column in SCHEMA.columns.items()}
    return TableSchema(
        [
            TableColumn(
                column.name,
                str(column.type).lower(),
                described.get(column.name),
                TableColumnConstraints(nullable=bool(column.nullable), unique=column.primary_key),
            )
            for column in tables.tables[name].columns
        ]
    )


def raw_file(task: FileTask) -> Metadata:
    """Size, digest and encoding of the bytes, and where they came from."""
    facts = task.facts
    if facts is None:
        return {}
    origin = "servidor SFTP" if task.listed else "copia local (cuarentena o respaldo)"
    found: Metadata = {
        "bytes": MetadataValue.int(facts.size),
        "sha256": MetadataValue.text(facts.sha256),
        "codificacion": MetadataValue.text(facts.encoding),
        "origen": MetadataValue.text(origin),
    }
    if task.listed is not None:
        found["modificado_origen"] = MetadataValue.timestamp(float(task.listed.mtime))
    if task.entry is not None:
        found["intentos"] = MetadataValue.int(task.entry.intentos)
    return found


def validated(prepared: Prepared) -> Metadata:
    """Counts, the error rate and, where records were rejected, their table and chart."""
    return {
        "dagster/row_count": MetadataValue.int(prepared.valid),
        "registros_total": MetadataValue.int(prepared.total),
        "registros_invalidos": MetadataValue.int(prepared.invalid),
        "tasa_error": MetadataValue.float(round(prepared.error_rate, 6)),
        **rejects(prepared),
    }


def rejects(prepared: Prepared) -> Metadata:
    """The first rejected records and a chart of the error types; nothing where no record was rejected."""
    if not prepared.invalid:
        return {}
    return {
        "primeros_rechazos": MetadataValue.table(
            [
                TableRecord(
                    {
                        "linea": _integer(row["linea"]),
                        "tipo_error": str(row["tipo_error"]),
                        "campo": _cell(row["campo"]),
                        "valor": _cell(_hidden(row["campo"], row["valor"])),
                    }
                )
                for row in prepared.sample
            ],
            TableSchema(
                [
                    TableColumn("linea", "int"),
                    TableColumn("tipo_error"),
                    TableColumn("campo"),
                    TableColumn("valor"),
                ]
            ),
        ),
        "tipos_de_error": MetadataValue.md(
            f"![Errores por tipo](data:image/svg+xml;base64,{_chart(prepared.error_types)})\n\n"
            + "| tipo_error | registros |\n| --- | ---: |\n"
            + "\n".join(f"| {code} | {count} |" for code, count in prepared.error_types.items())
        ),
    }


def _integer(value: object) -> int:
    return value if isinstance(value, int) else 0


def _hidden(column: object, value: object) -> str:
    """A rejected value without whose it is: Dagster keeps it for longer than anybody's record stands."""
    text = "" if value is None else str(value)
    return mask_value(text) if column == _EMAIL else mask_addresses(text)


def _cell(value: object) -> str:
    """Text from outside, shortened: the UI shows it as text, never as markup."""
    text = "" if value is None else str(value)
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


def _chart(error_types: Mapping[str, int]) -> str:
    """A bar chart of rejected records by type, SVG in base64. Drawn only for files with rejects."""
    import pygal  # here, not at the top: most files have no rejects, and a command's start should not pay for it
    from pygal.style import LightColorizedStyle

    chart = pygal.HorizontalBar(
        style=LightColorizedStyle(background="white", plot_background="white", font_family="sans-serif"),
        show_legend=False,
        print_values=True,
        print_values_position="top",
        width=640,
        height=90 + 40 * len(error_types),
        title="Registros rechazados por tipo de error",
        disable_xml_declaration=True,
        js=[],
        explicit_size=True,
        show_x_labels=False,
    )
    chart.x_labels = list(error_types)[::-1]
    chart.add("registros", list(error_types.values())[::-1])
    return base64.b64encode(chart.render(is_unicode=True).encode()).decode("ascii")


def error_rows(prepared: Prepared) -> Metadata:
    """What went into ``errores``."""
    return {"dagster/row_count": MetadataValue.int(prepared.invalid), **rejects(prepared)}


def loaded(task: FileTask) -> dict[str, Metadata]:
    """Metadata of the three tables after the transaction, by table."""
    if task.loaded is None or task.prepared is None:
        return {}
    result = task.loaded
    common: Metadata = {"estado": MetadataValue.text(result.estado.value)}
    if task.entry is not None:
        common["archivo_id"] = MetadataValue.int(task.entry.id)
    if result.replaces is not None:
        common["reemplaza_a"] = MetadataValue.int(result.replaces)
    if result.duplicate_of is not None:
        common["mismo_contenido_que"] = MetadataValue.text(result.duplicate_of)
    return {
        "errores": common | (error_rows(task.prepared) if result.duplicate_of is None else {}),
        "estadisticas": common | {"dagster/row_count": MetadataValue.int(result.valid)},
        "visitantes": common
        | {
            "visitantes_nuevos": MetadataValue.int(result.new_visitors),
            "visitantes_actualizados": MetadataValue.int(result.known_visitors),
        },
    }


def failure(asset: str, task: FileTask, reason: VisitasError) -> dg.AssetObservation:
    """Why a file got no further than this asset, in the partition's own page."""
    found: Metadata = {"motivo": MetadataValue.text(reason.mensaje)}
    if reason.remedio:
        found["remedio"] = MetadataValue.text(reason.remedio)
    # The UI reads a description as Markdown: a column named `![x](http://…)` would have it ask that server.
    return dg.AssetObservation(
        asset_key=dg.AssetKey(asset), partition=task.archivo, description=_STOPPED, metadata=found
    )


def materialization(asset: str, task: FileTask, found: Metadata) -> dg.AssetMaterialization:
    """One asset's event for one file."""
    return dg.AssetMaterialization(asset_key=dg.AssetKey(asset), partition=task.archivo, metadata=found)
