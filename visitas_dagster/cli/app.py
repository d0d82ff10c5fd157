"""The command ``visitas`` and its sub-commands: their arguments, options and help.

What is typed belongs here; each command's work stands in its own module, imported when it is called, so that
``visitas --help`` does not pay for Dagster. A command's function brings its module in and returns the work to do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from visitas_dagster import collector, interrupts, spared
from visitas_dagster.cli.ending import DONE, NEEDS_PERSON, WRONG_USE, exit_code, notices_to_stderr
from visitas_dagster.cli.wording import OPTIONS, SUBCOMMAND, SpanishCommand, SpanishGroup

Work = Callable[[], object]
"""What a command does; it returns something true where it leaves work to a person."""


def _perform(work: Work, **_options: object) -> None:
    """Do a command's work, once its modules are in; leave with its exit code."""
    collector.resume()
    raise typer.Exit(NEEDS_PERSON if work() else DONE)


app = typer.Typer(
    name="visitas",
    cls=SpanishGroup,
    result_callback=_perform,
    help="Lleva los reportes de visitas del servidor SFTP a la base de datos, cada uno exactamente una vez.",
    options_metavar=OPTIONS,
    subcommand_metavar=SUBCOMMAND,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_command = partial(app.command, cls=SpanishCommand, options_metavar=OPTIONS)


@app.callback()
def _group(context: typer.Context) -> None:
    """Without a command there is nothing to do but to show which there are."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(WRONG_USE)


@_command(help="Crea o actualiza las tablas, las carpetas y la instancia de Dagster.")
def init() -> Work:
    """Create or upgrade the tables, the folders and Dagster's home."""
    from visitas_dagster.cli import init as command

    return command.run


@_command(help="Una pasada sin el demonio: procesa todo archivo pendiente con corridas de Dagster.")
def dispatch(
    limite: Annotated[
        int | None, typer.Option("--limite", min=1, metavar="N", help="A lo más N archivos en esta pasada.")
    ] = None,
    reintentar: Annotated[
        list[str] | None,
        typer.Option(
            "--reintentar",
            metavar="NOMBRE",
            help="Toma también este archivo aunque haya fallado; se puede repetir.",
        ),
    ] = None,
) -> Work:
    """Take every pending file."""
    from visitas_dagster.cli import dispatch as command

    return partial(command.run, limite, reintentar or [])


@_command(help="El cierre diario: pendientes, respaldo sellado, retención y reportes; sin fecha, ayer y lo que falte.")
def close(
    fecha: Annotated[
        str | None, typer.Option("--fecha", metavar="AAAA-MM-DD", help="Cierra solo ese día; puede ser hoy.")
    ] = None,
) -> Work:
    """Close a day."""
    from visitas_dagster.cli import close as command

    return partial(command.run, fecha)


@_command(help="Lo pendiente, lo que corre, lo que falló y lo que está en cuarentena.")
def status(
    vigilar: Annotated[
        bool,
        typer.Option(
            "--vigilar", help="Para cron o systemd: avisa y termina con 1 si se detuvo el demonio o dejaron de llegar."
        ),
    ] = False,
) -> Work:
    """Show what is pending, running, failed and quarantined; or watch over the daemon and the arrivals."""
    if vigilar:
        from visitas_dagster.cli import vigilar as watching

        return watching.run
    from visitas_dagster.cli import status as command

    return command.run


_Names = Annotated[list[str], typer.Argument(metavar="NOMBRE", help="Nombres de archivos.", show_default=False)]


@_command(help="La historia entera de un archivo: intentos, estados, corridas, mensajes, dónde están sus bytes.")
def explain(
    nombre: Annotated[str, typer.Argument(metavar="NOMBRE", help="Nombre del archivo.", show_default=False)],
) -> Work:
    """Tell a file's whole story."""
    from visitas_dagster.cli import explain as command

    return partial(command.run, nombre)


@_command(help="Corre otra vez archivos cargados o fallidos, desde el servidor, la cuarentena o el respaldo.")
def replay(
    nombres: _Names,
    version: Annotated[
        int | None,
        typer.Option(
            "--version",
            min=1,
            metavar="N",
            help="Vuelve a esa versión de un solo archivo, desde su copia; las muestra visitas explain.",
        ),
    ] = None,
) -> Work:
    """Run files again."""
    from visitas_dagster.cli import dispatch as command

    return partial(command.replay, nombres, version)


@_command(help="Deja que un archivo en cuarentena pase de nuevo: lo toma la siguiente pasada.")
def release(
    nombres: Annotated[
        list[str] | None, typer.Argument(metavar="NOMBRE", help="Nombres de archivos.", show_default=False)
    ] = None,
    todos: Annotated[bool, typer.Option("--todos", help="Todos los fallidos que esperan a una persona.")] = False,
) -> Work:
    """Let quarantined files go through again."""
    from visitas_dagster.cli import release as command

    return partial(command.run, nombres or [], everything=todos)


@_command(help="Borra a una persona de tablas, rechazos, bitácoras, cuarentena y respaldos sin sellar; queda auditado.")
def forget(
    correo: Annotated[
        str,
        typer.Argument(
            metavar="CORREO", help="Dirección de la persona; «-» la lee de la entrada estándar.", show_default=False
        ),
    ],
) -> Work:
    """Erase a person."""
    from visitas_dagster.cli import forget as command

    return partial(command.run, correo)


@_command(help="El reporte de un día o de un mes, como tabla y en reportes/ (HTML, JSON y CSV); sin más, el de hoy.")
def report(
    dia: Annotated[str | None, typer.Option("--dia", metavar="AAAA-MM-DD", help="El de ese día.")] = None,
    mes: Annotated[str | None, typer.Option("--mes", metavar="AAAA-MM", help="El de ese mes.")] = None,
) -> Work:
    """Show and write a report."""
    from visitas_dagster.cli import report as command

    return partial(command.run, dia, mes)


@_command(help="Valida un archivo local y muestra qué pasaría con él; no escribe nada.")
def check(
    archivo: Annotated[
        # Whether it can be read is told by the command, in Spanish.
        Path, typer.Argument(metavar="ARCHIVO", help="Ruta del archivo.", show_default=False, readable=False)
    ],
    contra_base: Annotated[
        bool, typer.Option("--contra-base", help="Compara también con lo cargado: qué cambiaría como corrección.")
    ] = False,
) -> Work:
    """Validate one local file."""
    from visitas_dagster.cli import check as command

    return partial(command.run, archivo, against_database=contra_base)


@_command(help="Todo embebido en esta máquina: servidor SFTP con muestras, SQLite, web, sensor. Ctrl-C termina.")
def demo(
    puerto: Annotated[
        int | None,
        typer.Option("--puerto", min=1, max=65535, metavar="N", help="Puerto de la web; uno libre si no se dice."),
    ] = None,
) -> Work:
    """Run the whole platform on loopback."""
    from visitas_dagster.cli import demo as command

    return partial(command.run, puerto)


def main() -> None:
    """Run a command and leave with its exit code; what goes wrong is one line on stderr, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no Spanish letters shows a sign in their place.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a stream of text, as every program's
    collector.rest()
    notices_to_stderr()
    spared.leave_out()
    with interrupts.raised_again():
        code = exit_code(lambda: app(prog_name="visitas", standalone_mode=False))
    collector.spare_the_end()
    sys.exit(code)
