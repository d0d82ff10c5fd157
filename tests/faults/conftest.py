"""What this machine lacks for a fault: the tests that need it are deselected, not skipped.

Asking the machine belongs here; the faults themselves stand in their tests.
"""

import pytest

from tests.support.disks import can_mount


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that fill a small disk where none may be mounted."""
    wanting = [item for item in items if "disk" in getattr(item, "fixturenames", ())]
    if wanting and not can_mount():
        config.hook.pytest_deselected(items=wanting)
        items[:] = [item for item in items if item not in wanting]
