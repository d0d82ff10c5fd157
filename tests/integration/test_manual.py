"""The operations manual against the program: its messages, its links, and every command in it that no incident runs.

What the page says and what its commands do belongs here; the seeded incidents are `test_manual_incidents.py`.
"""

import ast
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

import pytest

from tests.oracle.oracle import World
from tests.support.fixtures import DatabaseServers
from tests.support.incidents import (
    DATA,
    INCIDENTS,
    NAME,
    OTHER,
    Incident,
    asked_for,
    befalling,
    own_servers,
)
from tests.support.manual import PAGE, PARTS, Section, Walk, as_pattern, lines, sections
from tests.support.pipeline import NOON, record, report
from tests.support.ports import free_port
from tests.support.proxy import CuttingProxy
from tests.support.receivers import WebhookReceiver
from tests.support.servers import LocalDatabaseServer
from tests.support.site import DAY, Site
from visitas_dagster.closing.contents import states
from visitas_dagster.closing.sealing import seal
from visitas_dagster.domain.states import Estado

PROJECT = PAGE.parents[1]
SECTIONS = sections()
ABOUT_FAILURES = [section for section in SECTIONS.values() if section.parts]
SECOND = "report_8.txt"

# --------------------------------------------------------------------------------------------------- what it says


@cache
def templates() -> list[str]:
    """Every text of the program, a gap where it puts something in."""
    found = []
    for path in sorted((PROJECT / "visitas_dagster").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def is_said(sentence: str) -> bool:
    """Whether the program has this sentence, or its parts, or one that it is part of; case makes no difference."""
    if not sentence.strip(" …") or re.fullmatch(r"VISITAS_[A-Z_]+", sentence):
        return True
    if any(as_pattern(sentence).search(template) for template in templates()):
        return True
    whole = sentence.replace("…", "uno")
    if any(
        len(template.replace("…", "").strip()) >= 10 and as_pattern(template.rstrip(".")).fullmatch(whole)
        for template in templates()
    ):
        return True
    first, colon, rest = sentence.partition(":")
    return bool(colon) and is_said(first.strip()) and is_said(rest.strip())


def sentences(message: str) -> list[str]:
    """A message's sentences, without what the command line puts before them."""
    bare = re.sub(r"^(?:visitas: )?(?:aviso: )?", "", message)
    return [sentence.rstrip(".") for sentence in re.split(r"\.\s+(?=\S)", bare)]


def index() -> list[tuple[str, str]]:
    """The rows of the index: message and heading."""
    text = PAGE.read_text("utf-8").partition("\n## Índice por mensaje\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(.+?)` \| \[(.+?)\]\(#", text, re.MULTILINE)


@pytest.mark.parametrize("section", ABOUT_FAILURES, ids=lambda section: section.title)
def test_each_section_has_its_four_parts(section: Section) -> None:
    assert section.parts == list(PARTS)
    assert {block.part for block in section.commands} >= set(PARTS[1:])


@pytest.mark.parametrize("section", ABOUT_FAILURES, ids=lambda section: section.title)
def test_the_program_prints_the_messages_that_the_manual_quotes(section: Section) -> None:
    said = [sentence for message in section.symptoms for sentence in sentences(message)]
    assert [sentence for sentence in said if not is_said(sentence)] == []


def test_the_index_leads_from_the_programs_messages_to_their_sections() -> None:
    rows = index()
    assert len(rows) > 40
    assert [message for message, _ in rows if not is_said(message)] == []
    texts = {
        title: "\n".join(line for block in section.blocks if block.kind == "text" for line in lines(block.text))
        for title, section in SECTIONS.items()
    }
    whole = PAGE.read_text("utf-8")
    missing = [
        (message, title)
        for message, title in rows
        if not as_pattern(message).search(texts[title]) and whole.count(message) < 2
    ]
    assert missing == []


def test_every_failure_can_be_found_from_the_index() -> None:
    named = set(re.findall(r"\]\(#([^)]+)\)", PAGE.read_text("utf-8").partition("\n## El servidor SFTP\n")[0]))
    titles = {re.sub(r"[^\w\- ]", "", section.title.lower()).replace(" ", "-") for section in ABOUT_FAILURES}
    assert titles - named == set()


def test_what_is_not_there_is_seen() -> None:
    assert not is_said("la base de datos se fue de vacaciones")
    assert is_said("VISITAS_DB_URL: la base de datos … no responde")


def test_the_table_of_states_is_complete() -> None:
    states = re.findall(r"^\| `([A-Z_]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(states) == sorted(Estado)


# ------------------------------------------------------------------------------------------------- what it has typed


@pytest.fixture
def site(database_servers: DatabaseServers, tmp_path: Path) -> Iterator[Site]:
    server = database_servers.get("mariadb")
    assert isinstance(server, LocalDatabaseServer)
    with Site(tmp_path, server) as site:
        yield site


def _no_server(site: Site) -> None:
    site.deliver(NAME, DATA)
    site.sftp.stop()


def _no_folder(site: Site) -> None:
    site.deliver(NAME, DATA)
    site.inbox.rename(site.folder / "otra")


def _folder_again(site: Site) -> None:
    (site.folder / "otra").rename(site.inbox)


def _let_write(site: Site, may: bool) -> None:
    config = site.sftp.folder / "sshd_config"
    # OpenSSH's own read-only mode: root passes every permission of the folder.
    before, after = ("sftp -R -d", "sftp -d") if may else ("sftp -d", "sftp -R -d")
    config.write_text(config.read_text().replace(before, after))
    site.sftp.restart()


def _cannot_be_removed(site: Site) -> None:
    site.deliver(NAME, DATA)
    _let_write(site, False)
    with site.pipeline() as pipeline:
        pipeline.run_pass()


def _cut(site: Site) -> None:
    data = report(*[record(f"v{number}@example.com") for number in range(3000)])
    site.deliver(NAME, data)
    with CuttingProxy(site.sftp.port) as proxy:
        site.sftp.trust_host_key(proxy.port)
        proxy.cut_after(60_000, times=None)
        with site.pipeline(sftp_port=proxy.port) as pipeline:
            pipeline.process([NAME])
    site.sftp.trust_host_key()


def _refuse_rows(site: Site, number: int) -> None:
    # The servers' own error numbers, by a trigger: a disk that is full, a deadlock.
    site.server.execute(
        "CREATE TRIGGER visitas.falla BEFORE INSERT ON visitas.estadisticas FOR EACH ROW "
        f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'prueba'"
    )
    site.deliver(NAME, DATA)
    with site.pipeline() as pipeline:
        pipeline.process([NAME])


def _take_rows(site: Site) -> None:
    site.server.execute("DROP TRIGGER visitas.falla")


def _no_tables(site: Site) -> None:
    site.server.execute("DROP DATABASE visitas")
    site.server.execute("CREATE DATABASE visitas CHARACTER SET utf8mb4")


def _without_tables(site: Site) -> list[str]:
    there = {name for (name,) in site.server.execute("SHOW TABLES FROM visitas")}
    return sorted({"bitacora_control", "estadisticas", "errores", "visitantes"} - there)


def _no_permission(site: Site) -> None:
    site.deliver(NAME, DATA)
    site.bound = True
    (site.home / "staging").chmod(0o500)
    site.services[f"chown -R visitas: {site.home}"] = lambda: (site.home / "staging").chmod(0o755)


def _other_separator(site: Site) -> None:
    site.load(NAME, DATA.replace(b",", b";"))


def _right_file(site: Site) -> None:
    (site.home / NAME).write_bytes(DATA)
    site.deliver(NAME, DATA)


def _rejects(site: Site) -> None:
    site.load(NAME, report(record(), record("sin arroba"), record("tampoco")))
    with site.pipeline() as pipeline:
        from visitas_dagster.alerts.watch import watch

        watch(pipeline.platform)


def _duplicate(site: Site) -> None:
    site.load(NAME, DATA)
    site.load(SECOND, DATA)


def _damaged_zip(site: Site) -> None:
    site.load(NAME, DATA, datetime.now(UTC) - NOON)
    with site.pipeline() as pipeline:
        sealed = seal(pipeline.platform.folders, NOON.date(), partial(states, pipeline.platform.engine))
    assert sealed.path is not None
    subprocess.run(["tar", "-C", site.home, "-czf", site.home / "respaldo-externo/etl.tar.gz", "./backup"], check=True)
    sealed.path.write_bytes(sealed.path.read_bytes()[:-40])


def _damage(site: Site) -> list[str]:
    with zipfile.ZipFile(site.home / "backup" / "backup_20240314.zip") as archive:
        bad = archive.testzip()
    return [bad] if bad else []


def _silence(site: Site) -> None:
    site.load(NAME, DATA, 3 * DAY)
    site.beat()


def _it_comes(site: Site) -> None:
    site.deliver(SECOND, OTHER)


def _unsent_alert(site: Site) -> None:
    site.load(NAME, b"nada\n")
    site.set(VISITAS_ALERTA_WEBHOOK=f"http://127.0.0.1:{free_port()}/alertas")
    site.beat()


def _a_minute_later(site: Site) -> None:
    site.server.execute("UPDATE visitas.incidentes SET intentado = NULL")
    site.beat()


def _wrong_setting(site: Site) -> None:
    site.set(VISITAS_SFTP_PORT="veintidós")
    site.edits = {"VISITAS_SFTP_PORT": str(site.sftp.port)}


def _unexpected(site: Site) -> None:
    folder = site.home / "logs" / "20240314"
    folder.mkdir(parents=True)
    (folder / "error_120000_77.log").write_text("Traceback (most recent call last):\nKeyError: 'x'\n", "utf-8")
    site.deliver(NAME, DATA)


def _person(site: Site) -> None:
    site.load(NAME, DATA)
    site.types = "ana@example.com\n"


def _still_known(site: Site) -> list[str]:
    rows = site.server.execute("SELECT email FROM visitas.estadisticas WHERE email = 'ana@example.com'")
    return [str(email) for (email,) in rows]


SITUATIONS = (
    Incident("", "El servidor SFTP no responde", _no_server, lambda site: site.sftp.start()),
    Incident("", "Falta la carpeta en el servidor SFTP", _no_folder, _folder_again, engine="mysql"),
    Incident("", "Un archivo se queda en el servidor", _cannot_be_removed, lambda site: _let_write(site, True)),
    Incident("", "La red se corta", _cut, engine="mysql"),
    Incident("", "La base de datos está llena", lambda site: _refuse_rows(site, 1114), _take_rows),
    Incident("", "La base de datos va lenta", lambda site: _refuse_rows(site, 1213), _take_rows, engine="mysql"),
    Incident("", "Faltan las tablas", _no_tables, wrong=_without_tables),
    Incident("", "El disco no da permiso", _no_permission, engine="mysql"),
    Incident("", "El archivo no es un reporte", _other_separator, _right_file),
    Incident("", "Muchos registros rechazados", _rejects, _right_file, engine="mysql"),
    Incident("", "Un archivo duplicado", _duplicate, _it_comes),
    Incident("", "Los reportes no llegan", _silence, _it_comes, lambda site: site.beat(), engine="mysql"),
    Incident("", "Un ajuste está mal escrito", _wrong_setting),
    Incident("", "Error inesperado", _unexpected, is_shown=False, engine="mysql"),
    Incident("", "Un respaldo está dañado", _damaged_zip, wrong=_damage),
    Incident("", "Borrar a una persona", _person, wrong=_still_known),
)
ALERT = "Una alerta no llega"
EVERY_DAY = (
    "Antes de teclear una orden",
    "Las cinco órdenes de cada día",
    "Qué corre y cuándo",
    "Dónde está cada cosa",
    "Cambiar un ajuste",
)
LOSSES = ("Respaldar", "Se perdió la base de datos", "Se perdió la máquina", "Actualizar")


def test_every_command_is_run_by_a_test() -> None:
    run = [incident.section for incident in (*INCIDENTS, *SITUATIONS)] + [ALERT, *EVERY_DAY, *LOSSES]
    assert sorted(run) == sorted(section.title for section in SECTIONS.values() if section.commands)


@pytest.fixture(scope="module")
def begun(
    request: pytest.FixtureRequest, database_servers: DatabaseServers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[None]]]:
    """The situations that are asked for, under way on the servers."""
    folder = tmp_path_factory.mktemp("manual")
    with befalling(asked_for(request), own_servers(database_servers), folder) as begun:
        yield begun


@pytest.mark.parametrize("incident", SITUATIONS, ids=lambda incident: incident.section)
def test_whoever_follows_the_manual_cures_it(incident: Incident, begun: Mapping[str, Future[None]]) -> None:
    begun[incident.section].result()


def test_an_alert_arrives_once_the_setting_is_right(site: Site) -> None:
    with WebhookReceiver() as receiver:

        def seed(site: Site) -> None:
            _unsent_alert(site)
            site.edits = {"VISITAS_ALERTA_WEBHOOK": receiver.url}

        alert = Incident("", ALERT, seed, wait=_a_minute_later, wrong=lambda site: [])
        alert.befall(site, SECTIONS[ALERT])
        assert [subject.partition(":")[0] for subject in receiver.subjects] == ["[visitas] ALERTA FALLO_LAYOUT"]


def test_the_orders_of_every_day(site: Site) -> None:
    site.load(NAME, DATA, DAY)
    site.deliver(SECOND, OTHER)
    site.beat()
    for title in EVERY_DAY:
        # The errors of a day without any make `grep` end with 1.
        walk = Walk(SECTIONS[title], site.execute if title == "Dónde está cada cosa" else site.execute_strictly)
        while walk.left:
            shown = walk.step()
            assert "visitas: " not in shown, shown
    assert site.asked == [
        "systemctl status visitas-daemon visitas-web visitas-vigilar.timer",
        f"editor {site.home}/visitas.env",
        "systemctl restart visitas-daemon visitas-web",
    ]
    assert site.differences() == []


def test_what_was_lost_comes_back_from_the_backup(site: Site) -> None:
    site.load(NAME, DATA)
    walks = {title: Walk(SECTIONS[title], site.execute_strictly) for title in LOSSES}
    client = f"[client]\nhost={site.server.host}\nport={site.server.port}\n"
    (site.home / ".my.cnf").write_text(f"{client}user=visitas_respaldo\npassword=tercera-clave\n")
    while walks["Respaldar"].left:
        shown = walks["Respaldar"].step()
    assert shown == "./visitas.env\n"

    # Loaded after the backup: the dump knows nothing of it.
    site.load(SECOND, OTHER)
    site.server.execute("DROP DATABASE visitas")
    (site.home / ".my-admin.cnf").write_text(f"[client]\nsocket={site.server.folder}/mysql.sock\nuser=root\n")
    database = walks["Se perdió la base de datos"]
    restored = ""
    while database.left:
        restored += database.step()
    assert site.differences() == [], restored
    # Delivered once more, counted once more, loaded once.
    with site.pipeline() as pipeline:
        assert pipeline.states() == [(NAME, "COMPLETADO_CON_ERRORES", True), (SECOND, "COMPLETADO", True)]
        assert (
            World([(NAME, DATA), (NAME, DATA), (SECOND, OTHER)]).differences(
                pipeline.tables(), pipeline.platform.today()
            )
            == []
        )

    for path in [path for path in site.home.iterdir() if not path.is_symlink()]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    machine = walks["Se perdió la máquina"]
    # There are no settings to be loaded before it.
    machine.execute = site.execute
    machine.step()
    machine.execute = site.execute_strictly
    assert "0 pendientes" in machine.step()
    assert site.differences() == []

    upgraded = walks["Actualizar"].step()
    assert "Tablas: ya estaban en la versión" in upgraded, upgraded
    assert [title for title, walk in walks.items() if walk.left] == []
    assert site.asked[-1] == "systemctl start visitas-daemon visitas-web visitas-vigilar.timer"
