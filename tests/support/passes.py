"""A whole pass over the steps, as `visitas dispatch` and `visitas replay` do it, without Dagster.

Choosing the files and taking them belongs here; dying on the way is `tests/faults/driver.py`.
"""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from tests.support.pipeline import process
from visitas_dagster.domain.arrivals import settled
from visitas_dagster.resources.platform import Platform
from visitas_dagster.steps import arrivals
from visitas_dagster.steps.recovery import clear_dead_runs
from visitas_dagster.steps.task import FileTask, Source


class RunningClock:
    """A clock that runs as this machine's does, put to another moment; alike in every process.

    Attributes:
        moment: what it shows at `since`.
        since: of `time.monotonic`.
    """

    def __init__(self, moment: datetime, since: float | None = None) -> None:
        """Show `moment` at `since`, by default now."""
        self.moment = moment
        self.since = time.monotonic() if since is None else since

    def __call__(self) -> datetime:
        """Return the time."""
        return self.moment + timedelta(seconds=time.monotonic() - self.since)

    def advance(self, days: int) -> None:
        """Go on by so many days."""
        self.moment += timedelta(days=days)


def whole_pass(
    platform: Platform, *, insisted: Sequence[str] = (), replays: Sequence[str] = (), together: bool = False
) -> list[FileTask]:
    """Take every file that is owed work, or run some again; return what became of each.

    Args:
        platform: the open parts.
        insisted: names taken whatever the ledger says, as by `dispatch --reintentar`.
        replays: names to run again, and nothing else, as by `replay`.
        together: all files in one run; else each in a run of its own.

    Raises:
        SystemFailure: the server or the database does not answer.
    """
    clear_dead_runs(platform, lambda run_id: None)
    groups = [(Source.REPLAY, list(replays))] if replays else _owed(platform, insisted)
    tasks: list[FileTask] = []
    for source, names in groups:
        for run in [names] if together else [[name] for name in names]:
            tasks += process(platform, run, source)
    return tasks


def _owed(platform: Platform, insisted: Sequence[str]) -> list[tuple[Source, list[str]]]:
    # Through its module, where a test may have patched it.
    observed = arrivals.look(platform, {})
    files = settled(observed, 0, platform.clock().timestamp())
    wanted = [listed.archivo for listed in arrivals.owed(platform, files, insisted)]
    absent = [name for name in insisted if name not in observed] + arrivals.away(platform, observed)
    names = list(dict.fromkeys([*absent, *wanted]))
    by_copy = {*insisted, *absent}
    return [
        (Source.RETRY, [name for name in names if name in by_copy]),
        (Source.SERVER, [name for name in names if name not in by_copy]),
    ]
