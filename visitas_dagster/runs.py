"""Executing the runs of a pass: one after the other in this process, and in others beside it where there are many.

Sharing runs out and hearing how they came along belongs here; which files a run takes does not.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from threading import Thread
from uuid import uuid4

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from visitas_dagster import interrupts
from visitas_dagster.assets.walk import VERSION_TAG
from visitas_dagster.crew import Crew, Other
from visitas_dagster.domain.arrivals import RunPlan
from visitas_dagster.domain.failures import SystemFailure
from visitas_dagster.domain.privacy import mask_addresses
from visitas_dagster.instance import open_instance, storage_error, underlying
from visitas_dagster.jobs import JOB
from visitas_dagster.processing import build_processing
from visitas_dagster.resources.folders import RunFolder
from visitas_dagster.resources.platform import Observer, Platform, Silent
from visitas_dagster.sensors.arrivals import run_tags
from visitas_dagster.settings import Settings
from visitas_dagster.steps.arrivals import are_at_others
from visitas_dagster.steps.task import AT_OTHERS, SKIPPED, Source

log = logging.getLogger("visitas.pasada")


@dataclass(frozen=True)
class Run:
    """One run to be executed.

    Attributes:
        plan: its files.
        source: where their bytes may come from.
        asked: when the pass looked what there is to do, naive UTC.
        version: the digest of the only content that may be taken.
    """

    plan: RunPlan
    source: Source
    asked: datetime
    version: str | None = None

    @property
    def may_be_left(self) -> bool:
        """Whether nothing is missed where another pass takes the files: nobody insists on this one."""
        return self.source is Source.SERVER and self.version is None

    def tags(self) -> dict[str, str]:
        """The run's tags in Dagster."""
        # The pass itself repeats what is to be repeated: without it nobody waits for the outcome.
        tags = {**run_tags(self.plan, uuid4().hex[:12], self.source), "dagster/max_retries": "0"}
        return tags if self.version is None else {**tags, VERSION_TAG: self.version}


class Here:
    """Executes runs in this process."""

    def __init__(self, platform: Platform, observer: Observer, instance: dg.DagsterInstance) -> None:
        """Remember them.

        Args:
            platform: the open parts, for asking; the runs get its settings and its clock.
            observer: is told how their files come along.
            instance: where the runs are recorded.
        """
        self._platform = platform
        self._observer = observer
        self._instance = instance
        processing = build_processing(platform.settings, clock=platform.clock, observer=observer)
        self._job = processing.resolve_job_def(JOB)

    def execute(self, run: Run) -> None:
        """Execute one, unless others have all of its files; its events go to the instance, its console stays quiet.

        A run that breaks is told in the log; the observer is not told of the files that it did not come to.

        Raises:
            KeyboardInterrupt: Ctrl-C. Without `raise_on_error` Dagster would note it as that run's failure and go on.
        """
        if run.may_be_left and self._is_left(run):
            for archivo in run.plan.archivos:
                self._observer.done(archivo, SKIPPED, AT_OTHERS)
            return
        run_id = str(uuid4())
        # Held from before Dagster knows of the run until after it knows how the run ended: whenever this
        # process dies in between, the folder tells the next pass.
        with RunFolder(self._platform.folders, run_id), interrupts.noticed():
            try:
                self._job.execute_in_process(
                    instance=self._instance,
                    run_id=run_id,
                    tags=run.tags(),
                    run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                )
            except DagsterExecutionInterruptedError:
                raise KeyboardInterrupt from None
            except dg.Failure as failure:
                # The run stands in the instance as failed, with its reason, and each file's outcome was told by its op.
                log.debug("the run failed", exc_info=failure)
            except Exception as error:
                # No file's failure: those are the steps' to catch. What Dagster keeps of its runs cannot be written.
                log.debug("the run broke", exc_info=error)
                log.error(mask_addresses(f"la corrida {run_id} se interrumpió: {_reason(error)}"))

    def _is_left(self, run: Run) -> bool:
        try:
            return are_at_others(self._platform, run.plan.archivos, run.asked)
        except SystemFailure:
            # A database that is away is told by the run, with its retries.
            return False


def _reason(error: Exception) -> str:
    found = storage_error(error)
    if found is not None:
        return f"la base de datos de Dagster no se puede usar ({found})"
    # What opening the run's tools raised is told as its own message; a defect by its kind.
    ours = underlying(error)
    return str(ours) if ours is not None else f"{type(error).__name__}: {' '.join(str(error).split())}"


def execute_all(runs: Sequence[Run], here: Here, observer: Observer, crew: Crew) -> None:
    """Execute runs, each by whichever process is free; return when all have ended.

    Args:
        runs: in the order in which they begin.
        here: this process.
        observer: is told how each file ended, by a thread for the other processes; of their steps it is not told.
        crew: the other processes.

    Raises:
        KeyboardInterrupt: Ctrl-C, once the other processes have ended too.
    """
    waiting = deque(runs)
    shares = [_Share(other, waiting, observer) for other in crew.others]
    try:
        for run in _taken(waiting):
            here.execute(run)
        for share in shares:
            share.wait()
    except BaseException:
        # Nobody begins another one.
        waiting.clear()
        crew.interrupt()
        raise


def _taken(waiting: deque[Run]) -> Iterator[Run]:
    """Yield what nobody else has taken yet."""
    while True:
        try:
            run = waiting.popleft()
        except IndexError:
            return
        yield run


class _Share:
    """The runs that another process executes, and the thread of this one that hands them over."""

    def __init__(self, other: Other, waiting: deque[Run], observer: Observer) -> None:
        self._other = other
        self._waiting = waiting
        self._observer = observer
        self._lost = False
        self._thread = Thread(target=self._hand_over, name="visitas-corridas", daemon=True)
        self._thread.start()

    def _hand_over(self) -> None:
        try:
            for run in _taken(self._waiting):
                for told in self._other.execute(run):
                    self._observer.done(*told)
        except (EOFError, OSError):
            self._lost = True

    def wait(self) -> None:
        """Wait until there is no more; warn where the process ended before."""
        self._thread.join()
        if self._lost:
            log.warning("un proceso de esta pasada terminó antes de tiempo; la siguiente pasada toma lo que dejó")


def serve(settings: Settings, connection: Connection) -> None:
    """Execute the runs that come down the pipe, until None: the other process's side.

    Raises:
        EOFError: nobody is at its other end any more.
    """
    with Platform(settings) as platform, open_instance(settings, captures_output=False) as instance:
        here = Here(platform, _Telling(connection), instance)
        while (run := connection.recv()) is not None:
            here.execute(run)
            connection.send(None)


class _Telling(Silent):
    """Tells the process that started this one how each file ended."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def done(self, archivo: str, estado: str, detail: str = "") -> None:
        # Where that process is gone nobody listens, and the run goes on to its end.
        with suppress(OSError):
            self._connection.send((archivo, estado, detail))
