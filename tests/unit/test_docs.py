"""The documentation against the code and itself: links, settings, commands, dependencies, forbidden words.

What can be compared without a server belongs here; whether the sentences are true does not.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer.main
from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from visitas_dagster.cli.app import app
from visitas_dagster.domain.layout import COLUMNS
from visitas_dagster.domain.states import Estado
from visitas_dagster.loading import tables
from visitas_dagster.settings import Settings, load_settings

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [PROJECT / "README.md", PROJECT / "CHANGELOG.md", *sorted((PROJECT / "docs").rglob("*.md"))]
SETTINGS_PAGE = PROJECT / "docs" / "settings.md"
DEPENDENCIES_PAGE = PROJECT / "docs" / "dependencies.md"
CONTRACT_PAGE = PROJECT / "docs" / "contract.md"

# A setting of the tests, not of the platform.
TEST_SETTINGS = {"VISITAS_TEST_MYSQL_URL", "VISITAS_TEST_MUERTES", "VISITAS_TEST_PASOS"}

# What a page may name of the world outside; whatever is not here is somebody's own.
FOLDERS = ("/etc/systemd/system", "/home/etl", "/home/vinkOS/archivosVisitas", "/opt/visitas")
SITES = {"docs.dagster.io", "keepachangelog.com", "semver.org"}
OWN_MACHINE = {"127.0.0.1", "localhost"}
RESERVED = re.compile(r"(?:.+\.)?(?:example|invalid|example\.(?:com|org|net|com\.mx))")

LINK = re.compile(r"\]\(([^)\s]+)\)")
TARGET = re.compile(r"[a-z+]+://\S+")
ADDRESS = re.compile(r"[\w.+-]+@([\w-]+(?:\.[\w-]+)+)")
ABSOLUTE = re.compile(r"(?<![\w.~:/<>$})*…-])/[A-Za-z][\w.-]*(?:/[\w.-]+)+")


def named(page: Path) -> str:
    """A page's name in the list of tests."""
    return str(page.relative_to(PROJECT))


every_page = pytest.mark.parametrize("page", PAGES, ids=named)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", outside_of_fences(page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def outside_of_fences(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def code(text: str) -> Iterator[str]:
    """The code of a page: fenced blocks and spans."""
    yield from re.findall(r"^```.*?^```$", text, re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`([^`\n]+)`", outside_of_fences(text))


def commands_in(text: str) -> set[str]:
    """The sub-commands of `visitas` that a page's code names."""
    return {name for piece in code(text) for name in re.findall(r"\bvisitas ([a-z]+)\b", piece)}


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the tables whose first column has this heading."""
    found, before, wanted = [], "", False
    for line in page.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        begins = line.startswith("|") and not before.startswith("|")
        wanted = line.startswith("|") and (cells[0] == heading if begins else wanted)
        if wanted and not begins and set(line) - set("|-: "):
            found.append(cells)
        before = line
    return found


def in_code(cell: str) -> str:
    """What a cell's code span holds; empty where it has none."""
    span = re.match(r"`([^`]*)`", cell)
    return span.group(1) if span else ""


# ------------------------------------------------------------------------------------------------------- links


@every_page
def test_every_link_leads_to_something(page: Path) -> None:
    broken = []
    for link in LINK.findall(outside_of_fences(page.read_text("utf-8"))):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
            broken.append(link)
    assert broken == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    readme = PROJECT / "README.md"
    linked = {(readme.parent / link.partition("#")[0]).resolve() for link in LINK.findall(readme.read_text("utf-8"))}
    assert set(PAGES) - linked == {readme}


# ---------------------------------------------------------------------------------------------------- settings


def variable(name: str, field: FieldInfo) -> str:
    """The environment variable of a setting."""
    alias = field.validation_alias
    return str(alias.choices[-1]) if isinstance(alias, AliasChoices) else f"VISITAS_{name.upper()}"


def shown_default(name: str, field: FieldInfo) -> str:
    """A default as the page shows it."""
    if name == "sftp_known_hosts":
        return "`~/.ssh/known_hosts`"
    if name == "home":
        return f"`./{field.default}`"
    return "none" if field.default in (None, "") else f"`{field.default}`"


SETTINGS = {variable(name, field): shown_default(name, field) for name, field in Settings.model_fields.items()}
SETTING_ROWS = {in_code(row[0]): row for row in rows(SETTINGS_PAGE, "name")}


def test_every_setting_has_its_row_and_every_row_its_setting() -> None:
    assert SETTING_ROWS.keys() == SETTINGS.keys()


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_default_is_the_one_in_force(setting: str) -> None:
    # What is said after it (`none, required`, `none: a file in …`) is for people.
    assert re.split(r"[,:]", SETTING_ROWS[setting][1])[0] == SETTINGS[setting]


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_example_is_accepted(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _, value = in_code(SETTING_ROWS[setting][3]).partition("=")
    plain = dict(settings_values(load_settings(_env_file=None)))
    monkeypatch.setenv(name, value)
    changed = dict(settings_values(load_settings(_env_file=None)))
    assert name == setting
    assert [field for field in plain if plain[field] != changed[field]] in ([], [field_of(setting)])


def settings_values(settings: Settings) -> Iterator[tuple[str, Any]]:
    yield from ((name, getattr(settings, name)) for name in Settings.model_fields)


def field_of(setting: str) -> str:
    return next(name for name, field in Settings.model_fields.items() if variable(name, field) == setting)


@every_page
def test_no_page_names_a_setting_that_is_none(page: Path) -> None:
    found = set(re.findall(r"\bVISITAS_[A-Z_]*[A-Z]\b", page.read_text("utf-8")))
    assert found - SETTINGS.keys() - TEST_SETTINGS == set()


# ---------------------------------------------------------------------------------------------------- commands


COMMANDS = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # a group of commands has them


@every_page
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    assert commands_in(page.read_text("utf-8")) - COMMANDS == set()


@pytest.mark.parametrize("page", [PROJECT / "README.md", CONTRACT_PAGE], ids=named)
def test_every_command_is_told(page: Path) -> None:
    assert {in_code(row[0]).split()[1] for row in rows(page, "command")} == COMMANDS


@every_page
def test_every_option_that_a_page_names_exists(page: Path) -> None:
    options = {
        name: {option for param in command.params for option in param.opts}
        for name, command in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
    }
    named_options = {
        (name, option)
        for piece in code(page.read_text("utf-8"))
        for name, rest in re.findall(r"\bvisitas ([a-z]+)([^\n]*)", piece)
        for option in re.findall(r"(?<!\S)--[a-z-]+", rest)
    }
    assert {(name, option) for name, option in named_options if option not in options[name]} == set()


@every_page
def test_every_target_of_make_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text("utf-8"), re.MULTILINE))
    found = {name for piece in code(page.read_text("utf-8")) for name in re.findall(r"\bmake ([a-z]+)\b", piece)}
    assert found - targets == set()


# ------------------------------------------------------------------------------------------------ dependencies


def declared() -> set[str]:
    """The packages that the project names, running, building and developing."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))
    groups = project["dependency-groups"].values()
    wanted = [*project["project"]["dependencies"], *(entry for group in groups for entry in group)]
    return {re.split(r"[\[<>=~! ]", entry)[0] for entry in wanted if isinstance(entry, str)}


def test_every_dependency_has_its_row_and_every_row_its_dependency() -> None:
    assert {in_code(row[0]) for row in rows(DEPENDENCIES_PAGE, "package")} == declared()


def test_the_readme_is_the_packages_own() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    changelog = (PROJECT / "CHANGELOG.md").read_text("utf-8")
    assert project["readme"] == "README.md"
    assert re.findall(r"^## \[([\d.]+)\]", changelog, re.MULTILINE)[0] == project["version"]


# ---------------------------------------------------------------------------------------------------- contract


def test_the_contract_names_every_column_of_the_report() -> None:
    listed = CONTRACT_PAGE.read_text("utf-8").partition("each once, in any order:")[2].partition(".\n")[0]
    assert re.findall(r"`([^`]+)`", listed)[: len(COLUMNS)] == [column.header for column in COLUMNS]


@pytest.mark.parametrize("table", ["bitacora_control", "estadisticas", "errores", "visitantes"])
def test_the_contract_names_every_column_of_the_tables(table: str) -> None:
    section = CONTRACT_PAGE.read_text("utf-8").partition(f"\n`{table}`: ")[2]
    body = re.split(r"\n\n(?!\|)", section)[0]
    first_cells = [line.split(" | ")[0] for line in body.splitlines() if line.startswith("| `")]
    found = [name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(found) == sorted(column.name for column in tables.metadata.tables[table].columns)


def test_the_contract_names_every_state() -> None:
    assert [in_code(row[0]) for row in rows(CONTRACT_PAGE, "`estado`")] == [str(state) for state in Estado]


# --------------------------------------------------------------------------------------- what must not stand there


@every_page
def test_no_page_names_a_folder_of_somebodys_own(page: Path) -> None:
    text = TARGET.sub("", page.read_text("utf-8"))
    assert [path for path in ABSOLUTE.findall(text) if not path.startswith(FOLDERS)] == []


@every_page
def test_no_page_names_a_server_of_somebodys_own(page: Path) -> None:
    hosts = {urlsplit(url.rstrip(").,;'`")).hostname or "" for url in TARGET.findall(page.read_text("utf-8"))}
    assert {host for host in hosts - SITES - OWN_MACHINE if not RESERVED.fullmatch(host)} == set()


@every_page
def test_no_page_names_a_mail_domain_of_somebodys_own(page: Path) -> None:
    domains = set(ADDRESS.findall(TARGET.sub("", page.read_text("utf-8"))))
    assert {domain for domain in domains if not RESERVED.fullmatch(domain)} == set()


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (ABSOLUTE, "see /srv/reports/today"),
        (ABSOLUTE, "`/root/.ssh/id_ed25519`"),
        (ABSOLUTE, "A=/mnt/disk/x"),
        (TARGET, "from sftp://files.test/x"),
        (ADDRESS, "to ana@files.test"),
    ],
)
def test_what_must_not_stand_there_is_seen(rule: re.Pattern[str], text: str) -> None:
    assert rule.search(text)
