"""The Grafana dashboard: its JSON against Grafana's schema, and every panel's query against figures counted in Python.

What a panel asks and gets belongs here; how Grafana draws it does not.
"""

import json
import re
import types
import typing
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard as schema

from tests.support.fixtures import Database
from tests.support.history import History, beginning, seed
from tests.support.panels import (
    DASHBOARD,
    FIGURES,
    FOLDER,
    PANELS,
    SOURCE,
    Span,
    ask,
    grants,
    panel_differences,
    reader,
)
from tests.support.pipeline import PROJECT, settings_for
from visitas_dagster.loading.schema import upgrade
from visitas_dagster.loading.zone import keep_zone
from visitas_dagster.resources.database import open_engine

PROVIDER = yaml.safe_load((FOLDER / "provisioning" / "dashboards" / "visitas.yaml").read_text("utf-8"))

MEXICO = ZoneInfo("America/Mexico_City")

# A range that begins and ends in the middle of days, and of months.
SPAN = Span(datetime(2026, 2, 10, 15, 30), datetime(2026, 4, 5, 9, 45))


# ------------------------------------------------------------------------------------------------------ the schema


def test_the_dashboard_is_what_grafanas_schema_makes_of_it() -> None:
    register_default_plugins()
    read = schema.Dashboard.from_json(DASHBOARD)
    written = json.loads(JSONEncoder().encode(read))
    # The schema's own defaults may come to it; nothing of the file is unknown to it or changed by it.
    assert list(lost(DASHBOARD, written)) == []
    assert list(mistyped(read)) == []


def lost(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    """Where the second document lacks something of the first."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            yield from lost(value, kept[key], f"{path}/{key}") if key in kept else [f"{path}/{key}"]
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for place, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from lost(one, other, f"{path}/{place}")
    elif given != kept:
        yield f"{path}: {given!r} became {kept!r}"


def mistyped(value: Any, path: str = "") -> Iterator[str]:
    """Where an object of the schema holds something else than its annotation says."""
    hints = typing.get_type_hints(type(value))
    for name, held in vars(value).items():
        where = f"{path}/{name}"
        if name in hints and not fits(held, hints[name]):
            yield f"{where}: {held!r} is no {hints[name]}"
        for place, item in enumerate(held if isinstance(held, list) else [held]):
            if type(item).__module__.startswith("grafana_foundation_sdk.models") and not isinstance(item, Enum):
                yield from mistyped(item, f"{where}/{place}")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotation, as far as the schema's annotations go."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in (Any, object):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and all(fits(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(item, arguments[1]) for item in value.values())
    if isinstance(hint, type) and issubclass(hint, Enum):
        return value in [member.value for member in hint]
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"titel": "x"}, "/titel"),
        ({"schemaVersion": "41"}, "/schema_version"),
        ({"graphTooltip": 7}, "/graph_tooltip"),
        ({"panels": [{"type": "stat", "gridPos": {"x": 0, "y": 0, "w": 1, "h": 1, "z": 1}}]}, "/panels/0/gridPos/z"),
    ],
)
def test_a_dashboard_that_is_none_is_seen(change: dict[str, Any], place: str) -> None:
    wrong = {"title": "x", "schemaVersion": 41, **change}
    read = schema.Dashboard.from_json(wrong)
    written = json.loads(JSONEncoder().encode(read))
    assert [found.partition(":")[0] for found in (*lost(wrong, written), *mistyped(read))] == [place]


def test_the_panels_stand_beside_each_other() -> None:
    taken: Counter[tuple[int, int]] = Counter()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        taken.update((place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"]))
    assert set(taken.values()) == {1}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_every_panel_asks_the_provisioned_source() -> None:
    reference = {"type": SOURCE["type"], "uid": SOURCE["uid"]}
    for title, panel in PANELS.items():
        (target,) = panel["targets"]
        assert (panel["datasource"], target["datasource"]) == (reference, reference), title
        assert target["format"] == ("time_series" if panel["type"] == "timeseries" else "table"), title


def test_the_login_is_the_environments_and_the_page_names_each_variable() -> None:
    login = [SOURCE["url"], SOURCE["user"], SOURCE["secureJsonData"]["password"], SOURCE["jsonData"]["database"]]
    variables = [*login, PROVIDER["providers"][0]["options"]["path"]]
    page = (FOLDER / "README.md").read_text("utf-8")
    assert all(re.fullmatch(r"\$VISITAS_GRAFANA_[A-Z_]+", variable) for variable in variables)
    assert re.findall(r"`(VISITAS_GRAFANA_\w+)`", page) == [
        "VISITAS_GRAFANA_DB_ADDRESS",
        "VISITAS_GRAFANA_DB_NAME",
        "VISITAS_GRAFANA_DB_USER",
        "VISITAS_GRAFANA_DB_PASSWORD",
        "VISITAS_GRAFANA_DASHBOARDS",
    ]
    assert {variable[1:] for variable in variables} == set(re.findall(r"`(VISITAS_GRAFANA_\w+)`", page))


# ----------------------------------------------------------------------------------------------------- the queries


@dataclass(frozen=True)
class Board:
    """A database with a history in it, and an engine of the dashboard's user."""

    reader: sa.Engine
    history: History


@pytest.fixture
def board(database: Database, tmp_path: Path) -> Iterator[Board]:
    """Give a history of five months, and a user with the rights of the page alone whose session is the source's."""
    assert database.server is not None
    engine = open_engine(settings_for(database.url, {}, tmp_path))
    upgrade(engine)
    keep_zone(engine, MEXICO)
    seed(engine, MEXICO, date(2025, 12, 15), days=140)
    history = History.read(engine, MEXICO)
    engine.dispose()
    url = sa.make_url(database.url)
    user = f"t_{url.database}"[-32:]
    for statement in grants(url.database or "", user):
        database.server.execute(statement)
    own = reader(url.set(username=user, password="clave"))
    yield Board(own, history)
    own.dispose()
    database.server.execute(f"DROP USER '{user}'@'%'")


on_servers = pytest.mark.databases("mysql", "mariadb")


@on_servers
def test_every_panel_shows_what_python_counts(board: Board) -> None:
    assert set(PANELS) == set(FIGURES)
    assert panel_differences(board.reader, board.history, SPAN) == []
    assert [title for title in PANELS if not ask(board.reader, title, SPAN)] == []


@on_servers
def test_the_range_leaves_days_out_at_both_ends(board: Board) -> None:
    days = [row["time"] for row in ask(board.reader, "Tasa de éxito por día", SPAN)]
    # Mexico's days begin at six: the one under way at the beginning of the range is left out, the last one is in.
    assert all(SPAN.start <= day <= SPAN.end for day in days)
    assert (beginning(date(2026, 2, 10), MEXICO) in days, beginning(date(2026, 4, 5), MEXICO) in days) == (False, True)
    ends = [row["fin"] for row in board.history.ended()]
    assert min(ends) < SPAN.start < SPAN.end < max(ends)


@on_servers
def test_a_range_without_files_shows_nothing_and_fails_nowhere(board: Board) -> None:
    assert panel_differences(board.reader, board.history, Span(datetime(2020, 1, 1), datetime(2020, 2, 1))) == []


@on_servers
@pytest.mark.parametrize("table", ["estadisticas", "errores", "visitantes", "bitacora_control", "zona_cambios"])
def test_the_dashboards_user_reads_no_table(board: Board, table: str) -> None:
    with board.reader.connect() as connection, pytest.raises(sa.exc.OperationalError, match="1142"):
        connection.execute(sa.text(f"SELECT * FROM {table}"))


def test_the_page_grants_every_view_and_nothing_else() -> None:
    views = {path.name.partition(".")[0] for path in (PROJECT / "sql" / "views").glob("*.sql")}
    granted = [statement for statement in grants("visitas", "visitas_tableros") if statement.startswith("GRANT")]
    assert sorted(granted) == [f"GRANT SELECT ON `visitas`.{view} TO 'visitas_tableros'@'%'" for view in sorted(views)]
