"""One command with every statement explained as it comes: `python -m benchmarks.explained FILE COMMAND`.

Asking the server how it would run each statement belongs here; which commands are asked, and the table of what was
found, do not. The question is put on the statement's own connection, right before it: the temporary tables are there
and filled, and the transaction sees what it changed.

``COMMAND`` is one of ``visitas``, or ``tick`` for one look of the sensor.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, event

from visitas_dagster.cli.app import app
from visitas_dagster.instance import open_instance
from visitas_dagster.resources.platform import Platform
from visitas_dagster.sensors.arrivals import tick
from visitas_dagster.settings import load_settings

_KEPT: Final = ("select_type", "table", "type", "key", "rows")
_PLAIN_INSERT = re.compile(r"INSERT (IGNORE )?INTO \S+ (\([^)]*\) )?VALUES\b", re.IGNORECASE)
_PARAMETER = re.compile(r"%\(\w+\)s|%s")
_PARAMETERS = re.compile(r"\(\?(, \?)+\)")

Plan = list[dict[str, Any]]


class Explanations:
    """By statement, how the server runs it; of several answers the one that reads the most rows.

    Attributes:
        plans: by the statement's text, without its values.
    """

    def __init__(self) -> None:
        """Nothing asked yet."""
        self.plans: dict[str, Plan] = {}

    def listen(self) -> None:
        """Ask about every statement of every engine from now on."""
        event.listen(Engine, "before_cursor_execute", self._before)

    def _before(
        self, connection: Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        text = plain(statement)
        if connection.dialect.name == "sqlite" or many or not is_explained(text):
            return
        plan = _explain(connection, statement, parameters)
        if text not in self.plans or rows_read(plan) > rows_read(self.plans[text]):
            self.plans[text] = plan


def plain(statement: str) -> str:
    """Return a statement on one line, without comments, with ``?`` for its values, however many they are."""
    lines = (line.partition("-- ")[0] for line in statement.splitlines())
    return _PARAMETERS.sub("(?, …)", _PARAMETER.sub("?", " ".join(" ".join(lines).split())))


def is_explained(text: str) -> bool:
    """Say whether a statement reads rows by a way that the server chooses."""
    verb = text.split(" ", 1)[0].upper()
    return verb in {"SELECT", "UPDATE", "DELETE", "INSERT"} and " " in text and not _PLAIN_INSERT.match(text)


def _explain(connection: Connection, statement: str, parameters: Any) -> Plan:
    driver: Any = connection.connection.dbapi_connection
    with driver.cursor() as cursor:
        # MySQL's own default is a tree, which names no table that is read whole; MariaDB has no word for its table.
        form = "" if getattr(connection.dialect, "is_mariadb", False) else "FORMAT=TRADITIONAL "
        cursor.execute(f"EXPLAIN {form}{statement}", parameters or None)
        names = [column[0] for column in cursor.description]
        return [{name: value for name, value in zip(names, row, strict=True) if name in _KEPT} for row in cursor]


def rows_read(plan: Plan) -> int:
    """Return the rows that a plan's steps read, as the server guesses them."""
    return sum(rows_of(step) for step in plan)


def rows_of(step: dict[str, Any]) -> int:
    """Return the rows of one step; MariaDB adds to the number the share that a filter leaves, as in ``12 (3%)``."""
    return int(str(step["rows"] or 0).split()[0])


def _tick() -> None:
    settings = load_settings()
    with open_instance(settings) as instance, Platform(settings) as platform:
        tick(instance, None, platform)


def main(target: str, command: str) -> None:
    """Run it, and write the explanations as JSON, also where it exits with a code."""
    explanations = Explanations()
    explanations.listen()
    try:
        if command == "tick":
            _tick()
        else:
            app([command], standalone_mode=False)
    finally:
        Path(target).write_text(json.dumps(explanations.plans), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
