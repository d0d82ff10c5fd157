"""The three samples that came with the task, where they stand beside the project; else three of the same kind.

Giving their bytes belongs here; what must become of them does not.
"""

import random
from datetime import date

from tests.support.servers import PROJECT
from visitas_dagster.demo.samples import HEADER, sample_report

RECORDS = {"report_7.txt": 503, "report_8.txt": 503, "report_9.txt": 995}
"""Records of each; all are valid once the header is."""

WRONG_COLUMN = {"report_7.txt": "jk", "report_9.txt": "fgh"}
"""The name that stands in the header where ``jyv`` belongs."""


def samples() -> dict[str, bytes]:
    """Return the bytes of each, by file name."""
    folder = PROJECT.parent / "shared" / "muestras"
    if folder.is_dir():
        return {name: (folder / name).read_bytes() for name in RECORDS}
    return {name: _made(name, records) for name, records in RECORDS.items()}


def _made(name: str, records: int) -> bytes:
    header = HEADER.replace("jyv", WRONG_COLUMN.get(name, "jyv"))
    return sample_report(random.Random(name), records, header=header, today=date(2013, 3, 1))
