"""Somebody with nothing but the manual cures seeded incidents: its commands are typed as they stand on the page.

Going along the manual and judging the end belongs here; how an incident comes about is `incidents.py`.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future

import pytest

from tests.support.disks import can_mount
from tests.support.fixtures import DatabaseServers
from tests.support.incidents import INCIDENTS, Incident, asked_for, befalling, own_servers
from tests.support.site import PROJECT

HERE = [incident for incident in INCIDENTS if can_mount() or not incident.needs_disk]


@pytest.fixture(scope="module")
def begun(
    request: pytest.FixtureRequest, database_servers: DatabaseServers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[None]]]:
    """The incidents that are asked for, under way on the servers."""
    folder = tmp_path_factory.mktemp("manual")
    with befalling(asked_for(request), own_servers(database_servers), folder) as begun:
        yield begun


@pytest.mark.parametrize("incident", HERE, ids=lambda incident: incident.name)
def test_whoever_follows_the_manual_cures_it(incident: Incident, begun: Mapping[str, Future[None]]) -> None:
    begun[incident.section].result()


def drill(*arguments: str, typed: str = "") -> tuple[int, str]:
    """Call the tool with these lines typed into its terminal; return its exit code and what was printed."""
    done = subprocess.run(
        [str(PROJECT / "tools" / "sembrar-incidentes"), *arguments],
        input=typed,
        env={**os.environ, "PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout


def test_the_tool_names_its_incidents() -> None:
    assert drill("--lista") == (0, "".join(f"{incident.name}\n" for incident in INCIDENTS))
    assert drill("terremoto") == (2, "uso: tools/sembrar-incidentes --lista | NOMBRE\n")


def test_the_tool_tells_whether_its_incident_was_cured() -> None:
    code, shown = drill("corrida-muerta", typed="visitas status\nvisitas dispatch\n")
    assert "EN_PROCESO" in shown
    assert (code, shown.splitlines()[-1]) == (0, "Curado.")
