"""What a command brings in before it answers: `--help` and `status` must not wait for Dagster and pandas.

Which modules are loaded belongs here, as values; how long they take does not.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import Visitas
from tests.support.fixtures import SftpFolder
from tests.support.pipeline import put, record, report, settings_for
from visitas_dagster.loading.schema import upgrade
from visitas_dagster.resources.database import open_engine

HEAVY = {"alembic", "dagster", "numpy", "pandas", "pandera", "pyarrow"}

# Runs the command as the executable does, and then tells on stderr what stands in memory. While a command works the
# collector is on, and what came in before is none of its business; at the end nothing is.
_PROBE = """
import gc, json, sys
from visitas_dagster.cli.app import main
try:
    main()
finally:
    if gc.isenabled() is not (sys.argv[1:] in (["status"], ["dispatch"])) or gc.get_freeze_count() < 1000:
        print("the collector is not as it should be", file=sys.stderr)
    loaded = [name for name, module in sys.modules.items() if module is not None]
    packages = {name.partition(".")[0] for name in loaded} | {"rich.progress"} & {*loaded}
    print(json.dumps(sorted(packages)), file=sys.stderr)
"""


@pytest.fixture
def visitas(tmp_path: Path, sftp_folder: SftpFolder) -> Visitas:
    """Give an installation with its tables and one pending report."""
    made = Visitas(tmp_path, sftp_folder.environment())
    made.home.mkdir()
    engine = open_engine(settings_for(f"sqlite:///{made.home / 'visitas.db'}", {}, made.home))
    upgrade(engine)
    engine.dispose()
    put(sftp_folder.path, "report_1.txt", report(record()))
    return made


def loaded_by(visitas: Visitas, *arguments: str) -> tuple[int, str, set[str]]:
    """Exit code, output and the packages in memory at the end."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *arguments],
        capture_output=True,
        encoding="utf-8",
        cwd=visitas.folder,
        env=visitas.environment(),
        timeout=120,
        check=False,
    )
    *said, modules = done.stderr.splitlines()
    assert said == []
    return done.returncode, done.stdout, set(json.loads(modules))


@pytest.mark.parametrize("arguments", [["--help"], [], ["dispatch", "--help"]])
def test_help_needs_next_to_nothing(visitas: Visitas, arguments: list[str]) -> None:
    code, out, modules = loaded_by(visitas, *arguments)
    assert (code, out[:4]) == (0 if arguments else 2, "Uso:")
    assert modules & (HEAVY | {"paramiko", "pydantic_settings", "rich", "sqlalchemy"}) == set()


def test_the_status_needs_neither_dagster_nor_dataframes(visitas: Visitas) -> None:
    code, out, modules = loaded_by(visitas, "status")
    assert code == 0
    assert "Servidor SFTP: 1 reporte, 1 pendiente\n  report_1.txt  " in out
    # The SFTP server is called by a process of its own.
    assert modules & (HEAVY | {"paramiko", "rich.progress", "visitas_dagster.closing.sealing"}) == set()
    assert "sqlalchemy" in modules


def test_a_pass_leaves_out_what_libraries_bring_in_for_developers(visitas: Visitas) -> None:
    code, out, modules = loaded_by(visitas, "dispatch")
    assert code == 0
    assert "report_1.txt" in out
    assert {"dagster", "pandera", "paramiko"} <= modules
    assert modules & {"hypothesis", "invoke"} == set()


# Tells on stdout, before the command does, what had come in when the SFTP server was called, and who called it.
_CALL = """
import os, sys
from visitas_dagster.resources import sftp
connect, command = sftp.connect, os.getpid()
def told(settings):
    print("sqlalchemy" in sys.modules, "pymysql" in sys.modules, os.getppid() == command, flush=True)
    return connect(settings)
sftp.connect = told
from visitas_dagster.cli.app import main
main()
"""


@pytest.mark.parametrize(("name", "late"), [("visitas.db", False), ("año.db", True)], ids=["plain", "other"])
def test_the_server_is_called_before_sqlalchemy_comes_in_unless_the_url_has_to_be_judged(
    visitas: Visitas, name: str, late: bool
) -> None:
    path = visitas.home / name
    if late:
        (visitas.home / "visitas.db").rename(path)
    done = subprocess.run(
        [sys.executable, "-c", _CALL, "status"],
        capture_output=True,
        encoding="utf-8",
        cwd=visitas.folder,
        env=visitas.environment(VISITAS_DB_URL=f"sqlite:///{path}"),
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines().count(f"{late} {late} True") == 1
    assert "Servidor SFTP: 1 reporte, 1 pendiente\n" in done.stdout


def test_a_refused_dispatch_has_not_waited_for_dagster(visitas: Visitas, sftp_folder: SftpFolder) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "visitas_dagster", "dispatch"],
        capture_output=True,
        encoding="utf-8",
        cwd=visitas.folder,
        env=visitas.environment(VISITAS_SFTP_DIR=str(sftp_folder.path / "nada")),
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "paramiko" in imported
    assert imported & HEAVY == set()
