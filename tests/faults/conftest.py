"""What this machine lacks for a fault: the tests that need it are deselected, not skipped.

Asking the machine belongs here; the faults themselves stand in their tests.
"""

import functools
import subprocess

import pytest


@functools.cache
def can_mount() -> bool:
    """Whether a file system may be mounted here, in a name space of one's own."""
    try:
        done = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "visitas", "/mnt"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        return False
    return done.returncode == 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that fill a small disk where none may be mounted."""
    wanting = [item for item in items if "disk" in getattr(item, "fixturenames", ())]
    if wanting and not can_mount():
        config.hook.pytest_deselected(items=wanting)
        items[:] = [item for item in items if item not in wanting]
