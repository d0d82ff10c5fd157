"""Anything that may befall deliveries, in any order: the tables equal the oracle after every step, on every engine.

What may happen and what must hold after it belong here; what the tables must hold is `tests/oracle`.
"""

import itertools
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, Literal

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.faults.driver import POINTS, Driver
from tests.oracle import strategies
from tests.oracle.oracle import FALLO_LAYOUT, FALLO_SISTEMA, ParsedReport, World, read_report, without_person
from tests.oracle.strategies import ALIASES, PEOPLE
from tests.support.fixtures import Database, SftpFolder
from tests.support.passes import RunningClock, whole_pass
from tests.support.pipeline import NOON, Pipeline, record, report, settings_for, sha256
from tests.support.proxy import CuttingProxy, Side
from visitas_dagster.domain.failures import SystemFailure
from visitas_dagster.domain.states import CURRENT
from visitas_dagster.erasure import forget
from visitas_dagster.loading import tables
from visitas_dagster.loading.ledger import Ledger
from visitas_dagster.resources.platform import Platform

STEPS: Final = int(os.environ.get("VISITAS_TEST_PASOS", "0"))
"""Steps of a long run, on each engine; 0 for the short one, which is the same on every machine."""

TODAY: Final = date(2024, 3, 14)
NAMES: Final = tuple(f"report_{number}.txt" for number in (1, 2, 3, 4, 7, 10))

_KILLED: Final = -signal.SIGKILL
_STEPS_AN_EXAMPLE: Final = 14 if not STEPS else 40
_SETTINGS: Final = settings(
    deadline=None,
    database=None,
    derandomize=not STEPS,
    max_examples=5 if not STEPS else -(-STEPS // _STEPS_AN_EXAMPLE),
    stateful_step_count=_STEPS_AN_EXAMPLE,
    print_blob=False,
    # A death does not fall the same way twice: a long program of steps cannot be shortened reliably.
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)

_MENTIONS: Final = report(
    record("luis@example.org", links="https://example.com/baja?e=Ana%40Example.com&x=1", jyv="ana@example.com"),
    record("eva@example.net", "31/12/2023 23:59", navegadores="ana@example.com.mx xana@example.com"),
    record("ana@example.com", opens="-1"),
)
_ALIASED: Final = report(record("sol@example.com", "15/03/2024 00:00"), record("no")).replace(b",jyv,", b",jk,", 1)
_FIXED: Final = (
    report(record("ana@example.com"), record("luis@example.org"), record("no es correo")),
    report(record("ana@example.com", "31/12/2023 23:59"), record("eva@example.net")),
    report(record("eva@example.net", "01/04/2024 00:00"), record("ANA@example.com", "29/02/2024 12:00")),
    _MENTIONS,
    _ALIASED,
    report(),
    b"",
)

_names = st.sampled_from(NAMES)
_persons = st.sampled_from([*PEOPLE, "ANA@example.com", "ana@example.com", "nadie@example.com"])
_picks = st.integers(0, 1000)
_contents = st.one_of(st.sampled_from(_FIXED), strategies.reports(TODAY, max_records=4))
_sides = st.sampled_from(["client", "server"])
_points = st.sampled_from(sorted(POINTS))
_some_names = st.lists(_names, min_size=2, max_size=len(NAMES), unique=True)

Key = tuple[str, str | None]
Row = Mapping[str, Any]


# ---------------------------------------------------------------------------------------------- the installation


@dataclass
class Installation:
    """A platform, and the ways in which its passes are made to fail.

    Attributes:
        database: where its tables are.
        pipeline: the platform, in this process.
        driver: passes in processes that may die.
        clock: shared by all of them.
        log: what the processes said.
        proxies: to the SFTP server and to the database's.
        known_hosts: holds the SFTP server's key, also under its proxy's port.
    """

    database: Database
    pipeline: Pipeline
    driver: Driver
    clock: RunningClock
    log: Path
    proxies: dict[str, CuttingProxy]
    known_hosts: Path

    def reset(self) -> None:
        """Make it as new."""
        self.pipeline.clear()
        with self.pipeline.platform.engine.begin() as connection:
            connection.execute(sa.update(tables.periodo_visitantes).values(anio=1970, mes=1))
        folders = self.pipeline.platform.folders
        for path in folders.staging.iterdir():
            if path != folders.locks:
                shutil.rmtree(path)
        self.clock.moment, self.clock.since = NOON, RunningClock(NOON).since
        self.log.write_text("")
        self.set_aliases({})

    def set_aliases(self, aliases: Mapping[str, str]) -> None:
        """Declare other names of columns, from now on."""
        self.aliases = ",".join(f"{alias}={column}" for alias, column in aliases.items())
        self.pipeline.platform.settings = self._settings()

    def _settings(self, url: str | None = None, sftp: Mapping[str, str] | None = None, reintentos: int = 8) -> Any:
        return settings_for(
            url or self.database.url,
            sftp or self.sftp,
            self.pipeline.settings.home,
            alias_columnas=self.aliases,
            reintentos=reintentos,
        )

    @property
    def sftp(self) -> dict[str, str]:
        """The settings of the SFTP folder."""
        settings = self.pipeline.settings
        return {
            "VISITAS_SFTP_HOST": settings.sftp_host or "",
            "VISITAS_SFTP_PORT": str(settings.sftp_port),
            "VISITAS_SFTP_USER": settings.sftp_user or "",
            "VISITAS_SFTP_KEY_FILE": str(settings.sftp_key_file),
            "VISITAS_SFTP_KNOWN_HOSTS": str(self.known_hosts),
            "VISITAS_SFTP_DIR": settings.sftp_dir,
        }

    def start(self, *deaths: Mapping[str, Any], together: bool) -> list[int]:
        """Do passes at the same time, each dying as its `deaths` says; return the exit codes."""
        request: dict[str, Any] = {
            "url": self.database.url,
            "sftp": self.sftp,
            "home": str(self.pipeline.settings.home),
            "log": str(self.log),
            "moment": self.clock.moment.isoformat(),
            "since": self.clock.since,
            "settings": {"alias_columnas": self.aliases, "reintentos": 8},
            "steps": {"together": together},
            # A pass that hangs is ended, and its code tells.
            "after_s": 60,
        }
        codes = [code for code, _ in self.driver.run_together([request | dict(death) for death in deaths])]
        self.await_quiet()
        return codes

    def await_quiet(self) -> None:
        """Wait until the database server has noticed which of its clients are gone, and taken their work back."""
        self.pipeline.platform.engine.dispose()
        server = self.database.server
        if server is not None:
            schema = sa.make_url(self.database.url).database
            while server.execute("SELECT COUNT(*) FROM information_schema.processlist WHERE db = %s", schema)[0][0]:
                pass

    @contextmanager
    def failing(self, where: Literal["sftp", "database"], count: int, towards: Side) -> Any:
        """Give a platform whose connections to a server are cut every so many bytes; to SQLite, after statements."""
        proxy = self.proxies.get(where)
        url, sftp = self.database.url, self.sftp
        if where == "sftp":
            sftp["VISITAS_SFTP_PORT"] = str(self.proxies["sftp"].port)
        elif proxy is not None:
            url = proxy.url(url)
        with Platform(self._settings(url, sftp, count % 2), clock=self.clock) as platform:
            if proxy is None:
                _lock_after(platform.engine, count // 100)
            else:
                proxy.cut_after(count, towards=towards, times=None)
            yield platform
        if proxy is not None:
            proxy.cut()
            proxy.heal()
        self.await_quiet()


def _lock_after(engine: sa.Engine, statements: int) -> None:
    numbers = itertools.count()

    def refuse(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if next(numbers) >= statements:
            raise sa.exc.OperationalError(statement, parameters, sqlite3.OperationalError("database is locked"))

    sa.event.listen(engine, "before_cursor_execute", refuse)


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    with Driver() as driver:
        yield driver


@pytest.fixture
def installation(
    database: Database,
    sftp_folder: SftpFolder,
    tmp_path: Path,
    driver: Driver,
    cutting_proxy: Callable[[int], CuttingProxy],
) -> Iterator[Installation]:
    clock = RunningClock(NOON)
    proxies = {"sftp": cutting_proxy(sftp_folder.server.port)}
    if database.server is not None:
        port = sa.make_url(database.url).port
        assert port is not None
        proxies["database"] = cutting_proxy(port)
    known_hosts = tmp_path / "known_hosts"
    kind, key = sftp_folder.server.known_hosts_file.read_text().splitlines()[0].split()[1:]
    ports = (sftp_folder.server.port, proxies["sftp"].port)
    known_hosts.write_text("".join(f"[127.0.0.1]:{port} {kind} {key}\n" for port in ports))
    with Pipeline(database, sftp_folder, tmp_path, clock) as pipeline:
        yield Installation(database, pipeline, driver, clock, tmp_path / "pases.log", proxies, known_hosts)


# --------------------------------------------------------------------------------------------------- the machine


@dataclass(frozen=True)
class Waiting:
    """A file on the server."""

    data: bytes
    mtime: int


@dataclass
class Failure:
    """The ladder of one delivery that met a system failure: the days on which it did."""

    digest: str
    mtime: int
    days: list[date] = field(default_factory=list)

    def is_due(self, today: date) -> bool:
        """Whether it is tried again by itself: once a day, on two days after the first (contract §2, "Retries")."""
        return today > self.days[-1] and len(set(self.days)) <= 2


@dataclass(frozen=True)
class Before:
    """What stood before a pass."""

    waiting: dict[str, Waiting]
    rows: dict[Key, Row]
    released: set[str]
    quarantined: set[tuple[str, str]]


class Machine(RuleBasedStateMachine):
    """Deliveries and what befalls them.

    A pass that nothing disturbs must do all that is owed: what it does is foretold. Of one that dies or fails it is
    open how far it came: the ledger tells which files it finished, and the other tables must agree.
    """

    def __init__(self, installation: Installation) -> None:
        super().__init__()
        self.installation = installation
        self.pipeline = installation.pipeline
        self.clock = installation.clock
        installation.reset()
        self.world = World(any_order=True)
        self.waiting: dict[str, Waiting] = {}
        self.failures: dict[str, Failure] = {}
        self.contents: dict[str, bytes] = {}
        self.finished: set[str] = set()  # digests of what came to an outcome
        self.period = (1970, 1)
        self.dead = False  # a run may have died since the last whole pass
        self.unfinished = False  # or failed

    # -- deliveries ---------------------------------------------------------------------------------------------

    def _deliver(self, name: str, data: bytes) -> None:
        self.contents[sha256(data)] = data
        self.waiting[name] = Waiting(data, self.pipeline.deliver(name, data))

    def _known(self, pick: int) -> bytes:
        return list(self.contents.values())[pick % len(self.contents)]

    def _have_one(self, name: str, pick: int) -> None:
        """See to it that a file waits. What a pass left is not drawn: no rule may be shut to it by that."""
        if not self.waiting:
            self._deliver(name, self._known(pick))

    @rule(name=_names, data=_contents)
    def deliver(self, name: str, data: bytes) -> None:
        """A new file, or a correction of what stands or waits under the name."""
        self._deliver(name, data)

    @precondition(lambda self: self.contents)
    @rule(name=_names, pick=_picks)
    def deliver_again(self, name: str, pick: int) -> None:
        """Bytes that came before, under the same name or another."""
        self._deliver(name, self._known(pick))

    @rule(names=_some_names, data=_contents)
    def deliver_copies(self, names: list[str], data: bytes) -> None:
        """One content under several names at once."""
        for name in names:
            self._deliver(name, data)

    @precondition(lambda self: self.contents)
    @rule(pick=_picks, name=_names)
    def rename(self, pick: int, name: str) -> None:
        """The sender gives a file another name before it is taken."""
        self._have_one(name, pick)
        old = sorted(self.waiting)[pick % len(self.waiting)]
        (self.pipeline.folder / old).replace(self.pipeline.folder / name)
        self.waiting[name] = self.waiting.pop(old)

    @precondition(lambda self: self.contents)
    @rule(pick=_picks)
    def take_back(self, pick: int) -> None:
        """The sender removes a file before it is taken."""
        if not self.waiting:
            return
        name = sorted(self.waiting)[pick % len(self.waiting)]
        (self.pipeline.folder / name).unlink()
        del self.waiting[name]

    # -- passes that nothing disturbs ---------------------------------------------------------------------------

    @rule(together=st.booleans())
    def take(self, together: bool) -> None:
        """One pass."""
        before = self._before()
        whole_pass(self.pipeline.platform, together=together)
        self._foretold(before)

    @precondition(lambda self: self.contents)
    @rule(together=st.booleans())
    def take_by_two(self, together: bool) -> None:
        """Two passes at the same time."""
        before = self._before()
        codes = self.installation.start({}, {}, together=together)
        assert codes == [0, 0], self._told()
        self._foretold(before)

    @precondition(lambda self: self.contents)
    @rule(pick=_picks)
    def retry(self, pick: int) -> None:
        """`dispatch --reintentar`."""
        before = self._before()
        names = self._ever()
        if not names:
            return
        name = names[pick % len(names)]
        whole_pass(self.pipeline.platform, insisted=[name])
        self._foretold(before, insisted=[name])

    @precondition(lambda self: self.contents)
    @rule(picks=st.lists(_picks, min_size=1, max_size=3), together=st.booleans())
    def replay(self, picks: list[int], together: bool) -> None:
        """`replay`, of up to three names."""
        before = self._before()
        known = self._ever()
        if not known:
            return
        names = list(dict.fromkeys(known[pick % len(known)] for pick in picks))
        whole_pass(self.pipeline.platform, replays=names, together=together)
        self._replayed(before, names)

    def _told(self) -> str:
        """What the ledger and the passes said, for a failing test's message."""
        ledger = [(row["archivo"], row["estado"], row["intentos"], row["mensaje"]) for row in self._rows().values()]
        return "\n".join([*map(repr, ledger), self.installation.log.read_text()[-8000:]])

    def _ever(self) -> list[str]:
        """The names that somebody knows."""
        return sorted({*self.waiting, *(name for name, _ in self._rows())})

    # -- passes that die or fail --------------------------------------------------------------------------------

    @precondition(lambda self: self.contents)
    @rule(point=_points, alone=st.booleans(), together=st.booleans(), name=_names, pick=_picks)
    def die_at_point(self, point: str, alone: bool, together: bool, name: str, pick: int) -> None:
        """A pass that dies at a named point, perhaps beside one that lives."""
        self._have_one(name, pick)
        self._die({"point": point}, alone, together)

    @precondition(lambda self: self.contents)
    @rule(event=st.integers(1, 150), alone=st.booleans(), together=st.booleans(), name=_names, pick=_picks)
    def die_at_event(self, event: int, alone: bool, together: bool, name: str, pick: int) -> None:
        """A pass that dies at its n-th statement, request or touch of a file, perhaps beside one that lives."""
        self._have_one(name, pick)
        self._die({"event": event}, alone, together)

    def _die(self, death: Mapping[str, Any], alone: bool, together: bool) -> None:
        before = self._before()
        dying, *living = self.installation.start(*([death] if alone else [death, {}]), together=together)
        assert dying in (0, _KILLED), self._told()
        assert living in ([], [0]), self._told()
        self.dead = True
        self._observed(before)

    @precondition(lambda self: self.contents)
    @rule(count=st.integers(1000, 12_000), towards=_sides, together=st.booleans(), name=_names, pick=_picks)
    def fail_at_server(self, count: int, towards: Side, together: bool, name: str, pick: int) -> None:
        """A pass whose connections to the SFTP server are cut again and again."""
        self._have_one(name, pick)
        self._fail("sftp", count, towards, together)

    @precondition(lambda self: self.contents)
    @rule(count=st.integers(0, 15_000), towards=_sides, together=st.booleans(), name=_names, pick=_picks)
    def fail_at_database(self, count: int, towards: Side, together: bool, name: str, pick: int) -> None:
        """A pass whose connections to the database are cut again and again."""
        self._have_one(name, pick)
        self._fail("database", count, towards, together)

    def _fail(self, where: Literal["sftp", "database"], count: int, towards: Side, together: bool) -> None:
        before = self._before()
        with self.installation.failing(where, count, towards) as platform, suppress(SystemFailure):
            whole_pass(platform, together=together)
        self._observed(before)

    # -- persons and time ---------------------------------------------------------------------------------------

    @precondition(lambda self: self.contents)
    @rule(pick=_picks)
    def release(self, pick: int) -> None:
        """`release`."""
        names = self._failed_names()
        if not names:
            return
        name = names[pick % len(names)]
        ledger = Ledger(self.pipeline.platform.engine, self.clock, self.pipeline.settings.zone)
        assert ledger.release(name, "ana") is not None
        self.failures.pop(name, None)
        assert name in self._released()

    def _failed_names(self) -> list[str]:
        failed = (FALLO_LAYOUT, FALLO_SISTEMA)
        return sorted({row["archivo"] for row in self._rows().values() if row["estado"] in failed})

    @precondition(lambda self: self.contents)
    @rule(person=_persons)
    def forget(self, person: str) -> None:
        """`forget`."""
        forget(self.pipeline.platform, person, "ana")
        self.world.forget(person)
        self._take_over_period()

    @precondition(lambda self: self.contents)
    @rule(days=st.sampled_from([1, 1, 2, 18, 31, 293]))
    def wait(self, days: int) -> None:
        """Time goes on."""
        self.clock.advance(days)

    @precondition(lambda self: not self.world.aliases)
    @rule()
    def declare_aliases(self) -> None:
        """The operator declares other names of a column."""
        self.installation.set_aliases(ALIASES)
        self.world.aliases = ALIASES

    # -- what a pass did ----------------------------------------------------------------------------------------

    def _rows(self) -> dict[Key, Row]:
        return {(row["archivo"], row["sha256"]): row for row in self.pipeline.rows(tables.bitacora_control)}

    def _released(self) -> set[str]:
        names = {row["id"]: row["archivo"] for row in self._rows().values()}
        return {
            names[row["archivo_id"]]
            for row in self.pipeline.rows(tables.bitacora_intentos)
            if row["resultado"] == "LIBERADO" and row["fin"] is None
        }

    def _before(self) -> Before:
        rows = self._rows()
        quarantine = self.pipeline.platform.folders.cuarentena
        quarantined = {(name, sha) for name, sha in rows if sha is not None and _is_copied(quarantine, name, sha)}
        return Before(dict(self.waiting), rows, self._released(), quarantined)

    def _finish(self, name: str, data: bytes, *, again: bool = False) -> None:
        """A delivery came to its outcome."""
        if again or not self.world.is_current(name, data):
            outcome = read_report(data, self.world.aliases)
            if isinstance(outcome, ParsedReport):
                self.period = self._this_month()
        self.world.deliver(name, data)
        self.finished.add(sha256(data))
        self.failures.pop(name, None)

    def _this_month(self) -> tuple[int, int]:
        today = self._today()
        return today.year, today.month

    def _today(self) -> date:
        return self.pipeline.platform.today()

    def _foretold(self, before: Before, insisted: Sequence[str] = ()) -> None:
        """A whole pass: what was owed is done."""
        for name, file in sorted(before.waiting.items(), key=lambda item: item[1].mtime):
            if name in insisted or name in before.released or self._is_due(name, file, before.rows):
                self._finish(name, file.data)
                assert name not in self.pipeline.on_server(), f"{name} was not taken: {self._told()}"
                del self.waiting[name]
            else:
                assert self._rows_of(name) == self._rows_of(name, before.rows), f"{name} was taken before its day"
        open_names = {name for (name, _), row in before.rows.items() if row["estado"] == "EN_PROCESO"}
        open_names |= {name for name in NAMES if self._is_due_without_file(name, before)}
        for name in sorted({*insisted, *open_names, *before.released} - before.waiting.keys()):
            self._finish_from_copy(name, before, self._retried_versions(name, before.rows), again=False)
        self.world.settle()
        self.dead = self.unfinished = False

    def _replayed(self, before: Before, names: Sequence[str]) -> None:
        for name in names:
            if name in before.waiting:
                self._finish(name, before.waiting[name].data, again=True)
                del self.waiting[name]
            else:
                self._finish_from_copy(name, before, self._replayed_versions(name, before.rows), again=True)
        # The dead were buried, and nothing else was done.
        self.dead = False
        self.unfinished = True

    def _finish_from_copy(self, name: str, before: Before, versions: Sequence[Row], *, again: bool) -> None:
        for row in versions:
            if self._has_copy(name, row["sha256"]):
                self._finish(name, self.contents[row["sha256"]], again=again)
                return

    def _retried_versions(self, name: str, rows: Mapping[Key, Row]) -> list[Row]:
        """A name's versions as `--reintentar` and a release want them: what failed last, then what is current."""
        newest = self._rows_of(name, rows)[::-1]
        failed = [row for row in newest if row["estado"] in ("EN_PROCESO", FALLO_LAYOUT, FALLO_SISTEMA)]
        return failed + [row for row in newest if row["vigente"] and row["estado"] in CURRENT]

    def _replayed_versions(self, name: str, rows: Mapping[Key, Row]) -> list[Row]:
        """As a replay wants them: what is current, else what came last."""
        newest = self._rows_of(name, rows)[::-1]
        return [row for row in newest if row["vigente"] and row["estado"] in CURRENT] or newest

    def _rows_of(self, name: str, rows: Mapping[Key, Row] | None = None) -> list[Row]:
        """The rows of a name whose content is known, the one touched last at the end."""
        rows = self._rows() if rows is None else rows
        found = [row for row in rows.values() if row["archivo"] == name and row["sha256"] is not None]
        return sorted(found, key=lambda row: (row["inicio"], row["id"]))

    def _is_due(self, name: str, file: Waiting, rows: Mapping[Key, Row]) -> bool:
        failure = self.failures.get(name)
        if failure is None or failure.mtime != file.mtime:
            return True
        newest = max((row for row in rows.values() if row["archivo"] == name), key=_touched)
        return newest["estado"] != FALLO_SISTEMA or failure.is_due(self._today())

    def _is_due_without_file(self, name: str, before: Before) -> bool:
        """Whether what failed last is tried again from the quarantine, its sender having taken it back."""
        mine = [row for row in before.rows.values() if row["archivo"] == name]
        newest = max(mine, key=_touched, default=None)
        if newest is None or newest["estado"] != FALLO_SISTEMA or newest["sha256"] is None:
            return False
        if (name, newest["sha256"]) not in before.quarantined:
            return False
        failure = self.failures.get(name)
        return failure is None or failure.digest != newest["sha256"] or failure.is_due(self._today())

    def _has_copy(self, name: str, digest: str) -> bool:
        folders = self.pipeline.platform.folders
        return _is_copied(folders.backup, name, digest) or _is_copied(folders.cuarentena, name, digest)

    def _observed(self, before: Before) -> None:
        """A pass that died or failed: the ledger tells how far it came."""
        rows = self._rows()
        left = self.pipeline.on_server()
        for name in NAMES:
            if name in before.waiting:
                file = before.waiting[name]
                digest = sha256(file.data)
                if self.world.is_current(name, file.data):
                    done = name not in left
                else:
                    done = self._was_done((name, digest), before.rows, rows)
                if done:
                    self._finish(name, file.data)
                else:
                    self.world.begin(name, file.data)
                    self._note_failure(name, digest, file.mtime, before.rows, rows)
                if name not in left:
                    assert done, f"{name} left the server without an outcome"
                    assert self._has_copy(name, digest), f"{name} left the server without a copy"
                    del self.waiting[name]
                continue
            for (archivo, digest_), row in rows.items():
                if archivo != name or digest_ is None or not _was_touched((name, digest_), before.rows, rows):
                    continue
                if (row["vigente"] and row["estado"] in CURRENT) or row["estado"] == FALLO_LAYOUT:
                    self._finish(name, self.contents[digest_])
                else:
                    self.world.begin(name, self.contents[digest_])
                    self._note_failure(name, digest_, None, before.rows, rows)
        self.unfinished = True
        # A load that committed turned the month; whether one did that changed nothing else is not known.
        self._take_over_period()

    def _take_over_period(self) -> None:
        period = self._stored_period()
        assert period in (self.period, self._this_month())
        self.period = period

    def _was_done(self, key: Key, before: Mapping[Key, Row], rows: Mapping[Key, Row]) -> bool:
        row = rows.get(key)
        if row is None:
            return False
        if row["estado"] == FALLO_LAYOUT:
            return _was_touched(key, before, rows)
        return bool(row["vigente"]) and row["estado"] in CURRENT

    def _note_failure(
        self, name: str, digest: str, mtime: int | None, before: Mapping[Key, Row], rows: Mapping[Key, Row]
    ) -> None:
        """Note that a delivery met a system failure today, if the ledger says so; `mtime` is None off the server."""
        mine = [row for row in rows.values() if row["archivo"] == name]
        earlier = sum(row["intentos"] for row in before.values() if row["archivo"] == name)
        if sum(row["intentos"] for row in mine) == earlier:
            return
        if max(mine, key=_touched)["estado"] != FALLO_SISTEMA:
            return
        failure = self.failures.get(name)
        if failure is None or failure.digest != digest or mtime not in (None, failure.mtime):
            failure = self.failures[name] = Failure(digest, mtime or 0)
        failure.days.append(self._today())

    def _stored_period(self) -> tuple[int, int]:
        (row,) = self.pipeline.rows(tables.periodo_visitantes)
        return row["anio"], row["mes"]

    # -- what must hold -----------------------------------------------------------------------------------------

    @invariant()
    def the_tables_equal_the_oracle(self) -> None:
        assert self._stored_period() == self.period
        assert self.world.differences(self.pipeline.tables(), date(*self.period, 1)) == []

    @invariant()
    def no_promise_is_broken(self) -> None:
        open_names: Collection[str] = NAMES
        if not self.unfinished:
            rows = self._rows().values()
            open_names = {*self.waiting, *(row["archivo"] for row in rows if row["estado"] == FALLO_SISTEMA)}
        broken = self.pipeline.broken_promises(open_names)
        assert [line for line in broken if not (self.dead and line.startswith("left in staging"))] == []

    def _forms(self, data: bytes) -> set[str]:
        """The digests of some bytes, and of copies from which persons were taken since."""
        forms = {data}
        for person in self.world.erased:
            forms |= {without_person(form.decode("latin-1"), person).encode("latin-1") for form in forms}
        return {sha256(form) for form in forms}

    @invariant()
    def no_byte_is_lost(self) -> None:
        folders = self.pipeline.platform.folders
        roots = (self.pipeline.folder, folders.backup, folders.cuarentena, folders.staging)
        kept = {sha256(path.read_bytes()) for root in roots for path in root.rglob("*") if path.is_file()}
        assert [digest for digest in self.finished if kept.isdisjoint(self._forms(self.contents[digest]))] == []
        assert self.pipeline.on_server() == self.waiting.keys()
        for name, file in self.waiting.items():
            assert (self.pipeline.folder / name).read_bytes() == file.data


def _is_copied(root: Path, name: str, digest: str) -> bool:
    """Whether a copy of these bytes of a name is kept under a folder (contract §4)."""
    return any(True for _ in root.rglob(name.replace(".txt", f"__{digest[:12]}.txt")))


def _touched(row: Row) -> tuple[datetime, int]:
    return row["inicio"], row["id"]


def _was_touched(key: Key, before: Mapping[Key, Row], rows: Mapping[Key, Row]) -> bool:
    return key not in before or before[key]["intentos"] != rows[key]["intentos"]


def test_whatever_befalls_deliveries_the_tables_equal_the_oracle(installation: Installation) -> None:
    class Installed(Machine):
        def __init__(self) -> None:
            super().__init__(installation)

    run_state_machine_as_test(Installed, settings=_SETTINGS)
