"""One close at a time on one machine: a lock that dies with the process that holds it.

Taking it, and waiting for it, belongs here; what is done under it does not. It is a file's lock whatever the
database is, for what two closes would spoil for each other are folders.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from visitas_dagster.domain.failures import TransientFailure
from visitas_dagster.loading.reservations import FileReservations
from visitas_dagster.resources.folders import Folders

log = logging.getLogger("visitas.cierre")

# No report has such a name.
_NAME = "/cierre"
_LOOK_S = 0.5
MAX_WAIT_S = 3600
"""Seconds that a close waits for another one."""


@contextmanager
def alone(folders: Folders, *, wait_s: float = MAX_WAIT_S) -> Iterator[None]:
    """Hold the lock; wait while another close, or whoever else rewrites sealed backups, has it.

    Raises:
        TransientFailure: the other one did not end in ``wait_s`` seconds.
    """
    reservations = FileReservations(folders.locks)
    deadline = time.monotonic() + wait_s
    try:
        if not reservations.take(_NAME):
            log.warning("otro cierre está en marcha; éste espera a que termine")
            while not reservations.take(_NAME):
                if time.monotonic() > deadline:
                    raise TransientFailure(
                        f"otro cierre sigue en marcha después de {wait_s:.0f} s",
                        "espere a que termine y repita: visitas close",
                    )
                time.sleep(_LOOK_S)
        yield
    finally:
        reservations.close()
