"""``visitas forget``: erases a person, and says where they still stand and until when.

The command's output belongs here; what an erasure does is ``visitas_dagster/erasure.py``.
"""

from __future__ import annotations

import sys

from rich.console import Console

from visitas_dagster.cli.console import counted, output, text
from visitas_dagster.cli.release import operator
from visitas_dagster.erasure import Erasure, forget, normalized
from visitas_dagster.loading import schema
from visitas_dagster.resources.platform import Platform
from visitas_dagster.settings import load_settings


def run(address: str) -> None:
    """Erase the person; the address is not printed: what a terminal shows may be kept."""
    person = normalized(sys.stdin.readline() if address == "-" else address)
    with Platform(load_settings()) as platform:
        schema.require_current(platform.engine)
        platform.folders.ensure()
        _tell(output(), forget(platform, person, operator()))


def _tell(console: Console, done: Erasure) -> None:
    console.print("Persona olvidada.")
    for count, one, many in (
        (done.visits, "visita quedó sin nombre", "visitas quedaron sin nombre"),
        (done.mentions, "mención en visitas de otros quedó tapada", "menciones en visitas de otros quedaron tapadas"),
        (done.rejects, "registro rechazado quedó vacío", "registros rechazados quedaron vacíos"),
        (len(done.copies), "archivo reescrito:", "archivos reescritos:"),
    ):
        console.print(f"  {counted(count, one, many)}")
    for path in done.copies:
        console.print(f"    {text(path)}", soft_wrap=True)
    if done.sealed:
        console.print("Sigue en respaldos sellados, que no se abren; se borran solos al cumplir su plazo:")
        for sealed in done.sealed:
            console.print(f"    {text(sealed.path)}, hasta el {sealed.until:%Y-%m-%d}", soft_wrap=True)
    else:
        console.print("No queda en ningún respaldo sellado.")
    console.print("Lo que llegue o se repita con esa dirección se carga sin nombre. Quedó anotado en auditoria.")
