"""Executing the runs of a pass: one after the other in this process, and in others beside it where there are many.

Sharing runs out and hearing how they came along belongs here; which files a run takes does not.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from threading import Thread
from uuid import uuid4

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from visitas_dagster.assets.walk import VERSION_TAG
from visitas_dagster.domain.arrivals import RunPlan
from visitas_dagster.instance import open_instance
from visitas_dagster.jobs import JOB
from visitas_dagster.processing import build_processing
from visitas_dagster.resources.folders import Folders, RunFolder
from visitas_dagster.resources.platform import Clock, Observer, Silent, system_clock
from visitas_dagster.sensors.arrivals import run_tags
from visitas_dagster.settings import Settings
from visitas_dagster.steps.task import Source

log = logging.getLogger("visitas.pasada")

WORTH = 3
"""Runs to each process: with fewer, starting another one, about 3 s of a processor, costs more than it saves."""

_PATIENCE_S = 30


@dataclass(frozen=True)
class Run:
    """One run to be executed.

    Attributes:
        plan: its files.
        source: where their bytes may come from.
        version: the digest of the only content that may be taken.
    """

    plan: RunPlan
    source: Source
    version: str | None = None

    def tags(self) -> dict[str, str]:
        """The run's tags in Dagster."""
        # The pass itself repeats what is to be repeated: without it nobody waits for the outcome.
        tags = {**run_tags(self.plan, uuid4().hex[:12], self.source), "dagster/max_retries": "0"}
        return tags if self.version is None else {**tags, VERSION_TAG: self.version}


class Here:
    """Executes runs in this process."""

    def __init__(self, settings: Settings, clock: Clock, observer: Observer, instance: dg.DagsterInstance) -> None:
        """Remember them.

        Args:
            settings: the platform's.
            clock: the runs' time.
            observer: is told how their files come along.
            instance: where the runs are recorded.
        """
        self.settings = settings
        self._folders = Folders(settings.home)
        self._instance = instance
        self._job = build_processing(settings, clock=clock, observer=observer).resolve_job_def(JOB)

    def execute(self, run: Run) -> None:
        """Execute one; its events go to the instance, its console stays quiet.

        Raises:
            KeyboardInterrupt: Ctrl-C. Without `raise_on_error` Dagster would note it as that run's failure and go on.
        """
        run_id = str(uuid4())
        # Held from before Dagster knows of the run until after it knows how the run ended: whenever this
        # process dies in between, the folder tells the next pass.
        with RunFolder(self._folders, run_id):
            try:
                self._job.execute_in_process(
                    instance=self._instance,
                    run_id=run_id,
                    tags=run.tags(),
                    run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                )
            except DagsterExecutionInterruptedError:
                raise KeyboardInterrupt from None
            except Exception as error:
                # The run stands in the instance as failed, with its reason, and each file's outcome was told by its op.
                log.debug("the run failed", exc_info=error)


@dataclass(frozen=True)
class Crew:
    """The processes that a pass may use.

    Attributes:
        processes: how many, this one included.
        begin: called first in each further one, a function of a module; for what goes to its stderr.
    """

    processes: int = 1
    begin: Callable[[], None] | None = None

    def size(self, runs: int) -> int:
        """How many further processes so many runs are worth."""
        return max(0, min(self.processes, os.cpu_count() or 1, runs // WORTH) - 1)


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

    def take() -> Run | None:
        with suppress(IndexError):
            return waiting.popleft()
        return None

    with _beside(crew.size(len(runs)), here.settings, take, observer, crew.begin):
        try:
            while (run := take()) is not None:
                here.execute(run)
        finally:
            # After Ctrl-C nobody begins another one.
            waiting.clear()


@contextmanager
def _beside(
    count: int,
    settings: Settings,
    take: Callable[[], Run | None],
    observer: Observer,
    begin: Callable[[], None] | None,
) -> Iterator[None]:
    """Keep so many further processes busy; wait for them at the end, and end them where this one is interrupted."""
    others = [_Other(settings, take, observer, begin) for _ in range(count)]
    try:
        yield
        for other in others:
            other.wait()
    except BaseException:
        for other in others:
            other.interrupt()
        raise


class _Other:
    """Another process that executes runs, and the thread of this one that hands them over."""

    def __init__(
        self,
        settings: Settings,
        take: Callable[[], Run | None],
        observer: Observer,
        begin: Callable[[], None] | None,
    ) -> None:
        self._take = take
        self._observer = observer
        self._lost = False
        # A new interpreter: this one has threads and connections, which a fork would share.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(settings, theirs, begin), name="visitas-corridas")
        with _interrupts_held():
            self._process.start()
        theirs.close()
        self._thread = Thread(target=self._serve, name="visitas-corridas", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait for its end; warn where it came too early."""
        self._thread.join()
        self._process.join()
        if self._lost:
            log.warning("un proceso de esta pasada terminó antes de tiempo; la siguiente pasada toma lo que dejó")

    def interrupt(self) -> None:
        """End it as Ctrl-C does: what it leaves half done the next pass finishes."""
        with suppress(ProcessLookupError, TypeError):
            os.kill(self._process.pid, signal.SIGINT)  # type: ignore[arg-type]  # None, once it is closed
        self._process.join(_PATIENCE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._thread.join()

    def _serve(self) -> None:
        try:
            while (run := self._take()) is not None:
                self._connection.send(run)
                while (told := self._connection.recv()) is not None:
                    self._observer.done(*told)
            self._connection.send(None)
        except (EOFError, OSError):
            self._lost = True


class _Telling(Silent):
    """Tells the process that started this one how each file ended."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def done(self, archivo: str, estado: str, detail: str = "") -> None:
        # Where that process is gone nobody listens, and the run goes on to its end.
        with suppress(OSError):
            self._connection.send((archivo, estado, detail))


def _work(settings: Settings, connection: Connection, begin: Callable[[], None] | None) -> None:
    """Execute what comes down the pipe, until there is no more or nobody at its other end."""
    with suppress(KeyboardInterrupt, EOFError, BrokenPipeError):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if begin is not None:
            begin()
        with open_instance(settings, captures_output=False) as instance:
            here = Here(settings, system_clock, _Telling(connection), instance)
            while (run := connection.recv()) is not None:
                here.execute(run)
                connection.send(None)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let what starts here begin with Ctrl-C held back: until it is ready for one, Python would print a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
