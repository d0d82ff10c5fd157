"""The states of a file and the moves between them, as the contract names them.

What a state means and which move is legal belongs here; who moves a file and where it is written down do not.
"""

from __future__ import annotations

from enum import StrEnum


class Estado(StrEnum):
    """``bitacora_control.estado`` (contract §2)."""

    EN_PROCESO = "EN_PROCESO"
    COMPLETADO = "COMPLETADO"
    COMPLETADO_CON_ERRORES = "COMPLETADO_CON_ERRORES"
    FALLO_LAYOUT = "FALLO_LAYOUT"
    FALLO_SISTEMA = "FALLO_SISTEMA"
    DUPLICADO = "DUPLICADO"


LOADED = frozenset({Estado.COMPLETADO, Estado.COMPLETADO_CON_ERRORES})
"""States whose rows stand in the tables while the version is current."""

CURRENT = LOADED | {Estado.DUPLICADO}
"""States that make a version its name's current one (contract §3, ``vigente``)."""

FINISHED = CURRENT | {Estado.FALLO_LAYOUT}
"""States after which the server copy is removed (contract §2)."""

FAILED = frozenset({Estado.FALLO_LAYOUT, Estado.FALLO_SISTEMA})
"""States that need a person, or the ladder of retries."""


def loaded_state(invalid: int) -> Estado:
    """The state of a file that loaded, by its number of rejected records."""
    return Estado.COMPLETADO_CON_ERRORES if invalid else Estado.COMPLETADO
