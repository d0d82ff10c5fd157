"""How values, tables and a pass are drawn: plain lines without a terminal, and text from outside that stays text.

Drawing belongs here; which values a command draws does not.
"""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from visitas_dagster.cli.console import counted, number, output, print_notes, print_table, state, text
from visitas_dagster.cli.progress import Watch


def plain() -> tuple[Console, io.StringIO]:
    """A console that is no terminal, and what it writes."""
    written = io.StringIO()
    console = output()
    console.file = written
    return console, written


def terminal(width: int = 60) -> tuple[Console, io.StringIO]:
    """A terminal, and what it shows."""
    written = io.StringIO()
    return Console(file=written, force_terminal=True, width=width, highlight=False, markup=False, emoji=False), written


# -------------------------------------------------------------------------------------------------- values


@given(st.text())
def test_text_from_outside_is_itself_but_for_what_cannot_be_printed(value: str) -> None:
    shown = text(value)
    assert len(shown) == len(value)
    assert all(found == (char if char.isprintable() else "�") for found, char in zip(shown, value, strict=True))


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1))
def test_a_value_survives_the_way_to_a_plain_line(value: str) -> None:
    console, written = plain()
    console.print(text(value), soft_wrap=True)
    print_notes(console, [(value, value)])
    assert written.getvalue() == f"{text(value)}\n  {text(value)}: {text(value)}\n"


@pytest.mark.parametrize(
    "value", ["[red]rojo[/]", "[/]", "\\[x]", ":warning:", "[link=http://x.example]y[/link]", "\\", "[b"]
)
def test_neither_markup_nor_emoji_names_mean_anything(value: str) -> None:
    console, written = plain()
    print_table(console, "Título", ("uno", "dos"), [(text(value), "x")])
    print_notes(console, [(value, value)])
    assert written.getvalue().splitlines()[2:] == [f"  {value.ljust(3)}  x", f"  {value}: {value}"]


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "—"), (0, "0"), (999, "999"), (1000, "1 000"), (1234567, "1 234 567")]
)
def test_numbers_have_thousands_apart(value: int | None, shown: str) -> None:
    assert number(value).replace("\u00a0", " ") == shown


def test_one_is_singular() -> None:
    assert [counted(n, "archivo", "archivos") for n in (0, 1, 2)] == ["0 archivos", "1 archivo", "2 archivos"]


# -------------------------------------------------------------------------------------------------- tables


def test_without_a_terminal_a_row_is_one_aligned_line_however_long() -> None:
    console, written = plain()
    print_table(
        console,
        "Archivos",
        ("archivo", ">válidos", "estado"),
        [("a" * 300, "7", state("COMPLETADO")), ("b", "1 000", state("FALLO_LAYOUT"))],
    )
    assert written.getvalue() == (
        "Archivos:\n"
        f"  {'archivo'.ljust(300)}  válidos  estado\n"
        f"  {'a' * 300}        7  COMPLETADO\n"
        f"  {'b'.ljust(300)}    1 000  FALLO_LAYOUT\n"
    )


def test_on_a_terminal_a_table_is_drawn_within_its_width() -> None:
    console, written = terminal(60)
    print_table(console, "Archivos", ("archivo", ">válidos"), [("report_1.txt" * 9, "7")])
    lines = Text.from_ansi(written.getvalue()).plain.splitlines()
    assert lines[0].strip() == "Archivos"
    assert lines[1].startswith("┏")
    assert max(map(len, lines)) <= 60


def test_notes_without_a_word_are_left_out() -> None:
    console, written = plain()
    print_notes(console, [("report_1.txt", ""), ("report_2.txt", "algo")])
    assert written.getvalue() == "  report_2.txt: algo\n"


# ---------------------------------------------------------------------------------------------------- pass


def drive(watch: Watch) -> None:
    """A pass over two files."""
    with watch:
        watch.waiting(2.5, 1)
        watch.waiting(30, 2)
        watch.planned(2, 1)
        watch.step("report_1.txt", "descargar", 100)
        watch.advance("report_1.txt", 100)
        watch.done("report_1.txt", "COMPLETADO")
        watch.step("[red]2", "validar")
        watch.done("[red]2", "FALLO_LAYOUT", "Faltan columnas: [jyv]\x1b[2J")


def test_without_a_terminal_a_pass_is_a_line_a_file() -> None:
    console, written = plain()
    drive(Watch(console))
    assert written.getvalue() == (
        "Esperando 2.5 s a que 1 archivo deje de cambiar…\n"
        "Esperando 30 s a que 2 archivos dejen de cambiar…\n"
        "2 archivos en 1 corrida de Dagster\n"
        "report_1.txt COMPLETADO\n"
        "[red]2 FALLO_LAYOUT: Faltan columnas: [jyv]�[2J\n"
    )


def test_a_pass_without_work_says_nothing() -> None:
    console, written = plain()
    with Watch(console) as watch:
        watch.planned(0, 0)
    assert written.getvalue() == ""


def test_on_a_terminal_a_pass_is_two_bars_that_go_at_the_end() -> None:
    console, written = terminal(100)
    drive(Watch(console))
    shown = Text.from_ansi(written.getvalue()).plain
    assert "━" in shown
    assert "archivos" in shown
    # The files are told by the table that follows.
    assert "COMPLETADO" not in shown
