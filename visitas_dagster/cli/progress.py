"""A pass as the terminal shows it while it goes: two bars, or a line a file where the output is no terminal.

Drawing progress belongs here, apart from the tables: commands that run nothing start without it.
"""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from visitas_dagster.cli.console import counted, text


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
