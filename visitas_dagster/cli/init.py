"""``visitas init``: tables, folders and Dagster's home.

The command's output belongs here; the migrations and the instance have their own modules.
"""

from __future__ import annotations

from visitas_dagster.cli.console import output, text
from visitas_dagster.loading import schema
from visitas_dagster.loading.zone import keep_zone
from visitas_dagster.resources.platform import Platform
from visitas_dagster.settings import load_settings


def run() -> None:
    """Create or upgrade everything that the other commands need; harmless twice."""
    console = output()
    settings = load_settings()
    with Platform(settings) as platform:
        platform.folders.ensure()
        before, after = schema.upgrade(platform.engine)
        keep_zone(platform.engine, settings.zone)
        address = platform.engine.url.render_as_string(hide_password=True)
    # Here, not at the top: Dagster takes seconds, and a database that does not answer is said at once.
    from visitas_dagster.instance import open_instance

    with open_instance(settings):
        pass
    done = f"ya estaban en la versión {after}" if before == after else f"ahora en la versión {after}"
    console.print(f"Tablas: {done} ({text(address)})", soft_wrap=True)
    console.print(f"Carpetas: {text(settings.home)}", soft_wrap=True)
    console.print(f"Dagster: {text(settings.instance_dir)}", soft_wrap=True)
