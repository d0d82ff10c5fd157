"""What a step found out about a file, as one line for its log.

The sentences belong here; where they are written does not, and the same facts as numbers are the assets' metadata.
"""

from __future__ import annotations

import logging
from pathlib import Path

from visitas_dagster.loading.prepared import Prepared
from visitas_dagster.steps.task import FileTask

_DIGITS = 12

# Not through the run's own log: Dagster keeps these facts already, as metadata of what was made.
_log = logging.getLogger("visitas.pasos")


def tell(line: str) -> None:
    """Write a line into the file's log."""
    _log.info(line)


def downloaded(task: FileTask) -> str:
    """Where the bytes came from and what they are."""
    facts = task.facts
    if facts is None:
        return f"{task.archivo}: sin bytes"
    origin = "descargado del servidor" if task.listed else "tomado de una copia local"
    attempt = f", intento {task.entry.intentos}" if task.entry else ""
    known = "; ya cargado con este nombre: no cambia nada" if task.is_known else ""
    return (
        f"{task.archivo}: {origin}: {facts.size} bytes, sha256 {facts.sha256[:_DIGITS]}, {facts.encoding}"
        f"{attempt}{known}"
    )


def validated(task: FileTask, prepared: Prepared) -> str:
    """How many records there are, and why some were rejected."""
    kinds = ", ".join(f"{code} {count}" for code, count in prepared.error_types.items())
    rejected = f"; rechazos: {kinds}" if kinds else ""
    return (
        f"{task.archivo}: validado: {prepared.total} registros, {prepared.valid} válidos, "
        f"{prepared.invalid} rechazados{rejected}"
    )


def loaded(task: FileTask) -> str:
    """The state it ended in, and what changed in the tables."""
    result = task.loaded
    if result is None:
        return f"{task.archivo}: sin cargar"
    if result.duplicate_of is not None:
        return f"{task.archivo}: {result.estado}: mismo contenido que {result.duplicate_of}"
    replaced = f"; reemplaza a la versión {result.replaces}" if result.replaces is not None else ""
    return (
        f"{task.archivo}: cargado: {result.estado}, {result.valid} visitas, {result.invalid} rechazos, "
        f"{result.new_visitors} visitantes nuevos, {result.known_visitors} conocidos{replaced}"
    )


def kept(task: FileTask, place: Path, home: Path) -> str:
    """Where its bytes are now, from ``VISITAS_HOME``."""
    return f"{task.archivo}: copia en {place.relative_to(home)}"
