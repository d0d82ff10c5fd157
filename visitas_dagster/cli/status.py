"""``visitas status``: what is pending, running, failed and quarantined, at a glance.

The order in which both servers are asked belongs here; what is shown of their answers has its own module.
"""

from __future__ import annotations

from visitas_dagster import collector
from visitas_dagster.resources.database_url import is_plain
from visitas_dagster.resources.platform import Platform
from visitas_dagster.settings import load_settings


def run() -> None:
    """Show it. What the database knows is shown even where the server does not answer."""
    with Platform(load_settings()) as platform:
        if not is_plain(platform.settings.database_url):
            # It may be wrong, and nobody is called before every setting is known to be right.
            _ = platform.engine
        # The handshake waits for the server, 80 ms of it: SQLAlchemy comes in meanwhile, and the database is asked.
        platform.sftp.begin()
        with collector.resting():
            from visitas_dagster.cli import overview
        overview.show(platform)
