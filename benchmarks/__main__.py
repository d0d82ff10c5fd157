"""``python -m benchmarks``: what the platform costs on this machine, against what is measured beside it.

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
from dataclasses import dataclass
from pathlib import Path

from benchmarks.big_file import measure_file, measure_memory, measure_profile, measure_ten
from benchmarks.explain import measure_explain
from benchmarks.history import measure_history
from benchmarks.ledger import measure_ledger
from benchmarks.many_files import measure_small
from benchmarks.report import heading, print_machine, show
from benchmarks.servers import ENGINES, Servers
from benchmarks.sizes import FULL, QUICK, Sizes
from benchmarks.start_up import measure_start
from benchmarks.workers import measure_workers

_PAIRS = 3


@dataclass(frozen=True)
class Bench:
    """What every benchmark is handed.

    Attributes:
        servers: started at their first use.
        engines: the databases to measure.
        sizes: of files and histories.
        pairs: how often the things compared take turns.
    """

    servers: Servers
    engines: tuple[str, ...]
    sizes: Sizes
    pairs: int


def _file(bench: Bench) -> None:
    heading("`file`: one big file through `visitas dispatch`, against sftp, LOAD DATA and one grouped upsert")
    for engine in bench.engines:
        measure_file(bench.servers, engine, bench.sizes.records, bench.sizes.to_sql, bench.pairs, show)


def _memory(bench: Bench) -> None:
    heading("`memory`: `visitas dispatch` at its peak, by the size of the file")
    for engine in bench.engines:
        measure_memory(bench.servers, engine, [1, bench.sizes.records], show)


def _ten(bench: Bench) -> None:
    heading("`ten`: a file ten times as big")
    for engine in bench.engines:
        measure_ten(bench.servers, engine, bench.sizes.ten, bench.sizes.records, bench.pairs, show)


def _small(bench: Bench) -> None:
    heading("`small`: a burst of small files through one `visitas dispatch`")
    sizes = bench.sizes
    for engine in bench.engines:
        measure_small(
            bench.servers, engine, sizes.small_files, sizes.small_records, sizes.default_files, bench.pairs, show
        )


def _workers(bench: Bench) -> None:
    heading("`workers`: two `visitas dispatch` over one folder, against one")
    for engine in bench.engines:
        measure_workers(bench.servers, engine, bench.sizes.shared_files, bench.sizes.small_records, bench.pairs, show)


def _start(bench: Bench) -> None:
    heading("`start`: how soon a command answers")
    for engine in bench.engines:
        measure_start(bench.servers, engine, max(bench.sizes.starts, bench.pairs), show)


def _history(bench: Bench) -> None:
    heading("`history`: a file over a long history")
    for engine in bench.engines:
        measure_history(bench.servers, engine, bench.sizes, bench.pairs, show)


def _ledger(bench: Bench) -> None:
    heading("`ledger`: very many files known")
    for engine in bench.engines:
        measure_ledger(bench.servers, engine, bench.sizes.ledger, bench.sizes.new_files, bench.pairs, show)


def _explain(bench: Bench) -> None:
    heading("`explain`: table, way, key and rows of each statement", "sent by", "statement", *bench.engines, "scans")
    measure_explain(bench.servers, bench.engines)


def _profile(bench: Bench) -> None:
    heading("`profile`: where the time of one big file goes")
    for engine in bench.engines:
        measure_profile(bench.servers, engine, bench.sizes.records, show)


_BENCHMARKS: dict[str, Callable[[Bench], None]] = {
    "file": _file,
    "memory": _memory,
    "ten": _ten,
    "small": _small,
    "workers": _workers,
    "start": _start,
    "history": _history,
    "ledger": _ledger,
    "explain": _explain,
    "profile": _profile,
}
_LONG = ("ten",)
"""Left out unless ``--full`` or ``--only`` asks for them."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="everything small, one pair each: does it work?")
    parser.add_argument("--full", action="store_true", help=f"also {', '.join(_LONG)}")
    names = ", ".join(_BENCHMARKS)
    parser.add_argument("--only", action="append", choices=_BENCHMARKS, metavar="NAME", help=f"one of {names}")
    parser.add_argument("--engine", action="append", choices=ENGINES, help="only this database; may be repeated")
    parser.add_argument("--pairs", type=int, help=f"how often what is compared takes turns ({_PAIRS}; with --quick 1)")
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
    names = options.only or [name for name in _BENCHMARKS if options.full or name not in _LONG]
    pairs = options.pairs or (1 if options.quick else _PAIRS)
    try:
        print_machine()
        print(f"{pairs} pairs; {QUICK if options.quick else FULL}", flush=True)
        with Servers(folder) as servers:
            engines = tuple(options.engine or ENGINES)
            for engine in engines:
                servers.database(engine)
            bench = Bench(servers, engines, QUICK if options.quick else FULL, pairs)
            for name in names:
                _BENCHMARKS[name](bench)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
