"""`visitas dispatch` over several processes: every file once, and nothing lost whichever of them dies.

Sharing runs out among processes belongs here; a pass in one process is in `test_cli_dispatch.py`.
"""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import dagster as dg
import psutil
import pytest

from tests.integration.test_cli_dispatch import ask, dagster_of, states, visitas
from tests.support.command import Ended, Visitas
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import put, record, report
from tests.support.waiting import wait_until

__all__ = ["visitas"]

FILES, MANY = 24, 72
SHARED = {"VISITAS_ARCHIVOS_POR_CORRIDA": "2", "VISITAS_PROCESOS": "2"}

pytestmark = pytest.mark.databases("mariadb", "sqlite")


def deliver(folder: Path, count: int = FILES) -> dict[str, str]:
    """Put reports there; return the state in which each should end."""
    for number in range(1, count + 1):
        put(folder, f"report_{number}.txt", report(*(record(f"v{number}.{line}@example.com") for line in range(20))))
    return {f"report_{number}.txt": "COMPLETADO" for number in range(1, count + 1)}


def processes_of_runs(visitas: Visitas) -> set[str]:
    """The processes that executed steps."""
    with dagster_of(visitas) as instance:
        ids = [run.run_id for run in instance.get_runs()]
        entries = [entry for run_id in ids for entry in instance.all_logs(run_id)]
    finished = [entry.user_message for entry in entries if "Finished steps in process" in entry.user_message]
    return {message.partition("(pid: ")[2].partition(")")[0] for message in finished}


def end_of(process: "subprocess.Popen[str]") -> Ended:
    out, err = process.communicate(timeout=120)
    return Ended(process.returncode, out, err)


def other_of(process: "subprocess.Popen[str]") -> psutil.Process:
    """The process beside this one, once it has begun a run."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in psutil.Process(process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "spawn_main" in " ".join(child.cmdline()) and has_run(child.pid):
                    return child
        time.sleep(0.02)
    raise AssertionError("no other process began a run")


def has_run(pid: int) -> bool:
    """Whether a process holds a run's folder in staging/."""
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if "/staging/" in file.readlink().as_posix():
                return True
    return False


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def assert_each_once(visitas: Visitas, database: Database, wanted: dict[str, str]) -> None:
    assert states(database) == wanted
    assert ask(database, "SELECT count(*), count(DISTINCT email) FROM estadisticas") == [(20 * len(wanted),) * 2]
    assert ask(database, "SELECT count(*), min(visitas_totales), max(visitas_totales) FROM visitantes") == [
        (20 * len(wanted), 1, 1)
    ]
    assert {path.name for path in (visitas.home / "staging").iterdir()} <= {".reservas"}


def test_many_runs_are_shared_by_two_processes(visitas: Visitas, database: Database, sftp_folder: SftpFolder) -> None:
    wanted = deliver(sftp_folder.path)
    put(sftp_folder.path, "report_99.txt", b"x\n1\n")
    result = visitas.run("dispatch", **SHARED)

    assert result.code == 1
    assert "25 archivos en 13 corridas de Dagster" in result.out
    for name in wanted:
        assert f"\n{name} COMPLETADO\n" in result.out
    assert "\nreport_99.txt FALLO_LAYOUT: Faltan columnas: email, " in result.out
    assert states(database) == wanted | {"report_99.txt": "FALLO_LAYOUT"}
    assert len(processes_of_runs(visitas)) == 2
    with dagster_of(visitas) as instance:
        statuses = [run.status for run in instance.get_runs()]
    assert sorted(statuses, key=str) == [dg.DagsterRunStatus.FAILURE, *[dg.DagsterRunStatus.SUCCESS] * 12]


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(("runs", "processes"), [(3, 1), (4, 2)])
def test_a_further_process_is_for_many_runs(
    visitas: Visitas, database: Database, sftp_folder: SftpFolder, runs: int, processes: int
) -> None:
    wanted = deliver(sftp_folder.path, 2 * runs)
    assert visitas.run("dispatch", **SHARED).code == 0
    assert states(database) == wanted
    assert len(processes_of_runs(visitas)) == processes


@pytest.mark.databases("sqlite")
def test_one_process_where_the_operator_wants_one(visitas: Visitas, sftp_folder: SftpFolder) -> None:
    deliver(sftp_folder.path)
    assert visitas.run("dispatch", **SHARED | {"VISITAS_PROCESOS": "1"}).code == 0
    assert len(processes_of_runs(visitas)) == 1


@pytest.mark.parametrize("whole_group", [True, False], ids=["typed", "sent"])
def test_ctrl_c_ends_both(visitas: Visitas, database: Database, sftp_folder: SftpFolder, whole_group: bool) -> None:
    wanted = deliver(sftp_folder.path, MANY)
    process = visitas.start("dispatch", **SHARED)
    other = other_of(process)
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
    result = end_of(process)

    assert (result.code, ended(other)) == (130, True)
    assert result.err == ("visitas: interrumpido. Nada se perdió: la siguiente pasada termina lo que quedó a medias\n")
    assert visitas.run("dispatch", **SHARED).code == 0
    assert_each_once(visitas, database, wanted)


def test_the_other_process_is_killed(visitas: Visitas, database: Database, sftp_folder: SftpFolder) -> None:
    wanted = deliver(sftp_folder.path, MANY)
    process = visitas.start("dispatch", **SHARED)
    other_of(process).kill()
    result = end_of(process)

    assert "visitas: aviso: un proceso de esta pasada terminó antes de tiempo; la siguiente pasada toma" in result.err
    assert "Traceback" not in result.err
    assert visitas.run("dispatch", **SHARED).code == 0
    assert_each_once(visitas, database, wanted)


def test_the_first_process_is_killed(visitas: Visitas, database: Database, sftp_folder: SftpFolder) -> None:
    wanted = deliver(sftp_folder.path, MANY)
    process = visitas.start("dispatch", **SHARED)
    other = other_of(process)
    process.kill()
    wait_until(lambda: ended(other))
    process.communicate()

    assert visitas.run("dispatch", **SHARED).code == 0
    assert_each_once(visitas, database, wanted)


def test_two_passes_at_once_share_the_files(visitas: Visitas, database: Database, sftp_folder: SftpFolder) -> None:
    wanted = deliver(sftp_folder.path, MANY)
    alone = {"VISITAS_ARCHIVOS_POR_CORRIDA": "6", "VISITAS_PROCESOS": "1"}
    passes = [end_of(process) for process in [visitas.start("dispatch", **alone) for _ in range(2)]]

    assert [(result.code, result.err) for result in passes] == [(0, "")] * 2
    assert_each_once(visitas, database, wanted)
    loaded = [{name for name in wanted if f"\n{name} COMPLETADO\n" in result.out} for result in passes]
    left = [
        {name for name in wanted if f"\n{name} OMITIDO: lo tiene otra corrida\n" in result.out} for result in passes
    ]
    assert loaded[0] | loaded[1] == set(wanted)
    assert loaded[0] & loaded[1] == set()
    assert all(loaded)
    assert all(was <= set(wanted) - mine for was, mine in zip(left, loaded, strict=True))
    # A run of which the other pass has every file is none.
    with dagster_of(visitas) as instance:
        assert instance.get_runs_count() < 24
