"""Every word of Typer's own that an operator can meet: the help pages and the complaints, in Spanish.

The frame of the command line belongs here; what the commands do does not.
"""

import re
from collections.abc import Callable

import pytest
import typer
from typer.exceptions import TyperException

from visitas_dagster.cli.app import app
from visitas_dagster.cli.ending import exit_code
from visitas_dagster.cli.wording import OPTIONS, SpanishCommand, SpanishGroup, complaint

Call = Callable[..., tuple[int, str, str]]

COMMANDS = [str(command.name or getattr(command.callback, "__name__", "")) for command in app.registered_commands]

# What Typer, Click and Pydantic would say, and the names they give to types.
ENGLISH = re.compile(
    r"usage|options?\b|arguments?\b|commands?\b|show this|message|exit|default|required|missing|invalid|value|such|"
    r"try |for help|did you|input|should|error|<|\{|INTEGER|TEXT|PATH|x>=|x<=",
    re.IGNORECASE,
)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Give a caller of the command line in this process: exit code, stdout, stderr."""

    def called(*arguments: str) -> tuple[int, str, str]:
        code = exit_code(lambda: app(list(arguments), prog_name="visitas", standalone_mode=False))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return called


# ---------------------------------------------------------------------------------------------------- help


def test_the_commands_are_those_of_the_contract() -> None:
    contract = [
        "demo",
        "init",
        "dispatch",
        "close",
        "status",
        "check",
        "explain",
        "replay",
        "release",
        "forget",
        "report",
    ]
    assert set(COMMANDS) <= set(contract)
    assert {"demo", "init", "dispatch", "status", "check"} <= set(COMMANDS)


def test_help_names_usage_options_and_commands(call: Call) -> None:
    code, out, err = call("--help")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "Uso: visitas [OPCIONES] COMANDO [ARGUMENTOS]..."
    assert lines[2] == "  Lleva los reportes de visitas del servidor SFTP a la base de datos, cada uno"
    assert lines[lines.index("Opciones:") + 1] == "  -h, --help  Muestra esta ayuda y termina."
    listed = [match[1] for line in lines[lines.index("Comandos:") :] if (match := re.match(r"  (\w+)  ", line))]
    assert listed == COMMANDS


def test_no_command_at_all_shows_the_help_and_is_wrong_use(call: Call) -> None:
    _, shown, _ = call("--help")
    assert call() == (2, shown, "")
    assert call("--") == (2, shown, "")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_each_command_has_help(call: Call, option: str) -> None:
    for command in COMMANDS:
        code, out, err = call(command, option)
        assert (code, err) == (0, "")
        assert out.startswith(f"Uso: visitas {command} [OPCIONES]")
        assert "-h, --help" in out
        assert "Muestra esta ayuda y termina." in out


def test_no_word_of_any_help_is_english(call: Call) -> None:
    for arguments in ([], *([command] for command in COMMANDS)):
        _, out, _ = call(*arguments, "--help")
        # Their names are what is typed, in no language.
        spanish = re.sub(r"(?<!\w)--?[a-z-]+|visitas \w+|^  \w+  |VISITAS_\w+", "", out, flags=re.MULTILINE)
        assert ENGLISH.findall(spanish) == []


def test_an_arguments_help_tells_that_it_must_be_there(call: Call) -> None:
    _, out, _ = call("check", "--help")
    assert out.splitlines() == [
        "Uso: visitas check [OPCIONES] ARCHIVO",
        "",
        "  Valida un archivo local y muestra qué pasaría con él; no escribe nada.",
        "",
        "Argumentos:",
        "  ARCHIVO  Ruta del archivo.  [obligatorio]",
        "",
        "Opciones:",
        "  --contra-base  Compara también con lo cargado: qué cambiaría como",
        "                 corrección.",
        "  -h, --help     Muestra esta ayuda y termina.",
    ]


def test_a_range_and_a_default_are_told_in_spanish(capsys: pytest.CaptureFixture[str]) -> None:
    made = typer.Typer(cls=SpanishGroup, add_completion=False, rich_markup_mode=None)

    @made.callback()
    def _group() -> None: ...

    @made.command(cls=SpanishCommand, options_metavar=OPTIONS)
    def medir(
        entre: int = typer.Option(3, "--entre", min=1, max=9, metavar="N", help="Primera."),
        desde: int = typer.Option(..., "--desde", min=-2, metavar="N", help="Segunda."),
        hasta: int = typer.Option(None, "--hasta", max=5, metavar="N", help="Tercera [con corchetes]."),
    ) -> None: ...

    made(["medir", "--help"], prog_name="prueba", standalone_mode=False)
    shown = capsys.readouterr().out
    assert "Primera.  [si no se dice: 3; de 1 a 9]" in shown
    assert "Segunda.  [-2 o más; obligatorio]" in shown
    assert "Tercera [con corchetes].  [5 o menos]" in shown


# ---------------------------------------------------------------------------------------------- complaints


@pytest.mark.parametrize(
    ("line", "said", "more"),
    [
        ("statu", "no existe el comando «statu» (¿quiso decir status?)", "visitas --help"),
        ("borrar", "no existe el comando «borrar»", "visitas --help"),
        ("-x", "no existe la opción -x", "visitas --help"),
        ("--ayuda", "no existe la opción --ayuda", "visitas --help"),
        ("--help=3", "la opción --help no lleva valor", "visitas --help"),
        ("dispatch --limit 3", "no existe la opción --limit (¿quiso decir --limite?)", "visitas dispatch --help"),
        ("dispatch -n 3", "no existe la opción -n", "visitas dispatch --help"),
        ("dispatch --limite", "la opción --limite pide un valor", "visitas dispatch --help"),
        ("dispatch --reintentar", "la opción --reintentar pide un valor", "visitas dispatch --help"),
        (
            "dispatch --limite tres",
            "el valor de --limite no sirve: debe ser un número entero",
            "visitas dispatch --help",
        ),
        (
            "dispatch --limite 1.5",
            "el valor de --limite no sirve: debe ser un número entero",
            "visitas dispatch --help",
        ),
        ("dispatch --limite=", "el valor de --limite no sirve: debe ser un número entero", "visitas dispatch --help"),
        (
            f"dispatch --limite {'9' * 5000}",
            "el valor de --limite no sirve: debe ser un número entero",
            "visitas dispatch --help",
        ),
        ("dispatch --limite 0", "el valor de --limite no sirve: debe ser 1 o mayor", "visitas dispatch --help"),
        ("dispatch report_1.txt", "sobra «report_1.txt»", "visitas dispatch --help"),
        ("demo --puerto 65536", "el valor de --puerto no sirve: debe ser 65535 o menor", "visitas demo --help"),
        ("check", "falta ARCHIVO", "visitas check --help"),
        ("check uno dos tres", "sobra «dos tres»", "visitas check --help"),
        ("status uno", "sobra «uno»", "visitas status --help"),
        ("init uno", "sobra «uno»", "visitas init --help"),
    ],
)
def test_wrong_use_is_one_line_and_where_to_read_more(call: Call, line: str, said: str, more: str) -> None:
    assert call(*line.split()) == (2, "", f"visitas: {said}\nvisitas: ayuda: {more}\n")


def test_an_empty_name_is_no_command(call: Call) -> None:
    assert call("") == (2, "", "visitas: no existe el comando «»\nvisitas: ayuda: visitas --help\n")


def test_what_was_typed_moves_no_cursor(call: Call) -> None:
    for typed in ("\x1b[2J\x07", "a\nb", "\u202e"):
        _, out, err = call(typed)
        assert out == ""
        assert err.count("\n") == 2
        assert all(char.isprintable() for char in err.replace("\n", ""))


def test_a_complaint_that_nobody_foresaw_is_still_spanish() -> None:
    assert complaint(TyperException("Quite unheard of.")) == (
        "la línea de órdenes no se entiende",
        "visitas --help",
    )
