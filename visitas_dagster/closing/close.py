"""The daily close: its steps, their order, and what is still done when one of them fails.

Each step is safe to be killed in and to be repeated; what a step does stands in its own module, and what only
Dagster can do is asked of an :class:`Orchestrator`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Engine
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from visitas_dagster.alerts.watch import close_failed, close_recovered
from visitas_dagster.closing.contents import states
from visitas_dagster.closing.housekeeping import (
    clear_backup_folders,
    clear_loose_ends,
    forgettable,
    names_kept,
    remove_old_logs,
    remove_old_zips,
)
from visitas_dagster.closing.journal import Journal
from visitas_dagster.closing.lock import alone
from visitas_dagster.closing.quarantine import quarantine_failures
from visitas_dagster.closing.report_files import ReportFiles, write_daily, write_monthly
from visitas_dagster.closing.sealing import seal
from visitas_dagster.domain.failures import PermanentFailure, TransientFailure, VisitasError
from visitas_dagster.loading.pages import look_at_pages
from visitas_dagster.loading.statements import dialect_of
from visitas_dagster.loading.visitors import VisitorTables
from visitas_dagster.loading.zone import keep_zone
from visitas_dagster.resources.database import database_errors
from visitas_dagster.resources.platform import Platform

log = logging.getLogger("visitas.cierre")

MAX_WAIT_S = 60
"""Seconds between two tries of a step at the most."""

PASS = "pendientes"
"""The step that all closes of one command share."""

Facts = dict[str, Any]
"""What a step did, as it stands in ``cierres.detalle``: counts, names, paths."""


class Orchestrator(Protocol):
    """What a close asks of the one who keeps runs and partitions."""

    def dispatch(self) -> Facts:
        """Take everything that is pending on the server, and what the ladder owes."""

    def bury(self) -> list[str]:
        """Clear what dead runs left; return their ids."""

    def partitions(self) -> list[str]:
        """Return the names that have a partition and that no run under way is asked for."""

    def drop(self, names: Sequence[str]) -> None:
        """Remove these partitions, and nothing of what is known of them."""


@dataclass(frozen=True)
class Step:
    """How one step ended.

    Attributes:
        name: its name, Spanish, as it is shown.
        facts: what it did; empty where it failed.
        failure: why it failed.
        skipped: why it was not begun.
    """

    name: str
    facts: Facts = field(default_factory=dict)
    failure: VisitasError | None = None
    skipped: str | None = None


@dataclass
class Closed:
    """How the close of one day ended.

    Attributes:
        day: the day.
        steps: in their order.
        daily, monthly: its reports, where they were written.
        sealed: its zip, where it has one.
    """

    day: date
    steps: list[Step] = field(default_factory=list)
    daily: ReportFiles | None = None
    monthly: ReportFiles | None = None
    sealed: Path | None = None

    @property
    def message(self) -> str | None:
        """Why it failed, one line; None where it did not."""
        failed = [f"{step.name}: {step.failure or step.skipped}" for step in self.steps if step.failure or step.skipped]
        return "; ".join(failed) or None

    def facts(self) -> Facts:
        """What all its steps did, by step."""
        return {
            step.name: step.facts if _is_done(step) else {"fallo": str(step.failure or step.skipped)}
            for step in self.steps
        }


def _is_done(step: Step) -> bool:
    return step.failure is None and step.skipped is None


class DayWatch(Protocol):
    """Is told how the closes come along."""

    def begun(self, day: date) -> None:
        """The close of a day begins."""

    def stepped(self, day: date, step: Step) -> None:
        """One of its steps ended."""


class Unwatched:
    """Nobody looks on."""

    def begun(self, day: date) -> None:
        """See :class:`DayWatch`."""

    def stepped(self, day: date, step: Step) -> None:
        """See :class:`DayWatch`."""


def close_days(
    platform: Platform, orchestrator: Orchestrator, day: date | None = None, watch: DayWatch | None = None
) -> list[Closed]:
    """Close one day, or yesterday and every earlier day that was missed, oldest first; return how each ended.

    What is pending is taken once, before the first of them, for it is the same for all.

    Args:
        platform: the open parts.
        orchestrator: Dagster's side.
        day: the only day to close; None for those that are owed.
        watch: is told of the steps.

    Raises:
        SystemFailure: the database does not answer, so that no close can begin; or another close does not end.
    """
    watch = watch or Unwatched()
    with alone(platform.folders):
        journal = Journal(platform)
        taken: Step | None = None
        closes = []
        for owed in [day] if day is not None else journal.owed():
            close = _Close(platform, orchestrator, journal, owed, watch)
            closes.append(close.run(taken))
            taken = next(step for step in closes[-1].steps if step.name == PASS)
        return closes


class _Close:
    """The close of one day."""

    def __init__(
        self, platform: Platform, orchestrator: Orchestrator, journal: Journal, day: date, watch: DayWatch
    ) -> None:
        self._platform = platform
        self._orchestrator = orchestrator
        self._journal = journal
        self._watch = watch
        self._closed = Closed(day)

    def run(self, taken: Step | None) -> Closed:
        """Do every step; ``taken`` is how the pass ended that another day's close has made already."""
        day, folders = self._closed.day, self._platform.folders
        today, settings = self._platform.today(), self._platform.settings
        self._watch.begun(day)
        self._journal.begin(day)
        self._do("limpieza", self._clear)
        # Before the pass: what waits in quarantine for a further day, the pass takes from there.
        moved = self._do("cuarentena", lambda: _listed("movidos", quarantine_failures(self._platform)))
        if taken is None:
            self._do(PASS, self._orchestrator.dispatch)
        else:
            self._note(taken)
        if _is_done(moved):
            self._do("respaldo", self._seal)
        else:
            # Sealed now, the bytes of a system failure would stand in a zip and not in quarantine.
            self._note(Step("respaldo", skipped="espera a que se pueda apartar lo que va a cuarentena"))
        self._do("contadores", self._turn_period)
        self._do(
            "logs_viejos",
            lambda: _listed("borrados", _texts(remove_old_logs(folders, today, settings.retencion_logs_dias))),
        )
        self._do(
            "respaldos_viejos",
            lambda: _listed("borrados", _texts(remove_old_zips(folders, today, settings.retencion_backup_dias))),
        )
        self._do("particiones", self._drop_partitions)
        self._do("reportes", self._report)
        message = self._closed.message
        self._journal.end(day, message, self._closed.facts())
        if message is None:
            close_recovered(self._platform, day)
        else:
            close_failed(self._platform, day, message)
        return self._closed

    # -- steps ----------------------------------------------------------------------------------------------------

    def _clear(self) -> Facts:
        dead = self._orchestrator.bury()
        stray = clear_loose_ends(self._platform.folders)
        clear_backup_folders(self._platform.folders, self._platform.today())
        return {"corridas_muertas": len(dead), "sueltos": len(stray)}

    def _seal(self) -> Facts:
        sealed = seal(self._platform.folders, self._closed.day, partial(states, self._platform.engine))
        self._closed.sealed = sealed.path
        return {
            "zip": sealed.path.name if sealed.path else None,
            "agregados": sealed.added,
            "miembros": sealed.members,
            "quedan_sueltos": sealed.left,
        }

    def _turn_period(self) -> Facts:
        engine = self._platform.engine
        with database_errors(engine), engine.begin() as connection:
            visitors = VisitorTables(connection, dialect_of(engine), self._platform.now())
            period = visitors.turn_period(self._platform.today())
        _tell_of_memory(engine)
        return {"anio": period.year, "mes": period.month}

    def _drop_partitions(self) -> Facts:
        kept = names_kept(self._platform.folders)
        names = forgettable(self._platform, self._orchestrator.partitions(), kept)
        self._orchestrator.drop(names)
        return _listed("quitadas", names)

    def _report(self) -> Facts:
        day = self._closed.day
        # The dashboards' days: another setting, or new rules of the zone, take effect here.
        keep_zone(self._platform.engine, self._platform.settings.zone)
        self._closed.daily = write_daily(self._platform, day)
        self._closed.monthly = write_monthly(self._platform, day.year, day.month)
        return {"diario": self._closed.daily.html.name, "mensual": self._closed.monthly.html.name}

    # -- around them ----------------------------------------------------------------------------------------------

    def _do(self, name: str, work: Callable[[], Facts]) -> Step:
        """Do a step; what goes wrong in it is noted, and the next one goes on."""
        try:
            return self._note(Step(name, self._retried(work)))
        except VisitasError as failure:
            return self._note(Step(name, failure=failure))
        except Exception as error:
            log.error(f"cierre de {self._closed.day}: {name}: error inesperado", exc_info=error)
            return self._note(
                Step(name, failure=PermanentFailure(f"error inesperado: {type(error).__name__}: {error}"))
            )

    def _note(self, step: Step) -> Step:
        self._closed.steps.append(step)
        day = self._closed.day
        if _is_done(step):
            log.info(f"cierre de {day}: {step.name}: {step.facts}")
        else:
            log.error(f"cierre de {day}: {step.name}: {step.failure or step.skipped}")
        self._watch.stepped(day, step)
        return step

    def _retried(self, work: Callable[[], Facts]) -> Facts:
        settings = self._platform.settings
        retrying = Retrying(
            retry=retry_if_exception_type(TransientFailure),
            stop=stop_after_attempt(settings.reintentos + 1),
            wait=wait_exponential_jitter(
                multiplier=settings.reintento_base_s, max=MAX_WAIT_S, jitter=settings.reintento_base_s / 2
            ),
            reraise=True,
        )
        return retrying(work)


def _tell_of_memory(engine: Engine) -> None:
    pages = look_at_pages(engine)
    if pages is not None and pages.notice is not None:
        log.warning(pages.notice)


_SHOWN = 200


def _listed(what: str, names: Sequence[str]) -> Facts:
    """How many, and the first of them: the ledger's column is no place for a hundred thousand names."""
    return {what: len(names), "nombres": list(names[:_SHOWN])}


def _texts(days: Sequence[date]) -> list[str]:
    return [day.isoformat() for day in days]
