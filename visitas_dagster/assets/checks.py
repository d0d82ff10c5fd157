"""The asset checks: what the web UI tells of a partition at a glance, in green, yellow or red.

Specifications and evaluations belong here; what they judge was computed by the steps.
"""

from __future__ import annotations

import warnings

from dagster import AssetCheckEvaluation, AssetCheckSeverity, AssetCheckSpec, MetadataValue

from visitas_dagster.domain.failures import LayoutFailure
from visitas_dagster.loading.prepared import Prepared
from visitas_dagster.partitions import archivos
from visitas_dagster.steps.task import FileTask


def _spec(name: str, asset: str, description: str) -> AssetCheckSpec:
    with warnings.catch_warnings():
        # Partitioned checks are a preview in 1.13. Without them the last file of a run would speak for all.
        warnings.simplefilter("ignore")
        return AssetCheckSpec(name, asset=asset, description=description, partitions_def=archivos)


LAYOUT = _spec("encabezado", "validated_records", "El encabezado tiene las 15 columnas del contrato, cada una una vez.")
ERROR_RATE = _spec(
    "tasa_error",
    "validated_records",
    "La parte de registros rechazados no pasa de VISITAS_ALERTA_TASA_ERROR.",
)
LEDGER = _spec(
    "bitacora_cuadra",
    "estadisticas",
    "registros_total = registros_validos + registros_invalidos, y ambos son lo que está en las tablas.",
)
ALL = (LAYOUT, ERROR_RATE, LEDGER)


def layout(task: FileTask, failure: LayoutFailure | None) -> AssetCheckEvaluation:
    """Judge the header."""
    return _evaluation(LAYOUT, task, failure is None, str(failure) if failure else "encabezado correcto", {})


def error_rate(task: FileTask, prepared: Prepared, threshold: float) -> AssetCheckEvaluation:
    """Judge the share of rejected records; too many is a warning: the good ones are loaded all the same."""
    passed = prepared.error_rate <= threshold
    return _evaluation(
        ERROR_RATE,
        task,
        passed,
        f"{prepared.invalid} de {prepared.total} registros rechazados ({prepared.error_rate:.2%})",
        {"tasa_error": prepared.error_rate, "umbral": threshold},
        AssetCheckSeverity.WARN,
    )


def no_error_rate(task: FileTask) -> AssetCheckEvaluation:
    """Say that a file whose layout failed has no error rate; a planned check left open would count as failed."""
    return _evaluation(
        ERROR_RATE, task, False, "sin registros que contar: falló el encabezado", {}, AssetCheckSeverity.WARN
    )


def ledger(task: FileTask, expected: tuple[int, int, int], standing: tuple[int, int]) -> AssetCheckEvaluation:
    """Compare the ledger's total, valid and invalid with the rows that stand in both tables."""
    total, valid, invalid = expected
    return _evaluation(
        LEDGER,
        task,
        total == valid + invalid and (valid, invalid) == standing,
        f"bitácora: {total} = {valid} + {invalid}; tablas: {standing[0]} y {standing[1]}",
        {"estadisticas": standing[0], "errores": standing[1]},
    )


def _evaluation(
    spec: AssetCheckSpec,
    task: FileTask,
    passed: bool,
    description: str,
    numbers: dict[str, int | float],
    severity: AssetCheckSeverity = AssetCheckSeverity.ERROR,
) -> AssetCheckEvaluation:
    return AssetCheckEvaluation(
        asset_key=spec.asset_key,
        check_name=spec.name,
        passed=passed,
        severity=severity,
        description=description,
        partition=task.archivo,
        metadata={
            name: MetadataValue.float(value) if isinstance(value, float) else MetadataValue.int(value)
            for name, value in numbers.items()
        },
    )
