"""The floor that a figure is held against: what the tools of the trade do alone, without any promise kept.

The floors and the loader as most people write it belong here; what the platform does does not.

A floor checks nothing, records nothing, keeps no backup and recovers from nothing; it takes the file for good. It
is there so that a figure can be read on any machine, today's load included.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Final

import pandas as pd
import pymysql
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from tests.support.servers import OpenSSHServer, program

_FIELDS = (
    "@email, @jyv, @badmail, @baja, @fecha_envio, @fecha_open, @opens, @opens_virales, @fecha_click, @clicks, "
    "@clicks_virales, @links, @ips, @navegadores, @plataformas"
)
_TEXTS = ("jyv", "badmail", "baja", "links", "ips", "navegadores", "plataformas")
_INTEGERS = ("opens", "opens_virales", "clicks", "clicks_virales")
_DATES = ("fecha_envio", "fecha_open", "fecha_click")
_DATE_FORMAT = "%d/%m/%Y %H:%i"

# VALUES() is deprecated in MySQL, but both servers take it.
UPSERT: Final = """
    INSERT INTO visitantes
    SELECT email, MIN(fecha_envio), MAX(fecha_envio), COUNT(*),
        SUM(YEAR(fecha_envio) = YEAR(NOW())),
        SUM(YEAR(fecha_envio) = YEAR(NOW()) AND MONTH(fecha_envio) = MONTH(NOW())),
        NOW(6)
    FROM estadisticas WHERE archivo_id = %s GROUP BY email
    ON DUPLICATE KEY UPDATE
        fecha_primera_visita = LEAST(fecha_primera_visita, VALUES(fecha_primera_visita)),
        fecha_ultima_visita = GREATEST(fecha_ultima_visita, VALUES(fecha_ultima_visita)),
        visitas_totales = visitas_totales + VALUES(visitas_totales),
        visitas_anio_actual = visitas_anio_actual + VALUES(visitas_anio_actual),
        visitas_mes_actual = visitas_mes_actual + VALUES(visitas_mes_actual),
        actualizado_en = VALUES(actualizado_en)
"""
"""Adds the visitors of one file, by its key, with the server's own clock and no locks in order."""


@dataclass(frozen=True)
class Floor:
    """Seconds of the floor's parts.

    Attributes:
        download: OpenSSH's ``sftp`` gets the file.
        load: ``LOAD DATA LOCAL INFILE`` into ``estadisticas``.
        visitors: the grouped upsert into ``visitantes``.
        commit: the end of the one transaction that holds both.
    """

    download: float
    load: float
    visitors: float
    commit: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.download + self.load + self.visitors + self.commit


def sftp_batch(server: OpenSSHServer, folder: Path, *commands: str) -> tuple[float, str]:
    """Run commands in OpenSSH's own ``sftp``, in a folder on the server; return seconds and its output."""
    options = ("StrictHostKeyChecking=yes", f"UserKnownHostsFile={server.known_hosts_file}", "IdentitiesOnly=yes")
    command = [program("sftp"), "-q", "-b", "-", "-P", str(server.port), "-i", str(server.key_file)]
    for option in options:
        command += ["-o", option]
    begin = time.perf_counter()
    done = subprocess.run(
        [*command, f"{server.user}@{server.host}"],
        input="\n".join([f"cd {folder}", *commands, ""]),
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - begin, done.stdout


def load_floor(server: OpenSSHServer, folder: Path, names: Sequence[str], url: str, target: Path) -> Floor:
    """Get files in one session and load each in one transaction, with the conversions in SQL.

    Args:
        server: where the files are.
        folder: the folder on it.
        names: reports with the contract's header in the contract's order, every record good, LF.
        url: a database with the platform's tables.
        target: where the downloaded files go.
    """
    download, _ = sftp_batch(server, folder, f"lcd {target}", *(f"get {name}" for name in names))
    totals = [0.0, 0.0, 0.0]
    with closing(_connect(url)) as connection:
        for name in names:
            parts = _load_local(connection, target / name)
            totals = [total + part for total, part in zip(totals, parts, strict=True)]
            (target / name).unlink()
    return Floor(download, *totals)


def _load_local(connection: pymysql.connections.Connection[Any], path: Path) -> list[float]:
    """Load one local file; return the seconds of the load, the visitors and the commit."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO bitacora_control (archivo, estado, intentos, vigente) VALUES (%s, 'COMPLETADO', 1, 1)",
            (path.name,),
        )
        entry_id = cursor.lastrowid
        cursor.execute("SET @line = 1")
        marks = [time.perf_counter()]
        cursor.execute(_load_data(path, entry_id))
        marks.append(time.perf_counter())
        cursor.execute(UPSERT, (entry_id,))
        marks.append(time.perf_counter())
        connection.commit()
        marks.append(time.perf_counter())
    return [end - begin for begin, end in pairwise(marks)]


def _connect(url: str) -> pymysql.connections.Connection[Any]:
    parts = make_url(url)
    return pymysql.connect(
        host=parts.host or "",
        port=parts.port or 3306,
        user=parts.username or "",
        password=parts.password or "",
        database=parts.database,
        charset="utf8mb4",
        local_infile=True,
    )


def _load_data(path: Path, entry_id: int) -> str:
    def value(name: str) -> str:
        return f"NULLIF(NULLIF(@{name}, '-'), '')"

    settings = [f"archivo_id = {entry_id}", "linea = (@line := @line + 1)", "email = LOWER(@email)"]
    settings += [f"{name} = {value(name)}" for name in (*_TEXTS, *_INTEGERS)]
    settings += [f"{name} = STR_TO_DATE({value(name)}, '{_DATE_FORMAT}')" for name in _DATES]
    return (
        f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE estadisticas CHARACTER SET utf8mb4 "
        "FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' ESCAPED BY '' LINES TERMINATED BY '\\n' "
        f"IGNORE 1 LINES ({_FIELDS}) SET {', '.join(settings)}"
    )


def to_sql_seconds(path: Path, url: str) -> float:
    """Load a report's visits as most people write it: ``read_csv`` and ``to_sql``; no visitors, no ledger.

    Args:
        path: a local report, every record good.
        url: a database with the platform's tables.
    """
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            entry = connection.exec_driver_sql(
                "INSERT INTO bitacora_control (archivo, estado, intentos, vigente) VALUES (%s, 'EN_PROCESO', 1, 1)",
                (path.name,),
            )
            begin = time.perf_counter()
            frame = report_frame(path)
            frame.insert(0, "archivo_id", entry.lastrowid)
            frame.insert(1, "linea", range(2, len(frame) + 2))
            frame.to_sql("estadisticas", connection, if_exists="append", index=False, method="multi", chunksize=1000)
        return time.perf_counter() - begin
    finally:
        engine.dispose()


def report_frame(source: Path | IO[bytes]) -> pd.DataFrame:
    """Read a report as most people write it: no rule but the types'; columns named as the table's."""
    names = [field.strip().removeprefix("@") for field in _FIELDS.split(",")]
    frame = pd.read_csv(source, header=0, names=names, na_values=["-"], dtype=dict.fromkeys(_TEXTS, str))
    for name in _DATES:
        frame[name] = pd.to_datetime(frame[name], format=_DATE_FORMAT.replace("%i", "%M"))
    return frame
