"""``visitas status``: what is pending, running, failed and quarantined, at a glance.

The order in which both servers are asked belongs here; what is shown of their answers has its own module.
"""

from __future__ import annotations

from visitas_dagster.resources.platform import Platform
from visitas_dagster.settings import load_settings


def run() -> None:
    """Show it. What the database knows is shown even where the server does not answer."""
    with Platform(load_settings()) as platform:
        # Who has written a wrong URL is told before anything is connected.
        _ = platform.engine
        # The handshake is waiting, 70 ms of it: the rest comes in meanwhile, and the database is asked.
        platform.sftp.begin()
        from visitas_dagster.cli import overview

        overview.show(platform)
