"""The Grafana dashboard's panels: their queries as Grafana sends them, and what each must bring, counted in Python.

Asking and counting belong here; which database is asked, over which range, does not.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa
import yaml

from tests.support.history import History, Row
from tests.support.pipeline import PROJECT

FOLDER: Final = PROJECT / "deploy" / "grafana"
DASHBOARD: Final[dict[str, Any]] = json.loads((FOLDER / "dashboards" / "visitas.json").read_text("utf-8"))
PANELS: Final[dict[str, dict[str, Any]]] = {panel["title"]: panel for panel in DASHBOARD["panels"]}
SOURCE: Final[dict[str, Any]] = yaml.safe_load(
    (FOLDER / "provisioning" / "datasources" / "visitas.yaml").read_text("utf-8")
)["datasources"][0]

_PAGE: Final = (PROJECT / "docs" / "dashboards.md").read_text("utf-8")


@dataclass(frozen=True)
class Span:
    """The time range above the dashboard, naive UTC, both ends included, to the second."""

    start: datetime
    end: datetime

    def of(self, rows: list[Row], column: str = "dia_desde_utc") -> list[Row]:
        """The rows whose moment lies in the range, in its order."""
        return sorted((row for row in rows if self.start <= row[column] <= self.end), key=lambda row: str(row[column]))


Figures = Callable[[History, Span], list[Row]]
"""Counts what a panel must show."""


def expanded(query: str, span: Span) -> str:
    """A query as Grafana's MySQL data source sends it, its macros written out as their documentation says."""
    start, end = (int(moment.replace(tzinfo=UTC).timestamp()) for moment in (span.start, span.end))
    query = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 BETWEEN FROM_UNIXTIME({start}) AND FROM_UNIXTIME({end})", query)
    query = query.replace("$__timeFrom()", f"FROM_UNIXTIME({start})").replace("$__timeTo()", f"FROM_UNIXTIME({end})")
    assert "$" not in query
    return query


def grants(name: str, user: str) -> list[str]:
    """The statements of ``docs/dashboards.md`` that make the dashboard's user, for another database and user."""
    block = _PAGE.partition("## A user that only reads")[2].partition("```sql\n")[2].partition("```")[0]
    statements = [line.strip().removesuffix(";") for line in block.splitlines() if line.strip()]
    return [
        statement.replace("visitas_tableros", user).replace(" visitas.v_", f" `{name}`.v_") for statement in statements
    ]


def reader(url: sa.URL) -> sa.Engine:
    """An engine whose sessions are as the provisioned data source makes them."""
    return sa.create_engine(
        url,
        # The source sets the zone, whatever the server's is; its driver's collation is this one.
        connect_args={
            "init_command": f"SET SESSION time_zone = '{SOURCE['jsonData']['timezone']}', "
            "collation_connection = 'utf8mb4_unicode_ci'",
            "charset": "utf8mb4",
        },
    )


def ask(engine: sa.Engine, title: str, span: Span) -> list[Row]:
    """What a panel's query brings."""
    query = expanded(PANELS[title]["targets"][0]["rawSql"], span)
    with engine.connect() as connection:
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


def panel_differences(engine: sa.Engine, history: History, span: Span) -> list[str]:
    """Where a panel brings something else than the tables' rows counted in Python; one line each."""
    found = []
    for title in PANELS:
        shown, wanted = ask(engine, title, span), FIGURES[title](history, span)
        if shown != wanted:
            found.append(f"{title}: {shown}, expected {wanted}")
    return found


# -- the panels' figures --------------------------------------------------------------------------------------------


def _total(rows: list[Row], *names: str) -> int:
    return sum(row[name] for row in rows for name in names)


def _picked(rows: list[Row], **columns: str) -> list[Row]:
    """These columns of the rows, by the names a panel gives them."""
    return [{title: plain(row[name]) for title, name in columns.items()} for row in rows]


def _files(history: History, span: Span) -> list[Row]:
    return [{"Archivos": _total(span.of(history.por_dia()), "archivos")}]


def _success(history: History, span: Span) -> list[Row]:
    days = span.of(history.por_dia())
    failed, ended = _total(days, "fallos_layout", "fallos_sistema"), _total(days, "archivos")
    return [{"Tasa de éxito": round((ended - failed) / ended, 6) if ended else None}]


def _errors(history: History, span: Span) -> list[Row]:
    days = span.of(history.por_dia())
    rejected, records = _total(days, "registros_invalidos"), _total(days, "registros_total")
    return [{"Tasa de error": round(rejected / records, 6) if records else None}]


def _visitors(history: History, span: Span) -> list[Row]:
    return [{"Visitantes nuevos": _total(span.of(history.por_dia()), "visitantes_nuevos")}]


def _under_way(history: History, _: Span) -> list[Row]:
    return [{"En proceso": sum(row["situacion"] != "FALLO_SISTEMA" for row in history.en_espera())}]


def _top_errors(history: History, span: Span) -> list[Row]:
    counts: Counter[tuple[str, str | None]] = Counter()
    for row in span.of(history.top_errores()):
        counts[row["tipo_error"], row["campo"]] += row["registros"]
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0][0], item[0][1] or ""))
    return [
        {"Error": f"{kind}: {column}" if column else kind, "Registros": count} for (kind, column), count in ranked[:10]
    ]


def _quarantine(history: History, _: Span) -> list[Row]:
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
    return [{**row, **copy} for row, copy in zip(_picked(newest, **columns), copies, strict=True)]


def _waiting(history: History, _: Span) -> list[Row]:
    oldest = sorted(history.en_espera(), key=lambda row: (row["desde_utc"], row["id"]))[:200]
    return _picked(
        oldest, Archivo="archivo", Situación="situacion", Desde="desde_utc", Intentos="intentos", Mensaje="mensaje"
    )


def _slowest(history: History, span: Span) -> list[Row]:
    timed = [row for row in span.of(history.archivos(), "fin_utc") if row["duracion_ms"] is not None]
    longest = sorted(timed, key=lambda row: (-row["duracion_ms"], row["id"]))[:10]
    columns = {
        "Archivo": "archivo",
        "Estado": "estado",
        "Terminó": "fin_utc",
        "Duración": "duracion",
        "Registros": "registros_total",
        "Tamaño": "bytes",
    }
    return _picked([{**row, "duracion": row["duracion_ms"] / 1000} for row in longest], **columns)


def _months(history: History, span: Span) -> list[Row]:
    touched = [
        row for row in history.mensual() if row["ultimo_dia_utc"] >= span.start and row["primer_dia_utc"] <= span.end
    ]
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
    return _picked([{**row, "texto": row["mes"].strftime("%Y-%m")} for row in newest], **columns)


def _states(history: History, _: Span) -> list[Row]:
    columns = {
        "Estado": "estado",
        "Archivos": "archivos",
        "Vigentes": "archivos_vigentes",
        "Registros válidos": "registros_validos",
        "Registros inválidos": "registros_invalidos",
        "Último": "ultimo_fin_utc",
    }
    return _picked(history.estados(), **columns)


def _daily(rows: Callable[[History], list[Row]], **columns: str) -> Figures:
    """The rows of a panel over time: the beginning of each day in the range, and these columns."""
    return lambda history, span: _picked(span.of(rows(history)), time="dia_desde_utc", **columns)


FIGURES: Final[dict[str, Figures]] = {
    "Archivos terminados": _files,
    "Tasa de éxito": _success,
    "Tasa de error": _errors,
    "Visitantes nuevos": _visitors,
    "En cuarentena ahora": lambda history, _: [{"En cuarentena": len(history.cuarentena())}],
    "En proceso ahora": _under_way,
    "Archivos por día y estado": _daily(
        History.por_dia,
        **{
            "Completado": "completados",
            "Completado con errores": "completados_con_errores",
            "Duplicado": "duplicados",
            "Fallo de layout": "fallos_layout",
            "Fallo de sistema": "fallos_sistema",
        },
    ),
    "Tasa de éxito por día": _daily(History.por_dia, **{"Tasa de éxito": "tasa_exito"}),
    "Tasa de error por día": _daily(History.tasa_errores, **{"Tasa de error": "tasa_error"}),
    "Errores más frecuentes": _top_errors,
    "Duración por día": _daily(History.duracion, **{"Mediana": "p50_s", "Percentil 95": "p95_s", "Máxima": "maxima_s"}),
    "Visitantes nuevos por día": _daily(History.por_dia, **{"Visitantes nuevos": "visitantes_nuevos"}),
    "Cuarentena": _quarantine,
    "En proceso y en espera": _waiting,
    "Archivos más lentos": _slowest,
    "Reporte mensual": _months,
    "La bitácora por estado": _states,
}
