"""The ladder of retries after a system failure: the run again, then the next days, then a person.

Where a file stands on it, told from its attempts alone, belongs here; the tries inside a step, and who writes the
attempts down, do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

RUN_RETRIES = 1
"""Whole-run retries on one day (contract §5)."""

FURTHER_DAYS = 2
"""Days after the first on which a file is tried again by itself (contract §5)."""


class Resultado(StrEnum):
    """How one attempt at a file ended; ``bitacora_intentos.resultado``."""

    CARGADO = "CARGADO"
    """Loaded, or found a duplicate."""
    SIN_CAMBIO = "SIN_CAMBIO"
    """The same bytes again: nothing to do."""
    FALLO_LAYOUT = "FALLO_LAYOUT"
    FALLO_PASAJERO = "FALLO_PASAJERO"
    """A system failure that a later try may cure."""
    FALLO_DURADERO = "FALLO_DURADERO"
    """A system failure that no retry cures."""
    INTERRUMPIDO = "INTERRUMPIDO"
    """The run died; found so by the one that took the file over."""
    LIBERADO = "LIBERADO"
    """No attempt: a person let the file go through again, and the ladder begins anew."""


FAILURES = frozenset({Resultado.FALLO_PASAJERO, Resultado.FALLO_DURADERO})
_RESETS = frozenset({Resultado.CARGADO, Resultado.SIN_CAMBIO, Resultado.FALLO_LAYOUT, Resultado.LIBERADO})


@dataclass(frozen=True)
class Attempt:
    """One attempt at one content of a name.

    Attributes:
        day: when it began, in ``VISITAS_ZONA_HORARIA``.
        resultado: how it ended; None while it is under way, or when its run died unseen.
    """

    day: date
    resultado: Resultado | None


def failed_days(attempts: Iterable[Attempt]) -> list[date]:
    """Return the day of each system failure since the ladder last began anew, oldest first.

    A run that died tells nothing of the file: it is neither a failure nor a new beginning.
    """
    days: list[date] = []
    for attempt in attempts:
        if attempt.resultado in _RESETS:
            days = []
        elif attempt.resultado in FAILURES:
            days.append(attempt.day)
    return days


def runs_again(attempts: Sequence[Attempt], today: date) -> bool:
    """Whether the file's run is tried again at once, after these attempts of which the last just failed.

    A failure that no retry cures is not; a passing one is, :data:`RUN_RETRIES` times a day.
    """
    if not attempts or attempts[-1].resultado is not Resultado.FALLO_PASAJERO:
        return False
    return failed_days(attempts).count(today) <= RUN_RETRIES


def is_due(attempts: Iterable[Attempt], today: date) -> bool:
    """Whether a file in ``FALLO_SISTEMA`` is tried again by itself today.

    Once a day, on :data:`FURTHER_DAYS` days after the first with a failure; then only by hand.
    """
    days = failed_days(attempts)
    if not days:
        return True
    return today > days[-1] and len(set(days)) <= FURTHER_DAYS
