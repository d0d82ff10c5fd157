"""Five weeks over the turn of a month and of a year: deliveries of every fate, outages, a missed night, every close.

What stands after each night, and what the month's report says, belongs here, worked out from the deliveries alone or
by SQL of this test's own.
"""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa

from tests.support.closing import ONE_DAY, Partitions, at, close_night, loose, sealed
from tests.support.fixtures import Database, SftpFolder
from tests.support.history import History, view_differences
from tests.support.panels import Span, panel_differences, reader
from tests.support.pipeline import Pipeline, SteppingClock, record, report, sha256
from tests.support.servers import LocalDatabaseServer, OpenSSHServer
from visitas_dagster.closing.days import stamp, stamped
from visitas_dagster.domain.failures import PermanentFailure, SystemFailure
from visitas_dagster.loading import tables
from visitas_dagster.loading.transaction import load_file
from visitas_dagster.resources.folders import LAYOUT, SISTEMA, Folders
from visitas_dagster.steps import load

FIRST: Final = date(2023, 11, 28)
DAYS: Final = 36
MISSED: Final = date(2023, 12, 9)
"""Nobody closes in the night after it."""
NO_SFTP: Final = date(2023, 12, 14)
"""In the night after it the server does not answer."""
NO_DATABASE: Final = date(2023, 12, 19)
"""In the night after it the database does not answer, so that no close begins."""
BROKEN: Final = date(2023, 12, 5)
"""A file meets a system failure that is mended before the night, and another one that never is."""

KEEP_LOGS: Final = 10
KEEP_BACKUPS: Final = 20

pytestmark = pytest.mark.databases("mysql", "mariadb")


@pytest.fixture
def pipeline(database: Database, own_openssh_server: OpenSSHServer, tmp_path: Path) -> Iterator[Pipeline]:
    path = own_openssh_server.root / "entregas"
    path.mkdir()
    folder = SftpFolder(own_openssh_server, path)
    keep = {"retencion_logs_dias": KEEP_LOGS, "retencion_backup_dias": KEEP_BACKUPS}
    with Pipeline(database, folder, tmp_path, SteppingClock(), **keep) as pipeline:
        yield pipeline


@dataclass
class Month:
    """What was delivered, and what must come of it.

    Attributes:
        pipeline: where to.
        chance: who visits, and when.
        kept: by the day of its backup, the members of a zip and their digests.
        current: by name, the content that counts.
        visits: by content, the visits that it holds.
        spoiled: digests of layout failures.
        hopeless: the file that no retry cures.
    """

    pipeline: Pipeline
    chance: random.Random = field(default_factory=lambda: random.Random(36))
    kept: dict[date, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    current: dict[str, bytes] = field(default_factory=dict)
    visits: dict[bytes, list[tuple[str, datetime]]] = field(default_factory=dict)
    spoiled: set[str] = field(default_factory=set)
    hopeless: tuple[str, bytes] = ("report_9999.txt", report(record("nadie@example.com")))

    def content(self, day: date, wrong: int = 0) -> bytes:
        """A report of a few visits of that day and of earlier ones, and so many wrong records."""
        found = []
        for _ in range(self.chance.randint(2, 6)):
            # Each visitor visits in some weeks only: the others send nothing when the month turns.
            visitor = f"v{(day.toordinal() // 7) * 3 + self.chance.randint(0, 8)}@example.com"
            sent = datetime.combine(day, datetime.min.time()) - timedelta(minutes=self.chance.randint(0, 60_000))
            found.append((visitor, sent))
        lines = [record(visitor, f"{sent:%d/%m/%Y %H:%M}") for visitor, sent in found]
        data = report(*lines, *[record("sin arroba"), record(opens="-1")][:wrong])
        self.visits[data] = found
        return data

    def deliver(self, name: str, data: bytes, backed_up: date) -> None:
        """Deliver a file whose backup is made on that day."""
        self.pipeline.deliver(name, data)
        self.kept[backed_up][Folders.name_in_zip(name, sha256(data))] = sha256(data)
        if data in self.visits:
            self.current[name] = data

    def day(self, number: int, day: date) -> None:
        """Deliver a day's files, in the order of their passes."""
        pipeline = self.pipeline
        at(pipeline, day, 12)
        log = pipeline.platform.folders.logs / stamp(day)
        log.mkdir(exist_ok=True)
        (log / "nota.log").write_text("x")
        first = self.content(day)
        self.deliver(f"report_{number}0.txt", first, day)
        self.deliver(f"report_{number}1.txt", self.content(day, wrong=1 + number % 2), day)
        pipeline.run_pass()
        if number % 2:
            self.deliver(f"report_{number}2.txt", first, day)
        if number % 3 == 0:
            spoiled = f"columna\n{day}\n".encode()
            self.spoiled.add(sha256(spoiled))
            self.deliver(f"report_{number}3.txt", spoiled, day)
        if number % 5 == 4:
            self.deliver(f"report_{number - 3}1.txt", self.content(day), day)
        if number % 7 == 3:
            # The same bytes under the same name, after they were sealed.
            name = f"report_{number - 2}0.txt"
            self.deliver(name, self.current[name], day)
        pipeline.run_pass()
        if day == BROKEN:
            self.break_down(number, day)
        # Late: the night's pass takes it, or the next one where the night has none.
        at(pipeline, day, 23, 30)
        self.deliver(f"report_{number}4.txt", self.content(day), day + ONE_DAY)

    def break_down(self, number: int, day: date) -> None:
        """Let two files meet a system failure; one is taken again in the night."""
        mended = f"report_{number}5.txt"
        self.deliver(mended, self.content(day), day + ONE_DAY)
        self.pipeline.deliver(*self.hopeless)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(load, "load_file", _refusing({mended, self.hopeless[0]}))
            self.pipeline.run_pass()
        assert {sha256(self.current[mended]), sha256(self.hopeless[1])} == self.pipeline.quarantine(SISTEMA)


def _refusing(names: set[str]) -> Any:
    def refuse(engine: Any, writer: Any, entry: Any, *rest: Any, **options: Any) -> Any:
        if entry.archivo in names:
            raise PermanentFailure("la base de datos no tiene espacio en disco")
        return load_file(engine, writer, entry, *rest, **options)

    return refuse


def test_five_weeks(
    pipeline: Pipeline, database: Database, own_openssh_server: OpenSSHServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    month, orchestrator = Month(pipeline), Partitions(pipeline)
    monkeypatch.setattr(load, "load_file", _refusing({month.hopeless[0]}))
    done = 0
    for number in range(DAYS):
        day = FIRST + number * ONE_DAY
        month.day(number, day)
        if day == MISSED:
            continue
        if day == NO_DATABASE and isinstance(database.server, LocalDatabaseServer):
            database.server.stop()
            with pytest.raises(SystemFailure):
                close_night(pipeline, day, orchestrator)
            database.server.ensure_running()
            continue
        if day == NO_SFTP:
            own_openssh_server.stop()
        closed = close_night(pipeline, day, orchestrator)
        own_openssh_server.ensure_running()
        done += len(closed)
        assert [close.message is None for close in closed] == [day != NO_SFTP] * len(closed)
        assert closed[-1].day == day
        assert len(closed) == 1 + (day - ONE_DAY in (MISSED, NO_SFTP, NO_DATABASE)) * 1
        assert_night(month, day)
    assert done == DAYS + 1
    assert Counter(row["estado"] for row in pipeline.rows(tables.cierres)) == {"COMPLETADO": DAYS}
    assert pipeline.on_server() == {month.hopeless[0]}
    assert_partitions(month, orchestrator)
    assert_dashboards(pipeline, database)


def assert_dashboards(pipeline: Pipeline, database: Database) -> None:
    """Every view and every panel of the dashboard over these weeks, and over a part of them."""
    engine, zone = pipeline.platform.engine, pipeline.settings.zone
    assert view_differences(engine, zone) == []
    history, shown = History.read(engine, zone), reader(sa.make_url(database.url))
    try:
        for start, end in (((2023, 11, 1), (2024, 1, 31)), ((2023, 12, 5, 15), (2023, 12, 20, 9))):
            assert panel_differences(shown, history, Span(datetime(*start), datetime(*end))) == []
    finally:
        shown.dispose()


def assert_night(month: Month, day: date) -> None:
    """What must stand after the close of ``day``, at two in the morning."""
    pipeline, today = month.pipeline, day + ONE_DAY
    folders = pipeline.platform.folders
    assert sealed(folders) == {
        f"backup_{stamp(kept)}.zip": members
        for kept, members in month.kept.items()
        if kept <= day and (today - kept).days <= KEEP_BACKUPS
    }
    assert loose(folders) <= {stamp(today), *(f"{stamp(today)}/{name}" for name in month.kept[today])}
    days = {found for path in folders.logs.iterdir() if (found := stamped(path.name)) is not None and found <= day}
    assert days == {day - timedelta(days=age) for age in range(KEEP_LOGS) if day - timedelta(days=age) >= FIRST}
    assert pipeline.quarantine(LAYOUT) == month.spoiled
    assert pipeline.quarantine(SISTEMA) == ({sha256(month.hopeless[1])} if day >= BROKEN else set())
    assert pipeline.staging() == []
    if today.day == 1:
        assert_visitors(month, today)
        assert_report(pipeline, day)


def assert_visitors(month: Month, today: date) -> None:
    """The counters on the first of a month, from what was delivered: each content of a current version once."""
    visits = [visit for data in set(month.current.values()) for visit in month.visits[data]]
    expected: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for email, sent in visits:
        expected[email][0] += 1
        expected[email][1] += sent.year == today.year
        expected[email][2] += (sent.year, sent.month) == (today.year, today.month)
    columns = ("email", "visitas_totales", "visitas_anio_actual", "visitas_mes_actual")
    counted = {row["email"]: [row[name] for name in columns[1:]] for row in month.pipeline.rows(tables.visitantes)}
    assert counted == dict(expected)
    # Nobody's visit is dated later than yesterday: this month's are none, and in January this year's too.
    assert {tuple(numbers[2 if today.month > 1 else 1 :]) for numbers in counted.values()} <= {(0,), (0, 0)}
    assert len(counted) > 5


_IN_DECEMBER = "b.fin >= '2023-12-01 06:00:00' AND b.fin < '2024-01-01 06:00:00' AND b.estado <> 'EN_PROCESO'"
"""December in Mexico City, six hours behind UTC."""


def assert_report(pipeline: Pipeline, day: date) -> None:
    """December's report, as the close of its last day wrote it."""
    found = json.loads((pipeline.platform.folders.reportes / f"mensual_{day:%Y%m}.json").read_text("utf-8"))
    if day.month != 12:
        return
    with pipeline.platform.engine.connect() as connection:
        found_states = connection.execute(
            sa.text(f"SELECT b.estado, COUNT(*) FROM bitacora_control b WHERE {_IN_DECEMBER} GROUP BY b.estado")
        )
        states: dict[str, int] = {str(state): int(count) for state, count in found_states}
        size, took = connection.execute(
            sa.text(f"SELECT SUM(b.bytes), SUM(b.duracion_ms) FROM bitacora_control b WHERE {_IN_DECEMBER}")
        ).one()
        records = connection.execute(
            sa.text(
                "SELECT SUM(b.registros_total), SUM(b.registros_validos), SUM(b.registros_invalidos), "
                "SUM(b.visitantes_nuevos), SUM(b.visitantes_actualizados) FROM bitacora_control b "
                f"WHERE {_IN_DECEMBER} AND b.estado IN ('COMPLETADO', 'COMPLETADO_CON_ERRORES')"
            )
        ).one()
        kinds = connection.execute(
            sa.text(
                "SELECT e.tipo_error, COUNT(*) FROM errores e JOIN bitacora_control b ON b.id = e.archivo_id "
                f"WHERE {_IN_DECEMBER} GROUP BY e.tipo_error"
            )
        )
        errors: dict[str, int] = {str(kind): int(count) for kind, count in kinds}
        days = connection.execute(
            sa.text(
                "SELECT DATE(b.fin - INTERVAL 6 HOUR), COUNT(*) FROM bitacora_control b "
                f"WHERE {_IN_DECEMBER} GROUP BY DATE(b.fin - INTERVAL 6 HOUR)"
            )
        )
        by_day = {str(name): count for name, count in days}
    assert {state: count for state, count in found["estados"].items() if count} == states
    assert found["archivos"] == sum(states.values())
    assert (found["bytes"], found["duracion_ms"]) == (size, took)
    names = ("registros_total", "registros_validos", "registros_invalidos", "visitantes_nuevos")
    assert [found[name] for name in (*names, "visitantes_actualizados")] == [int(number) for number in records]
    assert {entry["tipo_error"]: entry["registros"] for entry in found["errores_por_tipo"]} == errors
    assert {entry["periodo"]: entry["archivos"] for entry in found["dias"] if entry["archivos"]} == by_day
    assert len(found["dias"]) == 31
    failed = sum(states.get(state, 0) for state in ("FALLO_LAYOUT", "FALLO_SISTEMA"))
    assert found["tasa_exito"] == pytest.approx(1 - failed / sum(states.values()), abs=1e-4)
    assert found["tasa_error"] == pytest.approx(int(records[2]) / int(records[0]), abs=1e-4)


def assert_partitions(month: Month, orchestrator: Partitions) -> None:
    """After the last night only names have a partition of which a copy is kept."""
    today = FIRST + DAYS * ONE_DAY
    held = {
        name.partition("__")[0]
        for kept, members in month.kept.items()
        if (today - kept).days <= KEEP_BACKUPS
        for name in members
    }
    stay = {name.removesuffix(".txt") for name in orchestrator.names}
    with suppress(KeyError):
        stay.remove(month.hopeless[0].removesuffix(".txt"))
    assert stay <= held
