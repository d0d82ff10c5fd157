"""Months of a ledger with files of every fate, and what the views must make of them, counted in plain Python.

Making the rows, counting them and comparing a view with the count belong here; when that is done does not. Nothing here
knows the views' SQL or the table of offsets: days are told by `zoneinfo`.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from visitas_dagster.loading import tables

Row = dict[str, Any]

STATES: Final = (
    "EN_PROCESO",
    "COMPLETADO",
    "COMPLETADO_CON_ERRORES",
    "FALLO_LAYOUT",
    "FALLO_SISTEMA",
    "DUPLICADO",
)
LOADED: Final = frozenset({"COMPLETADO", "COMPLETADO_CON_ERRORES"})
FAILED: Final = frozenset({"FALLO_LAYOUT", "FALLO_SISTEMA"})
GOOD: Final = LOADED | {"DUPLICADO"}

_ERRORS: Final = (
    ("EMAIL_INVALIDO", "email"),
    ("EMAIL_NULO", "email"),
    ("FECHA_INVALIDA", "Fecha open"),
    ("FECHA_INVALIDA", "Fecha envio"),
    ("ENTERO_INVALIDO", "Clicks virales"),
    ("COMILLAS", None),
    ("NUMERO_DE_CAMPOS", None),
)


def seed(engine: sa.Engine, zone: ZoneInfo, start: date, days: int, *, files: int = 6, number: int = 1) -> None:
    """Fill the ledger, its attempts and ``errores`` with a made-up history.

    Args:
        engine: a database with the tables.
        zone: whose midnights some of the outcomes fall right before and after.
        start, days: the local days to fill.
        files: outcomes a day, on the average; some days have none.
        number: another one makes another history.
    """
    chance = random.Random(number)
    ledger: list[Row] = []
    rejects: list[Row] = []
    attempts: list[Row] = []
    for day in (start + timedelta(days=offset) for offset in range(days)):
        for moment in _moments(chance, zone, day, files):
            row = _entry(chance, len(ledger) + 1, moment)
            ledger.append(row)
            if row["estado"] in LOADED and row["vigente"]:
                rejects += _rejects(chance, row)
            if row["estado"] in FAILED and chance.random() < 0.2:
                taken = moment + timedelta(hours=1) if chance.random() < 0.3 else None
                release = {"archivo_id": row["id"], "inicio": moment, "fin": taken, "resultado": "LIBERADO"}
                attempts += [release] * chance.randint(1, 2)
    with engine.begin() as connection:
        connection.execute(sa.insert(tables.bitacora_control), ledger)
        connection.execute(sa.insert(tables.errores), rejects)
        connection.execute(sa.insert(tables.bitacora_intentos), attempts)


def _moments(chance: random.Random, zone: ZoneInfo, day: date, files: int) -> list[datetime]:
    """Ends of attempts in a local day, naive UTC, in order; midnight and the last microsecond among them."""
    first = beginning(day, zone)
    last = beginning(day + timedelta(days=1), zone) - timedelta(microseconds=1)
    if chance.random() < 0.1:
        return []
    length = (last - first).total_seconds()
    inner = [first + timedelta(seconds=chance.random() * length) for _ in range(chance.randint(1, 2 * files))]
    edges = [first, last] if chance.random() < 0.5 else []
    return sorted([*inner, *edges])


def _entry(chance: random.Random, key: int, end: datetime) -> Row:
    estado = chance.choices(STATES, [2, 40, 30, 10, 8, 10])[0]
    # Few names, so that versions follow each other and failures are made good.
    name = f"report_{chance.randint(1, 300)}.txt"
    milliseconds = chance.randint(5, 90_000)
    invalid = chance.randint(1, 9) if estado == "COMPLETADO_CON_ERRORES" else 0
    valid = chance.choice([0, chance.randint(1, 500)])
    counts = (valid + invalid, valid, invalid) if estado in LOADED else (None, None, None)
    if estado == "DUPLICADO":
        counts = (0, 0, 0)
    if estado in FAILED and chance.random() < 0.2:
        # This very content had loaded before: its row keeps the counts, and nothing of it was loaded now.
        counts = (7, 4, 3)
    downloaded = estado not in {"FALLO_SISTEMA", "EN_PROCESO"} or chance.random() < 0.5
    under_way = estado == "EN_PROCESO" and chance.random() < 0.5
    return {
        "id": key,
        "archivo": name,
        "sha256": f"{key:064x}" if downloaded else None,
        "bytes": chance.randint(0, 10**7) if downloaded else None,
        "estado": estado,
        "intentos": chance.randint(1, 4),
        "registros_total": counts[0],
        "registros_validos": counts[1],
        "registros_invalidos": counts[2],
        "visitantes_nuevos": chance.randint(0, valid) if counts[0] is not None else None,
        "inicio": end - timedelta(milliseconds=milliseconds),
        "fin": None if under_way else end,
        # A version that was set aside has an end and no duration.
        "duracion_ms": None if under_way or (estado == "FALLO_SISTEMA" and chance.random() < 0.2) else milliseconds,
        "mensaje": chance.choice([None, "falta la columna «jyv»"]),
        "vigente": chance.random() < 0.8,
    }


def _rejects(chance: random.Random, row: Row) -> list[Row]:
    found = []
    for line in range(2, 2 + row["registros_invalidos"]):
        kind, column = chance.choice(_ERRORS)
        found.append(
            {
                "archivo_id": row["id"],
                "linea": line,
                "tipo_error": kind,
                "campo": column,
                "detalle": [],
                "fila_original": "x",
            }
        )
    return found


def beginning(day: date, zone: ZoneInfo) -> datetime:
    """The first moment of a local day, naive UTC."""
    return datetime.combine(day, time.min, zone).astimezone(UTC).replace(tzinfo=None)


@dataclass(frozen=True)
class History:
    """What stands in the tables, dated in a zone.

    Attributes:
        ledger, rejects, attempts: the rows of ``bitacora_control``, ``errores`` and ``bitacora_intentos``.
        zone: the one that tells the days.
    """

    ledger: list[Row]
    rejects: list[Row]
    attempts: list[Row]
    zone: ZoneInfo

    @classmethod
    def read(cls, engine: sa.Engine, zone: ZoneInfo) -> "History":
        """Read the tables."""
        with engine.connect() as connection:
            ledger, rejects, attempts = (
                [dict(row) for row in connection.execute(sa.select(table)).mappings()]
                for table in (tables.bitacora_control, tables.errores, tables.bitacora_intentos)
            )
        return cls(ledger, rejects, attempts, zone)

    def day_of(self, row: Row) -> date:
        """The local day of a row's end."""
        return self.local(row).date()

    def local(self, row: Row) -> datetime:
        """The local wall clock at a row's end."""
        end: datetime = row["fin"]
        return end.replace(tzinfo=UTC).astimezone(self.zone).replace(tzinfo=None)

    def ended(self) -> list[Row]:
        """The rows that came to an end."""
        return [row for row in self.ledger if row["estado"] != "EN_PROCESO" and row["fin"] is not None]

    def quarantined(self) -> list[Row]:
        """The failures that nothing later of their name has made good."""
        good: dict[str, datetime] = {}
        for row in self.ledger:
            if row["estado"] in GOOD:
                good[row["archivo"]] = max(row["inicio"], good.get(row["archivo"], row["inicio"]))
        return [
            row
            for row in self.ended()
            if row["estado"] in FAILED and not (row["archivo"] in good and good[row["archivo"]] > row["inicio"])
        ]

    def released(self) -> dict[int, datetime]:
        """The rows that a person let go through and no run has taken yet, with the moment of the first release."""
        found: dict[int, datetime] = {}
        for attempt in self.attempts:
            if attempt["resultado"] == "LIBERADO" and attempt["fin"] is None:
                key = attempt["archivo_id"]
                found[key] = min(attempt["inicio"], found.get(key, attempt["inicio"]))
        return found

    # -- the views --------------------------------------------------------------------------------------------------

    def archivos(self) -> list[Row]:
        """``v_archivos``."""
        return [
            {
                "id": row["id"],
                "archivo": row["archivo"],
                "estado": row["estado"],
                "vigente": row["vigente"],
                **self._dated(self.day_of(row)),
                "inicio_utc": row["inicio"],
                "fin_utc": row["fin"],
                "fin_local": self.local(row),
                **{name: row[name] for name in ("duracion_ms", "intentos", "bytes", "codificacion")},
                **_records([row]),
                "visitantes_nuevos": _new([row]),
                **{name: row[name] for name in ("sha256", "reemplaza_a", "run_id", "mensaje")},
            }
            for row in self.ended()
        ]

    def por_dia(self) -> list[Row]:
        """``v_archivos_por_dia``."""
        return [{**self._dated(day), **self._figures(rows)} for day, rows in self._by(self.ended(), self.day_of)]

    def mensual(self) -> list[Row]:
        """``v_reporte_mensual``."""
        found = []
        for month, rows in self._by(self.ended(), lambda row: self.day_of(row).replace(day=1)):
            days = {self.day_of(row) for row in rows}
            found.append(
                {
                    "mes": month,
                    "primer_dia_utc": beginning(min(days), self.zone),
                    "ultimo_dia_utc": beginning(max(days), self.zone),
                    "dias": len(days),
                    **self._figures(rows),
                }
            )
        return found

    def tasa_errores(self) -> list[Row]:
        """``v_tasa_errores``."""
        loaded = [row for row in self.ended() if row["estado"] in LOADED]
        return [
            {
                **self._dated(day),
                "archivos": len(rows),
                "archivos_con_errores": sum(row["estado"] == "COMPLETADO_CON_ERRORES" for row in rows),
                **_records(rows),
                "tasa_error": _error_rate(rows),
            }
            for day, rows in self._by(loaded, self.day_of)
        ]

    def top_errores(self) -> list[Row]:
        """``v_top_errores``."""
        days = {row["id"]: self.day_of(row) for row in self.ended()}
        files: dict[tuple[date, str, str | None], Counter[int]] = defaultdict(Counter)
        for reject in self.rejects:
            files[days[reject["archivo_id"]], reject["tipo_error"], reject["campo"]][reject["archivo_id"]] += 1
        return [
            {
                **self._dated(day),
                "tipo_error": kind,
                "campo": column,
                "registros": sum(counts.values()),
                "archivos": len(counts),
            }
            for (day, kind, column), counts in files.items()
        ]

    def cuarentena(self) -> list[Row]:
        """``v_cuarentena``."""
        return [
            {
                "id": row["id"],
                "archivo": row["archivo"],
                "estado": row["estado"],
                "cuarentena": row["estado"].removeprefix("FALLO_").lower(),
                "dia": self.day_of(row),
                "mes": self.day_of(row).replace(day=1),
                "desde_utc": row["fin"],
                "desde_local": self.local(row),
                "intentos": row["intentos"],
                "bytes": row["bytes"],
                "descargado": int(row["sha256"] is not None),
                **{name: row[name] for name in ("sha256", "run_id", "mensaje")},
            }
            for row in self.quarantined()
        ]

    def en_espera(self) -> list[Row]:
        """``v_en_espera``."""
        released = self.released()
        waiting = [
            (row, "EN_PROCESO" if row["fin"] is None else "SE_REPITE", row["fin"] or row["inicio"])
            for row in self.ledger
            if row["estado"] == "EN_PROCESO"
        ]
        waiting += [(row, "LIBERADO", released[row["id"]]) for row in self.ended() if row["id"] in released]
        waiting += [
            (row, "FALLO_SISTEMA", row["fin"])
            for row in self.quarantined()
            if row["estado"] == "FALLO_SISTEMA" and row["id"] not in released
        ]
        names = ("id", "archivo", "estado", "intentos", "bytes", "run_id", "mensaje")
        return [
            {**{name: row[name] for name in names}, "situacion": situation, "desde_utc": since}
            for row, situation, since in waiting
        ]

    def estados(self) -> list[Row]:
        """``v_estados``."""
        found = []
        for place, state in enumerate(STATES, 1):
            rows = [row for row in self.ledger if row["estado"] == state]
            standing = [row for row in rows if row["vigente"] and state in LOADED]
            found.append(
                {
                    "orden": place,
                    "estado": state,
                    "archivos": len(rows),
                    "archivos_vigentes": sum(bool(row["vigente"]) for row in rows),
                    "registros_validos": sum(row["registros_validos"] for row in standing),
                    "registros_invalidos": sum(row["registros_invalidos"] for row in standing),
                    "ultimo_inicio_utc": max((row["inicio"] for row in rows), default=None),
                    "ultimo_fin_utc": max((row["fin"] for row in rows if row["fin"]), default=None),
                }
            )
        return found

    def duracion(self) -> list[Row]:
        """``v_duracion``."""
        timed = [row for row in self.ended() if row["duracion_ms"] is not None]
        found = []
        for day, rows in self._by(timed, self.day_of):
            times = sorted(row["duracion_ms"] / 1000 for row in rows)
            ranks = {f"p{share}_s": times[-(-share * len(times) // 100) - 1] for share in (50, 90, 95, 99)}
            mean = sum(times) / len(times)
            found.append({**self._dated(day), "archivos": len(times), "media_s": mean, **ranks, "maxima_s": times[-1]})
        return found

    # -- their parts ------------------------------------------------------------------------------------------------

    def _dated(self, day: date) -> Row:
        return {"dia": day, "mes": day.replace(day=1), "dia_desde_utc": beginning(day, self.zone)}

    def _figures(self, rows: list[Row]) -> Row:
        states = Counter(row["estado"] for row in rows)
        waiting = {row["id"] for row in self.quarantined()}
        times = [row["duracion_ms"] / 1000 for row in rows if row["duracion_ms"] is not None]
        sizes = [row["bytes"] for row in rows if row["bytes"] is not None]
        failed = sum(states[state] for state in FAILED)
        return {
            "archivos": len(rows),
            "completados": states["COMPLETADO"],
            "completados_con_errores": states["COMPLETADO_CON_ERRORES"],
            "fallos_layout": states["FALLO_LAYOUT"],
            "fallos_sistema": states["FALLO_SISTEMA"],
            "duplicados": states["DUPLICADO"],
            "en_cuarentena": sum(row["id"] in waiting for row in rows),
            **_records(rows),
            "tasa_exito": (len(rows) - failed) / len(rows),
            "tasa_error": _error_rate(rows),
            "visitantes_nuevos": _new(rows),
            "bytes": sum(sizes) if sizes else None,
            "duracion_media_s": sum(times) / len(times) if times else None,
            "duracion_maxima_s": max(times, default=None),
        }

    @staticmethod
    def _by(rows: Iterable[Row], key: Callable[[Row], date]) -> list[tuple[date, list[Row]]]:
        groups: dict[date, list[Row]] = {}
        for row in rows:
            groups.setdefault(key(row), []).append(row)
        return list(groups.items())


def _records(rows: list[Row]) -> Row:
    names = ("registros_total", "registros_validos", "registros_invalidos")
    return {name: sum(row[name] for row in rows if row["estado"] in LOADED) for name in names}


def _new(rows: list[Row]) -> int:
    return sum(row["visitantes_nuevos"] for row in rows if row["estado"] in LOADED)


def _error_rate(rows: list[Row]) -> float | None:
    records = _records(rows)
    return records["registros_invalidos"] / records["registros_total"] if records["registros_total"] else None


# -- comparing ------------------------------------------------------------------------------------------------------

VIEWS: Final[dict[str, Callable[[History], list[Row]]]] = {
    "v_archivos": History.archivos,
    "v_archivos_por_dia": History.por_dia,
    "v_cuarentena": History.cuarentena,
    "v_duracion": History.duracion,
    "v_en_espera": History.en_espera,
    "v_estados": History.estados,
    "v_reporte_mensual": History.mensual,
    "v_tasa_errores": History.tasa_errores,
    "v_top_errores": History.top_errores,
}
"""What each view must return."""


def view(engine: sa.Engine, name: str) -> list[Row]:
    """All rows of a view."""
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.text(f"SELECT * FROM {name}")).mappings()]


def plain(row: Row) -> dict[str, Any]:
    """A row as every engine can tell it: numbers as numbers, moments to the second, SQLite's text as what it means."""
    return {name: _plain(name, value) for name, value in row.items()}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, str) and name in {"dia", "mes"}:
        return date.fromisoformat(value)
    if isinstance(value, str) and name.endswith(("_utc", "_local")):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value.replace(microsecond=0)
    if isinstance(value, float | Decimal):
        return round(float(value), 9)
    return int(value) if isinstance(value, bool) else value


def counted(rows: Iterable[Row]) -> Counter[tuple[tuple[str, Hashable], ...]]:
    """Rows as a multiset: no view promises an order."""
    return Counter(tuple(sorted(plain(row).items())) for row in rows)


def view_differences(engine: sa.Engine, zone: ZoneInfo) -> list[str]:
    """Where a view says something else than the tables' rows counted in Python; one line each."""
    history = History.read(engine, zone)
    found = []
    for name, expected in VIEWS.items():
        shown, wanted = counted(view(engine, name)), counted(expected(history))
        found += [f"{name}: not expected: {dict(row)}" for row in (shown - wanted).elements()]
        found += [f"{name}: missing: {dict(row)}" for row in (wanted - shown).elements()]
    return found
