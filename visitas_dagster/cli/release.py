"""``visitas release``: lets quarantined files go through again at the next pass.

The command's output belongs here; what a release means to the ladder is ``domain/ladder.py``.
"""

from __future__ import annotations

import getpass
from collections.abc import Sequence

from rich.text import Text

from visitas_dagster.cli.console import output, state, text
from visitas_dagster.domain.failures import UsageError
from visitas_dagster.loading import schema
from visitas_dagster.loading.history import History
from visitas_dagster.loading.ledger import Ledger
from visitas_dagster.resources.platform import Platform
from visitas_dagster.settings import load_settings


def run(names: Sequence[str], *, everything: bool = False) -> None:
    """Release each name, or every failed file that waits for a person.

    Raises:
        UsageError: a name has no failed version, in which case none is released; or it is not said what to release.
    """
    if bool(names) == everything:
        raise UsageError("NOMBRE: escriba los nombres, o --todos", "véalos con: visitas status")
    console = output()
    with Platform(load_settings()) as platform:
        schema.require_current(platform.engine)
        ledger = Ledger(platform.engine, platform.clock, platform.settings.zone)
        if everything:
            names = History(platform.engine, platform.settings.zone).failed_names()
            if not names:
                console.print("No hay archivos fallidos.")
        failed = ledger.failed_versions(names)
        for archivo in names:
            if archivo not in failed:
                raise UsageError(f"«{archivo}» no tiene una versión fallida", "véalas con: visitas status")
        for archivo in dict.fromkeys(names):
            estado = ledger.release(archivo, operator())
            console.print(
                Text.assemble(f"{text(archivo)} (", state(estado or ""), ") queda libre: la siguiente pasada lo toma.")
            )


def operator() -> str:
    """Who types, for the audit trail; a user id without a name is still somebody."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "desconocido"
