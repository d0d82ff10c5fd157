"""Runs the job of ``default_job.py``, a run a file: `python -m benchmarks.default_runs FILE COUNT`.

Executing and timing it belongs here; what the job does stands there. A process of its own, since Dagster finds its
home by the environment.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import dagster as dg

from benchmarks import default_job


def main(target: str, count: int) -> None:
    """Write the seconds that ``report_1.txt`` to ``report_<count>.txt`` take one after the other.

    Raises:
        RuntimeError: a run failed.
    """
    names = [f"report_{number}.txt" for number in range(1, count + 1)]
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(default_job.files.name or "", names)
        begin = time.perf_counter()
        for name in names:
            result = dg.execute_job(
                dg.reconstructable(default_job.job), instance, tags={"dagster/partition": name}, raise_on_error=True
            )
            if not result.success:
                raise RuntimeError(f"the run over {name} failed")
        seconds = time.perf_counter() - begin
    Path(target).write_text(json.dumps({"seconds": seconds}), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
