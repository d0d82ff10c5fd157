"""The logs under ``logs/<YYYYMMDD>/``: one per file and the orchestrator's; which line goes where, and how it looks.

Lines, names and appending belong here; what is worth a line is said by whoever logs it, and old logs are removed
elsewhere.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from visitas_dagster.domain.causes import cause
from visitas_dagster.domain.privacy import mask_addresses
from visitas_dagster.settings import JSON_LINES, Settings

ROOT = "visitas"
"""Loggers of this name and below are written to the orchestrator's log, or to that of the file they speak of."""

MAX_LINE = 16_000
"""Characters of a message that are kept."""

_MAX_STEM = 120
_DAGSTER = f"{os.sep}dagster{os.sep}_core{os.sep}"
"""In the path of every module of Dagster that logs into an op's log."""
_UNSAFE = re.compile(r"[^\w.-]", re.ASCII)
# Not below ROOT: what cannot be written cannot be written there either.
_trouble = logging.getLogger("visitas_dagster.logs")


@dataclass(frozen=True)
class About:
    """What the code that runs now works on, for the lines it logs; empty where nothing is known."""

    archivo: str = ""
    step: str = ""
    run_id: str = ""


_about: ContextVar[About] = ContextVar("visitas_about", default=About())  # noqa: B039  # frozen


@contextmanager
def about(**known: str) -> Iterator[None]:
    """Say what the lines logged inside are about: ``archivo``, ``step``, ``run_id``, fields of :class:`About`."""
    token = _about.set(replace(_about.get(), **{name: value for name, value in known.items() if value}))
    try:
        yield
    finally:
        _about.reset(token)


def log_name(archivo: str) -> str:
    """The log of a file: ``report_7.txt`` → ``report_7.log``. Whatever the name holds, the log stays in its folder."""
    stem = archivo.rpartition(".")[0] or archivo
    safe = _UNSAFE.sub("_", mask_addresses(stem)).lstrip(".")[:_MAX_STEM]
    if safe != stem or safe.startswith(("orchestrator_", "error_")):
        # Two names that look alike now are still two, and none is that of another log.
        safe = f"archivo_{safe}_{hashlib.sha256(archivo.encode(errors='surrogatepass')).hexdigest()[:8]}"
    return f"{safe}.log"


class LogFiles:
    """The logs of one installation. A line is one write to a file opened for appending: processes do not mix theirs."""

    def __init__(self, folder: Path, zone: ZoneInfo, clock: Callable[[], datetime], form: str) -> None:
        """Remember where and how; nothing is created before the first line.

        Args:
            folder: ``logs/``.
            zone: ``VISITAS_ZONA_HORARIA``: whose midnight begins the next day's folder.
            clock: the time source.
            form: ``VISITAS_LOG_FORMATO``.
        """
        self.folder = folder
        self._zone = zone
        self._clock = clock
        self._form = form
        self._torn: set[Path] = set()
        self._failing = False

    @classmethod
    def of(cls, settings: Settings, clock: Callable[[], datetime]) -> LogFiles:
        """The logs of an installation with these settings."""
        return cls(settings.home / "logs", settings.zone, clock, settings.log_formato)

    def path(self, moment: datetime, archivo: str) -> Path:
        """Which log a line goes to, by the day of the zone and by what it is about."""
        day = f"{moment:%Y%m%d}"
        return self.folder / day / (log_name(archivo) if archivo else f"orchestrator_{day}.log")

    def write(self, level: str, what: About, message: str, trace: str = "") -> None:
        """Append one line. A log that cannot be written costs a warning, once until it can be again."""
        moment = self._clock().astimezone(self._zone)
        path = self.path(moment, what.archivo)
        try:
            self._append(path, self._line(moment, level, what, mask_addresses(message), mask_addresses(trace)))
        except OSError as error:
            if not self._failing:
                self._failing = True
                _trouble.warning(f"no se puede escribir en {path} ({cause(error)}); el trabajo sigue sin ese registro")
        else:
            self._failing = False

    def _line(self, moment: datetime, level: str, what: About, message: str, trace: str) -> bytes:
        stamp = moment.isoformat(timespec="milliseconds")
        message, trace = message[:MAX_LINE], trace[-MAX_LINE:]
        if self._form == JSON_LINES:
            fields = {
                "momento": stamp,
                "nivel": level,
                "paso": what.step,
                "corrida": what.run_id,
                "archivo": mask_addresses(what.archivo),
                "mensaje": message,
                "traza": trace,
            }
            line = json.dumps({name: value for name, value in fields.items() if value}, ensure_ascii=False)
        else:
            whole = f"{message}\n{trace}" if trace else message
            line = f"{stamp} {level:<7} {what.step or '-':<12} {what.run_id or '-':<36} {_one_line(whole)}"
        return f"{line}\n".encode("utf-8", "backslashreplace")

    def _append(self, path: Path, line: bytes) -> None:
        # Opened for each line: ten thousand files leave no descriptor open, and a removed log is begun anew.
        try:
            descriptor = _open(path)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = _open(path)
        try:
            whole = b"\n" + line if path in self._torn else line
            written = os.write(descriptor, whole)
            if written < len(whole):
                # The disk ran full in the middle: the next line must not be glued to this one's beginning.
                self._torn.add(path)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            self._torn.discard(path)
        finally:
            os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _one_line(text: str) -> str:
    """Text from outside on one line, without the characters that move a cursor or end a line."""
    return "".join(char if char.isprintable() else "\\n" if char == "\n" else "�" for char in text.strip("\n"))


class LogHandler(logging.Handler):
    """Writes what a logger is told, from INFO on, to the log that it belongs to."""

    def __init__(self, files: LogFiles, step: str = "", run_id: str = "") -> None:
        """Take the logs; step and run hold for every line of an op's own logger."""
        super().__init__(logging.INFO)
        self.files = files
        self._step = step
        self._run_id = run_id

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave out what Dagster itself remarks on an op, unless it warns: that is for its web interface."""
        if record.levelno < logging.WARNING and _DAGSTER in record.pathname:
            return False
        return bool(super().filter(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; whatever goes wrong with it, the work that logged it goes on."""
        try:
            now = _about.get()
            what = About(
                now.archivo,
                self._step or now.step or record.name.removeprefix(f"{ROOT}."),
                self._run_id or now.run_id,
            )
            trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
            self.files.write(record.levelname, what, _message(record), trace)
        except Exception:
            self.handleError(record)


def _message(record: logging.LogRecord) -> str:
    """What was said. Dagster's own handler, which comes first, puts job, run and step before it."""
    said = getattr(record, "dagster_meta", {}).get("orig_message")
    return record.getMessage() if said is None else str(said)


def follow(log: logging.Logger, files: LogFiles, step: str, run_id: str) -> None:
    """Write what an op's own logger is told as well, Dagster's own events of that op included; harmless twice."""
    if not any(isinstance(handler, LogHandler) for handler in log.handlers):
        log.addHandler(LogHandler(files, step, run_id))


_keeping: dict[Path, tuple[LogHandler, int]] = {}
_lock = threading.Lock()


@contextmanager
def kept(files: LogFiles) -> Iterator[None]:
    """Write what the platform's loggers are told for as long as this is open; one inside another writes once."""
    root = logging.getLogger(ROOT)
    with _lock:
        handler, times = _keeping.get(files.folder, (None, 0))
        if handler is None:
            handler = LogHandler(files)
            root.addHandler(handler)
            if root.level == logging.NOTSET:
                root.setLevel(logging.INFO)
        _keeping[files.folder] = (handler, times + 1)
    try:
        yield
    finally:
        with _lock:
            handler, times = _keeping.pop(files.folder)
            if times > 1:
                _keeping[files.folder] = (handler, times - 1)
            else:
                root.removeHandler(handler)
                handler.close()
