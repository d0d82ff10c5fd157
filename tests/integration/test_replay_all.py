"""Everything run again from the backups, once the server is empty: by the real command, and by a backfill.

That no row changes, on every engine, belongs here; replays of single files and their failures do not.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import dagster as dg
import psutil
import pytest

from tests.integration.test_ladder import standing
from tests.oracle.oracle import World
from tests.support.command import Visitas
from tests.support.fixtures import Database, SftpFolder
from tests.support.guardian import family, guardian, kill_all, wait_for_end
from tests.support.pipeline import Pipeline, SteppingClock, record, report, sha256
from tests.support.ports import free_port
from visitas_dagster.assets.graph import ASSETS
from visitas_dagster.instance import prepare_home
from visitas_dagster.partitions import ARCHIVOS

NAMES: Final = [f"report_{number}.txt" for number in range(1, 13)]
_BACKFILL: Final = (
    "mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) "
    "{ ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"
)
_STATUS: Final = (
    "query($id: String!) { partitionBackfillOrError(backfillId: $id) "
    "{ ... on PartitionBackfill { status runs(limit: 50) { status } } } }"
)


def contents(chance: random.Random) -> list[bytes]:
    """Reports of all kinds: good, with rejects, twice the same, without records, and no reports at all."""
    visitors = [f"v{number}@example.com" for number in range(15)]
    days = ("01/03/2024 10:00", "31/12/2023 23:59", "15/07/2025 08:30")
    good = [
        report(*(record(chance.choice(visitors), chance.choice(days)) for _ in range(chance.randint(1, 30))))
        for _ in range(6)
    ]
    mixed = [report(record(chance.choice(visitors)), record("sin arroba"), record(opens="-1")) for _ in range(3)]
    return [*good, *mixed, report(), report(record("no")), b"", b"nada\n"]


@dataclass
class Installation:
    """An installation whose replays are the real command's.

    Attributes:
        pipeline: looks at it from outside.
        visitas: its command.
        world: what must stand.
        delivered: the digests of everything that was put on the server.
    """

    pipeline: Pipeline
    visitas: Visitas
    world: World = field(default_factory=lambda: World(any_order=True))
    delivered: set[str] = field(default_factory=set)

    def deliver_all(self) -> None:
        """Deliver four rounds, most of them corrections, copies and returns to earlier contents; take each."""
        chance = random.Random(3)
        pool = contents(chance)
        for _ in range(4):
            for name in chance.sample(NAMES, 8):
                data = chance.choice(pool)
                self.pipeline.deliver(name, data)
                self.world.deliver(name, data)
                self.delivered.add(sha256(data))
            self.pipeline.run_pass()
            self.world.settle()
        self.assert_right()

    def assert_right(self) -> None:
        """The tables are the oracle's, the server is empty, every byte delivered is in a backup."""
        today = datetime.now(self.pipeline.settings.zone).date()
        assert self.world.differences(self.pipeline.tables(), today) == []
        assert self.pipeline.on_server() == set()
        assert self.delivered <= self.pipeline.backups()
        assert self.pipeline.broken_promises() == []

    def names(self) -> list[str]:
        """The names that were delivered, sorted."""
        return sorted({archivo for archivo, _, _ in self.pipeline.states()})

    def kinds(self) -> set[str]:
        """The states that the ledger holds."""
        return {estado for _, estado, _ in self.pipeline.states()}


@pytest.fixture
def installation(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Iterator[Installation]:
    clock = SteppingClock(datetime.now(UTC))
    visitas = Visitas(tmp_path, {**sftp_folder.environment(), "VISITAS_DB_URL": database.url})
    with Pipeline(database, sftp_folder, tmp_path, clock) as pipeline:
        installation = Installation(pipeline, visitas)
        installation.deliver_all()
        # A replay of nothing would change nothing either.
        assert installation.kinds() == {"COMPLETADO", "COMPLETADO_CON_ERRORES", "DUPLICADO", "FALLO_LAYOUT"}
        assert any(not vigente for _, _, vigente in pipeline.states())
        yield installation


def test_a_replay_of_everything_by_the_command_changes_no_row(installation: Installation) -> None:
    pipeline = installation.pipeline
    before = loaded(pipeline)
    tries = sum(row["intentos"] for row in ledger_rows(pipeline))
    names = installation.names()
    ended = installation.visitas.run("replay", *names)
    # A name that has but a wrong layout still needs a person.
    assert ended.code in (0, 1), ended
    assert changes(before, pipeline) == []
    assert sum(row["intentos"] for row in ledger_rows(pipeline)) == tries + len(names)
    installation.assert_right()


def loaded(pipeline: Pipeline) -> dict[str, list[dict[str, Any]]]:
    """The rows that a replay must not change; what persons are told of is counted anew by each run."""
    return {name: rows for name, rows in standing(pipeline).items() if name not in {"incidentes", "esperas"}}


def changes(before: dict[str, list[dict[str, Any]]], pipeline: Pipeline) -> list[str]:
    """What differs from then, a line for each value; rows are told apart by their place in the table's order."""
    found = []
    for name, rows in loaded(pipeline).items():
        if len(rows) != len(before[name]):
            found.append(f"{name}: {len(before[name])} rows then, {len(rows)} now")
        for then, now in zip(before[name], rows, strict=False):
            found += [
                f"{name} {now.get('archivo', '')}.{column}: {then[column]!r} then, {now[column]!r} now"
                for column in now
                # Who carries the content of a duplicate now is told anew: another may have taken its place since.
                if then[column] != now[column] and not (column == "mensaje" and now["estado"] == "DUPLICADO")
            ]
    return found


def ledger_rows(pipeline: Pipeline) -> Sequence[Mapping[str, Any]]:
    """The ledger's rows."""
    return pipeline.tables().bitacora_control


# ------------------------------------------------------------------------------------------------ a backfill


class DagsterDev:
    """Dagster's web and daemon over an installation, as `dagster dev` starts them."""

    def __init__(self, visitas: Visitas, home: Path, log: Path) -> None:
        """Start them; they are ready once the web answers."""
        self._port = free_port()
        self._log = log
        with log.open("wb") as out:
            self._process = psutil.Popen(
                [
                    *(sys.executable, "-m", "dagster", "dev", "-m", "visitas_dagster.definitions"),
                    *("-h", "127.0.0.1", "-p", str(self._port)),
                ],
                cwd=visitas.folder,
                env=visitas.environment(DAGSTER_HOME=str(home)),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        guardian().watch(self._process.pid)
        self._wait(lambda: self._answers(), "the web answers")

    def ask(self, query: str, **variables: Any) -> Any:
        """Ask the web's GraphQL."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    def backfill(self, names: list[str]) -> dict[str, Any]:
        """Run these partitions again; return how the backfill ended and its runs."""
        launched = self.ask(
            _BACKFILL, p={"assetSelection": [{"path": [asset]} for asset in ASSETS], "partitionNames": names}
        )["launchPartitionBackfill"]
        found: dict[str, Any] = {}

        def ended() -> bool:
            found.update(self.ask(_STATUS, id=launched["backfillId"])["partitionBackfillOrError"])
            return bool(found["status"] not in {"REQUESTED", "CANCELING", "FAILING"})

        self._wait(ended, "the backfill ends")
        return found

    def close(self) -> None:
        """End them, with everything that they started."""
        members = family(self._process)
        os.kill(self._process.pid, signal.SIGINT)
        kill_all(wait_for_end(members, 30))
        guardian().forget(self._process.pid)

    def _answers(self) -> bool:
        try:
            self.ask("{ version }")
        except OSError:
            return False
        return True

    def _wait(self, condition: Any, what: str) -> None:
        limit = time.monotonic() + 300
        while not condition():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < limit, f"not within 300 s: {what}"
            time.sleep(0.5)


@pytest.mark.databases("mysql", "mariadb")
def test_a_backfill_of_everything_changes_no_row(installation: Installation, tmp_path: Path) -> None:
    pipeline = installation.pipeline
    before = loaded(pipeline)
    names = installation.names()
    tries = sum(row["intentos"] for row in ledger_rows(pipeline))
    with dg.DagsterInstance.from_config(str(prepare_home(pipeline.settings))) as instance:
        instance.add_dynamic_partitions(ARCHIVOS, names)
    dagster = DagsterDev(installation.visitas, pipeline.settings.instance_dir, tmp_path / "dagster.log")
    try:
        found = dagster.backfill(names)
    finally:
        dagster.close()
    assert found["status"] in {"COMPLETED_SUCCESS", "COMPLETED_FAILED"}
    assert len(found["runs"]) >= 1
    assert changes(before, pipeline) == []
    assert sum(row["intentos"] for row in ledger_rows(pipeline)) == tries + len(names)
    installation.assert_right()
