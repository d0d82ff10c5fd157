"""``python -m benchmarks``: what the platform costs on this machine, against floors measured beside it.

The options and the order of the benchmarks belong here; see ``docs/performance.md`` for what they mean.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.big_file import measure_file, measure_memory, measure_profile
from benchmarks.many_files import measure_small, measure_tick
from benchmarks.report import heading, print_machine, show
from benchmarks.servers import ENGINES, Servers

NAMES = ("file", "memory", "profile", "small", "sensor")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100,000 records, 100 small files, one pair each")
    parser.add_argument("--full", action="store_true", help="also the memory of a file with 10,000,000 records")
    parser.add_argument("--only", action="append", choices=NAMES, metavar="NAME", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--engine", action="append", choices=ENGINES, help="only this database; may be repeated")
    parser.add_argument("--pairs", type=int, help="how often floor and platform take turns (3; with --quick 1)")
    options = parser.parse_args()
    if options.pairs is not None and options.pairs < 1:
        parser.error("--pairs: at least 1")
    return options


def main() -> None:
    """Run the benchmarks that the options name; every figure is printed as soon as it is there."""
    options = _options()
    # An end by another program's hand must also end the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # The ticks log each run they ask for.
    logging.getLogger("dagster").setLevel(logging.ERROR)
    # Servers of other programs, MariaDB's above all, sweep the machine's common folder for leftovers as they start.
    folder = Path(tempfile.mkdtemp(prefix="visitas-bench-"))
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    try:
        print_machine()
        with Servers(folder) as servers:
            engines = tuple(options.engine or ENGINES)
            for engine in engines:
                servers.database(engine)
            for name in options.only or NAMES:
                _BENCHMARKS[name](servers, engines, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _records(options: argparse.Namespace) -> int:
    return 100_000 if options.quick else 1_000_000


def _pairs(options: argparse.Namespace, usual: int) -> int:
    chosen: int | None = options.pairs
    return chosen or (1 if options.quick else usual)


def _file(servers: Servers, engines: tuple[str, ...], options: argparse.Namespace) -> None:
    heading("One big file: `visitas dispatch` as a whole process, against sftp + LOAD DATA + one grouped upsert")
    for engine in engines:
        measure_file(servers, engine, _records(options), _pairs(options, 3), show)


def _memory(servers: Servers, engines: tuple[str, ...], options: argparse.Namespace) -> None:
    heading("Memory of `visitas dispatch` at its peak, by the size of the file")
    sizes = [1, _records(options)] + ([10_000_000] if options.full else [])
    measure_memory(servers, engines[0], sizes, show)


def _profile(servers: Servers, engines: tuple[str, ...], options: argparse.Namespace) -> None:
    heading("Where the time of one big file goes")
    for engine in engines:
        measure_profile(servers, engine, _records(options), show)


def _small(servers: Servers, engines: tuple[str, ...], options: argparse.Namespace) -> None:
    heading("A burst of small files: `visitas dispatch` as a whole process")
    for engine in engines:
        measure_small(servers, engine, 100 if options.quick else 500, show)


def _sensor(servers: Servers, engines: tuple[str, ...], options: argparse.Namespace) -> None:
    heading("A sensor tick, its connections included, against a listing by OpenSSH's sftp")
    measure_tick(servers, engines[0], 100_000, 500, _pairs(options, 5), show)


_BENCHMARKS: dict[str, Callable[[Servers, tuple[str, ...], argparse.Namespace], None]] = {
    "file": _file,
    "memory": _memory,
    "profile": _profile,
    "small": _small,
    "sensor": _sensor,
}

if __name__ == "__main__":
    main()
