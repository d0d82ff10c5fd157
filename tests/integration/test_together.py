"""Files that begin their run together: the same rows as one by one, and nobody's harm is another's.

Reserving, looking and claiming for many at once belongs here; what a claim is stands in `test_ledger.py`.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import NOON, Pipeline, SteppingClock, all_at_once, apply, finish, record, report, sha256
from tests.support.proxy import CuttingProxy
from visitas_dagster.domain.arrivals import Listed
from visitas_dagster.domain.failures import PermanentFailure, TransientFailure
from visitas_dagster.domain.states import Estado
from visitas_dagster.loading import tables
from visitas_dagster.loading.ledger import Entry, Ledger
from visitas_dagster.loading.reservations import open_reservations
from visitas_dagster.resources.sftp import SftpFolder as SftpFiles
from visitas_dagster.steps.download import download, identify
from visitas_dagster.steps.load import load
from visitas_dagster.steps.task import FileTask, Source
from visitas_dagster.steps.together import (
    GROUP_BYTES,
    SMALL_BYTES,
    begin_together,
    deliveries,
    fetch_together,
    identify_together,
)
from visitas_dagster.steps.tools import RunTools
from visitas_dagster.steps.validate import validate

MakeProxy = Callable[[int], CuttingProxy]

NEW = ["report_1.txt", "report_2.txt", "report_3.txt"]
LOADED, FAILED, OPEN, RELEASED, GONE = (f"report_{number}.txt" for number in (4, 5, 6, 7, 8))
ALL = [*NEW, LOADED, FAILED, OPEN, RELEASED, GONE]
DEAD_RUN = "9" * 36


def content(name: str, version: int = 1) -> bytes:
    return report(
        *[record(f"v{version}.{line}@{name.partition('.')[0].replace('_', '')}.example") for line in range(3)]
    )


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path, SteppingClock()) as pipeline:
        yield pipeline


def through(tools: RunTools, tasks: list[FileTask], *, together: bool = False) -> None:
    """Take files the rest of the way; ``together``, with what the ops do at once."""
    for step in (download, identify, validate, load):
        if together:
            all_at_once(tools, tasks, step)
        for task in tasks:
            apply(tools, task, step)
    for task in tasks:
        finish(tools, task)


def begun(pipeline: Pipeline, names: list[str], source: Source = Source.SERVER) -> dict[str, bool]:
    """Which of the names a run begins together; it then does them all."""
    tasks = [FileTask(name, source) for name in names]
    with pipeline.tools() as tools:
        begin_together(tools, tasks)
        found = {task.archivo: task.entry is not None for task in tasks}
        through(tools, tasks, together=True)
    return found


def delivered(pipeline: Pipeline) -> list[FileTask]:
    """Deliver files of which nothing is known, and return the tasks of a run over them."""
    for name in NEW:
        pipeline.deliver(name, content(name))
    return [FileTask(name, Source.SERVER) for name in NEW]


def told(pipeline: Pipeline) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The ledger and its attempts, but for keys, times and runs."""
    columns = ("archivo", "sha256", "bytes", "modificado_origen", "codificacion", "estado", "intentos", "vigente")
    rows = pipeline.rows(tables.bitacora_control)
    names = {row["id"]: (row["archivo"], row["sha256"]) for row in rows}
    return (
        [{name: row[name] for name in (*columns, "registros_total", "mensaje")} for row in rows],
        [
            {"de": names[row["archivo_id"]], **{name: row[name] for name in ("resultado", "mensaje")}}
            for row in pipeline.rows(tables.bitacora_intentos)
        ],
    )


def prepare(pipeline: Pipeline) -> None:
    """Give some names a past, and deliver all of them anew but one."""
    ledger = Ledger(pipeline.platform.engine, pipeline.clock, pipeline.settings.zone)
    for number, name in enumerate((LOADED, FAILED, RELEASED)):
        pipeline.deliver(name, content(name), mtime=1_600_000_000 + number)
    pipeline.run([LOADED])
    for name in (FAILED, RELEASED):
        ledger.fail(ledger.claim(name, DEAD_RUN, None), PermanentFailure("no hubo disco"))
    ledger.release(RELEASED, "ana")
    ledger.claim(OPEN, DEAD_RUN, Listed(OPEN, 1, 1_600_000_000))
    for number, name in enumerate(ALL):
        if name != GONE:
            pipeline.deliver(name, content(name, 2), mtime=1_650_000_000 + number)


def test_the_rows_are_those_of_files_that_begin_one_by_one(pipeline: Pipeline) -> None:
    def visits() -> list[tuple[str, int]]:
        return [(row["email"], row["visitas_totales"]) for row in pipeline.rows(tables.visitantes)]

    prepare(pipeline)
    with pipeline.tools() as tools:
        # Each claims its row in the order of the names, as those that are begun together do.
        tasks = [FileTask(name, Source.SERVER) for name in ALL]
        through(tools, tasks)
    one_by_one, visits_then = told(pipeline), visits()
    pipeline.clear()
    prepare(pipeline)
    assert begun(pipeline, ALL) == {name: name in NEW for name in ALL}
    together = told(pipeline)

    def ordered(rows: list[dict[str, Any]]) -> list[str]:
        return sorted(map(str, rows))

    assert list(map(ordered, together)) == list(map(ordered, one_by_one))
    assert [row["archivo"] for row in together[0] if row["archivo"] in NEW] == NEW
    assert visits() == visits_then
    assert pipeline.broken_promises() == []


def test_a_replay_or_a_single_file_begins_by_itself(pipeline: Pipeline) -> None:
    for name in NEW:
        pipeline.deliver(name, content(name))
    assert begun(pipeline, NEW[:1]) == {NEW[0]: False}
    assert begun(pipeline, NEW[1:], Source.REPLAY) == dict.fromkeys(NEW[1:], False)
    assert {state for _, state, _ in pipeline.states()} == {"COMPLETADO"}


def test_a_name_that_another_run_has_is_left_and_the_others_go_on(pipeline: Pipeline) -> None:
    for name in NEW:
        pipeline.deliver(name, content(name))
    platform = pipeline.platform
    other = open_reservations(platform.engine, platform.folders.locks)
    assert other.take_all([NEW[1], "report_9.txt"]) == {NEW[1], "report_9.txt"}
    assert other.take_all([NEW[1]]) == {NEW[1]}
    tasks = pipeline.run(NEW)
    assert [task.skipped for task in tasks] == [None, "lo tiene otra corrida", None]
    assert pipeline.on_server() == {NEW[1]}
    # The run has given back what it had, and has not taken what was not its own.
    third = open_reservations(platform.engine, platform.folders.locks)
    assert third.take_all(NEW) == {NEW[0], NEW[2]}
    third.close()
    other.close()
    (task,) = pipeline.run_pass()
    assert (task.archivo, task.estado) == (NEW[1], Estado.COMPLETADO)
    assert pipeline.broken_promises() == []


def test_more_names_than_a_statement_asks_for(pipeline: Pipeline) -> None:
    platform = pipeline.platform
    names = [f"report_{number}.txt" for number in range(1_201)]
    first, second = (open_reservations(platform.engine, platform.folders.locks) for _ in range(2))
    assert second.take(names[700])
    assert first.take_all(names) == set(names) - {names[700]}
    assert second.take_all(names) == {names[700]}
    first.close()
    assert second.take_all(names) == set(names)
    second.close()
    assert first.take(names[700])
    first.close()


def test_what_is_no_regular_file_is_not_begun(pipeline: Pipeline, tmp_path: Path) -> None:
    for name in NEW:
        pipeline.deliver(name, content(name))
    secret = tmp_path / "report_9.txt"
    secret.write_bytes(content("report_9.txt"))
    (pipeline.folder / "report_9.txt").symlink_to(secret)
    (pipeline.folder / "report_10.txt").symlink_to(pipeline.folder / NEW[0])
    (pipeline.folder / "report_11.txt").mkdir()
    strange = ["report_9.txt", "report_10.txt", "report_11.txt", "report_12.txt"]
    tasks = pipeline.run([*strange, *NEW])
    assert [task.skipped for task in tasks[:4]] == ["ya no está en el servidor: otra corrida lo terminó"] * 4
    assert [task.estado for task in tasks[4:]] == [Estado.COMPLETADO] * 3
    assert pipeline.on_server() == set(strange[:3])
    assert {row["archivo"] for row in pipeline.rows(tables.bitacora_control)} == set(NEW)
    assert secret.read_bytes() == content("report_9.txt")


def test_a_file_that_may_be_unfinished_is_not_begun(
    database: Database, sftp_folder: SftpFolder, tmp_path: Path
) -> None:
    now = int(NOON.timestamp())
    with Pipeline(database, sftp_folder, tmp_path, SteppingClock(), espera_estable_s=30) as pipeline:
        for name, data, age in (
            ("report_1.txt", content("report_1.txt"), 60),
            ("report_2.txt", content("report_2.txt")[:-1], 60),
            ("report_3.txt", b"", 60),
            ("report_4.txt", content("report_4.txt")[:-1], 600),
            ("report_5.txt", b"", 600),
        ):
            pipeline.deliver(name, data, mtime=now - age)
        names = sorted(pipeline.on_server())
        assert begun(pipeline, names) == {
            "report_1.txt": True,
            "report_2.txt": False,
            "report_3.txt": False,
            "report_4.txt": True,
            "report_5.txt": True,
        }
        assert pipeline.on_server() == {"report_2.txt", "report_3.txt"}
        assert {row["archivo"] for row in pipeline.rows(tables.bitacora_control)} == {
            "report_1.txt",
            "report_4.txt",
            "report_5.txt",
        }
        assert isinstance(pipeline.clock, SteppingClock)
        pipeline.clock.set(NOON + timedelta(seconds=600))
        assert begun(pipeline, ["report_2.txt", "report_3.txt"]) == {"report_2.txt": True, "report_3.txt": True}


def test_small_files_are_fetched_and_named_together(pipeline: Pipeline) -> None:
    for name in NEW:
        pipeline.deliver(name, content(name))
    large = report(*[record(f"{'x' * 40}{line}@grande.example", links="y" * 500) for line in range(1_000)])
    assert len(large) > SMALL_BYTES
    pipeline.deliver("report_9.txt", large)
    tasks = [FileTask(name, Source.SERVER) for name in [*NEW, "report_9.txt"]]
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement.split(None, 2)[0])

    with pipeline.tools() as tools:
        begin_together(tools, tasks)
        fetch_together(tools, tasks)
        assert [task.facts is not None for task in tasks] == [True, True, True, False]
        assert [task.staged.read_bytes() for task in tasks if task.staged] == [content(name) for name in NEW]
        apply(tools, tasks[3], download)
        sa.event.listen(pipeline.platform.engine, "before_cursor_execute", note)
        identify_together(tools, tasks)
        for task in tasks:
            apply(tools, task, identify)
        sa.event.remove(pipeline.platform.engine, "before_cursor_execute", note)
        assert sent.count("UPDATE") == 1
        assert [task.identified for task in tasks] == [True] * 4
        through(tools, tasks)
    assert [task.estado for task in tasks] == [Estado.COMPLETADO] * 4
    rows = pipeline.rows(tables.bitacora_control, "archivo", "sha256", "bytes", "codificacion")
    contents = {**{name: content(name) for name in NEW}, "report_9.txt": large}
    assert rows == [
        {"archivo": name, "sha256": sha256(data), "bytes": len(data), "codificacion": "utf-8"}
        for name, data in contents.items()
    ]
    assert pipeline.broken_promises() == []


@given(st.lists(st.integers(0, 3 * GROUP_BYTES) | st.none(), max_size=20))
def test_groups_keep_the_order_and_hold_no_more_than_they_may(sizes: list[int | None]) -> None:
    entry = Entry(1, "a", None, Estado.EN_PROCESO, True, 1, "r", None)
    tasks = [
        FileTask(f"report_{number}.txt", entry=entry, listed=Listed("a", size, 1) if size is not None else None)
        for number, size in enumerate(sizes)
    ]
    groups = list(deliveries(tasks))
    assert [task for group in groups for task in group] == tasks
    for group in groups:
        bytes_ = [task.listed.bytes if task.listed else GROUP_BYTES + 1 for task in group]
        assert len(group) == 1 or sum(bytes_) <= GROUP_BYTES


# ------------------------------------------------------------------------------------------------- what breaks


def test_a_file_that_changed_since_it_was_begun_is_fetched_by_itself(pipeline: Pipeline) -> None:
    for name in NEW:
        pipeline.deliver(name, content(name), mtime=1_600_000_000)
    tasks = [FileTask(name, Source.SERVER) for name in NEW]
    with pipeline.tools() as tools:
        begin_together(tools, tasks)
        pipeline.deliver(NEW[1], content(NEW[1], 2), mtime=1_600_000_500)
        pipeline.deliver(NEW[2], content(NEW[2]) + b"\n", mtime=1_600_000_000)
        fetch_together(tools, tasks)
        assert [task.facts is not None for task in tasks] == [True, False, False]
        through(tools, tasks, together=True)
    assert [(row["archivo"], row["sha256"]) for row in pipeline.rows(tables.bitacora_control)] == [
        (NEW[0], sha256(content(NEW[0]))),
        (NEW[1], sha256(content(NEW[1], 2))),
        (NEW[2], sha256(content(NEW[2]) + b"\n")),
    ]
    assert pipeline.on_server() == set()
    assert pipeline.broken_promises() == []


def test_files_of_which_another_run_took_one_are_named_one_by_one(pipeline: Pipeline) -> None:
    tasks = delivered(pipeline)
    with pipeline.tools() as tools:
        begin_together(tools, tasks)
        fetch_together(tools, tasks)
        with pipeline.platform.engine.begin() as connection:
            taken = sa.update(tables.bitacora_control).where(tables.bitacora_control.c.archivo == NEW[1])
            connection.execute(taken.values(run_id=DEAD_RUN))
        identify_together(tools, tasks)
        assert [task.identified for task in tasks] == [False] * 3
        through(tools, tasks)
    assert [task.estado for task in tasks] == [Estado.COMPLETADO, None, Estado.COMPLETADO]
    assert isinstance(tasks[1].failure, TransientFailure)
    assert [row["estado"] for row in pipeline.rows(tables.bitacora_control)] == [
        "COMPLETADO",
        "EN_PROCESO",
        "COMPLETADO",
    ]


def test_bytes_that_a_name_had_before_are_named_in_their_own_row(pipeline: Pipeline) -> None:
    """The claim of a known name is no plain one: its group falls back, and its attempt goes on in the first row."""
    pipeline.deliver(NEW[0], content(NEW[0]))
    pipeline.run([NEW[0]])
    pipeline.deliver(NEW[0], content(NEW[0]))
    pipeline.deliver(NEW[1], content(NEW[1]))
    tasks = [FileTask(name, Source.SERVER) for name in NEW[:2]]
    with pipeline.tools() as tools:
        begin_together(tools, tasks)
        for task in tasks:
            apply(tools, task, download)
        identify_together(tools, tasks)
        assert [task.identified for task in tasks] == [False, False]
        through(tools, tasks)
    rows = pipeline.rows(tables.bitacora_control, "archivo", "intentos", "estado")
    assert [tuple(row.values()) for row in rows] == [(NEW[0], 2, "COMPLETADO"), (NEW[1], 1, "COMPLETADO")]
    assert pipeline.broken_promises() == []


@pytest.mark.parametrize("what", ["read_all", "stat_all", "identify_new"])
@pytest.mark.databases("sqlite")
def test_a_defect_in_what_is_fetched_or_said_together_costs_nobody_anything(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    for name in NEW:
        pipeline.deliver(name, content(name))

    def broken(*_: object) -> None:
        raise ValueError("ana@example.com")

    monkeypatch.setattr(Ledger if what == "identify_new" else SftpFiles, what, broken)
    assert [task.estado for task in pipeline.run(NEW)] == [Estado.COMPLETADO] * 3
    assert [row["intentos"] for row in pipeline.rows(tables.bitacora_control)] == [1] * 3


@pytest.mark.databases("sqlite")
def test_a_server_that_goes_amid_what_is_fetched_together_costs_nobody_an_attempt(
    far: tuple[Pipeline, CuttingProxy],
) -> None:
    pipeline, proxy = far
    tasks = delivered(pipeline)
    with pipeline.tools() as tools:
        begin_together(tools, tasks)
        proxy.cut()
        fetch_together(tools, tasks)
        assert [task.facts for task in tasks] == [None] * 3
        through(tools, tasks, together=True)
    assert [task.estado for task in tasks] == [Estado.COMPLETADO] * 3
    rows = pipeline.rows(tables.bitacora_control)
    assert [(row["intentos"], row["mensaje"]) for row in rows] == [(1, None)] * 3
    assert pipeline.broken_promises() == []


@pytest.fixture
def far(
    database: Database, sftp_folder: SftpFolder, tmp_path: Path, cutting_proxy: MakeProxy
) -> Iterator[tuple[Pipeline, CuttingProxy]]:
    """Give a pipeline that reaches the SFTP server through a proxy."""
    server = sftp_folder.server
    proxy = cutting_proxy(server.port)
    server.trust_host_key(proxy.port)
    with Pipeline(database, sftp_folder, tmp_path, SteppingClock(), sftp_port=proxy.port) as pipeline:
        yield pipeline, proxy
    server.trust_host_key()


@pytest.mark.databases("sqlite")
def test_a_server_that_is_gone_while_all_are_looked_at_costs_nobody_an_attempt(
    far: tuple[Pipeline, CuttingProxy],
) -> None:
    pipeline, proxy = far
    for name in NEW:
        pipeline.deliver(name, content(name))
    pipeline.platform.sftp.list()
    proxy.cut()
    assert begun(pipeline, NEW) == dict.fromkeys(NEW, False)
    assert proxy.accepted == 2
    rows = pipeline.rows(tables.bitacora_control)
    assert [(row["archivo"], row["estado"], row["intentos"], row["mensaje"]) for row in rows] == [
        (name, "COMPLETADO", 1, None) for name in NEW
    ]
    assert pipeline.broken_promises() == []


@pytest.mark.databases("sqlite")
def test_a_server_that_goes_after_all_have_begun_is_each_files_own_failure(
    far: tuple[Pipeline, CuttingProxy],
) -> None:
    pipeline, proxy = far
    tasks = delivered(pipeline)
    with pipeline.tools() as tools:
        begin_together(tools, tasks)
        proxy.cut_after(0, times=None)
        through(tools, tasks)
    assert all(isinstance(task.failure, TransientFailure) for task in tasks)
    rows = pipeline.rows(tables.bitacora_control)
    assert [(row["archivo"], row["estado"], row["intentos"]) for row in rows] == [
        (name, "EN_PROCESO", 1) for name in NEW
    ]
    assert [row["resultado"] for row in pipeline.rows(tables.bitacora_intentos)] == ["FALLO_PASAJERO"] * 3
    proxy.heal()
    # The run again: their names are known now, each goes by itself.
    assert begun(pipeline, NEW) == dict.fromkeys(NEW, False)
    assert [row["intentos"] for row in pipeline.rows(tables.bitacora_control)] == [2] * 3
    assert pipeline.broken_promises() == []


@pytest.mark.databases("mysql", "mariadb")
def test_a_session_that_ends_while_all_begin_is_opened_again(pipeline: Pipeline) -> None:
    for name in NEW:
        pipeline.deliver(name, content(name))
    engine = pipeline.platform.engine
    struck: list[str] = []

    def kill_session(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO bitacora_intentos") and not struck:
            struck.append(statement)
            own = connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar()
            with sa.create_engine(engine.url).connect() as other:
                other.exec_driver_sql(f"KILL CONNECTION {own}")

    sa.event.listen(engine, "before_cursor_execute", kill_session)
    try:
        assert begun(pipeline, NEW) == dict.fromkeys(NEW, False)
    finally:
        sa.event.remove(engine, "before_cursor_execute", kill_session)
    assert len(struck) == 1
    rows = pipeline.rows(tables.bitacora_control)
    assert [(row["archivo"], row["estado"], row["intentos"], row["mensaje"]) for row in rows] == [
        (name, "COMPLETADO", 1, None) for name in NEW
    ]
    assert pipeline.broken_promises() == []


@pytest.mark.databases("sqlite")
def test_a_defect_in_what_is_asked_together_costs_nobody_anything(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NEW:
        pipeline.deliver(name, content(name))

    def broken(*_: object) -> None:
        raise ValueError("ana@example.com")

    monkeypatch.setattr(Ledger, "claim_new", broken)
    assert [task.estado for task in pipeline.run(NEW)] == [Estado.COMPLETADO] * 3
    assert [row["intentos"] for row in pipeline.rows(tables.bitacora_control)] == [1] * 3
