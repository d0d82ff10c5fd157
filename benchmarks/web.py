"""Dagster's web server over an installation, and a real browser that opens its pages.

Starting and ending both, and timing a page, belongs here; what the page has to show does not.
"""

from __future__ import annotations

import re
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
from playwright.sync_api import Page, sync_playwright

from benchmarks.process import PROJECT, started
from tests.support.ports import LOOPBACK, free_port
from tests.support.servers import program

_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-sync"]
_START_S = 120
_PAGE_S = 180


class WebError(RuntimeError):
    """The web server did not come up; the message carries the end of what it printed."""


@contextmanager
def web_server(environment: Mapping[str, str], folder: Path) -> Iterator[str]:
    """Run ``dagster-webserver`` over the platform's code location; yield its address once it answers.

    Args:
        environment: with the installation's settings and ``DAGSTER_HOME``.
        folder: where it runs and prints.

    Raises:
        WebError: it does not answer.
    """
    port, log = free_port(), folder / "web.txt"
    command = [str(Path(sys.executable).with_name("dagster-webserver")), "-m", "visitas_dagster.definitions"]
    settings = {**environment, "PYTHONPATH": str(PROJECT)}
    with started([*command, "-h", LOOPBACK, "-p", str(port)], settings, log, folder) as server:
        address = f"http://{LOOPBACK}:{port}"
        _wait(address, server, log)
        yield address


def _wait(address: str, server: psutil.Process, log: Path) -> None:
    limit = time.monotonic() + _START_S
    while time.monotonic() < limit and server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        try:
            with urllib.request.urlopen(f"{address}/server_info", timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    raise WebError(log.read_text("utf-8", errors="replace")[-3000:])


@contextmanager
def browser_page() -> Iterator[Page]:
    """Open a page in headless Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program("chromium"), args=_FLAGS)
        try:
            yield chromium.new_page(viewport={"width": 1400, "height": 900})
        finally:
            chromium.close()


def seconds_until(page: Page, address: str, *shown: str | re.Pattern[str]) -> float:
    """Wait for the page before to be answered, go to an address; return the seconds until all these texts are seen."""
    page.wait_for_load_state("networkidle", timeout=_PAGE_S * 1000)
    begin = time.perf_counter()
    page.goto(address, timeout=_PAGE_S * 1000)
    for text in shown:
        page.get_by_text(text).first.wait_for(timeout=_PAGE_S * 1000)
    return time.perf_counter() - begin
