"""What holds for every test: its tier's mark, and the rules of that tier, checked at collection.

Hooks and fixtures of all tiers belong here; a tier's own fixtures stand in its own conftest.
"""

import signal
from pathlib import Path

import hypothesis
import pytest

from tests.support.tiers import complaints, tier_of

pytest_plugins = ["tests.support.fixtures"]

TESTS = Path(__file__).resolve().parent

# How long an example takes is the machine's business.
hypothesis.settings.register_profile("visitas", deadline=None)
hypothesis.settings.load_profile("visitas")


def pytest_configure() -> None:
    """Let Ctrl-C reach what the tests start: a shell's background job, and all its children, begin with it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its tier; refuse the whole run when one breaks its tier's rules."""
    wrong: dict[str, None] = {}
    for item in items:
        path = item.path.relative_to(TESTS)
        fixtures = getattr(item, "fixturenames", ())
        module = item.getparent(pytest.Module)
        names = vars(module.obj) if module is not None else {}
        wrong.update(dict.fromkeys(complaints(path, fixtures, names)))
        if tier := tier_of(path):
            item.add_marker(tier)
    if wrong:
        raise pytest.UsageError("\n".join(wrong))
