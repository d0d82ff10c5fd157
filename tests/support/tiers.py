"""The tiers of the tests: which folders there are, and what the quick ones must keep away from.

Rules over a test's place, fixtures and imports belong here; the pytest hook that applies them is in
`tests/conftest.py`.
"""

from collections.abc import Collection, Mapping
from pathlib import PurePath

TIERS = ("unit", "cases", "graph", "integration", "faults", "browser", "oracle")

# They run in seconds on a machine without any server.
SERVERLESS = ("unit", "cases")

# The fixtures of `tests/support/fixtures.py`.
SERVER_FIXTURES = frozenset(
    {
        "cutting_proxy",
        "database",
        "database_servers",
        "database_url",
        "mariadb_server",
        "openssh_server",
        "own_openssh_server",
        "sftp_folder",
    }
)
SERVER_MODULES = ("tests.support.servers", "tests.support.proxy")


def tier_of(path: PurePath) -> str | None:
    """Return the tier of a test file, given relative to the folder `tests`; None when it lies in none."""
    return path.parts[0] if len(path.parts) > 1 and path.parts[0] in TIERS else None


def complaints(path: PurePath, fixtures: Collection[str], names: Mapping[str, object]) -> list[str]:
    """Return what is wrong with one test, a sentence each; empty when all is well.

    Args:
        path: the test's file, relative to the folder `tests`.
        fixtures: the names of all fixtures that the test gets, the indirect ones included.
        names: the names in the test's module.
    """
    tier = tier_of(path)
    if tier is None:
        return [f"tests/{path}: lies in none of the tiers {', '.join(TIERS)}"]
    if tier not in SERVERLESS:
        return []
    found = [f"uses the server fixture `{name}`" for name in sorted(SERVER_FIXTURES.intersection(fixtures))]
    found += [f"imports `{name}` from a server module" for name, value in names.items() if _is_of_servers(value)]
    return [f"tests/{path}: a test of the tier `{tier}` {what}" for what in found]


def _is_of_servers(value: object) -> bool:
    return getattr(value, "__module__", None) in SERVER_MODULES or getattr(value, "__name__", None) in SERVER_MODULES
