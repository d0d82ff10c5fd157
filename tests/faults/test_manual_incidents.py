"""Somebody with nothing but the manual cures seeded incidents: its commands are typed as they stand on the page.

Going along the manual and judging the end belongs here; how an incident comes about is `incidents.py`.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.disks import SmallDisk, can_mount
from tests.support.fixtures import DatabaseServers
from tests.support.incidents import INCIDENTS, Incident
from tests.support.manual import sections
from tests.support.servers import LocalDatabaseServer, available_engines
from tests.support.site import PROJECT, Site

DISK = 16 << 20
HERE = [incident for incident in INCIDENTS if can_mount() or not incident.needs_disk]


@pytest.fixture(params=HERE, ids=lambda incident: incident.name)
def incident(request: pytest.FixtureRequest) -> Incident:
    found: Incident = request.param
    return found


@pytest.fixture
def site(incident: Incident, database_servers: DatabaseServers, tmp_path: Path) -> Iterator[Site]:
    engine = incident.engine if incident.engine in available_engines() else "mariadb"
    server = database_servers.get(engine)
    if not isinstance(server, LocalDatabaseServer):
        # Somebody else's server is no place for a database called `visitas`.
        server = database_servers.get("mariadb")
    assert isinstance(server, LocalDatabaseServer)
    with ExitStack() as stack:
        disk = stack.enter_context(SmallDisk(tmp_path / "disco", DISK)).path if incident.needs_disk else None
        yield stack.enter_context(Site(tmp_path, server, disk))


def test_whoever_follows_the_manual_cures_it(incident: Incident, site: Site) -> None:
    incident.befall(site, sections()[incident.section])


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
