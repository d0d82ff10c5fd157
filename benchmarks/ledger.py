"""What many thousand known files cost those who ask every few seconds: sensor, ``visitas status``, the web's page.

Figures that grow with the number of files belong here; what the loading of one costs does not.
"""

from __future__ import annotations

import re
import statistics
import time

import dagster as dg
from sqlalchemy import delete

from benchmarks.event_history import TEMPLATE_FIRST, repeat_run
from benchmarks.files import link_reports, write_report, write_small_reports
from benchmarks.floor import sftp_batch
from benchmarks.installation import Installation, installation
from benchmarks.many_files import UnexpectedRuns
from benchmarks.past import remember_files
from benchmarks.report import Figure, Show, below, median_ratio, spread
from benchmarks.servers import Servers
from benchmarks.web import browser_page, seconds_until, web_server
from visitas_dagster.instance import open_instance
from visitas_dagster.loading.tables import cierres
from visitas_dagster.partitions import ARCHIVOS
from visitas_dagster.resources.platform import Platform
from visitas_dagster.sensors.arrivals import tick
from visitas_dagster.settings import Settings

TICK_S = 2
STATUS_S = 1
PAGE_S = 5
_TEMPLATE_FILES = 50
_ASSET = "estadisticas"
_PLAIN_PAGE = "/deployment/locations"
_LOCATION = "visitas_dagster.definitions"


def measure_ledger(servers: Servers, engine: str, known: int, new: int, pairs: int, show: Show) -> None:
    """Show what ``known`` files in the ledger and in Dagster cost, with ``new`` others on the server.

    Dagster's event log holds of each what a run left: one run over 50 files is really made, and its rows repeated.
    """
    what = f"{engine}: {known:,} files known"
    with installation(servers.sftp, servers.database(engine)) as place:
        settings = place.settings()
        _remember(place, settings, known)
        _show_page(place, settings, known, pairs, what, show)
        source = place.home / "one.txt"
        write_report(source, 10)
        link_reports(place.folder, source, new, first=known + 1)
        with open_instance(settings) as instance:
            _time_ticks(place, settings, instance, new, pairs, show, f"{what}, {new:,} new: a tick")
        _time_status(place, pairs, show, f"{what}, {new:,} new: `visitas status`")
        with Platform(settings) as platform, platform.engine.begin() as connection:
            connection.execute(delete(cierres))
        _time_status(place, pairs, show, f"{what}, {new:,} new, no day closed: `visitas status`")


def _remember(place: Installation, settings: Settings, known: int) -> None:
    with Platform(settings) as platform:
        remember_files(platform.engine, known, 500)
    write_small_reports(place.folder, _TEMPLATE_FILES, 10, first=TEMPLATE_FIRST)
    place.visitas("dispatch")
    repeat_run(settings.instance_dir, known)
    with open_instance(settings) as instance:
        instance.add_dynamic_partitions(ARCHIVOS, [f"report_{number}.txt" for number in range(1, known + 1)])


def _time_ticks(
    place: Installation,
    settings: Settings,
    instance: dg.DagsterInstance,
    new: int,
    pairs: int,
    show: Show,
    what: str,
) -> None:
    listings, ours, inner = [], [], []
    wanted = -(-new // settings.archivos_por_corrida)
    for _ in range(pairs):
        listings.append(sftp_batch(place.sftp, place.folder, "ls -ln")[0])
        begin = time.perf_counter()
        with Platform(settings) as platform:
            # Connections are open, as they are not in the daemon: a tick of its own opens them.
            platform.sftp.list()
            connected = time.perf_counter()
            result = tick(instance, None, platform)
            inner.append(time.perf_counter() - connected)
        ours.append(time.perf_counter() - begin)
        runs = len(result.run_requests or []) if isinstance(result, dg.SensorResult) else 0
        if runs != wanted:
            raise UnexpectedRuns(f"a tick over {new} new files asked for {runs} runs, not {wanted}: {result}")
    show(
        Figure(
            what,
            spread(ours),
            spread(listings),
            median_ratio(ours, listings),
            below(statistics.median(ours), TICK_S, " s"),
            f"{wanted} runs asked for; {spread(inner)} of it without connecting; held against: `sftp`'s `ls`",
        )
    )


def _time_status(place: Installation, pairs: int, show: Show, what: str) -> None:
    listings, ours = [], []
    place.visitas("status")
    for _ in range(pairs):
        listings.append(sftp_batch(place.sftp, place.folder, "ls -ln")[0])
        ours.append(place.visitas("status").seconds)
    show(
        Figure(
            what,
            spread(ours),
            spread(listings),
            median_ratio(ours, listings),
            below(statistics.median(ours), STATUS_S, " s"),
            "the whole process; held against: `sftp`'s `ls`",
        )
    )


def _show_page(place: Installation, settings: Settings, known: int, pairs: int, what: str, show: Show) -> None:
    """Show the asset's page with its partitions, for one that nobody opened before and when it is opened again."""
    home = settings.instance_dir
    lists = f"/assets/{_ASSET}?view=partitions"
    # Every partition is materialized, the template's too; the list begins at either end.
    seen = (f"Materialized ({known + _TEMPLATE_FILES})", re.compile(r"^report_\d+\.txt$"))
    bare, ours = [], []
    with web_server({**place.environment(), "DAGSTER_HOME": str(home)}, place.home) as address, browser_page() as page:
        # A page that asks for no partition: what it left unanswered would be counted as the next page's.
        plain = (address + _PLAIN_PAGE, _LOCATION)
        seconds_until(page, *plain)
        first = seconds_until(page, address + lists, *seen)
        for _ in range(pairs):
            bare.append(seconds_until(page, *plain))
            ours.append(seconds_until(page, address + lists, *seen))
    show(
        Figure(
            f"{what}: the page of its partitions, for the first time",
            f"{first:.2f} s",
            target=below(first, PAGE_S, " s"),
        )
    )
    show(
        Figure(
            f"{what}: the same, opened again",
            spread(ours),
            spread(bare),
            median_ratio(ours, bare),
            below(statistics.median(ours), PAGE_S, " s"),
            "held against: the page of the code locations",
        )
    )
