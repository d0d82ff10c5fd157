"""What this machine lacks for a fault: the tests that need it are deselected, not skipped.

Asking the machine belongs here, and the disk that several of them fill; the faults themselves stand in their tests.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.disks import SmallDisk, can_mount

DISK: Final = 16 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Give a small disk, to be filled."""
    with SmallDisk(tmp_path / "disco", DISK) as disk:
        yield disk


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that fill a small disk where none may be mounted."""
    wanting = [item for item in items if "disk" in getattr(item, "fixturenames", ())]
    if wanting and not can_mount():
        config.hook.pytest_deselected(items=wanting)
        items[:] = [item for item in items if item not in wanting]
