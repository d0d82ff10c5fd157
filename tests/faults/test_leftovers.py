"""What deaths and absences leave behind, and what comes of it: copies cut short, open attempts, files taken back.

Each is set up as a dead process or an absent server leaves it; processes that really die are in `test_crashes.py`.
"""

import errno
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import NOON, Pipeline, SteppingClock, record, report, sha256
from tests.support.servers import OpenSSHServer
from visitas_dagster.domain.failures import TransientFailure
from visitas_dagster.domain.ladder import Resultado
from visitas_dagster.loading import tables
from visitas_dagster.resources import folders
from visitas_dagster.steps.archive import archive
from visitas_dagster.steps.arrivals import away
from visitas_dagster.steps.load import load
from visitas_dagster.steps.recovery import clear_dead_runs
from visitas_dagster.steps.task import Source
from visitas_dagster.steps.tools import RunTools

NAME = "report_1.txt"
DATA = report(record(), record("sin arroba"))


class Death(BaseException):
    """Ends a run where a test wants it; nothing of the product catches it."""


@pytest.fixture
def clock() -> SteppingClock:
    return SteppingClock()


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path, clock: SteppingClock) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path, clock, reintentos=0) as pipeline:
        yield pipeline


def abandon(tools: RunTools) -> None:
    """Leave a run as its death leaves it: the locks are free, the folder is there."""
    tools.reservations.close()
    folder = tools._folder
    assert folder is not None
    lock, _ = folders.RunFolder._held.pop(folder.path)
    os.close(lock)


def results(pipeline: Pipeline) -> list[str | None]:
    """How every attempt ended, oldest first."""
    return [row["resultado"] for row in pipeline.rows(tables.bitacora_intentos)]


def all_below(folder: Path) -> list[str]:
    """The names of the files in it, at any depth."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("days", [0, 1])
@pytest.mark.parametrize("links", [True, False], ids=["linked", "copied"])
def test_a_backup_that_a_death_cut_short_leaves_nothing_on_any_later_day(
    pipeline: Pipeline, clock: SteppingClock, monkeypatch: pytest.MonkeyPatch, days: int, links: bool
) -> None:
    pipeline.deliver(NAME, DATA)
    tools = pipeline.tools().__enter__()
    task = pipeline.validated(tools, NAME)
    load(tools, task)

    def die(source: object, target: object, *_: object) -> None:
        raise Death

    link = os.link

    def link_and_die(source: Path, target: Path) -> None:
        link(source, target)
        raise Death

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link_and_die if links else refuse)
        patch.setattr("visitas_dagster.resources.folders.shutil.copyfileobj", die)
        with pytest.raises(Death):
            archive(tools, task)
    abandon(tools)
    backup = pipeline.platform.folders.backup
    (partial,) = all_below(backup)
    assert partial == f"{tools.run_id}.{sha256(DATA)[:12]}.parcial"
    clock.advance(86_400 * days)
    assert clear_dead_runs(pipeline.platform, lambda run_id: None) == [tools.run_id]
    pipeline.run_pass()
    assert all_below(backup) == [f"report_1__{sha256(DATA)[:12]}.txt"]
    assert pipeline.backups() == {sha256(DATA)}
    assert results(pipeline) == ["CARGADO", "SIN_CAMBIO"]
    assert pipeline.broken_promises() == []


@pytest.mark.databases("sqlite")
def test_a_copy_under_way_of_a_living_run_is_left_alone(pipeline: Pipeline) -> None:
    pipeline.deliver(NAME, DATA)
    dead = pipeline.tools().__enter__()
    pipeline.validated(dead, NAME)
    abandon(dead)
    with pipeline.tools() as living:
        day = pipeline.platform.folders.backup / "20240314"
        day.mkdir()
        under_way = day / f"{living.run_id}.000000000000.parcial"
        under_way.write_bytes(b"1")
        assert clear_dead_runs(pipeline.platform, lambda run_id: None) == [dead.run_id]
        assert under_way.exists()
        under_way.unlink()


def test_an_attempt_that_died_after_the_removal_ends_no_earlier_than_it_began(
    pipeline: Pipeline, clock: SteppingClock
) -> None:
    pipeline.deliver(NAME, DATA)
    pipeline.run_pass()
    clock.advance(3600)
    pipeline.deliver(NAME, DATA)
    tools = pipeline.tools().__enter__()
    pipeline.validated(tools, NAME)
    (pipeline.folder / NAME).unlink()
    abandon(tools)
    clock.advance(60)
    clear_dead_runs(pipeline.platform, lambda run_id: None)
    (row,) = pipeline.rows(tables.bitacora_control)
    assert (row["estado"], row["intentos"], row["run_id"]) == ("COMPLETADO_CON_ERRORES", 2, tools.run_id)
    assert row["fin"] - row["inicio"] >= timedelta(seconds=60)
    assert row["duracion_ms"] == round((row["fin"] - row["inicio"]).total_seconds() * 1000)
    assert results(pipeline) == [Resultado.CARGADO, Resultado.INTERRUMPIDO]
    assert pipeline.broken_promises() == []


# ------------------------------------------------------------------------------- what its sender took back


def test_a_failed_file_that_its_sender_took_back_is_tried_on_the_further_days_from_quarantine(
    pipeline: Pipeline, clock: SteppingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise TransientFailure("no responde")

    pipeline.deliver(NAME, DATA)
    with monkeypatch.context() as patch:
        patch.setattr("visitas_dagster.steps.load.load_file", refuse)
        pipeline.run_pass()
        assert pipeline.quarantine("sistema") == {sha256(DATA)}
        (pipeline.folder / NAME).unlink()
        assert away(pipeline.platform, ()) == []
        for day in (1, 2):
            clock.set(NOON + timedelta(days=day))
            assert away(pipeline.platform, {NAME}) == []
            assert away(pipeline.platform, ()) == [NAME]
            pipeline.process([NAME], Source.RETRY)
            assert away(pipeline.platform, ()) == []
        for day in (3, 4, 40):
            clock.set(NOON + timedelta(days=day))
            assert away(pipeline.platform, ()) == []
    assert results(pipeline) == ["FALLO_PASAJERO"] * 6
    (row,) = pipeline.rows(tables.bitacora_control)
    assert (row["estado"], row["intentos"]) == ("FALLO_SISTEMA", 6)


def test_a_failed_file_that_its_sender_took_back_is_loaded_from_quarantine(
    pipeline: Pipeline, clock: SteppingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise TransientFailure("no responde")

    pipeline.deliver(NAME, DATA)
    with monkeypatch.context() as patch:
        patch.setattr("visitas_dagster.steps.load.load_file", refuse)
        pipeline.run_pass()
    (pipeline.folder / NAME).unlink()
    clock.advance(86_400)
    pipeline.process(away(pipeline.platform, ()), Source.RETRY)
    assert results(pipeline) == [*["FALLO_PASAJERO"] * 2, "CARGADO"]
    assert [row["email"] for row in pipeline.rows(tables.estadisticas)] == ["ana@example.com"]
    assert pipeline.backups() == {sha256(DATA)}
    assert pipeline.quarantine("sistema") == set()
    assert away(pipeline.platform, ()) == []
    assert pipeline.broken_promises() == []


# ------------------------------------------------------------------------------------ a server that is away


@pytest.mark.databases("sqlite")
def test_a_replay_does_without_the_server_where_a_copy_is_at_hand(
    database: Database, own_openssh_server: OpenSSHServer, tmp_path: Path
) -> None:
    inbox = own_openssh_server.root / "inbox"
    inbox.mkdir()
    with Pipeline(database, SftpFolder(own_openssh_server, inbox), tmp_path, SteppingClock()) as pipeline:
        pipeline.deliver(NAME, DATA)
        pipeline.run_pass()
        pipeline.deliver("report_2.txt", DATA)
        own_openssh_server.kill()
        task = pipeline.replay(NAME)
        assert (task.failure, task.listed) == (None, None)
        assert results(pipeline) == ["CARGADO", "CARGADO"]
        # Without one there is nothing to do without the server.
        (other,) = pipeline.run(["report_2.txt"], Source.REPLAY)
        assert isinstance(other.failure, TransientFailure)
        assert pipeline.states() == [(NAME, "COMPLETADO_CON_ERRORES", True)]
