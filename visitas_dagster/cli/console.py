"""What the terminal shows: tables, progress bars, and plain lines where the output is no terminal.

Drawing belongs here; what is drawn comes from the commands. No string is ever read as markup: names and messages
come from outside, and colour is put on as `rich.text.Text`.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
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


class Watch:
    """Shows a pass as it goes: two bars on a terminal, a line per file elsewhere."""

    def __init__(self, console: Console) -> None:
        """Nothing is drawn before :meth:`planned`."""
        self._console = console
        self._drawn = console.is_terminal
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not self._drawn,
            transient=True,
        )
        self._overall = self._progress.add_task("archivos", total=None, visible=False)
        self._current = self._progress.add_task("", total=None, visible=False)

    def __enter__(self) -> Watch:
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing."""
        self._progress.stop()

    def waiting(self, seconds: float, files: int) -> None:
        """See :class:`visitas_dagster.dispatch.PassObserver`."""
        self._console.print(
            f"Esperando {seconds:g} s a que {counted(files, 'archivo deje', 'archivos dejen')} de cambiar…"
        )

    def planned(self, files: int, runs: int) -> None:
        """See :class:`visitas_dagster.dispatch.PassObserver`."""
        if files:
            self._console.print(
                f"{counted(files, 'archivo', 'archivos')} en {counted(runs, 'corrida', 'corridas')} de Dagster"
            )
            self._progress.reset(self._overall, total=files, visible=True)

    def step(self, archivo: str, step: str, total: int | None = None) -> None:
        """See :class:`visitas_dagster.resources.platform.Observer`."""
        # A new bar: a used one keeps its total where none is known.
        self._progress.remove_task(self._current)
        self._current = self._progress.add_task(f"{step} {text(archivo)}", total=total)

    def advance(self, archivo: str, amount: int) -> None:
        """See :class:`visitas_dagster.resources.platform.Observer`."""
        self._progress.advance(self._current, amount)

    def done(self, archivo: str, estado: str, detail: str = "") -> None:
        """See :class:`visitas_dagster.resources.platform.Observer`."""
        self._progress.advance(self._overall)
        if not self._drawn:
            self._console.print(f"{text(archivo)} {estado}" + (f": {text(detail)}" if detail else ""))
