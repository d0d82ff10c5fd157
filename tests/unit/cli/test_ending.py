"""The exit code and the one line on stderr for everything that a command can end with.

Calling what ends in a given way belongs here; real commands are called in `tests/integration`.
"""

import logging
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

from visitas_dagster.cli.ending import Interrupted, exit_code, notices_to_stderr
from visitas_dagster.domain.failures import (
    LayoutFailure,
    PermanentFailure,
    SettingsError,
    TransientFailure,
    UsageError,
)

Outcome = tuple[int, str, str]


@pytest.fixture(autouse=True)
def _own_installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A home and a folder of the test's own, and Ctrl-C as it was."""
    monkeypatch.setenv("VISITAS_HOME", str(tmp_path / "etl"))
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture
def ended(capsys: pytest.CaptureFixture[str]) -> Callable[[BaseException | int | None], Outcome]:
    """Give a caller of a command that returns a code or raises."""

    def call(outcome: BaseException | int | None) -> Outcome:
        def command() -> int | None:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        code = exit_code(command)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


Ended = Callable[[BaseException | int | None], Outcome]


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1), (2, 2)])
def test_what_a_command_returns_is_the_code(ended: Ended, returned: int | None, code: int) -> None:
    assert ended(returned) == (code, "", "")


@pytest.mark.parametrize(
    ("failure", "code", "line"),
    [
        (SettingsError("VISITAS_X", "falta", "escríbala"), 2, "VISITAS_X: falta. Escríbala"),
        (UsageError("nadie conoce «a»"), 2, "nadie conoce «a»"),
        (PermanentFailure("no hay espacio", "libere espacio"), 1, "no hay espacio. Libere espacio"),
        (TransientFailure("no responde.", "é"), 1, "no responde. É"),
        (LayoutFailure("Faltan columnas: jyv"), 1, "Faltan columnas: jyv"),
    ],
)
def test_a_failure_is_one_line_with_its_cure(ended: Ended, failure: Exception, code: int, line: str) -> None:
    assert ended(failure) == (code, "", f"visitas: {line}\n")


def test_whatever_a_message_holds_it_stays_one_harmless_line(ended: Ended) -> None:
    assert ended(PermanentFailure("uno\ndos\x1b[2J\u202e [red]tres", "cuatro\r")) == (
        1,
        "",
        "visitas: uno dos�[2J� [red]tres. Cuatro\n",
    )


def test_an_interruption_says_so_with_the_shells_code(ended: Ended) -> None:
    assert ended(KeyboardInterrupt()) == (130, "", "visitas: interrumpido\n")
    # What Typer makes of Ctrl-C.
    assert ended(130) == (130, "", "visitas: interrumpido\n")
    assert ended(Interrupted("interrumpido", "nada se perdió")) == (130, "", "visitas: interrumpido. Nada se perdió\n")


def test_a_second_interruption_ends_the_process_at_once(ended: Ended) -> None:
    ended(KeyboardInterrupt())
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL


def test_leaving_is_left_alone() -> None:
    def leave() -> None:
        raise SystemExit(7)

    with pytest.raises(SystemExit) as caught:
        exit_code(leave)
    assert caught.value.code == 7


# ------------------------------------------------------------------------------------------------- defects


def test_a_defect_is_one_line_and_its_traceback_is_kept(ended: Ended, tmp_path: Path) -> None:
    code, out, err = ended(KeyError("ahí\nno"))
    assert (code, out) == (1, "")
    found = re.fullmatch(
        r"visitas: error inesperado, KeyError: 'ahí\\nno'\. "
        r"El detalle está en (.+): envíelo a quien mantiene visitas\n",
        err,
    )
    assert found is not None
    path = Path(found[1])
    assert re.fullmatch(r"etl/logs/\d{8}/error_\d{6}_\d+\.log", str(path.relative_to(tmp_path)))
    kept = path.read_text(encoding="utf-8")
    assert kept.splitlines()[1] == "Traceback (most recent call last):"
    assert kept.splitlines()[-1] == r"KeyError: 'ahí\nno'"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("VISITAS_HOME", "{tmp}/archivo/etl", "{tmp}/archivo/etl/logs: en la ruta hay algo que no es una carpeta"),
        ("VISITAS_SFTP_PORT", "x", "VISITAS_SFTP_PORT: debe ser un número entero"),
    ],
)
def test_a_traceback_that_cannot_be_kept_is_said(
    ended: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    (tmp_path / "archivo").touch()
    monkeypatch.setenv(name, value.format(tmp=tmp_path))
    code, _, err = ended(ValueError("mal"))
    assert code == 1
    # The system names the folder whose making failed first.
    err = re.sub(r"logs/\d{8}", "logs", err)
    assert err == (
        f"visitas: error inesperado, ValueError: mal. El detalle no se pudo guardar: {reason.format(tmp=tmp_path)}; "
        "corrija eso y repita la orden\n"
    )


def test_a_defect_of_typer_itself_is_one_too(ended: Ended) -> None:
    code, _, err = ended(typer.Abort())
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("visitas: error inesperado, Abort")


# ------------------------------------------------------------------------------------------------- notices


@pytest.fixture
def _bare_loggers() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("", "visitas", "visitas_dagster")]
    before = [list(logger.handlers) for logger in loggers]
    yield
    for logger, handlers in zip(loggers, before, strict=True):
        logger.handlers = handlers


@pytest.mark.usefixtures("_bare_loggers")
def test_our_notices_are_shown_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    notices_to_stderr()
    for number in (1, 2, 1):
        logging.getLogger("visitas.carga").warning("algo %s", f"despacio {number}\x1b[0m")
    logging.getLogger("visitas_dagster.demo.samples").warning("otra cosa")
    logging.getLogger("visitas").info("nada")
    logging.getLogger("sqlalchemy.pool").error("Exception closing connection")
    assert capsys.readouterr().err == (
        "visitas: aviso: algo despacio 1�[0m\nvisitas: aviso: algo despacio 2�[0m\nvisitas: aviso: otra cosa\n"
    )
