"""One pass without the daemon: every file that is owed work goes through Dagster runs, one after the other.

Waiting for files to stand still, registering partitions and executing runs belongs here; what the terminal shows
does not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from sqlalchemy import RowMapping

from visitas_dagster.definitions import build_definitions
from visitas_dagster.domain.arrivals import Listed, Observation, RunPlan, plan_runs, settled
from visitas_dagster.domain.failures import UsageError
from visitas_dagster.domain.states import FAILED, FINISHED, LOADED, Estado
from visitas_dagster.jobs import JOB
from visitas_dagster.loading.ledger import Ledger
from visitas_dagster.partitions import ARCHIVOS
from visitas_dagster.resources.platform import Clock, Observer, Platform, system_clock
from visitas_dagster.sensors.arrivals import run_tags
from visitas_dagster.settings import Settings
from visitas_dagster.steps.arrivals import look, owed
from visitas_dagster.steps.task import Source

log = logging.getLogger("visitas.pasada")

SKIPPED = "OMITIDO"
"""What is shown of a file with which this pass had nothing to do."""


class PassObserver(Observer, Protocol):
    """Also sees the pass as a whole."""

    def waiting(self, seconds: float, files: int) -> None:
        """The pass waits for so many files to stand still."""

    def planned(self, files: int, runs: int) -> None:
        """So many files will be taken, in so many runs."""


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        archivo: its name.
        estado: its state, or :data:`SKIPPED`.
        valid, invalid: records in the tables.
        detail: the reason, the warning; may be empty.
        unfinished: the load is done, but the backup or the removal from the server is not.
    """

    archivo: str
    estado: str
    valid: int | None = None
    invalid: int | None = None
    detail: str = ""
    unfinished: bool = False

    @property
    def needs_person(self) -> bool:
        """Whether somebody must look at it."""
        return self.estado in FAILED or self.unfinished


@dataclass
class PassResult:
    """What one pass did.

    Attributes:
        outcomes: the files it took, in the order in which they ended.
        arriving: reports on the server that still changed, left for the next pass.
        left: files owed work that ``--limite`` left for the next pass.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    arriving: list[str] = field(default_factory=list)
    left: int = 0


class _Recorder:
    """Passes everything on, and keeps how each file ended."""

    def __init__(self, observer: PassObserver) -> None:
        self._observer = observer
        self.ended: dict[str, tuple[str, str]] = {}

    def step(self, archivo: str, step: str, total: int | None = None) -> None:
        self._observer.step(archivo, step, total)

    def advance(self, archivo: str, amount: int) -> None:
        self._observer.advance(archivo, amount)

    def done(self, archivo: str, estado: str, detail: str = "") -> None:
        self.ended[archivo] = (estado, detail)
        self._observer.done(archivo, estado, detail)


def one_pass(
    settings: Settings,
    platform: Platform,
    instance: dg.DagsterInstance,
    observer: PassObserver,
    *,
    limit: int | None = None,
    insisted: Sequence[str] = (),
    clock: Clock = system_clock,
) -> PassResult:
    """Take every file that is owed work; return what became of each.

    Args:
        settings: the platform's settings.
        platform: its open parts, for listing and asking.
        instance: where the runs are recorded: the web UI's own.
        observer: is told of everything.
        limit: files to take at the most.
        insisted: names taken whatever the ledger says, from quarantine or backup where they left the server.
        clock: the time source.

    Raises:
        UsageError: nobody knows an insisted name.
        SystemFailure: the server or the database does not answer.
    """
    present, wanted, arriving = _choose(platform, observer, insisted)
    away = _away(platform, insisted, present)
    names = [listed.archivo for listed in wanted]
    taken = (away + names)[:limit]
    recorder = _Recorder(observer)
    insisting = set(insisted)
    retries = [archivo for archivo in taken if archivo in insisting]
    plain = [archivo for archivo in taken if archivo not in insisting]
    plans = [
        *((plan, Source.RETRY) for plan in _plan(settings, instance, retries)),
        *((plan, Source.SERVER) for plan in _plan(settings, instance, plain)),
    ]
    observer.planned(len(taken), len(plans))
    if plans:
        job = build_definitions(settings, clock=clock, observer=recorder).resolve_job_def(JOB)
        for plan, source in plans:
            _execute(job, instance, plan, source)
    return PassResult(_outcomes(platform, taken, recorder), arriving, len(away) + len(names) - len(taken))


def _choose(
    platform: Platform, observer: PassObserver, insisted: Sequence[str]
) -> tuple[set[str], list[Listed], list[str]]:
    """Return the names on the server, the files to take, and those that still change."""
    observed = look(platform, {})
    wait = platform.settings.espera_estable_s
    candidates = {listed.archivo for listed in owed(platform, _all(observed), insisted)}
    if candidates and wait:
        # A single look cannot tell whether a file stands still: it takes two, by our own clock.
        observer.waiting(wait, len(candidates))
        time.sleep(wait)
        observed = look(platform, observed)
    still = settled(observed, wait, platform.clock().timestamp())
    arriving = sorted(candidates & (observed.keys() - {listed.archivo for listed in still}))
    return set(observed), owed(platform, still, insisted), arriving


def _all(observed: dict[str, Observation]) -> list[Listed]:
    return [seen.listed for seen in observed.values()]


def _away(platform: Platform, insisted: Sequence[str], present: set[str]) -> list[str]:
    """Return the insisted names that are not on the server; each must be known to the ledger."""
    away = [archivo for archivo in dict.fromkeys(insisted) if archivo not in present]
    known = Ledger(platform.engine, platform.clock).newest(away)
    for archivo in away:
        if archivo not in known:
            raise UsageError(
                f"nadie conoce «{archivo}»: no está en el servidor ni en la bitácora",
                "escriba el nombre tal como lo muestra: visitas status",
            )
    return away


def _plan(settings: Settings, instance: dg.DagsterInstance, names: list[str]) -> list[RunPlan]:
    """Register the partitions and group them into runs, in the order of the partitions."""
    if not names:
        return []
    instance.add_dynamic_partitions(ARCHIVOS, names)
    return plan_runs(names, instance.get_dynamic_partitions(ARCHIVOS), settings.archivos_por_corrida)


def _execute(job: dg.JobDefinition, instance: dg.DagsterInstance, plan: RunPlan, source: Source) -> None:
    """Execute one run in this process; its events go to the instance, its console stays quiet.

    Raises:
        KeyboardInterrupt: Ctrl-C. Without `raise_on_error` Dagster would note it as that run's failure and go on.
    """
    try:
        job.execute_in_process(
            instance=instance,
            tags=run_tags(plan, uuid4().hex[:12], source),
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    except DagsterExecutionInterruptedError:
        raise KeyboardInterrupt from None
    except Exception as error:
        # The run stands in the instance as failed, with its reason, and each file's outcome was told by its op.
        log.debug("the run failed", exc_info=error)


def _outcomes(platform: Platform, taken: Sequence[str], recorder: _Recorder) -> list[Outcome]:
    rows = Ledger(platform.engine, platform.clock).newest_rows(recorder.ended)
    outcomes = []
    for archivo in taken:
        estado, detail = recorder.ended.get(archivo, (SKIPPED, "la corrida terminó antes de llegar a este archivo"))
        row = rows.get(archivo)
        counts = _counts(row, estado)
        outcomes.append(
            Outcome(
                archivo,
                estado,
                *counts,
                detail or _message(row, estado),
                unfinished=bool(detail) and estado in FINISHED,
            )
        )
    return outcomes


def _counts(row: RowMapping | None, estado: str) -> tuple[int | None, int | None]:
    if row is None or row["estado"] != estado or estado not in LOADED:
        return None, None
    return row["registros_validos"], row["registros_invalidos"]


def _message(row: RowMapping | None, estado: str) -> str:
    return str(row["mensaje"] or "") if row is not None and estado == Estado.DUPLICADO else ""
