"""`visitas demo` as its visitor sees it: the terminal, the web interface in a real browser, and the end.

What the demo shows belongs here; what a report becomes is tested without it. With `VISITAS_FOTOS` set to a folder,
the pages that the README shows are written there as pictures.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.sync_api import Page, sync_playwright

from visitas_dagster.assets.graph import ASSETS

VISITAS = Path(sys.executable).with_name("visitas")
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-sync"]

READY = "Ctrl-C termina todo."
SAMPLES = [f"report_{number}.txt" for number in range(1, 9)]
FAILED = "report_4.txt"


@dataclass
class Demo:
    """A running demo.

    Attributes:
        process: `visitas demo`.
        folder: where it was called.
        shown: what it wrote until the web answered.
        session: every process that was seen in its sessions.
    """

    process: subprocess.Popen[str]
    folder: Path
    shown: str
    session: list[psutil.Process] = field(default_factory=list)

    @property
    def address(self) -> str:
        """The web's address, as printed."""
        return str(re.findall(r"http://127\.0\.0\.1:\d+", self.shown)[0])

    def environment(self) -> dict[str, str]:
        """The settings, as a shell reads them from the printed file."""
        printed = re.findall(r"set -a; \. (\S+); set \+a", self.shown)[0]
        script = f"set -a; . {printed}; exec env -0"
        output = subprocess.run(
            ["/bin/sh", "-c", script],
            cwd=self.folder,
            env=bare(self.folder),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return dict(line.split("=", 1) for line in output.split("\0") if line)

    def ask(self, query: str, **variables: Any) -> Any:
        """Ask the web's GraphQL."""
        request = urllib.request.Request(
            f"{self.address}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]


def bare(home: Path) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LANG": "C.UTF-8", "COLUMNS": "160"}


def host_of(address: str) -> str:
    """The host that an address asks; none for what a page carries in itself."""
    return urlsplit(address.removeprefix("blob:")).hostname or ""


def is_of(process: psutil.Process, sessions: set[int]) -> bool:
    """Whether a process that still runs belongs to one of these sessions."""
    try:
        return os.getsid(process.pid) in sessions and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"not within {seconds} s: {what}"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    log = folder / "terminal.txt"
    with log.open("w") as out:
        process = subprocess.Popen(
            [VISITAS, "demo"],
            cwd=folder,
            env=bare(folder),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            text=True,
            start_new_session=True,
        )
    try:
        wait_until(lambda: READY in log.read_text() or process.poll() is not None, 120, "the web answers")
        assert process.poll() is None, log.read_text()
        yield Demo(process, folder, log.read_text())
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)


@pytest.fixture(scope="module")
def processed(demo: Demo) -> Demo:
    """The demo, once the sensor's runs have taken the samples."""
    query = "{ assetNodes { assetKey { path } partitionStats { numMaterialized numFailed } } }"

    def all_taken() -> bool:
        stats = {node["assetKey"]["path"][0]: node["partitionStats"] for node in demo.ask(query)["assetNodes"]}
        visitors = stats["visitantes"]
        return bool(visitors["numMaterialized"] >= len(SAMPLES) - 1 and visitors["numFailed"] == 1)

    wait_until(all_taken, 120, "the samples are materialized, one of them failed")
    return demo


@dataclass
class Browser:
    """A page, and what went wrong or out on it.

    Attributes:
        page: Playwright's.
        errors: script errors.
        hosts: the hosts that were asked for anything.
    """

    page: Page
    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def open(self, address: str, until: str) -> None:
        """Go there and wait for a text."""
        self.page.goto(address)
        self.page.get_by_text(until).first.wait_for(timeout=60_000)

    def picture(self, name: str) -> None:
        """Keep the page as a picture, where pictures are wanted."""
        if folder := os.environ.get("VISITAS_FOTOS"):
            self.page.wait_for_timeout(2000)
            self.page.screenshot(path=Path(folder) / f"{name}.png")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = chromium.new_page(viewport={"width": 1400, "height": 900})
        seen = Browser(page)
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on("request", lambda request: seen.hosts.add(host_of(request.url)))
        yield seen
        chromium.close()


def test_the_terminal_says_where_and_what(demo: Demo) -> None:
    assert [name for name in SAMPLES if name in demo.shown] == SAMPLES
    assert f"{demo.address}/asset-groups" in demo.shown
    assert "visitas status" in demo.shown
    assert "dispatch --reintentar report_4.txt" in demo.shown


def test_the_graph_shows_the_five_assets(processed: Demo, browser: Browser) -> None:
    browser.open(f"{processed.address}/asset-groups", "validated_records")
    for asset in ASSETS:
        browser.page.get_by_text(asset, exact=True).first.wait_for(timeout=30_000)
    # Without the navigation there is room for what each asset tells of itself.
    browser.page.get_by_text("Hide navigation").click()
    browser.page.reload()
    browser.page.get_by_text(re.compile(r"\d+% filled \(1 failed\)")).nth(3).wait_for(timeout=30_000)
    assert browser.page.get_by_text(re.compile(r"\d+% filled \(1 failed\)")).count() == len(ASSETS) - 1
    browser.picture("activos")


def test_the_partition_with_the_wrong_header_is_red_and_the_others_are_not(processed: Demo, browser: Browser) -> None:
    address = f"{processed.address}/assets/validated_records?view=partitions&partition={FAILED}"
    browser.open(address, "failed, and did not materialize this asset")
    browser.page.get_by_text("Failed (1)").wait_for(timeout=30_000)
    browser.page.get_by_text("Missing (0)").wait_for(timeout=30_000)
    for name in SAMPLES:
        browser.page.get_by_text(name, exact=True).first.wait_for(timeout=30_000)


def test_the_reason_names_the_nearest_column(processed: Demo, browser: Browser) -> None:
    browser.open(
        f"{processed.address}/assets/validated_records?view=events&partition={FAILED}",
        "Columnas desconocidas: «jk» (¿quiso decir «jyv»?)",
    )
    browser.page.get_by_text(f"Partition {FAILED} observed in run").wait_for(timeout=30_000)
    browser.picture("fallo")


def test_rejects_are_shown_as_a_table_and_a_chart(processed: Demo, browser: Browser) -> None:
    browser.open(
        f"{processed.address}/assets/validated_records?view=partitions&partition=report_3.txt", "primeros_rechazos"
    )
    assert browser.page.get_by_text("NUMERO_DE_CAMPOS").count() >= 1
    chart = browser.page.locator("img[src^='data:image/svg+xml']")
    if not chart.count():
        # Long Markdown is behind a link.
        browser.page.get_by_text("Show Markdown").first.click()
    chart.first.wait_for(timeout=30_000)
    wait_until(lambda: chart.first.evaluate("image => image.naturalWidth") > 0, 30, "the chart is drawn")
    browser.picture("particion")


def test_nothing_breaks_and_nothing_leaves_the_machine(browser: Browser) -> None:
    assert browser.errors == []
    assert browser.hosts - {""} == {"127.0.0.1"}


def test_the_status_agrees(processed: Demo) -> None:
    ended = subprocess.run(
        [VISITAS, "status"],
        cwd=processed.folder,
        env=processed.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    counts = {state: int(files) for state, files in re.findall(r"^\s*([A-Z_]+)\s+(\d+)\s", ended.stdout, re.MULTILINE)}
    assert counts["FALLO_LAYOUT"] == 1
    assert counts["DUPLICADO"] == 1
    assert counts["COMPLETADO_CON_ERRORES"] >= 1
    assert counts["COMPLETADO"] >= 5
    assert "¿quiso decir «jyv»?" in ended.stdout


def test_a_backfill_runs_many_partitions_a_run_and_changes_nothing(processed: Demo) -> None:
    taken = [name for name in SAMPLES if name != FAILED]
    launched = processed.ask(
        "mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) "
        "{ ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }",
        p={"assetSelection": [{"path": [asset]} for asset in ASSETS], "partitionNames": taken},
    )["launchPartitionBackfill"]
    query = (
        "query($id: String!) { partitionBackfillOrError(backfillId: $id) "
        "{ ... on PartitionBackfill { status runs(limit: 50) { status } } } }"
    )
    found: dict[str, Any] = {}

    def ended() -> bool:
        found.update(processed.ask(query, id=launched["backfillId"])["partitionBackfillOrError"])
        return bool(found["status"] not in {"REQUESTED", "CANCELING"})

    wait_until(ended, 180, "the backfill ends")
    # Two ranges: the failed file stands between them.
    assert found == {"status": "COMPLETED_SUCCESS", "runs": [{"status": "SUCCESS"}] * 2}


def test_a_port_that_is_taken_is_refused(demo: Demo, tmp_path: Path) -> None:
    port = demo.address.rpartition(":")[2]
    ended = subprocess.run(
        [VISITAS, "demo", "--puerto", port],
        cwd=tmp_path,
        env=bare(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (
        2,
        f"visitas: --puerto {port}: no se puede abrir (el puerto está ocupado). "
        "Elija otro, o ninguno para que sea uno libre\n",
    )
    assert not (tmp_path / "var").exists()


def test_a_second_demo_in_the_same_folder_is_refused(demo: Demo) -> None:
    ended = subprocess.run(
        [VISITAS, "demo"],
        cwd=demo.folder,
        env=bare(demo.folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (
        2,
        "visitas: ya corre otra demostración en esta carpeta. Termínela con Ctrl-C en su terminal\n",
    )


def test_ctrl_c_ends_everything(demo: Demo) -> None:
    started = [psutil.Process(demo.process.pid), *psutil.Process(demo.process.pid).children(recursive=True)]
    # The demo's own session, and the one in which it started Dagster.
    sessions = {os.getsid(process.pid) for process in started}
    assert len(started) >= 3
    assert len(sessions) == 2
    port = int(demo.address.rpartition(":")[2])
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(60) == 0
    assert [process for process in psutil.process_iter() if is_of(process, sessions)] == []
    assert (
        (demo.folder / "terminal.txt")
        .read_text()
        .endswith("Terminando…\nTodo terminó. Los datos quedan en var/demo hasta la siguiente demostración.\n")
    )
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
