"""The logs' files and lines: where a line goes, how it looks, and what becomes of it when it cannot be written.

Names, forms, appending and masking belong here; what the steps log about a file is tested over the graph.
"""

import json
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visitas_dagster.resources.logs import About, LogFiles, about, follow, kept, log_name
from visitas_dagster.settings import JSON_LINES, TEXT_LINES

MEXICO = ZoneInfo("America/Mexico_City")
NOON = datetime(2024, 3, 14, 18, 0, 0, 123456, tzinfo=UTC)
RUN = "3f0c9a1b-2d4e-4a6b-8c1d-0e2f4a6b8c1d"

log = logging.getLogger("visitas.pruebas")


class Clock:
    """Stands where it is put."""

    def __init__(self, moment: datetime = NOON) -> None:
        self.moment = moment

    def __call__(self) -> datetime:
        return self.moment


def files(folder: Path, form: str = TEXT_LINES, clock: Clock | None = None) -> LogFiles:
    return LogFiles(folder, MEXICO, clock or Clock(), form)


def orchestrator(folder: Path, day: str = "20240314") -> str:
    return (folder / day / f"orchestrator_{day}.log").read_text()


@pytest.fixture(autouse=True)
def _level() -> Iterator[None]:
    root = logging.getLogger("visitas")
    before = root.level
    yield
    root.setLevel(before)
    assert not [handler for handler in root.handlers if type(handler).__name__ == "LogHandler"]


# -------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("archivo", "name"),
    [("report_7.txt", "report_7.log"), ("report_007.txt", "report_007.log"), ("visita-3.csv", "visita-3.log")],
)
def test_a_files_log_bears_its_name(archivo: str, name: str) -> None:
    assert log_name(archivo) == name


@given(st.text(min_size=1))
def test_no_name_leaves_the_folder(archivo: str) -> None:
    name = log_name(archivo)
    assert name == os.path.basename(name)
    assert name.isascii()
    assert name.isprintable()
    assert len(name) < 200
    assert not name.startswith((".", "orchestrator_", "error_"))


@given(st.lists(st.text(alphabet="ab/._\0ñ", min_size=1, max_size=6), unique=True, max_size=8))
def test_names_with_other_stems_have_other_logs(names: list[str]) -> None:
    stems = {name.rpartition(".")[0] or name: name for name in names}
    assert len({log_name(name) for name in stems.values()}) == len(stems)


@pytest.mark.parametrize("archivo", ["orchestrator_20240314.txt", "error_120000_7.txt", "../report_7.txt", ".txt"])
def test_a_name_that_would_be_another_log_gets_one_of_its_own(archivo: str) -> None:
    assert log_name(archivo).startswith("archivo_")


def test_an_address_in_a_name_is_not_told_by_the_logs_name() -> None:
    assert "ana" not in log_name("visita_ana@example.com.csv")
    assert log_name("ana@example.com.csv") != log_name("eva@example.com.csv")


# -------------------------------------------------------------------------------------------------------- lines


def test_a_line_has_time_level_step_run_and_message(tmp_path: Path) -> None:
    files(tmp_path).write("WARNING", About("report_7.txt", "cargar", RUN), "se repite")
    assert (tmp_path / "20240314" / "report_7.log").read_text() == (
        f"2024-03-14T12:00:00.123-06:00 WARNING cargar       {RUN} se repite\n"
    )


def test_a_line_without_a_run_keeps_its_columns(tmp_path: Path) -> None:
    files(tmp_path).write("INFO", About(step="sensor"), "nada nuevo")
    assert orchestrator(tmp_path) == f"2024-03-14T12:00:00.123-06:00 INFO    sensor       {'-':<36} nada nuevo\n"


def test_the_same_as_json(tmp_path: Path) -> None:
    files(tmp_path, JSON_LINES).write("ERROR", About("report_7.txt", "cargar", RUN), "no\npudo", "una\ntraza")
    line = (tmp_path / "20240314" / "report_7.log").read_text()
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "momento": "2024-03-14T12:00:00.123-06:00",
        "nivel": "ERROR",
        "paso": "cargar",
        "corrida": RUN,
        "archivo": "report_7.txt",
        "mensaje": "no\npudo",
        "traza": "una\ntraza",
    }


@given(st.text(), st.text(), st.sampled_from([TEXT_LINES, JSON_LINES]))
def test_a_message_is_one_line_whatever_it_holds(
    tmp_path_factory: pytest.TempPathFactory, message: str, trace: str, form: str
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    files(folder, form).write("INFO", About(step="x"), message, trace)
    line = (folder / "20240314" / "orchestrator_20240314.log").read_bytes().decode()
    assert line.endswith("\n")
    assert line.count("\n") == 1
    if form == JSON_LINES:
        found = json.loads(line)
        assert found["nivel"] == "INFO"
    else:
        assert all(char.isprintable() for char in line[:-1])


def test_an_address_is_masked_in_message_and_trace(tmp_path: Path) -> None:
    for form in (TEXT_LINES, JSON_LINES):
        files(tmp_path, form).write("INFO", About(), "llegó ana.perez@example.com", "valor luis%40example.org")
    written = orchestrator(tmp_path)
    assert "ana" not in written
    assert "luis" not in written
    assert written.count("xxx.xxxxx@xxxxxxx.xxx") == 2
    assert written.count("xxxx%40xxxxxxx.xxx") == 2


def test_a_long_message_is_cut(tmp_path: Path) -> None:
    files(tmp_path).write("INFO", About(), "a" * 100_000)
    assert 16_000 < len(orchestrator(tmp_path)) < 16_200


def test_the_day_turns_at_the_zones_midnight(tmp_path: Path) -> None:
    clock = Clock(datetime(2024, 3, 15, 5, 59, 59, tzinfo=UTC))
    logs = files(tmp_path, clock=clock)
    logs.write("INFO", About(), "antes")
    clock.moment = datetime(2024, 3, 15, 6, 0, 0, tzinfo=UTC)
    logs.write("INFO", About(), "después")
    assert "antes" in orchestrator(tmp_path, "20240314")
    assert orchestrator(tmp_path, "20240315").startswith("2024-03-15T00:00:00.000-06:00 INFO")


# ----------------------------------------------------------------------------------------------------- loggers


def test_a_line_goes_where_what_it_is_about_says(tmp_path: Path) -> None:
    with kept(files(tmp_path)):
        log.info("de nadie")
        with about(archivo="report_7.txt", step="cargar", run_id=RUN):
            log.info("de siete")
            with about(archivo="report_8.txt"):
                log.warning("de ocho")
            log.info("otra vez de siete")
    log.info("ya no se guarda")
    day = tmp_path / "20240314"
    assert {path.name for path in day.iterdir()} == {"orchestrator_20240314.log", "report_7.log", "report_8.log"}
    assert orchestrator(tmp_path).split()[2:] == ["pruebas", "-", "de", "nadie"]
    assert [line.split(RUN)[1] for line in (day / "report_7.log").read_text().splitlines()] == [
        " de siete",
        " otra vez de siete",
    ]
    assert (day / "report_8.log").read_text().split()[1:4] == ["WARNING", "cargar", RUN]


def test_one_inside_another_writes_once_and_two_installations_each(tmp_path: Path) -> None:
    one, other = tmp_path / "una", tmp_path / "otra"
    with kept(files(one)), kept(files(one)):
        log.info("a")
        with kept(files(other)):
            log.info("b")
    assert orchestrator(one).count("\n") == 2
    assert orchestrator(other).count("\n") == 1


def test_an_ops_log_is_followed_once_and_only_from_info_on(tmp_path: Path) -> None:
    op = logging.Logger("op")
    for _ in range(3):
        follow(op, files(tmp_path), "validar", RUN)
    op.debug("de Dagster")
    op.info("nuestro")
    assert orchestrator(tmp_path).splitlines() == [f"2024-03-14T12:00:00.123-06:00 INFO    validar      {RUN} nuestro"]


def test_an_error_brings_its_traceback_on_the_same_line(tmp_path: Path) -> None:
    with kept(files(tmp_path)):
        try:
            raise ValueError("ana@example.com")
        except ValueError:
            log.exception("falló")
    written = orchestrator(tmp_path)
    assert written.count("\n") == 1
    assert "falló\\nTraceback (most recent call last):\\n" in written
    assert written.endswith("ValueError: xxx@xxxxxxx.xxx\n")


def test_a_message_that_cannot_be_made_stops_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest's own handlers raise where a program's only complain.
    monkeypatch.setattr(logging.getLogger("visitas"), "propagate", False)
    with kept(files(tmp_path)):
        log.info("%s y %s", "uno solo")
        log.info("sigue")
    assert orchestrator(tmp_path).split()[-1] == "sigue"
    assert "--- Logging error ---" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------------- disks


def test_a_log_that_cannot_be_written_costs_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "logs"
    folder.write_text("no es una carpeta")
    logs = files(folder)
    for _ in range(3):
        logs.write("INFO", About("report_7.txt"), "x")
    assert [record.getMessage() for record in caplog.records] == [
        f"no se puede escribir en {folder}/20240314/report_7.log (en la ruta hay algo que no es una carpeta); "
        "el trabajo sigue sin ese registro"
    ]
    folder.unlink()
    logs.write("INFO", About("report_7.txt"), "y")
    assert (folder / "20240314" / "report_7.log").read_text().endswith(" y\n")
    folder.joinpath("20240314", "report_7.log").unlink()
    folder.joinpath("20240314", "report_7.log").mkdir()
    logs.write("INFO", About("report_7.txt"), "z")
    assert len(caplog.records) == 2


def test_a_line_that_a_full_disk_tore_does_not_spoil_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = files(tmp_path, JSON_LINES)
    logs.write("INFO", About(), "uno")
    whole = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: whole(descriptor, data[:20]))
    logs.write("INFO", About(), "dos")
    monkeypatch.undo()
    logs.write("INFO", About(), "tres")
    logs.write("INFO", About(), "cuatro")
    lines = orchestrator(tmp_path).splitlines()
    assert [json.loads(lines[place])["mensaje"] for place in (0, 2, 3)] == ["uno", "tres", "cuatro"]
    assert len(lines) == 4
    assert "no hay espacio en disco" in caplog.text


def test_a_full_disk_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    day = tmp_path / "20240314"
    day.mkdir()
    (day / "orchestrator_20240314.log").symlink_to("/dev/full")
    with kept(files(tmp_path)):
        log.info("uno")
        log.info("dos")
        with about(archivo="report_7.txt"):
            log.info("tres")
    assert caplog.text.count("no hay espacio en disco") == 1
    assert (day / "report_7.log").read_text().split()[-1] == "tres"


def test_ten_thousand_files_leave_no_descriptor_open(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, open_now + 20), hard))
    try:
        with kept(files(tmp_path)):
            for number in range(10_000):
                with about(archivo=f"report_{number}.txt"):
                    log.info("x")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(list((tmp_path / "20240314").iterdir())) == 10_000
    assert len(os.listdir("/proc/self/fd")) == open_now


WRITER = """
import logging, sys
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo
from visitas_dagster.resources.logs import LogFiles, kept
moment = datetime(2024, 3, 14, 18, tzinfo=UTC)
with kept(LogFiles(Path(sys.argv[1]), ZoneInfo("UTC"), lambda: moment, "json")):
    for number in range(2000):
        logging.getLogger("visitas.x").info(f"{sys.argv[2]} {number} " + sys.argv[2] * (number % 900))
"""


def test_two_processes_at_once_do_not_mix_their_lines(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), letter]) for letter in "ab"]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    messages = [json.loads(line)["mensaje"] for line in orchestrator(tmp_path).splitlines()]
    for letter in "ab":
        own = [message for message in messages if message.startswith(letter)]
        assert own == [f"{letter} {number} {letter * (number % 900)}" for number in range(2000)]
    assert len(messages) == 4000
