"""The Grafana dashboard: its JSON against Grafana's schema, and every panel's query against figures counted in Python.

What a panel asks and gets belongs here; how Grafana draws it does not.
"""

import json
import re
import types
import typing
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
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
from tests.support.history import LOADED, History, Row, beginning, seed
from tests.support.pipeline import PROJECT, settings_for
from visitas_dagster.loading.schema import upgrade
from visitas_dagster.loading.zone import keep_zone
from visitas_dagster.resources.database import open_engine

FOLDER = PROJECT / "deploy" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboards" / "visitas.json").read_text("utf-8"))
PANELS: dict[str, dict[str, Any]] = {panel["title"]: panel for panel in DASHBOARD["panels"]}
SOURCE = yaml.safe_load((FOLDER / "provisioning" / "datasources" / "visitas.yaml").read_text("utf-8"))
PROVIDER = yaml.safe_load((FOLDER / "provisioning" / "dashboards" / "visitas.yaml").read_text("utf-8"))
PAGE = (PROJECT / "docs" / "dashboards.md").read_text("utf-8")

MEXICO = ZoneInfo("America/Mexico_City")

# A range that begins and ends in the middle of days, and of months.
FROM = datetime(2026, 2, 10, 15, 30)
TO = datetime(2026, 4, 5, 9, 45)


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
    (source,) = SOURCE["datasources"]
    reference = {"type": source["type"], "uid": source["uid"]}
    for title, panel in PANELS.items():
        (target,) = panel["targets"]
        assert (panel["datasource"], target["datasource"]) == (reference, reference), title
        assert target["format"] == ("time_series" if panel["type"] == "timeseries" else "table"), title


def test_the_login_is_the_environments_and_the_page_names_each_variable() -> None:
    (source,) = SOURCE["datasources"]
    login = [source["url"], source["user"], source["secureJsonData"]["password"], source["jsonData"]["database"]]
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


def expanded(query: str) -> str:
    """A query as Grafana's MySQL data source sends it, its macros written out as the documentation of them says."""
    start, end = (int(moment.replace(tzinfo=UTC).timestamp()) for moment in (FROM, TO))
    query = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 BETWEEN FROM_UNIXTIME({start}) AND FROM_UNIXTIME({end})", query)
    query = query.replace("$__timeFrom()", f"FROM_UNIXTIME({start})").replace("$__timeTo()", f"FROM_UNIXTIME({end})")
    assert "$" not in query
    return query


@dataclass(frozen=True)
class Board:
    """A database with a history in it, as the dashboard's user sees it."""

    reader: sa.Engine
    history: History

    def ask(self, title: str) -> list[dict[str, Any]]:
        """What a panel's query returns."""
        query = expanded(PANELS[title]["targets"][0]["rawSql"])
        with self.reader.connect() as connection:
            # The driver's own cursor: neither a colon nor a per cent sign of the query is anything else.
            cursor = connection.connection.cursor()
            cursor.execute(query)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, map(plain, row), strict=True)) for row in cursor.fetchall()]


def plain(value: Any) -> Any:
    """A value as Grafana takes it: numbers are numbers, moments are to the second."""
    if isinstance(value, datetime):
        return value.replace(microsecond=0)
    return round(float(value), 6) if isinstance(value, float | Decimal) else value


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
    for grant in grants(url.database or "", user):
        database.server.execute(grant)
    zone = SOURCE["datasources"][0]["jsonData"]["timezone"]
    reader = sa.create_engine(
        url.set(username=user, password="clave"),
        # The server's own zone may be any: the source sets the session's.
        # Its driver's collation is this one, whatever the database's is.
        connect_args={
            "init_command": f"SET SESSION time_zone = '{zone}', collation_connection = 'utf8mb4_unicode_ci'",
            "charset": "utf8mb4",
        },
    )
    yield Board(reader, history)
    reader.dispose()
    database.server.execute(f"DROP USER '{user}'@'%'")


def grants(name: str, user: str) -> list[str]:
    """The statements of the page, for another database and another user."""
    block = PAGE.partition("## A user that only reads")[2].partition("```sql\n")[2].partition("```")[0]
    statements = [line.strip().removesuffix(";") for line in block.splitlines() if line.strip()]
    return [
        statement.replace("visitas_tableros", user).replace(" visitas.v_", f" `{name}`.v_") for statement in statements
    ]


on_servers = pytest.mark.databases("mysql", "mariadb")


def in_range(rows: list[Row], column: str = "dia_desde_utc") -> list[Row]:
    return sorted((row for row in rows if FROM <= row[column] <= TO), key=lambda row: str(row[column]))


def total(rows: list[Row], *names: str) -> int:
    return sum(row[name] for row in rows for name in names)


def picked(rows: list[Row], **columns: str) -> list[Row]:
    """These columns of the rows, by the names a panel gives them."""
    return [{title: plain(row[name]) for title, name in columns.items()} for row in rows]


def labelled(rows: list[Row], columns: dict[str, str]) -> list[Row]:
    return picked(rows, **columns)


def files(history: History) -> list[Row]:
    return [{"Archivos": total(in_range(history.por_dia()), "archivos")}]


def success(history: History) -> list[Row]:
    days = in_range(history.por_dia())
    failed = total(days, "fallos_layout", "fallos_sistema")
    return [{"Tasa de éxito": round((total(days, "archivos") - failed) / total(days, "archivos"), 6)}]


def errors(history: History) -> list[Row]:
    days = in_range(history.por_dia())
    return [{"Tasa de error": round(total(days, "registros_invalidos") / total(days, "registros_total"), 6)}]


def visitors(history: History) -> list[Row]:
    return [{"Visitantes nuevos": total(in_range(history.por_dia()), "visitantes_nuevos")}]


def under_way(history: History) -> list[Row]:
    return [{"En proceso": sum(row["situacion"] != "FALLO_SISTEMA" for row in history.en_espera())}]


def top_errors(history: History) -> list[Row]:
    counts: Counter[tuple[str, str | None]] = Counter()
    for row in in_range(history.top_errores()):
        counts[row["tipo_error"], row["campo"]] += row["registros"]
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0][0], item[0][1] or ""))
    return [
        {"Error": f"{kind}: {column}" if column else kind, "Registros": count} for (kind, column), count in ranked[:10]
    ]


def quarantine(history: History) -> list[Row]:
    newest = sorted(history.cuarentena(), key=lambda row: (row["desde_utc"], row["id"]), reverse=True)[:200]
    columns = {
        "Archivo": "archivo",
        "Estado": "estado",
        "Desde": "desde_utc",
        "Intentos": "intentos",
        "Tamaño": "bytes",
        "Mensaje": "mensaje",
    }
    copies = [{"Hay copia": "sí" if row["descargado"] else "no"} for row in newest]
    return [{**row, **copy} for row, copy in zip(labelled(newest, columns), copies, strict=True)]


def waiting(history: History) -> list[Row]:
    oldest = sorted(history.en_espera(), key=lambda row: (row["desde_utc"], row["id"]))[:200]
    return picked(
        oldest, Archivo="archivo", Situación="situacion", Desde="desde_utc", Intentos="intentos", Mensaje="mensaje"
    )


def slowest(history: History) -> list[Row]:
    timed = [row for row in in_range(history.archivos(), "fin_utc") if row["duracion_ms"] is not None]
    longest = sorted(timed, key=lambda row: (-row["duracion_ms"], row["id"]))[:10]
    columns = {
        "Archivo": "archivo",
        "Estado": "estado",
        "Terminó": "fin_utc",
        "Duración": "duracion",
        "Registros": "registros_total",
        "Tamaño": "bytes",
    }
    return labelled([{**row, "duracion": row["duracion_ms"] / 1000} for row in longest], columns)


def months(history: History) -> list[Row]:
    touched = [row for row in history.mensual() if row["ultimo_dia_utc"] >= FROM and row["primer_dia_utc"] <= TO]
    columns = {
        "Mes": "texto",
        "Archivos": "archivos",
        "Completados": "completados",
        "Con errores": "completados_con_errores",
        "Duplicados": "duplicados",
        "Fallos de layout": "fallos_layout",
        "Fallos de sistema": "fallos_sistema",
        "En cuarentena": "en_cuarentena",
        "Tasa de éxito": "tasa_exito",
        "Registros": "registros_total",
        "Válidos": "registros_validos",
        "Inválidos": "registros_invalidos",
        "Tasa de error": "tasa_error",
        "Visitantes nuevos": "visitantes_nuevos",
        "Duración media": "duracion_media_s",
        "Duración máxima": "duracion_maxima_s",
    }
    newest = sorted(touched, key=lambda row: str(row["mes"]), reverse=True)
    return labelled([{**row, "texto": row["mes"].strftime("%Y-%m")} for row in newest], columns)


def states(history: History) -> list[Row]:
    columns = {
        "Estado": "estado",
        "Archivos": "archivos",
        "Vigentes": "archivos_vigentes",
        "Registros válidos": "registros_validos",
        "Registros inválidos": "registros_invalidos",
        "Último": "ultimo_fin_utc",
    }
    return labelled(history.estados(), columns)


def daily(rows: Callable[[History], list[Row]], **columns: str) -> Callable[[History], list[Row]]:
    """The rows of a panel over time: the beginning of each day in the range, and these columns."""
    return lambda history: picked(in_range(rows(history)), time="dia_desde_utc", **columns)


EXPECTED: dict[str, Callable[[History], list[Row]]] = {
    "Archivos terminados": files,
    "Tasa de éxito": success,
    "Tasa de error": errors,
    "Visitantes nuevos": visitors,
    "En cuarentena ahora": lambda history: [{"En cuarentena": len(history.cuarentena())}],
    "En proceso ahora": under_way,
    "Archivos por día y estado": daily(
        History.por_dia,
        **{
            "Completado": "completados",
            "Completado con errores": "completados_con_errores",
            "Duplicado": "duplicados",
            "Fallo de layout": "fallos_layout",
            "Fallo de sistema": "fallos_sistema",
        },
    ),
    "Tasa de éxito por día": daily(History.por_dia, **{"Tasa de éxito": "tasa_exito"}),
    "Tasa de error por día": daily(History.tasa_errores, **{"Tasa de error": "tasa_error"}),
    "Errores más frecuentes": top_errors,
    "Duración por día": daily(History.duracion, **{"Mediana": "p50_s", "Percentil 95": "p95_s", "Máxima": "maxima_s"}),
    "Visitantes nuevos por día": daily(History.por_dia, **{"Visitantes nuevos": "visitantes_nuevos"}),
    "Cuarentena": quarantine,
    "En proceso y en espera": waiting,
    "Archivos más lentos": slowest,
    "Reporte mensual": months,
    "La bitácora por estado": states,
}


@on_servers
def test_every_panel_shows_what_python_counts(board: Board) -> None:
    assert set(PANELS) == set(EXPECTED)
    for title, expected in EXPECTED.items():
        found, wanted = board.ask(title), expected(board.history)
        assert found == wanted, title
        assert found, title


@on_servers
def test_the_range_leaves_days_out_at_both_ends(board: Board) -> None:
    days = [row["time"] for row in board.ask("Tasa de éxito por día")]
    # Mexico's days begin at six: the one under way at the beginning of the range is left out, the last one is in.
    assert all(FROM <= day <= TO for day in days)
    assert (beginning(date(2026, 2, 10), MEXICO) in days, beginning(date(2026, 4, 5), MEXICO) in days) == (False, True)
    assert any(row["estado"] in LOADED and row["fin"] < FROM for row in board.history.ended())
    assert any(row["estado"] in LOADED and row["fin"] > TO for row in board.history.ended())


@on_servers
@pytest.mark.parametrize("table", ["estadisticas", "errores", "visitantes", "bitacora_control", "zona_cambios"])
def test_the_dashboards_user_reads_no_table(board: Board, table: str) -> None:
    with board.reader.connect() as connection, pytest.raises(sa.exc.OperationalError, match="1142"):
        connection.execute(sa.text(f"SELECT * FROM {table}"))


def test_the_page_grants_every_view_and_nothing_else() -> None:
    views = {path.name.partition(".")[0] for path in (PROJECT / "sql" / "views").glob("*.sql")}
    granted = [statement for statement in grants("visitas", "visitas_tableros") if statement.startswith("GRANT")]
    assert sorted(granted) == [f"GRANT SELECT ON `visitas`.{view} TO 'visitas_tableros'@'%'" for view in sorted(views)]
