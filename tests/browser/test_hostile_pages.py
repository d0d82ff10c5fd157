"""What was delivered, in the web interface of a real browser: text, and never a script or a request to elsewhere.

Names, headers and values that mean something to HTML or Markdown belong here; what the pages show otherwise does not.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, Request, sync_playwright

from tests.browser.test_demo import CHROMIUM, FLAGS, host_of, wait_until
from tests.support.command import PROJECT, Visitas
from tests.support.fixtures import SftpFolder
from tests.support.pipeline import put, record, report
from tests.support.ports import LOOPBACK, free_port
from visitas_dagster.domain.layout import COLUMNS

RUNS = "window.entraron=1"
HOSTILE = [
    f"<img src=//mal.example/a onerror={RUNS}>",
    f"<script>{RUNS}</script>",
    "![x](http://mal.example/b.png)",
    f"[x](javascript:{RUNS})",
    f"<svg onload={RUNS}>",
    "<iframe src=http://mal.example/c>",
    "http://mal.example/d",
]
NAMES = [f"{value.replace('/', '_')}.txt" for value in HOSTILE]
WRONG = "cabecera.txt"


@pytest.fixture(scope="module")
def web(openssh_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of an interface over files whose names, headers and values are hostile."""
    folder, delivered = tmp_path_factory.mktemp("paginas"), openssh_server.root / "paginas"
    delivered.mkdir()
    sftp = SftpFolder(openssh_server, delivered)
    visitas = Visitas(folder, {"VISITAS_PATRON_ARCHIVO": r"(.*)\.txt", **sftp.environment()})
    quoted = ['"' + value.replace('"', '""') + '"' for value in HOSTILE]
    for name in NAMES:
        put(delivered, name, report(record(), *(record(value) for value in quoted), record("a@example.com", quoted[0])))
    names = [column.header for column in COLUMNS]
    put(delivered, WRONG, ",".join([*quoted, *names[len(quoted) :]]).encode() + b"\n")
    assert visitas.run("init").code == 0
    assert visitas.run("dispatch").code == 1

    port = free_port()
    with (folder / "web.log").open("wb") as log:
        process = subprocess.Popen(
            [
                Path(sys.executable).with_name("dagster-webserver"),
                *("-w", PROJECT / "workspace.yaml", "-h", LOOPBACK, "-p", str(port)),
            ],
            cwd=folder,
            env=visitas.environment(DAGSTER_HOME=str(visitas.home / "dagster")),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    address = f"http://{LOOPBACK}:{port}"
    try:
        wait_until(lambda: process.poll() is None and answers(address), 120, "the web answers")
        yield address
    finally:
        process.terminate()
        process.wait(60)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/server_info", timeout=5):
            return True
    except OSError:
        return False


def runs_of(address: str) -> list[str]:
    query = "{ runsOrError(limit: 20) { ... on Runs { results { runId } } } }"
    request = urllib.request.Request(
        f"{address}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return [run["runId"] for run in json.load(answer)["data"]["runsOrError"]["results"]]


def read_all(page: Page, address: str) -> str:
    """What a page shows, and what stands behind its links: long Markdown, tables and messages are folded."""
    visit(page, address)
    shown = [page.inner_text("body")]
    for words in ("Show Markdown", "Show table", "View full message"):
        link = page.get_by_text(words, exact=False).first
        if link.count() and link.is_visible():
            link.click()
            page.wait_for_timeout(1000)
            shown.append(page.inner_text("body"))
            # Whatever opened is closed again.
            visit(page, address)
    return "\n".join(shown)


def visit(page: Page, address: str) -> None:
    # The pages keep a socket open, so they are never idle.
    page.goto(address)
    page.wait_for_timeout(5000)


def test_no_page_runs_what_was_delivered_or_asks_elsewhere(web: str) -> None:
    elsewhere: set[tuple[str, str]] = set()
    ran: list[str] = []
    texts: list[str] = []
    key = quote(NAMES[0], safe="")
    pages = [
        f"{web}/runs",
        *(f"{web}/runs/{run}" for run in runs_of(web)[:2]),
        f"{web}/assets/raw_file?view=partitions&partition={key}",
        f"{web}/assets/validated_records?view=partitions&partition={key}",
        f"{web}/assets/validated_records?view=events&partition={key}",
        f"{web}/assets/errores?view=events&partition={key}",
        f"{web}/assets/validated_records?view=partitions&partition={WRONG}",
        f"{web}/assets/validated_records?view=events&partition={WRONG}",
    ]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = chromium.new_page(viewport={"width": 1400, "height": 2000})

        def asked(request: Request) -> None:
            if host_of(request.url) not in ("", LOOPBACK):
                elsewhere.add((page.url.removeprefix(web), request.url))

        page.on("request", asked)
        page.on("dialog", lambda dialog: ran.append(dialog.message))
        for address in pages:
            texts.append(read_all(page, address))
            if page.evaluate("typeof window.entraron") != "undefined":
                ran.append(address)
        chromium.close()

    assert ran == []
    assert elsewhere == set()
    shown = "\n".join(texts)
    # They were there to be seen: the name, a rejected value and a column's name, as text.
    assert NAMES[0] in shown
    assert HOSTILE[1] in shown
    assert HOSTILE[2] in shown
    assert "Columnas desconocidas" in shown
