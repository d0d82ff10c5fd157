"""The graph of four ops behind the five assets.

How the ops hang together and what the assets are called belongs here; what an op does stands beside its asset.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from visitas_dagster.assets import checks, metadata
from visitas_dagster.assets.raw_file import descargar
from visitas_dagster.assets.tables import archivar, cargar
from visitas_dagster.assets.validated_records import validar
from visitas_dagster.partitions import archivos

GROUP = "visitas"
OWNER = "team:datos"

_LAYOUT = checks.LAYOUT.get_python_identifier()
_RATE = checks.ERROR_RATE.get_python_identifier()
_LEDGER = checks.LEDGER.get_python_identifier()

_DEPENDS: Mapping[str, set[str]] = {
    "raw_file": set(),
    "validated_records": {"raw_file"},
    "errores": {"validated_records"},
    "estadisticas": {"validated_records"},
    "visitantes": {"estadisticas"},
}
ASSETS = tuple(_DEPENDS)

_DESCRIPTIONS = {
    "raw_file": "Los bytes de un reporte, completos y duraderos, tal como llegaron por SFTP.",
    "validated_records": "Los registros del reporte, separados en válidos y rechazados por el contrato (Pandera).",
    "errores": "Tabla `errores`: cada registro rechazado, con su línea, su texto y todas las reglas que rompe.",
    "estadisticas": "Tabla `estadisticas`: cada registro válido es una visita.",
    "visitantes": "Tabla `visitantes`: un renglón por correo, igual al agregado de `estadisticas`.",
}


@dg.graph(out={name: dg.GraphOut() for name in (*ASSETS, _LAYOUT, _RATE, _LEDGER)})
def procesar_archivo() -> Any:
    """Take each file of the run from the server into the tables."""
    raw_file, descargados = descargar()
    validated_records, layout, rate, validados = validar(descargados)
    errores, estadisticas, visitantes, cargados = cargar(validados)
    ledger = archivar(cargados)
    return {
        "raw_file": raw_file,
        "validated_records": validated_records,
        "errores": errores,
        "estadisticas": estadisticas,
        "visitantes": visitantes,
        _LAYOUT: layout,
        _RATE: rate,
        _LEDGER: ledger,
    }


def build_assets(*, files_per_run: int, database: str) -> dg.AssetsDefinition:
    """Return the five assets.

    Args:
        files_per_run: partitions a run of a backfill covers at the most.
        database: ``mysql``, ``mariadb`` or ``sqlite``, for the UI's badges.
    """
    return dg.AssetsDefinition.from_graph(
        procesar_archivo,
        keys_by_output_name={name: dg.AssetKey(name) for name in ASSETS},
        internal_asset_deps={name: {dg.AssetKey(key) for key in keys} for name, keys in _DEPENDS.items()},
        partitions_def=archivos,
        group_name=GROUP,
        descriptions_by_output_name=_DESCRIPTIONS,
        owners_by_output_name={name: [OWNER] for name in ASSETS},
        tags_by_output_name={name: _kinds(name, database) for name in ASSETS},
        metadata_by_output_name={name: _definition_metadata(name) for name in ASSETS},
        check_specs=checks.ALL,
        can_subset=False,
        backfill_policy=dg.BackfillPolicy.multi_run(files_per_run),
    )


def _kinds(name: str, database: str) -> dict[str, str]:
    kinds = {"raw_file": ("sftp", "csv"), "validated_records": ("pandera", "arrow")}.get(name, (database, "table"))
    return {f"dagster/kind/{kind}": "" for kind in kinds}


def _definition_metadata(name: str) -> dict[str, Any]:
    if name == "raw_file":
        return {}
    if name == "validated_records":
        return {"dagster/column_schema": metadata.contract_columns()}
    return {"dagster/column_schema": metadata.table_columns(name), "dagster/table_name": name}
