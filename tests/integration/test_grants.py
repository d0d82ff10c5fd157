"""The database permissions that `docs/settings.md` states: enough for every command, and none too many.

The statements are taken from the page, so that it cannot say anything else than what was tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.engine import URL, make_url

from tests.support.command import Ended, Visitas
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import put, record, report
from tests.support.servers import DatabaseServer

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "settings.md").read_text("utf-8")
BLOCK = PAGE.partition("## The database and its permissions")[2].partition("```sql\n")[2].partition("```")[0]
STATEMENTS = [
    " ".join(line for line in statement.strip().splitlines() if not line.startswith("--"))
    for statement in BLOCK.split(";\n")
    if statement.strip()
]
GRANTS = {
    user: privileges.split(", ")
    for statement in STATEMENTS
    for privileges, user in re.findall(r"GRANT (.+) ON visitas\.\* TO '(\w+)'@'%'", statement)
}

pytestmark = pytest.mark.databases("mysql", "mariadb")


@dataclass(frozen=True)
class Installation:
    """An empty database with the two users of the page.

    Attributes:
        server: where it is.
        url: its URL, of a user who may do everything.
        runs, makes: the names of the two users.
    """

    server: DatabaseServer
    url: URL
    runs: str
    makes: str

    def url_of(self, user: str) -> str:
        """The URL of one of them; their passwords are those of the page."""
        password = "otra-clave" if user == self.makes else "clave"
        return self.url.set(username=user, password=password).render_as_string(hide_password=False)

    def do(self, statement: str) -> None:
        """Run one of the page's statements here."""
        names = {"'visitas'@": f"'{self.runs}'@", "'visitas_init'@": f"'{self.makes}'@"}
        for page, here in names.items():
            statement = statement.replace(page, here)
        statement = statement.replace("visitas.*", f"`{self.url.database}`.*")
        self.server.execute(statement.replace("%", "%%") % ())

    @contextmanager
    def without(self, privilege: str, user: str) -> Iterator[None]:
        """Take a privilege away within the block."""
        self.do(f"REVOKE {privilege} ON visitas.* FROM '{user}'@'%'")
        yield
        self.do(f"GRANT {privilege} ON visitas.* TO '{user}'@'%'")


@pytest.fixture
def installation(database: Database) -> Iterator[Installation]:
    assert database.server is not None
    url = make_url(database.url)
    made = Installation(database.server, url, f"r{url.username}"[:32], f"m{url.username}"[:32])
    for statement in STATEMENTS:
        if not statement.startswith("CREATE DATABASE"):
            made.do(statement)
    database.server.set_local_infile(True)
    yield made
    for user in (made.runs, made.makes):
        database.server.execute(f"DROP USER '{user}'@'%%'" % ())


@pytest.fixture
def visitas(installation: Installation, sftp_folder: SftpFolder, tmp_path: Path) -> Visitas:
    """The installation as it runs; `init` has to be called as the other user."""
    settings = {"VISITAS_DB_URL": installation.url_of(installation.runs), **sftp_folder.environment()}
    return Visitas(tmp_path, {**settings, "VISITAS_REINTENTO_BASE_S": "0"})


def init(visitas: Visitas, installation: Installation) -> Ended:
    return visitas.run("init", VISITAS_DB_URL=installation.url_of(installation.makes))


def test_the_page_states_both_users() -> None:
    assert set(GRANTS) == {"visitas", "visitas_init"}
    assert [statement.partition(" ")[0] for statement in STATEMENTS] == ["CREATE", "CREATE", "GRANT", "CREATE", "GRANT"]


def missing(privilege: str, user: str, installation: Installation) -> str:
    return f"VISITAS_DB_URL: al usuario {user} le falta el permiso {privilege} en «{installation.url.database}»"


def test_every_command_works_with_exactly_those(
    visitas: Visitas, installation: Installation, sftp_folder: SftpFolder, tmp_path: Path
) -> None:
    assert init(visitas, installation).code == 0
    put(sftp_folder.path, "report_1.txt", report(record(), record("beto@example.com"), record("mal")))
    put(sftp_folder.path, "report_2.txt", b"no es un informe\n")
    assert visitas.run("dispatch").code == 1
    correction = report(record("ana@example.com"), record("carla@example.com"))
    (tmp_path / "report_1.txt").write_bytes(correction)
    assert visitas.run("check", "report_1.txt", "--contra-base").code == 0
    put(sftp_folder.path, "report_1.txt", correction)
    for command in (
        ("dispatch",),
        ("status",),
        ("explain", "report_1.txt"),
        ("replay", "report_1.txt"),
        ("release", "report_2.txt"),
        ("report",),
        ("forget", "carla@example.com"),
    ):
        ended = visitas.run(*command)
        assert (ended.code, ended.err) == (0, ""), command
    ended = visitas.run("close")
    # The released file is taken once more, and fails again: that is no failure of the close.
    assert (ended.code, ended.err) == (0, "")
    name = installation.url.database
    states = installation.server.execute(f"SELECT archivo, estado FROM `{name}`.bitacora_control WHERE vigente")
    assert sorted(states) == [("report_1.txt", "COMPLETADO"), ("report_2.txt", "FALLO_LAYOUT")]
    emails = installation.server.execute(f"SELECT email FROM `{name}`.visitantes ORDER BY email")
    assert emails == [("ana@example.com",), ("olvidado@olvidado.invalid",)]


@pytest.mark.parametrize("privilege", GRANTS["visitas_init"])
def test_init_names_the_one_that_is_missing(visitas: Visitas, installation: Installation, privilege: str) -> None:
    with installation.without(privilege, "visitas_init"):
        ended = init(visitas, installation)
    if privilege == "REFERENCES" and installation.server.engine == "mariadb":
        assert ended.code == 0
        return
    said = missing(privilege, installation.makes, installation)
    assert ended == Ended(1, "", f"visitas: {said}. Dé al usuario los permisos de docs/settings.md\n")
    # What it made before it stopped is no hindrance.
    assert init(visitas, installation).code == 0


def test_a_pass_names_the_one_that_is_missing(
    visitas: Visitas, installation: Installation, sftp_folder: SftpFolder
) -> None:
    assert init(visitas, installation).code == 0
    for number, privilege in enumerate(GRANTS["visitas"]):
        name, said = f"report_{number}.txt", missing(privilege, installation.runs, installation)
        put(sftp_folder.path, name, report(record(f"a{number}@example.com"), record("mal")))
        if privilege == "DELETE":
            with installation.without(privilege, "visitas"):
                assert visitas.run("dispatch").code == 0
                put(sftp_folder.path, name, report(record(f"b{number}@example.com")))
        with installation.without(privilege, "visitas"):
            ended = visitas.run("dispatch")
        assert ended.code == 1
        assert f"{said}. dé al usuario los permisos de docs/settings.md" in (ended.out + ended.err).replace(
            "Dé al", "dé al"
        ), privilege
        assert "Traceback" not in ended.out + ended.err
        # Given back, the file goes through.
        assert visitas.run("dispatch", "--reintentar", name).code == 0, privilege

    visitors = installation.server.execute(f"SELECT email FROM `{installation.url.database}`.visitantes ORDER BY email")
    assert [email[:2] for (email,) in visitors] == ["a0", "a1", "a2", "a4", "b3"]
