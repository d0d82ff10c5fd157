"""Typer's own words in Spanish: the frame of its help pages, and its complaints about a command line.

What Typer itself says belongs here; what a command says of its work does not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

if TYPE_CHECKING:
    _Command = TyperCommand
else:
    _Command = object

OPTIONS = "[OPCIONES]"
SUBCOMMAND = "COMANDO [ARGUMENTOS]..."

# Typer's complaints, each as it comes, and what is said instead; `{}` are the groups in their order.
_COMPLAINTS = (
    (r"No such option: (.+) \(Possible options: (.+)\)", "no existe la opción {} (¿quiso decir {}?)"),
    (r"No such option: (.+)", "no existe la opción {}"),
    (r"No such command '(.*)'\. Did you mean (.+)\?", "no existe el comando «{}» (¿quiso decir {}?)"),
    (r"No such command '(.*)'\.", "no existe el comando «{}»"),
    (r"Option '(.+)' requires an argument\.", "la opción {} pide un valor"),
    (r"Option '(.+)' does not take a value\.", "la opción {} no lleva valor"),
    (r"Missing argument '(.+)'\.", "falta {}"),
    (r"Missing option '(.+)'\.", "falta la opción {}"),
    (r"Got unexpected extra argument\(s\) \((.*)\)", "sobra «{}»"),
    (r"Invalid value for (.+?): (.*)", "el valor de {} no sirve: {}"),
)

# The same for Pydantic's, which judges the values.
_VALUES = (
    (r"(?:Input should be a valid|Unable to parse input string as an) integer.*", "debe ser un número entero"),
    (r"Input should be greater than or equal to (.+)", "debe ser {} o mayor"),
    (r"Input should be less than or equal to (.+)", "debe ser {} o menor"),
)

# What Typer adds in brackets to the explanation of a parameter.
_NOTES = (
    (r"\brequired\b", "obligatorio"),
    (r"\bdefault: ", "si no se dice: "),
    (r"(-?\d+)<=x<=(-?\d+)", r"de \1 a \2"),
    (r"x>=(-?\d+)", r"\1 o más"),
    (r"x<=(-?\d+)", r"\1 o menos"),
)


class _Spanish(_Command):
    """What a command and the group of commands have in common."""

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option ``--help``."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.help = "Muestra esta ayuda y termina."
        return option

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """Write the first line."""
        pieces = [re.sub("[{}]", "", piece) for piece in self.collect_usage_pieces(ctx)]
        formatter.write_usage(ctx.command_path, " ".join(pieces), prefix="Uso: ")

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and the options."""
        for kind, title in (("argument", "Argumentos"), ("option", "Opciones")):
            _write_section(
                formatter,
                title,
                [
                    (re.sub(r" <[\w\[\]]+>", "", name), _translated_notes(explained))
                    for param in self.get_params(ctx)
                    if param.param_type_name == kind and (record := param.get_help_record(ctx)) is not None
                    for name, explained in [record]
                ],
            )

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse; every complaint knows the command it is about."""
        try:
            return super().parse_args(ctx, args)
        except TyperException as error:
            if getattr(error, "ctx", None) is None:
                error.ctx = ctx  # type: ignore[attr-defined]  # those of the parser come without
            raise


class SpanishCommand(_Spanish, TyperCommand):
    """One command."""


class SpanishGroup(_Spanish, TyperGroup):
    """The group of commands."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options and the commands."""
        super().format_options(ctx, formatter)
        commands = [(name, self.commands[name].get_short_help_str(1000)) for name in self.list_commands(ctx)]
        _write_section(formatter, "Comandos", commands)


def _write_section(formatter: Any, title: str, rows: Sequence[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)


def _translated_notes(explained: str) -> str:
    text, bracket, notes = explained.rpartition("  [")
    if not bracket:
        return explained
    for pattern, spanish in _NOTES:
        notes = re.sub(pattern, spanish, notes)
    return text + bracket + notes


def complaint(error: TyperException) -> tuple[str, str]:
    """Return what is wrong with a command line, and which command's help tells more.

    A complaint that this release of Typer did not make before is said in general terms: an operator reads Spanish.
    """
    message = error.format_message()
    said = _translated(message, _COMPLAINTS) or "la línea de órdenes no se entiende"
    said = re.sub(r"'([^']*)'", r"\1", said)
    context = getattr(error, "ctx", None)
    return said, f"{context.command_path if context else 'visitas'} --help"


def _translated(message: str, phrases: Sequence[tuple[str, str]]) -> str | None:
    for pattern, spanish in phrases:
        if found := re.fullmatch(pattern, message, re.DOTALL):
            return spanish.format(*(_translated(part, _VALUES) or part for part in found.groups()))
    return None
