"""The job that takes files from the server into the tables, and what its runs hand from op to op.

The job's executor, tags and hand-over belong here; the assets and who starts a run do not.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

JOB = "procesar_archivos"


class HandOver(dg.IOManager):
    """Keeps what an op hands to the next in memory: a run is one process, and the bytes are in ``staging/``."""

    def __init__(self) -> None:
        """Start with nothing handed over."""
        self._values: dict[tuple[str, str], Any] = {}

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Keep the value for the next op."""
        self._values[context.step_key, context.name] = obj

    def load_input(self, context: dg.InputContext) -> Any:
        """Return the previous op's value; a run that begins in the middle has none."""
        upstream = context.upstream_output
        key = (upstream.step_key, upstream.name) if upstream is not None else ("", "")
        if key not in self._values:
            raise dg.Failure(
                "Esta corrida no puede seguir a la mitad de otra: use «Re-execute all» (repetir todo).",
                allow_retries=False,
            )
        return self._values[key]


@dg.io_manager(description="Hands a file's way from op to op, in memory.")
def hand_over() -> HandOver:
    """Return a hand-over for one run."""
    return HandOver()


def build_job(assets: dg.AssetsDefinition) -> Any:
    """Return the job: all five assets, one process a run (a process a step made 6 to 11 files a minute, this 390)."""
    return dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(assets) | dg.AssetSelection.checks_for_assets(assets),
        executor_def=dg.in_process_executor,
        description="Descarga, valida, carga y archiva los reportes de la corrida.",
        # A run whose worker died is tried again from its first step; a failed file is not Dagster's to retry.
        tags={"dagster/retry_strategy": "ALL_STEPS"},
    )
