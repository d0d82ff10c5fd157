"""The partitions: one per report file, by its name.

The definition belongs here; who adds keys and asks for runs does not.
"""

import dagster as dg

ARCHIVOS = "archivos"

archivos = dg.DynamicPartitionsDefinition(name=ARCHIVOS)
"""Keys are file names (``report_7.txt``), in the order in which they were first seen."""
