"""Dagster's own storage fails under a pass: its disk fills up, or its server goes away. No file may seem to be done.

What a pass and a close say of it belongs here; the same faults of our own folders and database stand beside this file.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy.engine import make_url

from tests.oracle.oracle import World
from tests.support.command import Ended, Visitas
from tests.support.disks import SmallDisk
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import Pipeline, SteppingClock, record, report, sha256
from tests.support.proxy import CuttingProxy
from visitas_dagster.dispatch import BROKEN, Passes, PassResult
from visitas_dagster.instance import open_instance
from visitas_dagster.nightly import SilentPass
from visitas_dagster.resources.platform import system_clock

FILES: Final = {f"report_{number}.txt": report(record(f"v{number}@example.com")) for number in range(1, 4)}


class Full:
    """An installation whose Dagster keeps its runs on a small disk; nothing else is there.

    Attributes:
        pipeline: the same installation, for deliveries and for looking.
    """

    def __init__(self, disk: SmallDisk, pipeline: Pipeline, visitas: Visitas) -> None:
        self.pipeline = pipeline
        self._disk = disk
        self._visitas = visitas

    def run(self, *command: str) -> Ended:
        return self._visitas.run_behind(self._disk.inside(), *command)


@pytest.fixture
def full(database: Database, sftp_folder: SftpFolder, disk: SmallDisk, tmp_path: Path) -> Iterator[Full]:
    settings = {
        **sftp_folder.environment(),
        "VISITAS_DB_URL": database.url,
        "DAGSTER_HOME": str(disk.folder / "dagster"),
        "VISITAS_REINTENTOS": "1",
        "VISITAS_REINTENTO_BASE_S": "0.01",
    }
    with Pipeline(database, sftp_folder, tmp_path, system_clock) as pipeline:
        made = Full(disk, pipeline, Visitas(tmp_path, settings))
        assert made.run("init").code == 0
        yield made


def deliver(pipeline: Pipeline) -> None:
    for name, data in FILES.items():
        pipeline.deliver(name, data)


def assert_all_loaded(pipeline: Pipeline) -> None:
    world = World(list(FILES.items()))
    assert world.differences(pipeline.tables(), pipeline.platform.today()) == []
    assert pipeline.backups() == {sha256(data) for data in FILES.values()}
    assert pipeline.on_server() == set()
    assert pipeline.broken_promises() == []


@pytest.mark.databases("sqlite")
def test_a_full_disk_that_dagster_cannot_open_is_one_line(full: Full, disk: SmallDisk) -> None:
    deliver(full.pipeline)
    disk.leave(0)
    ended = full.run("dispatch")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert re.fullmatch(
        r"visitas: DAGSTER_HOME: la base de datos de Dagster no se puede usar \(.+\)\. Revise el disco\n", ended.err
    )
    assert full.pipeline.on_server() == set(FILES)


# With the one the first run cannot be noted, with the other a run breaks while it goes on.
@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("room", [100_000, 200_000])
def test_runs_that_break_on_a_full_disk_leave_no_file_as_done(full: Full, disk: SmallDisk, room: int) -> None:
    deliver(full.pipeline)
    disk.leave(room)
    ended = full.run("dispatch")
    assert ended.code == 1
    assert [f"  {name}: {BROKEN}" in ended.out.splitlines() for name in FILES] == [True] * 3
    assert re.search(
        r"^visitas: aviso: la corrida [-0-9a-f]{36} se interrumpió: "
        r"la base de datos de Dagster no se puede usar \(.+\)$",
        ended.err,
        re.MULTILINE,
    )
    assert "Traceback" not in ended.err
    assert full.pipeline.on_server() == set(FILES)
    disk.free()
    done = full.run("dispatch")
    assert done.code == 0, done
    assert_all_loaded(full.pipeline)


@pytest.mark.databases("sqlite")
def test_a_close_whose_runs_break_has_failed(full: Full, disk: SmallDisk) -> None:
    deliver(full.pipeline)
    disk.leave(100_000)
    ended = full.run("close")
    assert ended.code == 1
    assert re.search(r"^  pendientes +falló", ended.out, re.MULTILINE)
    assert "archivos que quedaron sin tomar: 3, porque su corrida se interrumpió" in ended.err
    assert full.pipeline.on_server() == set(FILES)
    disk.free()
    done = full.run("close")
    assert done.code == 0, done
    assert_all_loaded(full.pipeline)


class Cutter(SilentPass):
    """Cuts Dagster off from its storage when the first file's rows go in.

    Attributes:
        struck: whether it has.
    """

    def __init__(self, proxy: CuttingProxy) -> None:
        self.struck = False
        self._proxy = proxy

    def advance(self, archivo: str, amount: int) -> None:
        """See `Observer`."""
        if not self.struck:
            self.struck = True
            self._proxy.refuse()
            self._proxy.cut()


def one_pass(pipeline: Pipeline, observer: SilentPass) -> PassResult:
    with open_instance(pipeline.settings, captures_output=False) as instance:
        return Passes(pipeline.platform, instance, observer).pending()


@pytest.mark.databases("mysql", "mariadb")
def test_a_server_of_dagsters_that_goes_away_leaves_no_file_as_done(
    database: Database, sftp_folder: SftpFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = database.server
    assert server is not None
    own = server.create_database()
    port = make_url(own).port
    assert port is not None
    with CuttingProxy(port) as proxy:
        url = make_url(proxy.url(own)).set(drivername="mysql+mysqlconnector", query={})
        dagster_url = url.render_as_string(hide_password=False)
        with Pipeline(database, sftp_folder, tmp_path, SteppingClock(), dagster_db_url=dagster_url) as pipeline:
            deliver(pipeline)
            cutter = Cutter(proxy)
            result = one_pass(pipeline, cutter)
            assert cutter.struck
            assert result.missed == list(FILES)
            assert all(outcome.needs_person for outcome in result.outcomes)
            assert re.search(
                r"la corrida \S+ se interrumpió: la base de datos de Dagster no se puede usar \(.+\)", caplog.text
            )
            proxy.accept()
            outcomes = one_pass(pipeline, SilentPass()).outcomes
            assert [outcome.needs_person for outcome in outcomes] == [False] * len(outcomes)
            assert_all_loaded(pipeline)
    server.drop_database(own)
