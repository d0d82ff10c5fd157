"""One pass without the daemon: every file that is owed work goes through Dagster runs, one after the other.

Waiting for files to stand still, registering partitions and executing runs belongs here; what the terminal shows
does not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import dagster as dg
from sqlalchemy import RowMapping

from visitas_dagster.alerts.watch import watch_server
from visitas_dagster.crew import Crew
from visitas_dagster.domain.arrivals import Listed, Observation, RunPlan, plan_runs, settled
from visitas_dagster.domain.failures import UsageError
from visitas_dagster.domain.ladder import RUN_RETRIES
from visitas_dagster.domain.states import FAILED, FINISHED, LOADED, Estado
from visitas_dagster.loading.history import History
from visitas_dagster.partitions import ARCHIVOS, register
from visitas_dagster.resources.platform import Observer, Platform
from visitas_dagster.runs import Here, Run, execute_all
from visitas_dagster.sensors.recovery import bury_dead_runs
from visitas_dagster.steps.arrivals import away, look, owed
from visitas_dagster.steps.task import SKIPPED, Source

log = logging.getLogger("visitas.pasada")

BROKEN = "la corrida se interrumpió antes de terminar con este archivo; lo toma la siguiente pasada"
"""Why nothing is told of a file."""


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
        estado: its state, or ``SKIPPED``.
        valid, invalid: records in the tables.
        detail: the reason, the warning; may be empty.
        unfinished: the load stands, but something after it (backup, removal, a replay) failed.
        reached: False where the run broke before it told how the file ended; the next pass takes it.
    """

    archivo: str
    estado: str
    valid: int | None = None
    invalid: int | None = None
    detail: str = ""
    unfinished: bool = False
    reached: bool = True

    @property
    def needs_person(self) -> bool:
        """Whether somebody must look at it."""
        return self.estado in FAILED or self.unfinished or not self.reached


@dataclass
class PassResult:
    """What one pass did.

    Attributes:
        outcomes: the files it took, in the order in which they were asked for.
        arriving: reports on the server that still changed, left for the next pass.
        left: files owed work that ``--limite`` left for the next pass.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    arriving: list[str] = field(default_factory=list)
    left: int = 0

    @property
    def missed(self) -> list[str]:
        """The files whose runs broke before they told how these ended."""
        return [outcome.archivo for outcome in self.outcomes if not outcome.reached]


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


class Passes:
    """Runs passes over one open platform, recorded in one Dagster instance."""

    def __init__(
        self, platform: Platform, instance: dg.DagsterInstance, observer: PassObserver, crew: Crew | None = None
    ) -> None:
        """Remember them.

        Args:
            platform: the open parts, for listing and asking; the runs get its settings and its clock.
            instance: where the runs are recorded: the web UI's own.
            observer: is told of everything.
            crew: the processes to use, this one alone by default; the others go by the machine's clock.
        """
        self._crew = crew or Crew(platform.settings)
        self._platform = platform
        self._instance = instance
        self._recorder = _Recorder(observer)
        self._observer = observer

    def pending(self, *, limit: int | None = None, insisted: Sequence[str] = ()) -> PassResult:
        """Take every file that is owed work; return what became of each.

        Args:
            limit: files to take at the most.
            insisted: names taken whatever the ledger says, from quarantine or backup where they left the server.

        Raises:
            UsageError: nobody knows an insisted name.
            SystemFailure: the server or the database does not answer.
        """
        bury_dead_runs(self._instance, self._platform)
        present, wanted, arriving = self._choose(insisted)
        self._require_known(name for name in insisted if name not in present)
        absent = [name for name in insisted if name not in present] + away(self._platform, present)
        names = list(dict.fromkeys([*absent, *(listed.archivo for listed in wanted)]))
        taken = names[:limit]
        by_copy = {*insisted, *absent}
        self._process(
            [
                (Source.RETRY, [name for name in taken if name in by_copy]),
                (Source.SERVER, [name for name in taken if name not in by_copy]),
            ]
        )
        # Each run has looked at its own end; what only time shows is seen here where no daemon runs.
        watch_server(self._platform)
        return PassResult(self._outcomes(taken), arriving, len(names) - len(taken))

    def replay(self, names: Sequence[str]) -> PassResult:
        """Run loaded or failed files again, from the server, the quarantine or the backup.

        Raises:
            UsageError: nobody knows a name.
            SystemFailure: the database does not answer.
        """
        bury_dead_runs(self._instance, self._platform)
        names = list(dict.fromkeys(names))
        self._require_known(names)
        self._process([(Source.REPLAY, names)])
        return PassResult(self._outcomes(names))

    def go_back(self, archivo: str, version: int) -> PassResult:
        """Make an earlier version of a name its current one again, from the copy of it on this machine.

        Args:
            archivo: the name.
            version: the key of the version's row in the ledger.

        Raises:
            UsageError: nobody knows the name, or it has no such version.
            SystemFailure: the database does not answer.
        """
        bury_dead_runs(self._instance, self._platform)
        self._require_known([archivo])
        digests = {row["id"]: row["sha256"] for row in self._history.versions(archivo) if row["sha256"]}
        if version not in digests:
            raise UsageError(
                f"«{archivo}» no tiene la versión {version}; tiene: {', '.join(map(str, digests)) or 'ninguna'}",
                f"véalas con: visitas explain {archivo}",
            )
        self._process([(Source.REPLAY, [archivo])], digests[version])
        return PassResult(self._outcomes([archivo]))

    def _choose(self, insisted: Sequence[str]) -> tuple[set[str], list[Listed], list[str]]:
        """Return the names on the server, the files to take, and those that still change."""
        observed = look(self._platform, {})
        wait = self._platform.settings.espera_estable_s
        candidates = {listed.archivo for listed in owed(self._platform, _all(observed), insisted)}
        if candidates and wait:
            # A single look cannot tell whether a file stands still: it takes two, by our own clock.
            self._observer.waiting(wait, len(candidates))
            time.sleep(wait)
            observed = look(self._platform, observed)
        still = settled(observed, wait, self._platform.clock().timestamp())
        arriving = sorted(candidates & (observed.keys() - {listed.archivo for listed in still}))
        return set(observed), owed(self._platform, still, insisted), arriving

    def _require_known(self, names: Iterable[str]) -> None:
        names = list(names)
        known = self._history.newest(names)
        for archivo in names:
            if archivo not in known:
                raise UsageError(
                    f"nadie conoce «{archivo}»: no está en el servidor ni en la bitácora",
                    "escriba el nombre tal como lo muestra: visitas status",
                )

    @property
    def _history(self) -> History:
        return History(self._platform.engine, self._platform.settings.zone)

    def _process(self, groups: Sequence[tuple[Source, list[str]]], version: str | None = None) -> None:
        """Run each group; a file whose run is to be tried again gets that second run in the same pass."""
        self._run(groups, version)
        for _ in range(RUN_RETRIES):
            again = [(source, [name for name in names if self._is_to_repeat(name)]) for source, names in groups]
            if not any(names for _, names in again):
                return
            self._run(again, version)

    def _is_to_repeat(self, archivo: str) -> bool:
        estado, detail = self._recorder.ended.get(archivo, ("", ""))
        return estado == Estado.EN_PROCESO and bool(detail)

    def _run(self, groups: Sequence[tuple[Source, list[str]]], version: str | None) -> None:
        asked = self._platform.now()
        count = sum(len(names) for _, names in groups)
        runs = [Run(plan, source, asked, version) for source, names in groups for plan in self._plan(names)]
        self._observer.planned(count, len(runs))
        log.info(f"archivos por tomar: {count}, corridas: {len(runs)}")
        if runs:
            self._crew.hire(count // self._platform.settings.archivos_por_corrida)
            execute_all(runs, Here(self._platform, self._recorder, self._instance), self._recorder, self._crew)

    def _plan(self, names: list[str]) -> list[RunPlan]:
        """Register the partitions and group them into runs, in the order of the partitions."""
        if not names:
            return []
        register(self._instance, names)
        partitions = self._instance.get_dynamic_partitions(ARCHIVOS)
        return plan_runs(names, partitions, self._platform.settings.archivos_por_corrida)

    def _outcomes(self, taken: Sequence[str]) -> list[Outcome]:
        ended = self._recorder.ended
        rows = self._history.newest_rows(ended)
        outcomes = []
        for archivo in taken:
            estado, detail = ended.get(archivo, (SKIPPED, BROKEN))
            row = rows.get(archivo)
            outcomes.append(
                Outcome(
                    archivo,
                    estado,
                    *_counts(row, estado),
                    detail or _message(row, estado),
                    unfinished=bool(detail) and estado in FINISHED | {Estado.EN_PROCESO},
                    reached=archivo in ended,
                )
            )
        return outcomes


def _all(observed: dict[str, Observation]) -> list[Listed]:
    return [seen.listed for seen in observed.values()]


def _counts(row: RowMapping | None, estado: str) -> tuple[int | None, int | None]:
    if row is None or row["estado"] != estado or estado not in LOADED:
        return None, None
    return row["registros_validos"], row["registros_invalidos"]


def _message(row: RowMapping | None, estado: str) -> str:
    return str(row["mensaje"] or "") if row is not None and estado == Estado.DUPLICADO else ""
