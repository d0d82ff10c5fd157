"""What a long history costs: a file that meets millions of visits, against the same file on empty tables and the floor.

The measuring belongs here; how the history is made does not (``past.py``).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from sqlalchemy import text

from benchmarks.files import change, write_report
from benchmarks.floor import Floor, load_floor
from benchmarks.installation import Installation, installation
from benchmarks.past import remember_files, remember_visits
from benchmarks.process import Measured
from benchmarks.report import Figure, Show, at_most, median_ratio, spread
from benchmarks.servers import Servers
from benchmarks.sizes import Sizes
from visitas_dagster.resources.platform import Platform

AGAINST_EMPTY = 1.15
CORRECTION = 2
POOL_MIB = 2048
"""What a server with such a history has for pages; as they start, both have 128 MiB."""

_WARM_UP = "report_9000000.txt"
_FIRST_PAST = 1_000_000
_FIRST_OF_FLOOR = 2_000_000


class NotLoaded(RuntimeError):
    """A measured file did not end in the tables."""


def measure_history(servers: Servers, engine: str, sizes: Sizes, pairs: int, show: Show) -> None:
    """Show a file's first load over a history against one on empty tables, and its correction against both.

    The history is made once. In each pair another file comes, first to an installation that is new, then to the one
    with the history, and there once more with 1 % of its records changed. All of it with the server as it starts, and
    with memory for the pages of such a history.
    """
    what = f"{engine}: {sizes.arriving:,} records over {sizes.past_records:,} and {sizes.past_visitors:,} visitors"
    with installation(servers.sftp, servers.database(engine)) as place:
        _fill(place, sizes)
        _warm_up(place)
        _show(what, [_pair(servers, engine, place, sizes, number) for number in range(1, pairs + 1)], show)
        with servers.buffer_pool(engine, POOL_MIB):
            # One more, not shown: its pages come from the disk.
            _pair(servers, engine, place, sizes, pairs + 1)
            found = [_pair(servers, engine, place, sizes, number) for number in range(pairs + 2, 2 * pairs + 2)]
            _show(f"{what}, a buffer pool of {POOL_MIB:,} MiB", found, show)


@dataclass(frozen=True)
class _Pair:
    """One file: on an empty installation, over the history, its correction there, and one like it by the floor."""

    empty: Measured
    first: Measured
    corrected: Measured
    floor: Floor
    known: float


def _pair(servers: Servers, engine: str, place: Installation, sizes: Sizes, number: int) -> _Pair:
    name = f"report_{number}.txt"
    source = place.home / name
    write_report(source, sizes.arriving, seed=number, returning=sizes.past_visitors)
    empty = _on_empty(servers, engine, source.name, source.read_bytes())
    first = _load(place, name, source.read_bytes())
    known = _known_share(place, name)
    change(source)
    corrected = _load(place, name, source.read_bytes())
    source.unlink()
    return _Pair(empty, first, corrected, _floor(servers, place, sizes, _FIRST_OF_FLOOR + number), known)


def _floor(servers: Servers, place: Installation, sizes: Sizes, number: int) -> Floor:
    """Load a file of the same kind over the same history by the floor's means."""
    name = f"report_{number}.txt"
    write_report(place.folder / name, sizes.arriving, seed=number, returning=sizes.past_visitors)
    try:
        return load_floor(servers.sftp, place.folder, [name], place.database_url, place.home)
    finally:
        (place.folder / name).unlink()


def _show(what: str, pairs: list[_Pair], show: Show) -> None:
    alone, loads = [pair.empty.seconds for pair in pairs], [pair.first.seconds for pair in pairs]
    again, floors = [pair.corrected.seconds for pair in pairs], [pair.floor.seconds for pair in pairs]
    ratio = median_ratio(loads, alone)
    show(
        Figure(
            f"{what}, against an empty installation",
            spread(loads),
            spread(alone),
            ratio,
            at_most(ratio, AGAINST_EMPTY),
            f"{pairs[-1].known:.0%} of the file's visitors are known to the history",
        )
    )
    show(
        Figure(
            f"{what}, against the floor over the same history",
            spread(loads),
            spread(floors),
            median_ratio(loads, floors),
            note="no start of a process counted for the floor",
        )
    )
    ratio = median_ratio(again, loads)
    show(
        Figure(
            f"{what}: a correction, against the first load",
            spread(again),
            spread(loads),
            ratio,
            at_most(ratio, CORRECTION),
            "1 % of the records have another date",
        )
    )


def _fill(place: Installation, sizes: Sizes) -> None:
    with Platform(place.settings()) as platform:
        remember_files(platform.engine, sizes.past_files, sizes.past_records // sizes.past_files, first=_FIRST_PAST)
        remember_visits(platform, sizes.past_files, sizes.past_records, sizes.past_visitors)


def _warm_up(place: Installation) -> None:
    """Load a file of ten records: the first one of an installation also makes Dagster's own files."""
    write_report(place.folder / _WARM_UP, 10)
    place.visitas("dispatch")


def _on_empty(servers: Servers, engine: str, name: str, data: bytes) -> Measured:
    with installation(servers.sftp, servers.database(engine)) as place:
        _warm_up(place)
        return _load(place, name, data)


def _load(place: Installation, name: str, data: bytes) -> Measured:
    partial = place.home / "partial"
    partial.write_bytes(data)
    shutil.move(partial, place.folder / name)
    run = place.visitas("dispatch")
    if (place.folder / name).exists():
        raise NotLoaded(f"{name} was not loaded:\n{run.output}")
    return run


def _known_share(place: Installation, name: str) -> float:
    """Return how many of a file's visitors were known when it came, as its row in the ledger says."""
    query = text("SELECT visitantes_nuevos, visitantes_actualizados FROM bitacora_control WHERE archivo = :name")
    with Platform(place.settings()) as platform, platform.engine.connect() as connection:
        new, known = connection.execute(query, {"name": name}).one()
    return float(known / (new + known))
