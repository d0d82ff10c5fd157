"""``visitas demo``: the whole platform on loopback, and what its terminal shows.

The command's output belongs here; the parts it starts are ``visitas_dagster/demo``.
"""

from __future__ import annotations

import os
import shlex
import sys
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from visitas_dagster.cli.console import bold, output, print_table, text
from visitas_dagster.demo.run import Demo
from visitas_dagster.demo.samples import SampleReport

FOLDER = Path("var") / "demo"


def run(port: int | None) -> None:
    """Run until Ctrl-C."""
    console = output()
    with Demo(FOLDER.absolute(), port, on_delivery=lambda report: _delivered(console, report)) as demo:
        console.print("Preparando la demostración: servidor SFTP, tablas en SQLite, web y demonio de Dagster…")
        demo.start()
        _show(console, demo)
        demo.wait()
        console.print("Terminando…")
    console.print(f"Todo terminó. Los datos quedan en {text(FOLDER)} hasta la siguiente demostración.")


def _delivered(console: Console, report: SampleReport) -> None:
    console.print(f"{datetime.now():%H:%M:%S} llegó {report.name}: {report.story}")


def _show(console: Console, demo: Demo) -> None:
    print_table(
        console,
        "Reportes de muestra en el servidor SFTP",
        ("archivo", "qué verá"),
        [(report.name, report.story) for report in demo.reports],
    )
    console.print(
        Text.assemble("\n  Web: ", bold(demo.address), f"   (activos: {demo.address}/asset-groups)\n"), soft_wrap=True
    )
    settings = os.path.relpath(demo.settings_file)
    console.print("En otra terminal, en esta misma carpeta:", soft_wrap=True)
    for line in (
        f"set -a; . {shlex.quote(settings)}; set +a",
        f"{_self()} status",
        f"{_self()} check {shlex.quote(os.path.relpath(demo.example))}",
        f'VISITAS_ALIAS_COLUMNAS="jk=jyv" {_self()} dispatch --reintentar report_4.txt',
    ):
        console.print(f"  {text(line)}", soft_wrap=True)
    console.print("\nCada minuto llega un reporte más. Ctrl-C termina todo.\n")


def _self() -> str:
    """This command as it may be typed here."""
    if os.sep not in sys.argv[0]:
        return "visitas"
    return shlex.quote(min(os.path.relpath(sys.argv[0]), os.path.abspath(sys.argv[0]), key=len))
