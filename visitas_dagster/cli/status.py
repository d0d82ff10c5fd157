"""``visitas status``: what is pending, running, failed and quarantined, at a glance.

The order in which both servers are asked belongs here; what is shown of their answers has its own module.
"""

from __future__ import annotations

from visitas_dagster import collector
from visitas_dagster.aside import Aside
from visitas_dagster.resources.database_url import is_plain
from visitas_dagster.resources.platform import Platform
from visitas_dagster.settings import load_settings


def run() -> None:
    """Show it. What the database knows is shown even where the server does not answer."""
    with Platform(load_settings()) as platform:
        if not is_plain(platform.settings.database_url):
            # It may be wrong, and nobody is called before every setting is known to be right.
            _ = platform.engine
        # Half of a start is imports, and an interpreter imports on one processor only: paramiko comes in and calls the
        # server in a process of its own, while this one brings in SQLAlchemy and asks the database.
        with Aside(lambda: platform.sftp.list()) as listing:
            with collector.resting():
                from visitas_dagster.cli import overview
            overview.show(platform, listing.answer)
