"""One installation of the platform under measurement: its home, its settings, its database, its folder of reports.

Setting it up and calling its commands belongs here; the figures do not.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import Measured, measure
from tests.support.servers import DatabaseServer, OpenSSHServer
from visitas_dagster.settings import Settings, load_settings


@dataclass(frozen=True)
class Installation:
    """An empty installation, its tables made by ``visitas init``.

    Attributes:
        home: ``VISITAS_HOME``; Dagster's home lies in it.
        folder: the folder of the SFTP server, on this machine and there alike.
        database_url: SQLAlchemy URL of its own database.
        sftp: the server.
    """

    home: Path
    folder: Path
    database_url: str
    sftp: OpenSSHServer

    def environment(self) -> dict[str, str]:
        """Return the environment of its commands: nothing of the caller's own ``VISITAS_*`` or Dagster's."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("VISITAS_", "DAGSTER_"))}
        return {
            **own,
            **self.sftp.environment(self.folder),
            "VISITAS_HOME": str(self.home),
            "VISITAS_DB_URL": self.database_url,
            "VISITAS_ESPERA_ESTABLE_S": "0",
        }

    def settings(self) -> Settings:
        """Return the same settings, for what is measured inside this process."""
        values = {
            name.removeprefix("VISITAS_").lower(): value
            for name, value in self.environment().items()
            if name.startswith("VISITAS_")
        }
        return load_settings(_env_file=None, **values)

    def visitas(self, *arguments: str, **changes: str) -> Measured:
        """Run a ``visitas`` command as a whole process; ``changes`` are settings of this call."""
        command = [str(Path(sys.executable).with_name("visitas")), *arguments]
        return measure(command, {**self.environment(), **changes})


@contextmanager
def installation(sftp: OpenSSHServer, server: DatabaseServer) -> Iterator[Installation]:
    """Set up an installation over a new database of ``server``; remove all of it afterwards."""
    home = Path(tempfile.mkdtemp(prefix="visitas-bench-"))
    folder = Path(tempfile.mkdtemp(prefix="reports-", dir=sftp.root))
    url = server.create_database()
    try:
        made = Installation(home, folder, url, sftp)
        made.visitas("init")
        yield made
    finally:
        server.drop_database(url)
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
