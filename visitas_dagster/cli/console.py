"""What the terminal shows: tables, and plain lines where the output is no terminal.

Drawing belongs here; what is drawn comes from the commands. No string is ever read as markup: names and messages
come from outside, and colour is put on as `rich.text.Text`.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

COLOURS = {
    "COMPLETADO": "green",
    "COMPLETADO_CON_ERRORES": "yellow",
    "DUPLICADO": "cyan",
    "FALLO_LAYOUT": "red",
    "FALLO_SISTEMA": "red",
    "EN_PROCESO": "blue",
}

_PLAIN_WIDTH = 1 << 16


def output() -> Console:
    """The console for results. Without a terminal no line is folded, so that grep finds it whole."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=_PLAIN_WIDTH, no_color=True)
    return console


def text(value: object) -> str:
    """Text from outside without the characters that move a cursor or hide others."""
    return "".join(char if char.isprintable() else "�" for char in str(value))


def state(estado: str) -> Text:
    """A state in its colour."""
    return Text(text(estado), COLOURS.get(estado, "white"))


def bold(value: object) -> Text:
    """Text from outside, in bold."""
    return Text(text(value), "bold")


def number(value: int | None) -> str:
    """A count with thousands apart; a dash where there is none."""
    return "—" if value is None else f"{value:,}".replace(",", " ")


def counted(value: int, one: str, many: str) -> str:
    """A count with its noun."""
    return f"{number(value)} {one if value == 1 else many}"


def print_table(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
    """Print rows under their headings: drawn on a terminal; one aligned line a row elsewhere.

    Args:
        console: where to.
        title: stands above.
        columns: the headings; one that begins with ``>`` is over numbers, set to the right.
        rows: the cells, those from outside through :func:`text`.
    """
    if not console.is_terminal:
        _print_plain(console, title, columns, rows)
        return
    drawn = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for heading in columns:
        drawn.add_column(heading.lstrip(">"), justify="right" if heading[0] == ">" else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    console.print(drawn)


def _print_plain(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
    plain = [[heading.lstrip(">") for heading in columns], *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[place]) for row in plain) for place in range(len(columns))]
    console.print(f"{title}:")
    for row in plain:
        cells = [
            cell.rjust(width) if heading[0] == ">" else cell.ljust(width)
            for cell, width, heading in zip(row, widths, columns, strict=True)
        ]
        console.print("  " + "  ".join(cells).rstrip())


def print_notes(console: Console, notes: Sequence[tuple[str, str]]) -> None:
    """Print what there is to say of some files, one line or paragraph each; empty ones are left out."""
    for archivo, note in notes:
        if note:
            console.print(Text.assemble("  ", bold(archivo), f": {text(note)}"))
