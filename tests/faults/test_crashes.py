"""Processes killed in the middle of a pass, and what the next pass makes of it, on every engine.

What must stand after a death belongs here; how a process dies is `tests/faults/driver.py`.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import dagster as dg
import pytest

from tests.faults.driver import JOINT_POINTS, POINTS, Driver
from tests.oracle.oracle import World
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import NOON, Pipeline, SteppingClock, record, report, sha256
from tests.support.servers import available_engines
from visitas_dagster.domain.ladder import Resultado
from visitas_dagster.instance import POOL_DATABASE, POOL_SFTP, prepare_home
from visitas_dagster.loading import tables
from visitas_dagster.loading.reservations import open_reservations

DEATHS: Final = int(os.environ.get("VISITAS_TEST_MUERTES", "10"))
"""Kills of the random test, over all engines."""

_KILLED: Final = -signal.SIGKILL


def twenty(seed: int) -> bytes:
    """A report of 20 records, two of them wrong."""
    lines = [record(f"v{(seed + number) % 37}@example.com", f"{number + 1:02}/02/2024 10:00") for number in range(18)]
    return report(*lines, record("sin arroba"), record(opens="-1"))


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    with Driver() as driver:
        yield driver


@dataclass
class Installation:
    """An installation whose passes are processes that may die.

    Attributes:
        pipeline: looks at it from outside.
        start: begins a pass; takes the point or the seconds at which it dies, returns exit code and seconds.
        log: what the passes said.
        world: what must stand in the end.
        delivered: the digests of everything that was put on the server.
    """

    pipeline: Pipeline
    start: Callable[[str | None, float | None], tuple[int, float]]
    log: Path
    world: World = field(default_factory=lambda: World(any_order=True))
    delivered: set[str] = field(default_factory=set)

    def deliver(self, name: str, data: bytes) -> None:
        """Put a file on the server, where nothing of this name waits."""
        assert name not in self.pipeline.on_server()
        self.pipeline.deliver(name, data)
        self.world.deliver(name, data)
        self.delivered.add(sha256(data))

    def die(self, point: str) -> None:
        """Do a pass that dies at this point."""
        code, _ = self.start(point, None)
        assert code == _KILLED, self.log.read_text()

    def die_within(self, seconds: float) -> bool:
        """Do a pass that is killed after so many seconds; return whether it was still alive then."""
        code, _ = self.start(None, seconds)
        assert code in (0, _KILLED), self.log.read_text()
        self.await_servers()
        return code == _KILLED

    def live(self) -> float:
        """Do a pass to its end; return its seconds."""
        self.await_servers()
        code, seconds = self.start(None, None)
        assert code == 0, self.log.read_text()
        return seconds

    def await_servers(self) -> None:
        """Wait until the database server has noticed that the dead process is gone, and taken its work back."""
        platform = self.pipeline.platform
        reservations = open_reservations(platform.engine, platform.folders.locks)
        for name in self.pipeline.on_server():
            while not reservations.take(name):
                time.sleep(0.02)
        reservations.close()

    def runs(self) -> dict[str, dg.DagsterRunStatus]:
        """The state of every run, by its id, as Dagster keeps it."""
        with self.instance() as instance:
            return {run.run_id: run.status for run in instance.get_runs()}

    def instance(self) -> dg.DagsterInstance:
        """Dagster's instance, to look at."""
        return dg.DagsterInstance.from_config(str(prepare_home(self.pipeline.settings)))

    def assert_all_is_well(self) -> None:
        """Compare with what was delivered, and look for anything that the dead left behind."""
        pipeline = self.pipeline
        self.world.settle()
        assert self.world.differences(pipeline.tables(), NOON.date()) == []
        assert pipeline.broken_promises() == []
        assert pipeline.on_server() == set()
        assert self.delivered <= pipeline.backups()
        assert pipeline.quarantine("sistema") == set()
        assert [path.name for path in pipeline.platform.folders.staging.iterdir()] == [".reservas"]
        results = {row["resultado"] for row in pipeline.rows(tables.bitacora_intentos)}
        assert results <= {
            Resultado.CARGADO,
            Resultado.SIN_CAMBIO,
            Resultado.FALLO_LAYOUT,
            Resultado.INTERRUMPIDO,
        }
        with self.instance() as instance:
            assert [run for run in instance.get_runs() if not run.is_finished] == []
            for pool in (POOL_SFTP, POOL_DATABASE):
                info = instance.event_log_storage.get_concurrency_info(pool)
                assert info.slot_count > 0
                assert (info.active_slot_count, info.claimed_slots, info.pending_steps) == (0, [], [])


@pytest.fixture
def installation(database: Database, sftp_folder: SftpFolder, tmp_path: Path, driver: Driver) -> Iterator[Installation]:
    hours = iter(range(10_000))
    log = tmp_path / "pases.log"
    with Pipeline(database, sftp_folder, tmp_path, SteppingClock()) as pipeline:
        request: dict[str, Any] = {
            "url": database.url,
            "sftp": dict(sftp_folder.environment()),
            "home": str(pipeline.settings.home),
            "log": str(log),
        }

        def start(point: str | None, after_s: float | None) -> tuple[int, float]:
            # Each pass begins later than the one before, on one day.
            moment = NOON + timedelta(seconds=20 * next(hours))
            return driver.run(request | {"point": point, "after_s": after_s, "moment": moment.isoformat()})

        yield Installation(pipeline, start, log)


_ATTEMPTS: Final = {
    "after-listing": ["CARGADO"],
    "run-born": ["CARGADO"],
    # Committed is committed: the next pass only removes it from the server.
    "after-commit": ["CARGADO", "SIN_CAMBIO"],
    "after-backup": ["CARGADO", "SIN_CAMBIO"],
    "mid-removal": ["CARGADO"],
    "run-ended": ["CARGADO"],
}
"""How the attempts at a file end, by the point at which the first pass dies over it."""


def test_deaths_at_each_point_leave_nothing(installation: Installation) -> None:
    for number, point in enumerate(POINTS):
        name = f"report_{number}.txt"
        installation.deliver(name, twenty(number))
        die_and_live(installation, point)
        installation.assert_all_is_well()
        assert attempts(installation.pipeline, name) == _ATTEMPTS.get(point, ["INTERRUMPIDO", "CARGADO"]), point


def test_deaths_over_what_is_loaded_already_leave_nothing(installation: Installation) -> None:
    name, data = "report_1.txt", twenty(1)
    installation.deliver(name, data)
    installation.live()
    expected = ["CARGADO"]
    # Once it is off the server nobody comes back to it: its attempt is closed with its run.
    for point, ends in {"after-backup": ["INTERRUMPIDO", "SIN_CAMBIO"], "mid-removal": ["INTERRUMPIDO"]}.items():
        installation.deliver(name, data)
        die_and_live(installation, point)
        installation.assert_all_is_well()
        expected += ends
        assert attempts(installation.pipeline, name) == expected


def test_deaths_over_big_files_leave_nothing(installation: Installation) -> None:
    for number, point in enumerate(("mid-download", "mid-load")):
        lines = [record(f"v{visitor}@example.com") for visitor in range(number, number + 59_999)]
        installation.deliver(f"report_{number}.txt", report(*lines, record("no")))
        die_and_live(installation, point)
    installation.assert_all_is_well()


@pytest.mark.parametrize(
    ("point", "ends"), [("mid-claims", ["CARGADO"]), ("after-claims", ["INTERRUMPIDO", "CARGADO"])]
)
def test_deaths_where_many_files_begin_together_leave_nothing(
    installation: Installation, point: str, ends: list[str]
) -> None:
    assert point in JOINT_POINTS
    names = [f"report_{number}.txt" for number in range(7)]
    for number, name in enumerate(names):
        installation.deliver(name, twenty(number))
    die_and_live(installation, point)
    installation.assert_all_is_well()
    assert [attempts(installation.pipeline, name) for name in names] == [ends] * 7


def die_and_live(installation: Installation, point: str) -> None:
    before = installation.runs().keys()
    installation.die(point)
    dead = {run_id: status for run_id, status in installation.runs().items() if run_id not in before}
    assert len(dead) == (point != "after-listing"), point
    assert set(dead.values()) <= _UNFINISHED, point
    installation.live()
    after = installation.runs()
    assert {after[run_id] for run_id in dead} <= {dg.DagsterRunStatus.FAILURE}, point


_UNFINISHED: Final = {dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED}


def attempts(pipeline: Pipeline, name: str) -> list[str | None]:
    """How the attempts at a name ended, oldest first."""
    keys = {row["id"] for row in pipeline.rows(tables.bitacora_control) if row["archivo"] == name}
    return [row["resultado"] for row in pipeline.rows(tables.bitacora_intentos) if row["archivo_id"] in keys]


def test_deaths_at_any_moment_leave_nothing(installation: Installation) -> None:
    chance = random.Random(DEATHS)
    wanted = -(-DEATHS // len(available_engines()))
    number = deaths = 0
    installation.deliver("report_0.txt", twenty(0))
    installation.deliver("report_1.txt", twenty(0))
    whole_pass_s = installation.live()
    while deaths < wanted:
        for _ in range(chance.randint(1, 3)):
            number += 1
            waiting = installation.pipeline.on_server()
            # Sometimes a name of before: a correction, or the same bytes again.
            name = f"report_{chance.randint(1, number + 4)}.txt"
            if name not in waiting:
                installation.deliver(name, chance.choice([twenty(chance.randint(1, 4)), b"nada\n", report()]))
        deaths += installation.die_within(chance.uniform(0.01, whole_pass_s))
    installation.live()
    installation.assert_all_is_well()
