"""The partitions: one per report file, by its name.

The definition and how keys are added belong here; who adds them and asks for runs does not.
"""

from collections.abc import Sequence

import dagster as dg
from sqlalchemy.exc import IntegrityError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

ARCHIVOS = "archivos"

archivos = dg.DynamicPartitionsDefinition(name=ARCHIVOS)
"""Keys are file names (``report_7.txt``), in the order in which they were first seen."""

_TRIES = 5


def register(instance: dg.DagsterInstance, names: Sequence[str]) -> None:
    """Add the keys that are not there yet.

    Dagster looks which are missing and inserts those, all or none: of two passes that began together over the same
    600 files one ended with an error. What the other one added is found by looking again.
    """
    for attempt in Retrying(
        retry=retry_if_exception_type(IntegrityError), stop=stop_after_attempt(_TRIES), reraise=True
    ):
        with attempt:
            instance.add_dynamic_partitions(ARCHIVOS, names)
