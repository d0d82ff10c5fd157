"""The orchestrator's log after what an operator and the daemon do: passes, closes, alerts, ticks of the sensor.

Who writes a line there belongs here; the lines' form is a unit test, those of single files a graph test.
"""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from tests.support.command import Visitas
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import Pipeline, put, record, report
from visitas_dagster.definitions import build_definitions
from visitas_dagster.domain.failures import PermanentFailure
from visitas_dagster.resources.sftp import SftpFolder as Sftp
from visitas_dagster.sensors.arrivals import SENSOR

pytestmark = pytest.mark.databases("sqlite")

ZONE = ZoneInfo("America/Mexico_City")


@pytest.fixture
def visitas(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Visitas:
    made = Visitas(tmp_path, {"VISITAS_DB_URL": database.url, **sftp_folder.environment()})
    assert made.run("init").code == 0
    return made


def lines(home: Path) -> list[dict[str, Any]]:
    """The lines of every orchestrator's log, oldest first: a test may run over midnight."""
    paths = sorted((home / "logs").glob("????????/orchestrator_*.log"))
    assert [path.name for path in paths] == [f"orchestrator_{path.parent.name}.log" for path in paths]
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def said_by(home: Path, step: str) -> list[str]:
    return [line["mensaje"] for line in lines(home) if line["paso"] == step]


def test_a_pass_and_a_close_tell_what_they_did(visitas: Visitas, sftp_folder: SftpFolder) -> None:
    put(sftp_folder.path, "report_1.txt", report(record()))
    put(sftp_folder.path, "report_2.txt", report(record()).replace(b",jyv,", b",jk,", 1))
    before = datetime.now(ZONE)
    ended = visitas.run("dispatch", VISITAS_LOG_FORMATO="json")
    assert ended.code == 1
    # What goes to the logs does not go to the terminal.
    assert "corrida iniciada" not in ended.out + ended.err
    assert said_by(visitas.home, "pasada") == ["archivos por tomar: 2, corridas: 2"]
    begun = [line for line in lines(visitas.home) if line["mensaje"].startswith("corrida iniciada")]
    assert len({line["corrida"] for line in begun}) == 2
    assert all(before.replace(microsecond=0) <= datetime.fromisoformat(line["momento"]) for line in begun)
    assert [line for line in lines(visitas.home) if "FALLO_LAYOUT" in line["mensaje"] and line["paso"] == "alertas"]
    logs = {path.name for path in (visitas.home / "logs").glob("*/report_*.log")}
    assert logs == {"report_1.log", "report_2.log"}

    ended = visitas.run("close", "--fecha", f"{datetime.now(ZONE):%Y-%m-%d}", VISITAS_LOG_FORMATO="json")
    told = said_by(visitas.home, "cierre")
    assert [message for message in told if re.match(r"cierre de \d{4}-\d\d-\d\d: ", message)]
    assert "cierre de" not in ended.err


def test_a_command_that_only_looks_leaves_no_log(visitas: Visitas, tmp_path: Path) -> None:
    path = tmp_path / "report_7.txt"
    path.write_bytes(report(record()))
    for arguments in (("status",), ("check", str(path)), ("report",)):
        assert visitas.run(*arguments).code == 0
    assert not list((visitas.home / "logs").rglob("*.log"))


def test_the_form_is_one_of_two(visitas: Visitas) -> None:
    ended = visitas.run("status", VISITAS_LOG_FORMATO="xml")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "visitas: VISITAS_LOG_FORMATO: debe ser texto o json. Corrija el ajuste\n"


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path, log_formato="json") as pipeline:
        yield pipeline


def tick(sensor: Any, instance: dg.DagsterInstance) -> None:
    """Call the sensor's own function."""
    with dg.build_sensor_context(instance) as context:
        sensor(context)


def test_a_tick_of_the_sensor_leaves_a_line_unless_it_ends_as_the_one_before(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = pipeline.settings.home
    sensor = build_definitions(pipeline.settings, clock=pipeline.clock).resolve_sensor_def(SENSOR)

    def refused(_: Sftp) -> None:
        raise PermanentFailure("la llave de 127.0.0.1 no está en known_hosts", "agréguela")

    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(3):
            tick(sensor, instance)
        pipeline.deliver("report_1.txt", report(record()))
        for _ in range(2):
            tick(sensor, instance)
        monkeypatch.setattr(Sftp, "list", refused)
        for _ in range(2):
            with pytest.raises(PermanentFailure, match="known_hosts"):
                tick(sensor, instance)
    found = [(line["nivel"], line["mensaje"]) for line in lines(home)]
    assert found == [
        ("INFO", "0 archivos en el servidor, ninguno nuevo y quieto"),
        ("INFO", "corridas pedidas: 1"),
        ("INFO", "corridas pedidas: 1"),
        ("ERROR", "el sensor falló: la llave de 127.0.0.1 no está en known_hosts. agréguela"),
    ]
    assert {line["paso"] for line in lines(home)} == {"sensor"}
    assert {line["momento"][:10] for line in lines(home)} == {"2024-03-14"}
