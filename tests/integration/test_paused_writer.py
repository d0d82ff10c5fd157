"""A sender that writes its report in place, over SFTP, and pauses: half a report is never loaded for a whole one.

Real writers with an open handle, the sensor's ticks and a moved clock belong here; senders that rename, and what a
tick asks of Dagster, do not.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import paramiko
import pytest

from tests.oracle.oracle import World
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import Pipeline, SteppingClock, record, report, sha256
from visitas_dagster.domain.arrivals import PATIENCE
from visitas_dagster.loading import tables
from visitas_dagster.sensors.arrivals import tick
from visitas_dagster.steps.archive import archive
from visitas_dagster.steps.load import load

# What differs between the engines is tested with the ledger.
pytestmark = pytest.mark.databases("sqlite")

NAME = "report_1.txt"
WAIT_S = 30
TICK_S = 15
LINES = [record(f"v{number}@example.com") for number in range(200)]
DATA = report(*LINES)
HALF = DATA[: len(DATA) // 2]
assert not HALF.endswith(b"\n")


@pytest.fixture
def clock() -> SteppingClock:
    # The server dates what is written by the machine's clock.
    return SteppingClock(datetime.now(UTC))


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path, clock: SteppingClock) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path, clock, espera_estable_s=WAIT_S) as pipeline:
        yield pipeline


@pytest.fixture
def writer(sftp_folder: SftpFolder) -> Iterator[paramiko.SFTPFile]:
    """A sender's handle on the report, open over SFTP."""
    with sftp_folder.server.connect() as client, client.open_sftp() as sftp:
        handle = sftp.open(f"{sftp_folder.path}/{NAME}", "wb")
        yield handle
        handle.close()


class Sensor:
    """Ticks, each with the cursor that the last one left, as the daemon does."""

    def __init__(self, instance: dg.DagsterInstance, pipeline: Pipeline, clock: SteppingClock) -> None:
        self._instance = instance
        self._pipeline = pipeline
        self._clock = clock
        self._cursor: str | None = None

    def tick(self) -> list[str]:
        """Do one tick; return the names that it asks runs for. The next one is `TICK_S` later."""
        result = tick(self._instance, self._cursor, self._pipeline.platform)
        assert isinstance(result, dg.SensorResult)
        self._cursor = result.cursor
        for request in result.dynamic_partitions_requests or []:
            self._instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        self._clock.advance(TICK_S)
        return [str(request.partition_key) for request in result.run_requests or []]


@pytest.fixture
def sensor(pipeline: Pipeline, clock: SteppingClock) -> Iterator[Sensor]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Sensor(instance, pipeline, clock)


def ticks_until_asked(sensor: Sensor, limit: int = 50) -> int:
    """Tick until a run is asked for the report; return the number of ticks that asked for nothing."""
    for silent in range(limit):
        if asked := sensor.tick():
            assert asked == [NAME]
            return silent
    raise AssertionError(f"no run was asked for in {limit} ticks")


def assert_whole(pipeline: Pipeline, data: bytes = DATA) -> None:
    """The tables hold the whole report, in one attempt, and its bytes are in the backup alone."""
    assert World([(NAME, data)]).differences(pipeline.tables(), pipeline.platform.today()) == []
    assert [row["resultado"] for row in pipeline.rows(tables.bitacora_intentos)] == ["CARGADO"]
    assert pipeline.backups() == {sha256(data)}
    assert pipeline.on_server() == set()
    assert pipeline.broken_promises() == []


# -------------------------------------------------------------------------------- pauses shorter than the wait


def test_a_writer_that_pauses_for_two_ticks_again_and_again_is_not_disturbed(
    sensor: Sensor, pipeline: Pipeline, writer: paramiko.SFTPFile
) -> None:
    # Each piece ends with a whole line: nothing but its growth tells that the report is not done.
    pieces = [report(*LINES[:50]), *("".join(f"{line}\n" for line in LINES[at : at + 50]) for at in (50, 100, 150))]
    for piece in pieces:
        writer.write(piece)
        assert [sensor.tick() for _ in range(2)] == [[], []]
    assert pipeline.rows(tables.bitacora_control) == []
    writer.close()
    assert ticks_until_asked(sensor) <= 2
    pipeline.run([NAME])
    assert_whole(pipeline)


# --------------------------------------------------------------------------------- pauses longer than the wait


@pytest.mark.parametrize("written", [HALF, HALF[:1], b""], ids=["half a line", "one byte", "nothing yet"])
def test_a_writer_that_pauses_in_the_middle_of_a_line_is_waited_for(
    sensor: Sensor, pipeline: Pipeline, writer: paramiko.SFTPFile, written: bytes
) -> None:
    writer.write(written)
    assert ticks_until_asked(sensor) == WAIT_S // TICK_S
    (task,) = pipeline.run([NAME])
    assert task.skipped == "no termina en un fin de línea y es reciente: quizá sigue llegando; se toma más tarde"
    assert pipeline.rows(tables.bitacora_control) == []
    # The run said so once: no tick asks for another while the report stands like that.
    assert [sensor.tick() for _ in range(12)] == [[]] * 12
    writer.write(DATA[len(written) :])
    writer.close()
    # What tells now is its growth; the server's clock stood still beside ours.
    assert ticks_until_asked(sensor) == WAIT_S // TICK_S
    pipeline.run([NAME])
    assert_whole(pipeline)


def test_a_report_without_a_last_end_of_line_is_taken_in_the_end(sensor: Sensor, pipeline: Pipeline) -> None:
    data = DATA.removesuffix(b"\n")
    (pipeline.folder / NAME).write_bytes(data)
    assert ticks_until_asked(sensor) == WAIT_S // TICK_S
    (task,) = pipeline.run([NAME])
    assert task.skipped is not None
    silent = ticks_until_asked(sensor)
    assert PATIENCE * WAIT_S // TICK_S - 5 <= silent <= PATIENCE * WAIT_S // TICK_S
    pipeline.run([NAME])
    assert_whole(pipeline, data)


@pytest.mark.parametrize("mtime", [0, 1_700_000_000, 4_000_000_000])
def test_a_server_whose_clock_is_elsewhere_delays_nothing(sensor: Sensor, pipeline: Pipeline, mtime: int) -> None:
    data = DATA.removesuffix(b"\n")
    pipeline.deliver(NAME, data, mtime)
    assert ticks_until_asked(sensor) == WAIT_S // TICK_S
    pipeline.run([NAME])
    assert_whole(pipeline, data)


def test_a_file_that_vanishes_under_the_look_is_no_failure(
    sensor: Sensor, pipeline: Pipeline, clock: SteppingClock
) -> None:
    (pipeline.folder / NAME).write_bytes(HALF)
    ticks_until_asked(sensor)
    (pipeline.folder / NAME).unlink()
    (task,) = pipeline.run([NAME])
    assert task.skipped == "ya no está en el servidor: otra corrida lo terminó"
    assert sensor.tick() == []


# ------------------------------------------------------------------- a pause at the end of a line, and no sign


@pytest.mark.parametrize("moment", ["before the load", "after the load"])
def test_what_comes_after_the_download_makes_a_correction(
    pipeline: Pipeline, writer: paramiko.SFTPFile, moment: str, clock: SteppingClock
) -> None:
    first = report(*LINES[:90])
    writer.write(first)
    with pipeline.tools() as tools:
        task = pipeline.validated(tools, NAME)
        if moment == "after the load":
            load(tools, task)
        writer.write(DATA[len(first) :])
        if moment == "before the load":
            load(tools, task)
        archive(tools, task)
    assert (pipeline.folder / NAME).read_bytes() == DATA
    assert pipeline.states() == [(NAME, "COMPLETADO", True)]
    writer.close()
    clock.advance(3600)
    pipeline.run_pass()
    world = World([(NAME, first), (NAME, DATA)])
    assert world.differences(pipeline.tables(), pipeline.platform.today()) == []
    shorter, whole = pipeline.rows(tables.bitacora_control)
    assert (shorter["vigente"], whole["vigente"], whole["reemplaza_a"]) == (False, True, shorter["id"])
    assert (shorter["registros_total"], whole["registros_total"]) == (90, 200)
    assert pipeline.backups() == {sha256(first), sha256(DATA)}
    assert pipeline.on_server() == set()
    assert pipeline.broken_promises() == []


def test_what_comes_in_the_same_second_and_size_is_not_removed_unread(pipeline: Pipeline, clock: SteppingClock) -> None:
    first, second = report(record("ana@example.com")), report(record("eva@example.com"))
    assert len(first) == len(second)
    second_of_both = int(clock().timestamp())
    pipeline.deliver(NAME, first, second_of_both)
    with pipeline.tools() as tools:
        task = pipeline.validated(tools, NAME)
        load(tools, task)
        pipeline.deliver(NAME, second, second_of_both)
        archive(tools, task)
    assert (pipeline.folder / NAME).read_bytes() == second
    pipeline.run_pass()
    assert [row["email"] for row in pipeline.rows(tables.estadisticas)] == ["eva@example.com"]
    assert pipeline.backups() == {sha256(first), sha256(second)}
    assert pipeline.broken_promises() == []


def test_the_same_file_of_this_second_is_removed(pipeline: Pipeline, clock: SteppingClock) -> None:
    pipeline.deliver(NAME, DATA, int(clock().timestamp()))
    assert os.listdir(pipeline.folder) == [NAME]
    pipeline.run([NAME])
    assert_whole(pipeline)
