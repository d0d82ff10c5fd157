"""Closes killed at named points, and what the next close makes of it, on every engine.

What must stand after a death belongs here; how a close dies is `tests/faults/dying_close.py`.
"""

import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import dagster as dg
import pytest

from tests.faults.dying_close import POINTS, ClosingDriver
from tests.support.closing import ONE_DAY, at, loose, sealed
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import Pipeline, SteppingClock, record, report, sha256
from visitas_dagster.domain.failures import PermanentFailure
from visitas_dagster.instance import prepare_home
from visitas_dagster.loading import tables
from visitas_dagster.partitions import ARCHIVOS
from visitas_dagster.resources.folders import LAYOUT, SISTEMA, Folders
from visitas_dagster.steps.archive import record_failure

DAY: Final = date(2024, 3, 31)
"""The night after it turns the month."""

AT_THE_DATABASE: Final = ("begun", "mid-pass", "mid-quarantine", "zip-in-place", "mid-turn", "one-report", "ended")
"""Points at which an engine may make a difference; the others are the disk's, and one engine is enough."""


@pytest.fixture(scope="module")
def driver() -> Iterator[ClosingDriver]:
    with ClosingDriver() as driver:
        yield driver


@dataclass
class Nights:
    """An installation whose closes are processes that may die.

    Attributes:
        pipeline: looks at it from outside, and delivers.
        driver: does the closes.
        request: what each close is told.
        log: what the closes said.
        sealed: what each day's zip must hold.
        failed: the digest of the last system failure, which must stand in quarantine; the next night takes it again.
        spoiled: the digests of layout failures, which stay there.
    """

    pipeline: Pipeline
    driver: ClosingDriver
    request: dict[str, Any]
    log: Path
    sealed: dict[date, dict[str, str]] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    spoiled: set[str] = field(default_factory=set)

    def close(self, day: date, point: str | None = None, minute: int = 0) -> int:
        """Close what is owed in the night after ``day``; return the exit code."""
        moment: datetime = at(self.pipeline, day + ONE_DAY, 2, minute)
        return self.driver.run(self.request | {"point": point, "moment": moment.isoformat()})

    def deliver(self, number: int, day: date, data: bytes) -> None:
        """Put a file on the server, that is to be backed up on this day."""
        name = f"report_{number}.txt"
        self.pipeline.deliver(name, data)
        self.sealed.setdefault(day, {})[Folders.name_in_zip(name, sha256(data))] = sha256(data)

    def fail(self, number: int, day: date, data: bytes) -> None:
        """Leave what a run leaves that wrote a system failure down and died; its file is taken back."""
        name = f"report_{number}.txt"
        self.pipeline.deliver(name, data)
        with self.pipeline.tools() as tools:
            task = self.pipeline.validated(tools, name)
            record_failure(tools, task, PermanentFailure("no hay espacio"))
            dead = self.pipeline.platform.folders.staging / f"{number:08}-1111-1111-1111-111111111111"
            dead.mkdir()
            assert task.staged is not None
            (dead / name).write_bytes(task.staged.read_bytes())
        (self.pipeline.folder / name).unlink()
        self.failed = {sha256(data)}
        self.sealed.setdefault(day + 2 * ONE_DAY, {})[Folders.name_in_zip(name, sha256(data))] = sha256(data)

    def instance(self) -> dg.DagsterInstance:
        """Dagster's instance, to look at."""
        return dg.DagsterInstance.from_config(str(prepare_home(self.pipeline.settings)))


@pytest.fixture
def nights(database: Database, sftp_folder: SftpFolder, tmp_path: Path, driver: ClosingDriver) -> Iterator[Nights]:
    log = tmp_path / "cierres.log"
    with Pipeline(database, sftp_folder, tmp_path, SteppingClock()) as pipeline:
        request = {
            "url": database.url,
            "sftp": dict(sftp_folder.environment()),
            "home": str(pipeline.settings.home),
            "log": str(log),
        }
        yield Nights(pipeline, driver, request, log)


def prepare(nights: Nights) -> tuple[str, str]:
    """Have something for every step of the night after :data:`DAY`; return the partitions that go and stay."""
    pipeline, folders = nights.pipeline, nights.pipeline.platform.folders
    at(pipeline, DAY - timedelta(days=120), 12)
    pipeline.deliver("report_0.txt", report(record("vieja@example.com", "01/12/2023 09:00")))
    pipeline.run_pass()
    with nights.instance() as instance:
        instance.add_dynamic_partitions(ARCHIVOS, ["report_0.txt", "report_1.txt"])
    at(pipeline, DAY, 12)
    good, wrong = report(record("v@example.com"), record("w@example.com")), b"nada\n"
    nights.deliver(1, DAY, good)
    nights.deliver(2, DAY, report(record("v@example.com", "02/03/2024 10:00"), record("sin arroba")))
    nights.deliver(3, DAY, wrong)
    nights.deliver(4, DAY, good)
    nights.spoiled.add(sha256(wrong))
    pipeline.run_pass()
    # Past midnight: the night's own pass is no further day, the next one's is.
    at(pipeline, DAY + ONE_DAY, 1)
    nights.fail(5, DAY, report(record("falla@example.com")))
    nights.deliver(6, DAY + ONE_DAY, report(record("noche@example.com")))
    (folders.logs / "19990101").mkdir()
    for name in ("report_1.log", "report_2.log"):
        (folders.logs / "19990101" / name).write_text("x")
    return "report_0.txt", "report_1.txt"


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("point", POINTS)
def test_a_close_killed_at_a_point_and_repeated_ends_in_the_same(nights: Nights, point: str) -> None:
    die_and_repeat(nights, point)


@pytest.mark.databases("mysql", "mariadb")
@pytest.mark.parametrize("point", AT_THE_DATABASE)
def test_a_close_killed_over_a_servers_tables_and_repeated_ends_in_the_same(nights: Nights, point: str) -> None:
    die_and_repeat(nights, point)


def die_and_repeat(nights: Nights, point: str) -> None:
    """Kill the close of one night, and see what two nights leave."""
    gone, stays = prepare(nights)
    assert nights.close(DAY, point) == -signal.SIGKILL, nights.log.read_text()
    assert nights.close(DAY, minute=20) == 0, nights.log.read_text()
    assert_all_is_well(nights, DAY)
    with nights.instance() as instance:
        assert gone not in instance.get_dynamic_partitions(ARCHIVOS)
        assert stays in instance.get_dynamic_partitions(ARCHIVOS)
    # The next night seals what this one took, and the pass takes what waited in quarantine.
    nights.failed.clear()
    assert nights.close(DAY + ONE_DAY) == 0, nights.log.read_text()
    assert_all_is_well(nights, DAY + ONE_DAY)


def assert_all_is_well(nights: Nights, day: date) -> None:
    """Nothing lost, nothing twice, nothing left, after the night of ``day``."""
    pipeline, folders = nights.pipeline, nights.pipeline.platform.folders
    expected = {
        f"backup_{sealed_day:%Y%m%d}.zip": held for sealed_day, held in nights.sealed.items() if sealed_day <= day
    }
    assert sealed(folders) == expected
    tonight = f"{day + ONE_DAY:%Y%m%d}"
    assert loose(folders) == {tonight, *(f"{tonight}/{name}" for name in nights.sealed[day + ONE_DAY])}
    assert pipeline.quarantine(SISTEMA) == nights.failed
    assert pipeline.quarantine(LAYOUT) == nights.spoiled
    assert pipeline.on_server() == set()
    assert pipeline.staging() == []
    assert list(folders.logs.glob("19990101")) == []
    assert (folders.reportes / f"diario_{day:%Y%m%d}.html").is_file()
    assert (folders.reportes / f"mensual_{day:%Y%m}.html").is_file()
    closes = {row["fecha"]: row for row in pipeline.rows(tables.cierres)}
    assert {row["estado"] for row in closes.values()} == {"COMPLETADO"}
    assert_counters_are_right(pipeline, day + ONE_DAY)
    with nights.instance() as instance:
        assert [run for run in instance.get_runs() if not run.is_finished] == []


def assert_counters_are_right(pipeline: Pipeline, today: date) -> None:
    """Every row of ``visitantes`` is the aggregate of the visits, on this day."""
    visits = pipeline.rows(tables.estadisticas, "email", "fecha_envio")
    total, year, month = Counter[str](), Counter[str](), Counter[str]()
    for visit in visits:
        total[visit["email"]] += 1
        year[visit["email"]] += visit["fecha_envio"].year == today.year
        month[visit["email"]] += (visit["fecha_envio"].year, visit["fecha_envio"].month) == (today.year, today.month)
    counted = {
        row["email"]: (row["visitas_totales"], row["visitas_anio_actual"], row["visitas_mes_actual"])
        for row in pipeline.rows(tables.visitantes)
    }
    assert counted == {email: (total[email], year[email], month[email]) for email in total}
