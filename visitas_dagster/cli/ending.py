"""How a command ends: its exit code and, where something went wrong, one line on stderr.

Turning whatever a command raises into that line belongs here, with all else that goes to stderr; the commands do not.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from typer.exceptions import TyperException

from visitas_dagster.cli.wording import complaint
from visitas_dagster.domain.causes import cause
from visitas_dagster.domain.failures import SettingsError, UsageError, VisitasError
from visitas_dagster.domain.privacy import mask_addresses

DONE, NEEDS_PERSON, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


ALERTS = "visitas.alertas"
"""The log of the alerts themselves (``alerts/tell.py``, which brings in more than a command needs to end)."""


class Interrupted(VisitasError):
    """Ctrl-C, where there is more to say than that."""


def exit_code(command: Callable[[], int | None]) -> int:
    """Run a command; return its exit code (contract §6), after one line on stderr where something went wrong."""
    try:
        code = command() or DONE
        # Typer turns Ctrl-C into this code, which no command of ours returns.
        return _interrupted("interrumpido") if code == INTERRUPTED else code
    except TyperException as error:
        said, more = complaint(error)
        _say(said)
        _say(f"ayuda: {more}")
        return WRONG_USE
    except Interrupted as failure:
        return _interrupted(_sentences(failure))
    except VisitasError as failure:
        _say(_sentences(failure))
        return WRONG_USE if isinstance(failure, SettingsError | UsageError) else NEEDS_PERSON
    except KeyboardInterrupt:
        return _interrupted("interrumpido")
    except Exception as error:
        _say(mask_addresses(f"error inesperado, {type(error).__name__}: {error}. {_kept(error)}"))
        return NEEDS_PERSON


def notices_to_stderr() -> None:
    """Show what our own modules warn of, each notice once; what libraries log stays out of the operator's way."""
    logging.getLogger().addHandler(logging.NullHandler())
    for name in ("visitas", "visitas_dagster"):
        logging.getLogger(name).addHandler(_Notices(logging.WARNING))


class _Notices(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        # What an alert tells of, the command has shown itself; that one could not be sent is news.
        if record.name != ALERTS and message not in self._shown:
            self._shown.add(message)
            _say(f"aviso: {message}")


def _interrupted(message: str) -> int:
    # A second Ctrl-C while things are closed ends the process at once, and silently.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _say(message)
    return INTERRUPTED


def _sentences(failure: VisitasError) -> str:
    remedy = failure.remedio
    return f"{failure.mensaje.rstrip('.')}. {remedy[0].upper()}{remedy[1:]}" if remedy else failure.mensaje


def _say(message: str) -> None:
    line = "".join(char if char.isprintable() else "�" for char in " ".join(message.split()))
    print(f"visitas: {line}", file=sys.stderr)


def _kept(error: Exception) -> str:
    """Keep the traceback, which is for whoever mends the program; return the sentence that says where it is."""
    try:
        path = _write_traceback(error)
    except Exception as second:
        return f"El detalle no se pudo guardar: {_reason(second)}; corrija eso y repita la orden"
    return f"El detalle está en {path}: envíelo a quien mantiene visitas"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {cause(error)}" if error.filename else cause(error)
    return error.mensaje if isinstance(error, VisitasError) else type(error).__name__


def _write_traceback(error: Exception) -> Path:
    from visitas_dagster.settings import load_settings

    settings = load_settings()
    now = datetime.now(settings.zone)
    path = settings.home / "logs" / now.strftime("%Y%m%d") / f"error_{now:%H%M%S}_{os.getpid()}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    command = " ".join(sys.argv[1:])
    path.write_text(
        mask_addresses(
            f"{now.isoformat(timespec='seconds')} visitas {command}\n{''.join(traceback.format_exception(error))}"
        ),
        encoding="utf-8",
        errors="backslashreplace",
    )
    return path
