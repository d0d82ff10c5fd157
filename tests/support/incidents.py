"""Incidents for the operations manual: how each is brought about, what others do about it, and when it is over.

Bringing them about in an installation belongs here; going along the manual does not. `tools/sembrar-incidentes` does it
for a person.
"""

import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from tests.oracle.oracle import World
from tests.support.disks import SmallDisk
from tests.support.fixtures import DatabaseServers
from tests.support.manual import CHECK, CURE, FIND, Section, Walk, sections
from tests.support.pipeline import record, report
from tests.support.servers import LocalDatabaseServer, available_engines
from tests.support.site import DAY, Site
from visitas_dagster.instance import heartbeats

NAME: Final = "report_7.txt"
DATA: Final = report(*[record(f"v{number}@example.com") for number in range(12)], record(), record("sin arroba"))
OTHER: Final = report(record("luis@example.net"), record("ana@example.com", "02/03/2024 11:00"))

DISK: Final = 16 << 20
_PATIENCE_S = 240


def as_shown(said: str) -> str:
    """What the manual says will be shown, up to what differs from day to day."""
    return said.partition("AAAAMMDD")[0]


def nothing(site: Site) -> None:
    """Nobody does anything."""


@dataclass(frozen=True)
class Incident:
    """Something that fails.

    Attributes:
        name: what the tool calls it.
        section: the heading of its section in the manual.
        seed: brings it about.
        others: what people elsewhere do once they are told, before the cure.
        wait: lets time pass after the cure, where the manual says so.
        wrong: what is not as it must be, one line each; empty once it is cured.
        engine: the database server that it needs, or that it is shown on.
        needs_disk: whether the home lies on a small disk of its own.
        is_shown: whether a command under *Cómo averiguarlo* prints one of the section's messages.
    """

    name: str
    section: str
    seed: Callable[[Site], None]
    others: Callable[[Site], None] = nothing
    wait: Callable[[Site], None] = nothing
    wrong: Callable[[Site], list[str]] = Site.differences
    engine: str = "mariadb"
    needs_disk: bool = False
    is_shown: bool = True

    def befall(self, site: Site, section: Section) -> None:
        """Bring it about, go along its section of the manual as it stands, and see that it is over."""
        self.seed(site)
        walk = Walk(section, site.execute)
        found = walk.part(FIND)
        walk.execute = site.execute_strictly
        assert section.shows_itself_in(found) or not section.symptoms or not self.is_shown, found
        self.others(site)
        cured = walk.part(CURE)
        self.wait(site)
        checked = walk.part(CHECK)
        assert walk.left == []
        assert self.wrong(site) == [], (found, cured, checked)
        assert not section.promised or any(as_shown(said) in checked for said in section.promised), checked


def own_servers(database_servers: DatabaseServers) -> dict[str, LocalDatabaseServer]:
    """The session's own database servers by engine; somebody else's is no place for a database called `visitas`."""
    found = ((engine, database_servers.get(engine)) for engine in available_engines() if engine != "sqlite")
    return {engine: server for engine, server in found if isinstance(server, LocalDatabaseServer)}


def asked_for(request: pytest.FixtureRequest) -> list[Incident]:
    """The incidents of the tests that this session runs of a module, by their parameter `incident`."""
    found = []
    for item in request.session.items:
        if item.path == request.path and isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            param = item.callspec.params.get("incident")
            found += [param] if isinstance(param, Incident) else []
    return found


@contextmanager
def befalling(
    incidents: Iterable[Incident], servers: Mapping[str, LocalDatabaseServer], folder: Path
) -> Iterator[Mapping[str, Future[None]]]:
    """Let incidents befall, each in an installation of its own, one after the other on each database server.

    Args:
        incidents: in their order.
        servers: by engine; an incident whose engine is not among them takes the first.
        folder: an empty one.

    Yields:
        By section, what waits for its end and raises what went wrong.
    """
    with ExitStack() as stack:
        hands = {engine: stack.enter_context(ThreadPoolExecutor(1)) for engine in servers}
        begun = {}
        for number, incident in enumerate(incidents):
            engine = incident.engine if incident.engine in servers else next(iter(servers))
            begun[incident.section] = hands[engine].submit(_alone, incident, servers[engine], folder / str(number))
        try:
            yield begun
        finally:
            for future in begun.values():
                future.cancel()


def _alone(incident: Incident, server: LocalDatabaseServer, folder: Path) -> None:
    folder.mkdir()
    with ExitStack() as stack:
        disk = stack.enter_context(SmallDisk(folder / "disco", DISK)).path if incident.needs_disk else None
        incident.befall(stack.enter_context(Site(folder, server, disk)), sections()[incident.section])


# ---------------------------------------------------------------------------------------------------- the servers


def _changed_host_key(site: Site) -> None:
    site.deliver(NAME, DATA)
    site.sftp.rotate_host_key()


def _refused_login(site: Site) -> None:
    site.deliver(NAME, DATA)
    old = site.home / ".ssh" / "id_anterior"
    # Any key that the server does not know: its own will do.
    shutil.copy(site.sftp.folder / "host_key", old)
    site.set(VISITAS_SFTP_KEY_FILE=str(old))
    site.edits = {"VISITAS_SFTP_KEY_FILE": str(site.home / ".ssh" / "id_ed25519")}


def _database_down(site: Site) -> None:
    site.deliver(NAME, DATA)
    site.server.stop()
    site.services["systemctl restart mysql"] = site.server.start


def _wrong_password(site: Site) -> None:
    site.deliver(NAME, DATA)
    site.set(VISITAS_DB_URL=site.url("visitas").replace("clave", "la-de-antes"))
    site.edits = {"VISITAS_DB_URL": site.url("visitas")}


def _missing_permission(site: Site) -> None:
    site.server.execute("REVOKE CREATE TEMPORARY TABLES ON visitas.* FROM 'visitas'@'%'")
    site.deliver(NAME, DATA)
    # Its run has failed already, as in a night.
    with site.pipeline(db_url=site.url("visitas")) as pipeline:
        pipeline.run_pass()


# -------------------------------------------------------------------------------------------------------- the disk


def _full_disk(site: Site) -> None:
    old = site.home / "backup" / "backup_20240101.zip"
    with zipfile.ZipFile(old, "w") as archive:
        size = shutil.disk_usage(site.home).free - (512 << 10)
        archive.writestr("report_1__0123456789ab.txt", b"\0" * size)
    site.deliver(NAME, report(*[record(f"v{number}@example.com") for number in range(10_000)]))
    with site.pipeline() as pipeline:
        pipeline.run_pass()


# ------------------------------------------------------------------------------------------------------- the files


def _unknown_column(site: Site) -> None:
    data = DATA.replace(b",jyv,", b",jk,", 1)
    site.deliver(NAME, data, expected=False)
    with site.pipeline() as pipeline:
        pipeline.run_pass()
    site.edits = {"VISITAS_ALIAS_COLUMNAS": "jk=jyv"}
    site.world = World([(NAME, data)], aliases={"jk": "jyv"})


def _half_delivery(site: Site) -> None:
    site.deliver(f"{NAME}.filepart", DATA, expected=False)
    site.world.deliver(NAME, DATA)


def _killed_run(site: Site) -> None:
    site.deliver(NAME, DATA)
    with site.pipeline() as pipeline:
        with pipeline.tools() as tools:
            task = pipeline.validated(tools, NAME)
            assert task.staged is not None
            data = task.staged.read_bytes()
        # A process that died has not cleared its folder.
        task.staged.parent.mkdir()
        task.staged.write_bytes(data)


def _given_up(site: Site) -> None:
    # What a full server answers; the event is real, the server's disk is not touched.
    site.server.execute(
        "CREATE TRIGGER visitas.lleno BEFORE INSERT ON visitas.estadisticas FOR EACH ROW "
        "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'The table is full'"
    )
    site.deliver(NAME, DATA)
    for days in (5, 4, 3, 2):
        with site.pipeline(days * DAY) as pipeline:
            pipeline.run_pass()
    site.server.execute("DROP TRIGGER visitas.lleno")


def _wrong_correction(site: Site) -> None:
    site.load(NAME, DATA, 2 * DAY)
    site.load(NAME, OTHER, DAY)
    # In the end the first delivery is the current one again.
    site.world.deliver(NAME, DATA)


# ----------------------------------------------------------------------------------------------------- the machine


def _missed_closes(site: Site) -> None:
    site.load(NAME, DATA, 3 * DAY)
    site.load("report_8.txt", OTHER, 2 * DAY)


def _unclosed(site: Site) -> list[str]:
    folders = [path.name for path in (site.home / "backup").iterdir() if path.is_dir() and any(path.iterdir())]
    zips = list((site.home / "backup").glob("backup_????????.zip"))
    return [
        *site.differences(),
        *(f"not sealed: {name}" for name in sorted(folders)),
        *(["fewer zips than days"] if len(zips) < 2 else []),
    ]


def _stopped_daemon(site: Site) -> None:
    site.beat(timedelta(hours=3))
    site.deliver(NAME, DATA)
    site.services["systemctl restart visitas-daemon"] = site.start_daemon


def _until_it_lives(site: Site) -> None:
    began = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=1)
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        with site.instance() as instance:
            beats = heartbeats(instance)
            if len(beats) == len(instance.get_required_daemon_types()) and min(beats.values()) > began:
                return
        time.sleep(1)


INCIDENTS: Final = (
    Incident("llave-del-servidor", "La llave del servidor SFTP cambió", _changed_host_key),
    Incident("usuario-sftp", "El servidor SFTP no acepta al usuario", _refused_login, engine="mysql"),
    Incident("base-apagada", "La base de datos no responde", _database_down),
    Incident("clave-de-la-base", "La base de datos no acepta al usuario", _wrong_password, engine="mysql"),
    Incident("permiso-de-la-base", "Al usuario de la base le falta un permiso", _missing_permission, engine="mysql"),
    Incident("disco-lleno", "El disco está lleno", _full_disk, needs_disk=True),
    Incident("encabezado-jk", "El encabezado trae una columna desconocida", _unknown_column),
    Incident("entrega-a-medias", "Una entrega a medias", _half_delivery),
    Incident("corrida-muerta", "Un archivo se quedó en proceso", _killed_run, engine="mysql"),
    Incident("ya-no-se-reintenta", "Un archivo fallido ya no se reintenta", _given_up),
    Incident("correccion-equivocada", "Una corrección equivocada", _wrong_correction, engine="mysql"),
    Incident("noches-sin-cierre", "El cierre falló o faltó una noche", _missed_closes, wrong=_unclosed),
    Incident("demonio-detenido", "El demonio se detuvo", _stopped_daemon, wait=_until_it_lives, engine="mysql"),
)
"""What the tool can bring about, and `test_manual_incidents.py` cures."""
