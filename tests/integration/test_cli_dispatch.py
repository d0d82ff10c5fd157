"""`visitas dispatch` and `visitas status` over real servers: what becomes of files, and what the terminal says of it.

The commands as an operator calls them belong here; what a file's bytes mean, and faults in mid-pass, do not.
"""

import contextlib
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from tests.support.command import Ended, Visitas
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import HEADER, put, record, report, settings_for
from tests.support.samples import RECORDS, WRONG_COLUMN, samples
from visitas_dagster.assets.graph import ASSETS
from visitas_dagster.loading.schema import upgrade
from visitas_dagster.resources.database import open_engine

SLOW_LOAD = (
    "visitas: aviso: el servidor tiene local_infile apagado: se carga con INSERT de varias filas, unas 4 veces más "
    "lento; si el administrador lo permite: SET GLOBAL local_infile = 1\n"
)

on_sqlite = pytest.mark.databases("sqlite")


@pytest.fixture
def visitas(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Visitas:
    """Give an installation with its tables."""
    made = Visitas(tmp_path, {"VISITAS_DB_URL": database.url, **sftp_folder.environment()})
    engine = open_engine(settings_for(database.url, {}, made.home))
    upgrade(engine)
    engine.dispose()
    return made


def ask(database: Database, query: str) -> list[tuple[Any, ...]]:
    engine = open_engine(settings_for(database.url, {}, Path()))
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(sa.text(query))]
    engine.dispose()
    return rows


def states(database: Database) -> dict[str, str]:
    return dict(ask(database, "SELECT archivo, estado FROM bitacora_control"))


@contextlib.contextmanager
def dagster_of(visitas: Visitas) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(visitas.home / "dagster")) as instance:
        yield instance


def materialized(visitas: Visitas) -> dict[str, set[str]]:
    with dagster_of(visitas) as instance:
        return {asset: set(instance.get_materialized_partitions(dg.AssetKey(asset))) for asset in ASSETS}


def runs(visitas: Visitas) -> list[str]:
    with dagster_of(visitas) as instance:
        return sorted(run.status.value for run in instance.get_runs())


def quarantine(visitas: Visitas) -> list[str]:
    folder = visitas.home / "cuarentena"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def reason(name: str) -> str:
    wrong = WRONG_COLUMN[name]
    return (
        f"Faltan columnas: jyv. Columnas desconocidas: «{wrong}» (¿quiso decir «jyv»?). "
        f'Si «{wrong}» es la columna jyv, declare VISITAS_ALIAS_COLUMNAS="{wrong}=jyv" y procese de nuevo el archivo.'
    )


# --------------------------------------------------------------------------------------------- the samples


def test_the_three_samples_first_refused_then_loaded_by_alias(
    visitas: Visitas, database: Database, sftp_folder: SftpFolder
) -> None:
    for name, data in samples().items():
        put(sftp_folder.path, name, data)

    first = visitas.run("dispatch")
    assert first == Ended(
        1,
        "3 archivos en 3 corridas de Dagster\n"
        f"report_7.txt FALLO_LAYOUT: {reason('report_7.txt')}\n"
        "report_8.txt COMPLETADO\n"
        f"report_9.txt FALLO_LAYOUT: {reason('report_9.txt')}\n"
        "Archivos de esta pasada:\n"
        "  archivo       estado        válidos  con error\n"
        "  report_7.txt  FALLO_LAYOUT        —          —\n"
        "  report_8.txt  COMPLETADO        503          0\n"
        "  report_9.txt  FALLO_LAYOUT        —          —\n",
        SLOW_LOAD if database.engine == "mysql" else "",
    )
    assert ask(database, "SELECT COUNT(*) FROM estadisticas") == [(503,)]
    assert ask(database, "SELECT COUNT(*) FROM errores") == [(0,)]
    assert list(sftp_folder.path.iterdir()) == []
    kept = quarantine(visitas)
    assert [re.sub(r"__[0-9a-f]{12}", "", path) for path in kept] == ["layout/report_7.txt", "layout/report_9.txt"]
    assert runs(visitas) == ["FAILURE", "FAILURE", "SUCCESS"]
    loaded = {"report_8.txt"}
    assert materialized(visitas) == {"raw_file": set(RECORDS), **dict.fromkeys(ASSETS[1:], loaded)}

    known = visitas.run("status")
    assert (known.code, known.err) == (0, "")
    assert known.out == (
        "Bitácora:\n"
        "  estado        archivos  válidos  con error\n"
        "  COMPLETADO           1      503          0\n"
        "  FALLO_LAYOUT         2        0          0\n"
        "Fallidos, esperan a una persona:\n"
        "  archivo       estado        intentos\n"
        "  report_9.txt  FALLO_LAYOUT         1\n"
        "  report_7.txt  FALLO_LAYOUT         1\n"
        f"  report_9.txt: {reason('report_9.txt')}\n"
        f"  report_7.txt: {reason('report_7.txt')}\n"
        "Servidor SFTP: 0 reportes, 0 pendientes\n"
    )

    retry = ["--reintentar", "report_7.txt", "--reintentar", "report_9.txt"]
    second = visitas.run("dispatch", *retry, VISITAS_ALIAS_COLUMNAS="jk=jyv,fgh=jyv")
    assert second == Ended(
        0,
        "2 archivos en 2 corridas de Dagster\n"
        "report_7.txt COMPLETADO\n"
        "report_9.txt COMPLETADO\n"
        "Archivos de esta pasada:\n"
        "  archivo       estado      válidos  con error\n"
        "  report_7.txt  COMPLETADO      503          0\n"
        "  report_9.txt  COMPLETADO      995          0\n",
        SLOW_LOAD if database.engine == "mysql" else "",
    )
    assert ask(database, "SELECT COUNT(*) FROM estadisticas") == [(sum(RECORDS.values()),)]
    assert ask(database, "SELECT SUM(visitas_totales) FROM visitantes") == [(sum(RECORDS.values()),)]
    assert quarantine(visitas) == []
    assert runs(visitas) == ["FAILURE", "FAILURE", "SUCCESS", "SUCCESS", "SUCCESS"]
    assert materialized(visitas) == {asset: set(RECORDS) for asset in ASSETS}
    assert visitas.run("dispatch") == Ended(0, "No hay archivos pendientes.\n")
    assert visitas.run("status").out == (
        "Bitácora:\n"
        "  estado      archivos  válidos  con error\n"
        "  COMPLETADO         3    2 001          0\n"
        "Servidor SFTP: 0 reportes, 0 pendientes\n"
    )


# ------------------------------------------------------------------------------------------- what it takes


@on_sqlite
def test_a_limit_leaves_the_rest_for_the_next_pass(
    visitas: Visitas, database: Database, sftp_folder: SftpFolder
) -> None:
    for number in (3, 1, 2):
        put(sftp_folder.path, f"report_{number}.txt", report(record(f"ana{number}@example.com")))
    first = visitas.run("dispatch", "--limite", "2")
    assert first.code == 0
    assert first.out.startswith("2 archivos en 2 corridas de Dagster\n")
    assert first.out.endswith("Para la siguiente pasada: 1 archivo\n")
    # In the order of their delivery.
    assert states(database) == {"report_3.txt": "COMPLETADO", "report_1.txt": "COMPLETADO"}
    second = visitas.run("dispatch", "--limite", "2")
    assert second.out.startswith("1 archivo en 1 corrida de Dagster\nreport_2.txt COMPLETADO\n")
    assert set(states(database).values()) == {"COMPLETADO"}


@on_sqlite
def test_many_files_share_runs(visitas: Visitas, database: Database, sftp_folder: SftpFolder) -> None:
    for number in range(7):
        put(sftp_folder.path, f"report_{number}.txt", report(record(f"ana{number}@example.com")))
    ended = visitas.run("dispatch", VISITAS_ARCHIVOS_POR_CORRIDA="4")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("7 archivos en 2 corridas de Dagster\n")
    assert runs(visitas) == ["SUCCESS", "SUCCESS"]
    assert set(states(database).values()) == {"COMPLETADO"}


@on_sqlite
def test_only_reports_are_taken(visitas: Visitas, database: Database, sftp_folder: SftpFolder) -> None:
    others = ["report_7.txt.tmp", "report_8.txt.filepart", "Report_9.txt", "notas.txt"]
    for name in [*others, "report_1.txt"]:
        (sftp_folder.path / name).write_bytes(report(record()))
    (sftp_folder.path / "report_2.txt").mkdir()
    (sftp_folder.path / "report_3.txt").symlink_to("report_1.txt")
    assert visitas.run("dispatch").code == 0
    assert states(database) == {"report_1.txt": "COMPLETADO"}
    assert {path.name for path in sftp_folder.path.iterdir()} == {*others, "report_2.txt", "report_3.txt"}


@on_sqlite
def test_a_file_that_is_still_written_is_left(visitas: Visitas, database: Database, sftp_folder: SftpFolder) -> None:
    put(sftp_folder.path, "report_1.txt", report(record()))
    arriving = sftp_folder.path / "report_2.txt"
    ended = threading.Event()

    def write() -> None:
        with arriving.open("ab", buffering=0) as stream:
            stream.write(f"{HEADER}\n".encode())
            while not ended.wait(0.05):
                stream.write(f"{record()}\n".encode())

    writer = threading.Thread(target=write)
    writer.start()
    try:
        taken = visitas.run("dispatch", VISITAS_ESPERA_ESTABLE_S="1.5")
    finally:
        ended.set()
        writer.join()
    assert (taken.code, taken.err) == (0, "")
    lines = taken.out.splitlines()
    assert lines[0] == "Esperando 1.5 s a que 2 archivos dejen de cambiar…"
    assert lines[-1] == "Siguen llegando, quedan para la siguiente pasada: report_2.txt"
    assert states(database) == {"report_1.txt": "COMPLETADO"}
    records = arriving.read_bytes().count(b"\n") - 1
    assert visitas.run("dispatch").code == 0
    assert ask(database, "SELECT registros_total FROM bitacora_control WHERE archivo = 'report_2.txt'") == [(records,)]


@on_sqlite
@pytest.mark.parametrize("name", ["report_99.txt", "../report_1.txt", "", "[red]x\x1b[2J"])
def test_a_name_that_nobody_knows_is_wrong_use(
    visitas: Visitas, database: Database, sftp_folder: SftpFolder, name: str
) -> None:
    put(sftp_folder.path, "report_1.txt", report(record()))
    shown = name.replace("\x1b", "�")
    assert visitas.run("dispatch", "--reintentar", name) == Ended(
        2,
        "",
        f"visitas: nadie conoce «{shown}»: no está en el servidor ni en la bitácora. "
        "Escriba el nombre tal como lo muestra: visitas status\n",
    )
    # Not even the others were taken.
    assert states(database) == {}
    assert (sftp_folder.path / "report_1.txt").exists()


# -------------------------------------------------------------------------------------- what is said of it


@on_sqlite
def test_names_and_messages_are_shown_as_they_are(
    visitas: Visitas, database: Database, sftp_folder: SftpFolder
) -> None:
    names = ["[red]1.txt", ":warning:2.txt", "\u202e3.txt", "con espacios 4.txt"]
    wrong = HEADER.replace("jyv", "[bold]\x1b[2Jjyv:skull:")
    for name in names:
        put(sftp_folder.path, name, f"{wrong}\n".encode())
    pattern = {"VISITAS_PATRON_ARCHIVO": r".*(\d)\.txt"}
    on_terminal = visitas.run_in_terminal("dispatch", "--limite", "2", columns=200, **pattern)
    plain = visitas.run("dispatch", **pattern)
    status = visitas.run("status", **pattern)
    assert (on_terminal.code, plain.code, status.code) == (1, 1, 0)
    for output, shown in (
        (on_terminal.shown, names[:2]),
        (plain.out, ["�3.txt", names[3]]),
        (status.out, [names[0], names[1], "�3.txt", names[3]]),
    ):
        for name in shown:
            assert f"{name}: Faltan columnas: jyv. " in output or f"{name} FALLO_LAYOUT: Faltan columnas" in output
        # The domain writes invisible characters out.
        assert r"«[bold]\x1b[2Jjyv:skull:»" in output
    for output in (plain.out, status.out):
        assert all(char.isprintable() for char in output.replace("\n", ""))


@on_sqlite
def test_on_a_terminal_there_are_bars_and_a_table(
    visitas: Visitas, database: Database, sftp_folder: SftpFolder
) -> None:
    put(sftp_folder.path, "report_1.txt", report(record(), record("no")))
    put(sftp_folder.path, "report_2.txt", report().replace(b"jyv", b"jk"))
    ended = visitas.run_in_terminal("dispatch", columns=80)
    assert ended.code == 1
    lines = [line.rstrip() for line in ended.shown.splitlines()]
    assert "━" in ended.shown.split("Archivos de esta pasada")[0]
    table = lines[lines.index("Archivos de esta pasada") :]
    assert table == [
        "Archivos de esta pasada",
        "┏━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━┳━━━━━━━━━━━┓",
        "┃ archivo      ┃ estado                 ┃ válidos ┃ con error ┃",
        "┡━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━━━━┩",
        "│ report_1.txt │ COMPLETADO_CON_ERRORES │       1 │         1 │",
        "│ report_2.txt │ FALLO_LAYOUT           │       — │         — │",
        "└──────────────┴────────────────────────┴─────────┴───────────┘",
        "  report_2.txt: Faltan columnas: jyv. Columnas desconocidas: «jk» (¿quiso decir",
        '«jyv»?). Si «jk» es la columna jyv, declare VISITAS_ALIAS_COLUMNAS="jk=jyv" y',
        "procese de nuevo el archivo.",
    ]
    # What was drawn while it ran is not kept as the output of the runs.
    assert not list((visitas.home / "dagster" / "storage").rglob("*.out"))


@on_sqlite
def test_the_status_lists_what_is_pending_and_what_is_under_way(
    visitas: Visitas, database: Database, sftp_folder: SftpFolder
) -> None:
    for number in range(1, 24):
        put(sftp_folder.path, f"report_{number}.txt", report())
    size = len(report())
    ended = visitas.run("status")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[:2] == [
        "La bitácora está vacía: todavía no se ha procesado ningún archivo.",
        "Servidor SFTP: 23 reportes, 23 pendientes",
    ]
    assert len(lines) == 2 + 20 + 1
    assert all(re.fullmatch(rf"  report_\d+\.txt  {size} bytes", line) for line in lines[2:22])
    assert lines[22] == "  … y 3 más"

    process = visitas.start("dispatch", VISITAS_REINTENTO_BASE_S="60")
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.communicate()
    put(sftp_folder.path, "report_24.txt", report(record()))
    after = visitas.run("status").out
    assert f"Servidor SFTP: {len(list(sftp_folder.path.iterdir()))} reportes, " in after
    totals = dict(re.findall(r"^  ([A-Z_]+) +(\d+) ", after, re.MULTILINE))
    assert totals == {
        estado: str(n) for estado, n in ask(database, "SELECT estado, COUNT(*) FROM bitacora_control GROUP BY estado")
    }


# ------------------------------------------------------------------------------------------------- Ctrl-C


INTERRUPTED = "visitas: interrumpido. Nada se perdió: la siguiente pasada termina lo que quedó a medias"


def deliver_many(folder: Path) -> dict[str, int]:
    """Five files that take a while; return the records of each."""
    counts = {f"report_{number}.txt": 4000 + number for number in range(5)}
    for name, count in counts.items():
        put(folder, name, report(*(record(f"{name[:-4]}.{i}@example.com") for i in range(count))))
    return counts


def assert_all_loaded_once(visitas: Visitas, database: Database, counts: dict[str, int]) -> None:
    assert dict(ask(database, "SELECT archivo, registros_validos FROM bitacora_control")) == counts
    assert ask(database, "SELECT COUNT(*) FROM estadisticas") == [(sum(counts.values()),)]
    assert ask(database, "SELECT COUNT(*) FROM visitantes") == [(sum(counts.values()),)]
    assert set(states(database).values()) == {"COMPLETADO"}
    # The interrupted run has ended, and its slots are free.
    assert set(runs(visitas)) == {"FAILURE", "SUCCESS"}
    with dagster_of(visitas) as instance:
        for pool in ("sftp", "base_de_datos"):
            assert instance.event_log_storage.get_concurrency_info(pool).claimed_slots == []


def test_ctrl_c_stops_the_pass_and_the_next_one_finishes(
    visitas: Visitas, database: Database, sftp_folder: SftpFolder
) -> None:
    counts = deliver_many(sftp_folder.path)
    process = visitas.start("dispatch")
    assert process.stdout is not None
    assert process.stdout.readline() == "5 archivos en 5 corridas de Dagster\n"
    assert process.stdout.readline() == "report_0.txt COMPLETADO\n"
    # As the terminal does: every process on it gets the signal.
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    said = err.removeprefix(SLOW_LOAD) if database.engine == "mysql" else err
    assert (process.returncode, said) == (130, f"{INTERRUPTED}\n")
    assert "Archivos de esta pasada" not in out
    assert states(database).get("report_4.txt") is None
    assert (sftp_folder.path / "report_4.txt").exists()

    assert visitas.run("dispatch").code == 0
    assert_all_loaded_once(visitas, database, counts)
    assert list(sftp_folder.path.iterdir()) == []


@on_sqlite
def test_ctrl_c_on_a_terminal_leaves_it_tidy(visitas: Visitas, database: Database, sftp_folder: SftpFolder) -> None:
    counts = deliver_many(sftp_folder.path)
    ended = visitas.run_in_terminal("dispatch", ctrl_c_at="cargar")
    assert ended.code == 130
    assert [line for line in ended.shown.splitlines() if "visitas:" in line] == [INTERRUPTED]
    assert "Traceback" not in ended.shown
    # The cursor is shown again.
    assert ended.out.rindex("\x1b[?25h") > ended.out.rindex("\x1b[?25l")
    assert visitas.run("dispatch").code == 0
    assert_all_loaded_once(visitas, database, counts)


@on_sqlite
def test_ctrl_c_while_files_are_waited_for(visitas: Visitas, database: Database, sftp_folder: SftpFolder) -> None:
    put(sftp_folder.path, "report_1.txt", report(record()))
    process = visitas.start("dispatch", VISITAS_ESPERA_ESTABLE_S="600")
    assert process.stdout is not None
    assert process.stdout.readline() == "Esperando 600 s a que 1 archivo deje de cambiar…\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, f"{INTERRUPTED}\n")
    assert states(database) == {}
