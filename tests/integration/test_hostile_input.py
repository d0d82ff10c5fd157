"""What a server's names, headers and values hold travels the whole way as text, and nowhere becomes code.

Names and bytes that mean something to a shell, a path, SQL, a terminal or a spreadsheet belong here; what a browser
makes of them is in `tests/browser`, and odd reports as such are the oracle's.
"""

from __future__ import annotations

import ast
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.command import Ended, Visitas
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import PROJECT, Pipeline, put, record, report
from visitas_dagster.domain.layout import COLUMNS
from visitas_dagster.loading import tables

ANY = r"(?s)(.*)"

# What a file system and SFTP allow, and a careless program stumbles over. The word is looked for where it must not be.
WORD = "canario"
TAKEN = [
    f"-rf {WORD}",
    f"--reintentar={WORD}",
    f"$(touch {WORD}).txt",
    f"`touch {WORD}`.txt",
    f"a;touch {WORD};b|c&d>e.txt",
    f"'; DROP TABLE bitacora_control; -- {WORD}",
    f'"{WORD}" \' %s %(x)s :x {{0}} {{{{7*7}}}}.txt',
    f"[*?]{{a,b}}!{WORD}.txt",
    f"<img src=x onerror=alert('{WORD}')>.txt",
    f"![{WORD}](x).txt",
    f"=cmd|' C calc'!A0 {WORD}.txt",
    f"{WORD}\u202etxt.exe.txt",
    f"{WORD}\u200b.txt",
    f"{WORD} \U0001f4e7 ñ n\u0303.txt",
    f"~{WORD}.txt",
    f".{WORD}.txt",
    f"%2e%2e%2f{WORD}.txt",
    "report_" + "9" * 244 + ".txt",
    "ñ" * 127,
]
REFUSED = {
    f"{WORD}\x1b[31m\x1b]0;x\x07.txt": "tiene caracteres de control",
    f"{WORD}\nlinea\t.txt": "tiene caracteres de control",
    f"..\\{WORD}.txt": "tiene una barra, que llevaría a otra carpeta",
    f"{WORD}...txt": "tiene tres puntos seguidos, que Dagster no admite",
    f"{WORD}.txt ": "termina en un espacio, que la base de datos no distingue",
    f"{WORD}.txt.parcial": "termina en .parcial, como los de trabajo",
    os.fsdecode(b"canario_\xff\xfe.txt"): "no está en UTF-8",
}

VALUES = [
    "'; DROP TABLE estadisticas; -- ",
    "' OR '1'='1",
    '"',
    '""x""',
    "\\",
    "\\'",
    "\\N",
    "\\\\N",
    "\\n\\t\\0",
    "NULL",
    "%s %(x)s %% %",
    ":x ?",
    "a,b",
    "/* x */ # --",
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "+1+1",
    "-1-1",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](http://mal.example/x.png)",
    "[x](javascript:alert(1))",
    "\x1b[31mrojo\x1b[0m",
    "\x1b]0;titulo\x07",
    "\x01\x7f\x85\u2028x",
    "${jndi:ldap://mal.example/x} {{7*7}} $(x) `x`",
    "../../etc/passwd",
    "\u202eatras",
    "\u200b",
    "\U0001f4e7 n\u0303 ñ",
    "a\tb",
]


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path, patron_archivo=ANY) as made:
        yield made


@pytest.fixture
def visitas(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Visitas:
    folder = tmp_path / "operador"
    folder.mkdir()
    settings = {"VISITAS_DB_URL": database.url, "VISITAS_PATRON_ARCHIVO": ANY, **sftp_folder.environment()}
    return Visitas(folder, settings)


def quoted(value: str) -> str:
    """A value as a CSV field."""
    doubled = value.replace('"', '""')
    return f'"{doubled}"'


def everything_under(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


def is_quiet(ended: Ended) -> bool:
    """Whether a terminal would only show what a command wrote: its own line ends, and no control or format sign."""
    return not [char for char in ended.out + ended.err if unicodedata.category(char)[0] in "CZ" and char not in "\n "]


# ------------------------------------------------------------------------------------------------------- names


def test_names_travel_as_they_are_and_those_that_cannot_are_told(
    visitas: Visitas, database: Database, sftp_folder: SftpFolder, tmp_path: Path
) -> None:
    assert visitas.run("init").code == 0
    around = everything_under(visitas.folder)
    for number, name in enumerate([*TAKEN, *REFUSED]):
        put_raw(sftp_folder.path, name, report(record(f"a{number}@example.com")))

    ended = visitas.run("dispatch")
    assert ended.code == 0
    assert is_quiet(ended)
    for name, reason in REFUSED.items():
        shown = "".join(char if char.isprintable() else "�" for char in name)
        assert f"no se toma «{shown}»: el nombre {reason}; cámbielo en el servidor" in ended.err
    # Those stay where they are; the others are loaded under the very name that the server gave them.
    assert {os.fsdecode(path) for path in os.listdir(sftp_folder.path)} == set(REFUSED)
    assert states_of(database) == dict.fromkeys(TAKEN, "COMPLETADO")
    assert len([path for path in (visitas.home / "backup").rglob("*") if path.is_file()]) == len(TAKEN)

    for name in (TAKEN[0], TAKEN[2], TAKEN[-2]):
        told = visitas.run("explain", "--", name)
        assert told.code == 0, name
        assert is_quiet(told), name
    again = visitas.run("replay", "--", *TAKEN)
    assert again.code == 0
    assert is_quiet(again)
    assert states_of(database) == dict.fromkeys(TAKEN, "COMPLETADO")
    status = visitas.run("status")
    assert (status.code, is_quiet(status)) == (0, True)
    # No command was run and no path was followed: what is new stands under VISITAS_HOME.
    new = everything_under(visitas.folder) - around
    assert {path.parts[0] for path in new} == {visitas.home.name}
    assert not list(tmp_path.rglob(WORD))
    assert list((visitas.home / "staging").glob("[!.]*")) == []


def put_raw(folder: Path, name: str, data: bytes) -> None:
    """Deliver under a name that leaves no room for a temporary one."""
    put(folder, "entrega", data)
    (folder / "entrega").rename(folder / name)


def states_of(database: Database) -> dict[str, str]:
    engine = sa.create_engine(database.url)
    with engine.connect() as connection:
        rows = connection.execute(sa.select(tables.bitacora_control.c.archivo, tables.bitacora_control.c.estado))
        found = {row.archivo: row.estado for row in rows}
    engine.dispose()
    return found


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("command", ["explain", "replay", "release"])
def test_an_operators_name_leads_nowhere_else(visitas: Visitas, command: str) -> None:
    assert visitas.run("init").code == 0
    before = everything_under(visitas.home)
    for name in ("../../etc/passwd", "/etc/passwd", "$(touch x)", "\x1b[31mx", "*"):
        ended = visitas.run(command, "--", name)
        assert ended.code in (1, 2), name
        assert is_quiet(ended), name
        assert "Traceback" not in ended.err
    assert not [path for path in everything_under(visitas.home) - before if "passwd" in path.name]


# ------------------------------------------------------------------------------------------------------ values


def hostile_report() -> bytes:
    """A record for each value in each column of text, and one that is rejected for it."""
    lines = []
    for number, value in enumerate(VALUES):
        field = quoted(value)
        others = dict.fromkeys(("jyv", "badmail", "baja", "links", "ips", "navegadores", "plataformas"), field)
        lines += [record(f"a{number}@example.com", **others), record(field)]
    return report(*lines)


def check_values(pipeline: Pipeline) -> None:
    """What stands in the tables is what was delivered, to the last character."""
    wanted = [value.strip(" \t") for value in VALUES]
    for name in ("jyv", "badmail", "baja", "links", "ips", "navegadores", "plataformas"):
        rows = sorted(pipeline.rows(tables.estadisticas, "linea", name), key=lambda row: row["linea"])
        assert [row[name] for row in rows] == wanted, name
    rejects = sorted(pipeline.rows(tables.errores, "linea", "valor", "fila_original"), key=lambda row: row["linea"])
    assert [row["valor"] for row in rejects] == wanted
    assert [row["fila_original"] for row in rejects] == [record(quoted(value)) for value in VALUES]


def test_values_reach_the_tables_to_the_last_character(pipeline: Pipeline) -> None:
    pipeline.deliver("report_1.txt", hostile_report())
    assert [task.estado for task in pipeline.run_pass()] == ["COMPLETADO_CON_ERRORES"]
    check_values(pipeline)


@pytest.mark.databases("mysql", "mariadb")
@pytest.mark.parametrize("local_infile", [True, False])
def test_both_ways_in_keep_them(pipeline: Pipeline, database: Database, local_infile: bool) -> None:
    assert database.server is not None
    with database.server.with_local_infile(local_infile):
        pipeline.deliver("report_1.txt", hostile_report())
        pipeline.run_pass()
    check_values(pipeline)


def test_no_statement_holds_what_was_delivered(pipeline: Pipeline) -> None:
    statements: list[str] = []

    @sa.event.listens_for(pipeline.platform.engine, "before_cursor_execute")
    def _keep(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    for number, name in enumerate(TAKEN):
        put_raw(pipeline.folder, name, report(record(f"{WORD}{number}@example.com", jyv=WORD), record(WORD)))
    put_raw(pipeline.folder, f"{WORD}_cabecera", f"{WORD},otra\n".encode())
    pipeline.run_pass()
    for name in TAKEN[:3]:
        pipeline.replay(name)
    assert len(statements) > 100
    assert [statement for statement in statements if WORD in statement] == []


# ----------------------------------------------------------------------------------------------------- headers


@pytest.mark.databases("sqlite")
def test_a_hostile_header_is_told_without_its_control_signs(
    visitas: Visitas, sftp_folder: SftpFolder, tmp_path: Path
) -> None:
    assert visitas.run("init").code == 0
    header = ",".join(quoted(value) for value in VALUES)
    (tmp_path / "local.txt").write_bytes(f"{header}\n".encode())
    put(sftp_folder.path, "report_1.txt", f"{header}\n".encode())
    for number, value in enumerate(VALUES):
        names = [column.header for column in COLUMNS]
        names[1] = quoted(value)
        put(sftp_folder.path, f"report_1{number:02}.txt", (",".join(names) + "\n").encode())
    for command in (
        ("check", str(tmp_path / "local.txt")),
        ("dispatch",),
        ("status",),
        ("explain", "report_1.txt"),
        ("explain", "report_122.txt"),
    ):
        ended = visitas.run(*command)
        assert is_quiet(ended), command
        assert "Traceback" not in ended.err
    drawn = visitas.run_in_terminal("status")
    assert "\x1b[31mrojo" not in drawn.out
    assert "\x1b]0;" not in drawn.out


# ------------------------------------------------------------------------------------------------------- a shell


def test_nothing_in_the_package_can_run_text() -> None:
    """Only the demo starts programs, its own, and never through a shell."""
    found: dict[str, set[str]] = {}
    for path in (PROJECT / "visitas_dagster").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names: set[str] = set()
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {node.module or ""}
            elif isinstance(node, ast.Call):
                called = node.func
                names = {called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")}
                names |= {"shell=" for keyword in node.keywords if keyword.arg == "shell"}
                names -= {"compile"}
            risky = names & {"subprocess", "pickle", "eval", "exec", "system", "popen", "shell=", "yaml", "marshal"}
            if risky:
                found.setdefault(str(path.relative_to(PROJECT)), set()).update(risky)
    assert found == {"visitas_dagster/demo/run.py": {"subprocess"}}
