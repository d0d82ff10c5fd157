"""Closes without Dagster, and what the sealed backups hold.

Doing closes and reading zips belongs here; what must stand in them does not.
"""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tests.support.pipeline import Pipeline, SteppingClock
from visitas_dagster.closing.close import Closed, Facts, close_days
from visitas_dagster.closing.sealing import MANIFEST
from visitas_dagster.resources.folders import Folders
from visitas_dagster.steps.recovery import clear_dead_runs

ONE_DAY = timedelta(days=1)


class Partitions:
    """An orchestrator over the pipeline's own steps, that keeps names in a list.

    Attributes:
        names: the partitions.
        passes: passes made.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        """Start without a partition."""
        self._pipeline = pipeline
        self.names: list[str] = []
        self.passes = 0

    def dispatch(self) -> Facts:
        """See :class:`visitas_dagster.closing.close.Orchestrator`."""
        self.passes += 1
        tasks = self._pipeline.run_pass()
        self.names += [task.archivo for task in tasks if task.archivo not in self.names]
        return {"archivos": len(tasks), "estados": {}, "siguen_llegando": 0}

    def bury(self) -> list[str]:
        """See :class:`visitas_dagster.closing.close.Orchestrator`."""
        return clear_dead_runs(self._pipeline.platform, lambda run_id: None)

    def partitions(self) -> list[str]:
        """See :class:`visitas_dagster.closing.close.Orchestrator`."""
        return list(self.names)

    def drop(self, names: Sequence[str]) -> None:
        """See :class:`visitas_dagster.closing.close.Orchestrator`."""
        self.names = [name for name in self.names if name not in names]


def at(pipeline: Pipeline, day: date, hour: int, minute: int = 0) -> datetime:
    """Move the pipeline's clock to an hour of a day in its zone; return the moment."""
    moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=pipeline.settings.zone).astimezone(UTC)
    assert isinstance(pipeline.clock, SteppingClock)
    pipeline.clock.set(moment)
    return moment


def close_night(pipeline: Pipeline, day: date, orchestrator: Partitions | None = None) -> list[Closed]:
    """Close what is owed at two in the morning after ``day``."""
    at(pipeline, day + ONE_DAY, 2)
    return close_days(pipeline.platform, orchestrator or Partitions(pipeline))


def sealed(folders: Folders) -> dict[str, dict[str, str]]:
    """The members of each zip by its name, as digests; the manifest agrees with them."""
    found = {}
    for path in folders.zips():
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            assert len(names) == len(set(names))
            found[path.name] = {
                name: hashlib.sha256(archive.read(name)).hexdigest() for name in names if name != MANIFEST
            }
            listed: list[dict[str, Any]] = json.loads(archive.read(MANIFEST))
        assert {entry["miembro"]: entry["sha256"] for entry in listed} == found[path.name]
    return found


def loose(folders: Folders) -> set[str]:
    """What lies in ``backup/`` beside zips, folders among it."""
    zips = set(folders.zips())
    return {str(path.relative_to(folders.backup)) for path in folders.backup.rglob("*") if path not in zips}
