"""The whole way of a file, from the server into the tables, against a second reading of the contract.

Arbitrary deliveries and their outcome belong here; what a single rule means is in `tests/cases`.
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle import strategies
from tests.oracle.oracle import World
from tests.oracle.strategies import ALIASES
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import Pipeline, record, report
from visitas_dagster.steps.task import FileTask

Delivery = tuple[str, bytes]

TODAY: Final = date(2024, 3, 14)
"""The day of `tests.support.pipeline.NOON`."""

_ALIAS_SETTING: Final = ",".join(f"{alias}={column}" for alias, column in ALIASES.items())

# One database serves all examples of a test, cleared before each; the same examples on every machine.
_COMMON = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
_REPORTS = settings(_COMMON, max_examples=50)
_SEQUENCES = settings(_COMMON, max_examples=16)


@pytest.fixture(params=[False, True], ids=["multi-row", "load-data"])
def local_infile(request: pytest.FixtureRequest, database: Database) -> Iterator[bool]:
    """Run a test on a server with LOAD DATA LOCAL off, and once more with it on."""
    assert database.server is not None
    allowed: bool = request.param
    with database.server.with_local_infile(allowed):
        yield allowed


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path, alias_columnas=_ALIAS_SETTING) as pipeline:
        yield pipeline


def assert_agreement(pipeline: Pipeline, world: World) -> None:
    """Compare the tables with the oracle, and the folders with the contract."""
    world.settle()
    assert world.differences(pipeline.tables(), TODAY) == []
    assert pipeline.broken_promises() == []


def take(pipeline: Pipeline, world: World, deliveries: Sequence[Delivery]) -> list[FileTask]:
    """Deliver files under distinct names and take them in one pass."""
    for name, data in deliveries:
        pipeline.deliver(name, data)
    tasks = pipeline.run_pass()
    assert [task.archivo for task in tasks] == [name for name, _ in deliveries]
    for name, data in deliveries:
        world.deliver(name, data)
    assert_agreement(pipeline, world)
    return tasks


# --------------------------------------------------------------------------------------------- one report each


def every_report_agrees(pipeline: Pipeline) -> None:
    @_REPORTS
    @given(strategies.reports(TODAY))
    def agrees(data: bytes) -> None:
        pipeline.clear()
        take(pipeline, World(aliases=ALIASES), [("report_1.txt", data)])

    agrees()


@pytest.mark.databases("sqlite")
def test_a_report_stands_in_sqlite_as_the_contract_says(pipeline: Pipeline) -> None:
    every_report_agrees(pipeline)


@pytest.mark.databases("mysql", "mariadb")
def test_a_report_stands_on_a_server_as_the_contract_says(pipeline: Pipeline, local_infile: bool) -> None:
    every_report_agrees(pipeline)


# ---------------------------------------------------------------------------------------------- many deliveries


def groups(deliveries: Sequence[Delivery], cuts: Sequence[bool]) -> Iterator[list[Delivery]]:
    """Split deliveries into passes: where `cuts` says so, and before a name that the pass has already."""
    group: list[Delivery] = []
    for (name, data), cut in zip(deliveries, cuts, strict=True):
        if group and (cut or name in {earlier for earlier, _ in group}):
            yield group
            group = []
        group.append((name, data))
    if group:
        yield group


@st.composite
def passes(draw: st.DrawFn) -> list[list[Delivery]]:
    """Deliveries in groups that wait together."""
    deliveries = draw(strategies.deliveries(TODAY, max_deliveries=9, max_records=5))
    cuts = draw(st.lists(st.booleans(), min_size=len(deliveries), max_size=len(deliveries)))
    return list(groups(deliveries, cuts))


def every_sequence_agrees(pipeline: Pipeline) -> None:
    @_SEQUENCES
    @given(passes())
    def agrees(waiting: list[list[Delivery]]) -> None:
        pipeline.clear()
        world = World(aliases=ALIASES)
        for group in waiting:
            take(pipeline, world, group)
        assert pipeline.run_pass() == []

    agrees()


@pytest.mark.databases("sqlite")
def test_deliveries_in_any_sequence_stand_in_sqlite_as_the_contract_says(pipeline: Pipeline) -> None:
    every_sequence_agrees(pipeline)


@pytest.mark.databases("mysql", "mariadb")
def test_deliveries_in_any_sequence_stand_on_a_server_as_the_contract_says(
    pipeline: Pipeline, local_infile: bool
) -> None:
    every_sequence_agrees(pipeline)


A = report(record("ana@example.com"), record("luis@example.org"), record("no es correo"))
B = report(record("ana@example.com"), record("eva@example.net", "31/12/2023 23:59"))


@pytest.mark.parametrize(
    "passes",
    [
        [[("report_1.txt", A)], [("report_1.txt", B)], [("report_1.txt", A)]],
        [[("report_1.txt", A)], [("report_1.txt", A)]],
        [[("report_1.txt", A), ("report_2.txt", A)], [("report_1.txt", B)], [("report_2.txt", B)]],
        [[("report_1.txt", A), ("report_2.txt", B)], [("report_1.txt", B), ("report_2.txt", A)]],
        [[("report_1.txt", A), ("report_2.txt", A)], [("report_1.txt", b"")], [("report_1.txt", report())]],
        [[("report_1.txt", b"")], [("report_1.txt", A)], [("report_1.txt", b"")]],
        [[("report_1.txt", report()), ("report_2.txt", report())], [("report_1.txt", A)]],
    ],
    ids=["a-b-a", "twice", "heir-then-same", "swapped", "heir-of-empty", "failed-then-good", "no-records"],
)
def test_a_known_tangle_agrees(pipeline: Pipeline, passes: list[list[Delivery]]) -> None:
    world = World(aliases=ALIASES)
    for group in passes:
        take(pipeline, world, group)


# ------------------------------------------------------------------------------------------------ in parallel


def in_parallel(calls: Sequence[Callable[[], object]]) -> None:
    """Run calls at the same moment, a thread each; the first error comes out."""
    start = threading.Barrier(len(calls))
    errors: list[BaseException] = []

    def run(call: Callable[[], object]) -> None:
        try:
            start.wait()
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.fixture
def pipelines(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Iterator[tuple[Pipeline, Pipeline]]:
    """Give two runs' worth of connections over one installation; deadlocks are retried more than elsewhere."""

    def make() -> Pipeline:
        return Pipeline(database, sftp_folder, tmp_path, alias_columnas=_ALIAS_SETTING, reintentos=8)

    with make() as first, make() as second:
        yield first, second


def test_of_six_copies_taken_in_parallel_one_carries_the_content(pipelines: tuple[Pipeline, Pipeline]) -> None:
    first, second = pipelines
    names = [f"report_{number}.txt" for number in range(1, 7)]
    for _ in range(3):
        first.clear()
        for name in names:
            first.deliver(name, A)
        in_parallel([lambda: first.run(names[0::2]), lambda: second.run(names[1::2])])
        world = World([(name, A) for name in names], aliases=ALIASES, any_order=True)
        assert_agreement(first, world)
        states = sorted(estado for _, estado, _ in first.states())
        assert states == ["COMPLETADO_CON_ERRORES", *["DUPLICADO"] * 5]


def test_two_passes_over_the_same_files_share_them(pipelines: tuple[Pipeline, Pipeline]) -> None:
    first, second = pipelines
    names = [f"report_{number}.txt" for number in range(1, 7)]
    for _ in range(3):
        first.clear()
        for name in names:
            first.deliver(name, A)
        in_parallel([first.run_pass, second.run_pass])
        world = World([(name, A) for name in names], aliases=ALIASES, any_order=True)
        assert_agreement(first, world)
        assert [row["intentos"] for row in first.tables().bitacora_control] == [1] * 6
        assert first.run_pass() == []


def test_corrections_and_copies_in_parallel_agree(pipelines: tuple[Pipeline, Pipeline]) -> None:
    first, second = pipelines
    rng = random.Random(7)
    contents = [strategies.random_report(rng, 30, bad_share=0.2, today=TODAY) for _ in range(4)] + [report(), b""]
    names = [f"report_{number}.txt" for number in range(1, 9)]
    world = World(aliases=ALIASES, any_order=True)
    for _ in range(8):
        for name in names:
            data = rng.choice(contents)
            first.deliver(name, data)
            world.deliver(name, data)
        in_parallel([lambda: first.run(names[:4]), lambda: second.run(names[4:])])
        # The next pass finds nothing to take, and no hand-over left to make.
        assert first.run_pass() == []
        assert_agreement(first, world)
