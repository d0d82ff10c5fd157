"""Dagster's own daemon, killed: `visitas status --vigilar` tells, alerts once, and tells again when it is back.

A real `dagster-daemon` process and the command's own code belong here; the other incidents are `test_alerts.py`.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from tests.support.command import Visitas
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import settings_for
from tests.support.receivers import WebhookReceiver
from visitas_dagster.cli.vigilar import ALL_WELL, troubles
from visitas_dagster.domain.incidents import DAEMON_SILENCE
from visitas_dagster.instance import heartbeats, open_instance
from visitas_dagster.resources.platform import Platform
from visitas_dagster.settings import Settings

PROJECT = Path(__file__).resolve().parents[2]
DAEMON = Path(sys.executable).with_name("dagster-daemon")
PATIENCE_S = 240

pytestmark = pytest.mark.databases("sqlite")

STOPPED = "DEMONIO: El demonio de Dagster se detuvo: no da señales desde "


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def visitas(database: Database, sftp_folder: SftpFolder, tmp_path: Path, webhook: WebhookReceiver) -> Visitas:
    made = Visitas(
        tmp_path,
        {
            "VISITAS_DB_URL": database.url,
            "VISITAS_ALERTA_WEBHOOK": webhook.url,
            "DAGSTER_HOME": str(tmp_path / "etl" / "dagster"),
            **sftp_folder.environment(),
        },
    )
    assert made.run("init").code == 0
    return made


@pytest.fixture
def settings(
    visitas: Visitas,
    database: Database,
    sftp_folder: SftpFolder,
    webhook: WebhookReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    home = visitas.home / "dagster"
    # An instance opened in this process leaves it there for its runs.
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    return settings_for(
        database.url, sftp_folder.environment(), visitas.home, alerta_webhook=webhook.url, dagster_home=home
    )


@contextmanager
def running_daemon(visitas: Visitas, settings: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the daemon as its service does, from its first sign of life on; with all its children it ends afterwards."""
    began = datetime.now(UTC).replace(tzinfo=None)
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [str(DAEMON), "run", "-w", str(PROJECT / "workspace.yaml")],
            cwd=visitas.folder,
            env=visitas.environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + PATIENCE_S
        while not any(beat >= began for beat in beats(settings).values()):
            assert daemon.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.5)
        yield daemon
    finally:
        for child in [*psutil.Process(daemon.pid).children(recursive=True)] if daemon.poll() is None else []:
            child.kill()
        daemon.kill()
        daemon.wait()


def beats(settings: Settings) -> dict[str, datetime]:
    with open_instance(settings, captures_output=False) as instance:
        return heartbeats(instance)


def watch_later(settings: Settings, later: timedelta = timedelta()) -> list[str]:
    """What the command says when it is called so much later."""
    with Platform(settings, clock=lambda: datetime.now(UTC) + later) as platform:
        return troubles(platform)


def test_the_command_tells_of_a_killed_daemon_and_of_its_return(
    visitas: Visitas, settings: Settings, webhook: WebhookReceiver, tmp_path: Path
) -> None:
    with running_daemon(visitas, settings, tmp_path / "first.log") as daemon:
        ended = visitas.run("status", "--vigilar")
        assert (ended.code, ended.out, ended.err) == (0, f"{ALL_WELL}\n", "")
        children = psutil.Process(daemon.pid).children(recursive=True)
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.wait()
        for child in children:
            child.kill()
    assert webhook.subjects == []
    # One sign of life is worth as long as four.
    later = DAEMON_SILENCE + timedelta(seconds=5)
    for _ in range(3):
        (line,) = watch_later(settings, later)
        assert line.startswith(STOPPED)
    assert [subject.partition(":")[0] for subject in webhook.subjects] == ["[visitas] ALERTA DEMONIO"]
    assert "systemctl restart visitas-daemon" in webhook.bodies[0]["text"]
    with running_daemon(visitas, settings, tmp_path / "second.log"):
        # The watch's clock went ahead above; the return is looked at from no earlier moment.
        deadline = time.monotonic() + PATIENCE_S
        while watch_later(settings, later) and time.monotonic() < deadline:
            later = DAEMON_SILENCE - timedelta(seconds=40)
            time.sleep(1)
    assert [subject.partition(":")[0] for subject in webhook.subjects][1:] == ["[visitas] RECUPERADO DEMONIO"]


def test_a_database_that_is_down_hides_no_dead_daemon(
    visitas: Visitas, settings: Settings, database: Database, webhook: WebhookReceiver
) -> None:
    engine = sa.create_engine(database.url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE incidentes"))
        connection.execute(sa.text("DROP TABLE visitas_version"))
    engine.dispose()
    ended = visitas.run("status", "--vigilar")
    assert (ended.code, ended.err) == (1, "")
    assert ended.out.splitlines() == [
        "El demonio de Dagster no ha dado nunca una señal de vida.",
        "VISITAS_DB_URL: en la base de datos faltan las tablas. ejecute: visitas init",
    ]
    assert webhook.subjects == []


def test_every_server_down_is_a_line_each(visitas: Visitas) -> None:
    ended = visitas.run(
        "status",
        "--vigilar",
        VISITAS_DB_URL="mysql://visitas:clave@127.0.0.1:1/visitas",
        VISITAS_SFTP_PORT="1",
    )
    assert (ended.code, ended.err) == (1, "")
    lines = ended.out.splitlines()
    assert lines[0] == "El demonio de Dagster no ha dado nunca una señal de vida."
    assert lines[1].startswith("VISITAS_SFTP_HOST")
    assert lines[2].startswith("VISITAS_DB_URL: la base de datos 127.0.0.1:1 no responde")
    assert len(lines) == 3


def test_arrivals_that_have_stopped_end_it_with_1(
    visitas: Visitas, settings: Settings, sftp_folder: SftpFolder
) -> None:
    (sftp_folder.path / "report_1.txt").write_bytes(b"x")
    assert [line.partition(":")[0] for line in watch_later(settings)] == ["DEMONIO"]
    told = watch_later(settings, timedelta(hours=3))
    assert [line.partition(":")[0] for line in told] == ["DEMONIO", "ESPERA"]
    told = watch_later(settings, timedelta(hours=30))
    assert [line.partition(":")[0] for line in told] == ["DEMONIO", "ESPERA", "DEMORA"]
