"""The same way of a file as people write it in Dagster: three assets over one partition a file, nothing else set.

The job that the platform is held against belongs here; running and timing it does not.

Dagster's default executor starts a process for each step, and its default I/O manager hands a step's result to the
next as a pickle on disk. The steps do what such pipelines do: download, check with pandas, `to_sql` and one grouped
upsert. Nothing is retried, rejected record by record, backed up, or kept from being loaded twice.
"""

# No postponed annotations here: Dagster looks at those of an asset's parameters as they are.
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pandas as pd
import paramiko
from sqlalchemy import Connection, create_engine

from benchmarks.floor import UPSERT, report_frame

files = dg.DynamicPartitionsDefinition(name="files")


@dg.asset(partitions_def=files)
def downloaded(context: dg.AssetExecutionContext) -> bytes:
    """Return the report's bytes, from the SFTP server."""
    with paramiko.SSHClient() as client:
        client.load_host_keys(os.environ["VISITAS_SFTP_KNOWN_HOSTS"])
        client.connect(
            os.environ["VISITAS_SFTP_HOST"],
            int(os.environ["VISITAS_SFTP_PORT"]),
            os.environ["VISITAS_SFTP_USER"],
            key_filename=os.environ["VISITAS_SFTP_KEY_FILE"],
            allow_agent=False,
            look_for_keys=False,
        )
        with client.open_sftp() as sftp, sftp.open(f"{os.environ['VISITAS_SFTP_DIR']}/{context.partition_key}") as file:
            file.prefetch()
            return file.read()


@dg.asset(partitions_def=files)
def validated(downloaded: bytes) -> pd.DataFrame:
    """Return the records whose e-mail looks like one, with their dates read."""
    frame = report_frame(io.BytesIO(downloaded))
    return frame[frame["email"].str.contains("@") & frame["fecha_envio"].notna()]


@dg.asset(partitions_def=files)
def loaded(context: dg.AssetExecutionContext, validated: pd.DataFrame) -> None:
    """Put the records and their visitors into the tables, in one transaction."""
    with _transaction() as connection:
        entry = connection.exec_driver_sql(
            "INSERT INTO bitacora_control (archivo, estado, intentos, vigente) VALUES (%s, 'COMPLETADO', 1, 1)",
            (context.partition_key,),
        ).lastrowid
        rows = validated.assign(archivo_id=entry, linea=range(2, len(validated) + 2))
        rows.to_sql("estadisticas", connection, if_exists="append", index=False, method="multi", chunksize=1000)
        connection.exec_driver_sql(UPSERT, (entry,))


@contextmanager
def _transaction() -> Iterator[Connection]:
    engine = create_engine(os.environ["VISITAS_DB_URL"])
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


defs = dg.Definitions(assets=[downloaded, validated, loaded], jobs=[dg.define_asset_job("load_file", "*")])


def job() -> Any:
    """Return the job, as each of its processes finds it anew."""
    return defs.resolve_job_def("load_file")
