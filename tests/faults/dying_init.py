"""`visitas init` over and over on one database, each process killed right after its first change to it.

Making it die belongs here; what must stand afterwards does not. Started as a program with the database's URL, it ends
with the first process that finds nothing left to change, and prints how many died.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tests.support.pipeline import settings_for
from visitas_dagster.loading.schema import upgrade
from visitas_dagster.resources.database import open_engine

_CHANGES = ("CREATE", "INSERT", "UPDATE", "ALTER", "DROP")


def _upgrade_and_die(url: str) -> None:
    engine = open_engine(settings_for(url, {}, Path("/nonexistent")))

    @sa.event.listens_for(engine, "after_cursor_execute")
    def _changed(connection: sa.Connection, cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().upper().startswith(_CHANGES):
            # What is no DDL is committed too: the next process begins one statement later.
            connection.connection.commit()
            os.kill(os.getpid(), signal.SIGKILL)

    upgrade(engine)


def main(url: str) -> None:
    """Start one process after the other until one lives."""
    deaths = 0
    while True:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _upgrade_and_die(url)
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGKILL:
            deaths += 1
            continue
        if code:
            sys.exit(code)
        print(deaths)
        return


if __name__ == "__main__":
    main(sys.argv[1])
