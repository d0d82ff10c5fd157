"""Waiting for what another thread or process does.

Looking again until it is so belongs here; what is waited for does not.
"""

import time
from collections.abc import Callable


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Return as soon as it is so; fail when it has not become so within these seconds."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
