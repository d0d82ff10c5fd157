"""The SFTP side against a real OpenSSH: what is taken, what is left alone, and what each fault is called.

Listing, downloading, removing and connecting belong here; what the bytes mean does not.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import Pipeline, put, record, report, settings_for, sha256
from tests.support.ports import free_port
from tests.support.proxy import CuttingProxy
from tests.support.servers import OpenSSHServer
from visitas_dagster.domain.arrivals import Listed
from visitas_dagster.domain.content import ContentFacts
from visitas_dagster.domain.failures import FileGone, PermanentFailure, SettingsError, TransientFailure
from visitas_dagster.domain.states import Estado
from visitas_dagster.loading import tables
from visitas_dagster.resources.sftp import SftpFolder as SftpConnection
from visitas_dagster.resources.sftp import connect
from visitas_dagster.settings import Settings
from visitas_dagster.steps.archive import archive
from visitas_dagster.steps.download import download, identify
from visitas_dagster.steps.load import load
from visitas_dagster.steps.task import FileTask, Source

MakeProxy = Callable[[int], CuttingProxy]

NAME = "report_1.txt"
BIG = report(*[record(f"v{number}@example.com") for number in range(40_000)])
"""About 3 MB."""

# The database is not what these tests are about.
pytestmark = pytest.mark.databases("sqlite")


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path) as pipeline:
        yield pipeline


@pytest.fixture
def proxy(sftp_folder: SftpFolder, cutting_proxy: MakeProxy) -> Iterator[CuttingProxy]:
    server = sftp_folder.server
    proxy = cutting_proxy(server.port)
    server.trust_host_key(proxy.port)
    yield proxy
    server.trust_host_key()


@pytest.fixture
def far(database: Database, sftp_folder: SftpFolder, tmp_path: Path, proxy: CuttingProxy) -> Iterator[Pipeline]:
    """Give a pipeline that reaches the server through the proxy."""
    with Pipeline(database, sftp_folder, tmp_path, sftp_port=proxy.port) as pipeline:
        yield pipeline


def settings_of(folder: SftpFolder, tmp_path: Path, **others: object) -> Settings:
    return settings_for("sqlite://", folder.environment(), tmp_path, **others)


# ------------------------------------------------------------------------------------------------ what is taken


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (report(record(jyv="ñandú")), "utf-8"),
        (b"\xef\xbb\xbf" + report(record(jyv="ñandú")), "utf-8-sig"),
        (report(record(jyv="ñandú")).decode().encode("cp1252"), "windows-1252"),
        (b"", "utf-8"),
        (BIG, "utf-8"),
    ],
    ids=["utf-8", "bom", "windows-1252", "empty", "big"],
)
def test_the_bytes_come_whole_and_are_known(pipeline: Pipeline, data: bytes, encoding: str) -> None:
    mtime = pipeline.deliver(NAME, data)
    with pipeline.tools() as tools:
        task = FileTask(NAME, Source.SERVER)
        download(tools, task)
        identify(tools, task)
        assert task.facts == ContentFacts(len(data), sha256(data), encoding, False)
        assert task.listed == Listed(NAME, len(data), mtime)
        assert task.staged is not None
        assert task.staged.read_bytes() == data
        assert [path.name for path in pipeline.staging() if path.is_file()] == [NAME]
    (row,) = pipeline.rows(tables.bitacora_control)
    assert (row["sha256"], row["bytes"], row["codificacion"]) == (sha256(data), len(data), encoding)
    assert pipeline.on_server() == {NAME}
    assert pipeline.staging() == []


def test_only_reports_are_touched(pipeline: Pipeline, tmp_path: Path) -> None:
    data = report(record())
    outside = tmp_path / "report_99.txt"
    outside.write_bytes(data)
    (pipeline.folder / "report_2.txt").mkdir()
    (pipeline.folder / "report_2.txt" / "report_3.txt").write_bytes(data)
    (pipeline.folder / "report_4.txt").symlink_to(outside)
    (pipeline.folder / "report_5.txt").symlink_to(tmp_path / "nowhere")
    (pipeline.folder / "report_6.txt").symlink_to(pipeline.folder / "report_2.txt")
    os.mkfifo(pipeline.folder / "report_7.txt")
    for name in (
        "report_8.txt.tmp",
        "report_8.txt.filepart",
        ".report_8.txt",
        "Report_8.txt",
        "report_8.TXT",
        "report_.txt",
        "report_٣.txt",
        "report_8.txt\n",
        "report_8.txt ",
        "xreport_8.txt",
        "leeme.md",
    ):
        (pipeline.folder / name).write_bytes(data)
    before = pipeline.on_server()
    put(pipeline.folder, NAME, data)
    tasks = pipeline.run_pass()
    assert [task.archivo for task in tasks] == [NAME]
    assert pipeline.on_server() == before
    assert outside.read_bytes() == data
    assert (pipeline.folder / "report_2.txt" / "report_3.txt").exists()
    assert pipeline.states() == [(NAME, "COMPLETADO", True)]


def test_a_file_that_became_a_link_is_not_followed(pipeline: Pipeline, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(report(record("ana@example.com")))
    (pipeline.folder / NAME).symlink_to(secret)
    (task,) = pipeline.run([NAME])
    assert task.skipped == "ya no está en el servidor: otra corrida lo terminó"
    assert pipeline.rows(tables.bitacora_control) == []
    assert (pipeline.folder / NAME).is_symlink()


def test_a_file_that_is_gone_is_no_failure(pipeline: Pipeline) -> None:
    (task,) = pipeline.run([NAME])
    assert (task.failure, task.skipped) == (None, "ya no está en el servidor: otra corrida lo terminó")
    assert pipeline.rows(tables.bitacora_control) == []
    pipeline.deliver(NAME, report(record()))
    (task,) = pipeline.run([NAME])
    assert task.estado is Estado.COMPLETADO


def test_the_folder_lists_regular_files_only(sftp_folder: SftpFolder, tmp_path: Path) -> None:
    (sftp_folder.path / "folder").mkdir()
    (sftp_folder.path / "link").symlink_to(tmp_path)
    mtime = put(sftp_folder.path, NAME, b"12345")
    with SftpConnection(settings_of(sftp_folder, tmp_path)) as connection:
        assert connection.list() == [Listed(NAME, 5, mtime)]
        assert connection.stat(NAME) == Listed(NAME, 5, mtime)
        for name in ("folder", "link", "nothing"):
            with pytest.raises(FileGone):
                connection.stat(name)
        connection.remove(NAME)
        with pytest.raises(FileGone):
            connection.remove(NAME)


def test_a_delivery_by_put_is_whole_at_once(sftp_folder: SftpFolder, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(BIG)
    (sftp_folder.path / NAME).write_bytes(b"earlier")
    with (
        SftpConnection(settings_of(sftp_folder, tmp_path)) as connection,
        (tmp_path / "source").open("rb") as source,
    ):
        connection.put(NAME, source)
    assert {path.name: path.read_bytes() for path in sftp_folder.path.iterdir()} == {NAME: BIG}


# ----------------------------------------------------------------------------------------- what moves meanwhile


def during_download(far: Pipeline, proxy: CuttingProxy, change: Callable[[], object]) -> FileTask:
    """Take one file; make the change while its bytes are under way."""
    far.platform.sftp.list()
    changed = threading.Event()
    original = far.platform.observer.advance

    def advance(archivo: str, amount: int) -> None:
        if not changed.is_set():
            changed.set()
            proxy.pause()
            change()
            proxy.resume()
        original(archivo, amount)

    far.platform.observer.advance = advance  # type: ignore[method-assign]
    (task,) = far.run([NAME])
    assert changed.is_set()
    return task


def test_a_file_that_grows_during_its_download_is_downloaded_again(far: Pipeline, proxy: CuttingProxy) -> None:
    far.deliver(NAME, BIG)
    longer = BIG + record("tarde@example.com").encode() + b"\n"

    def grow() -> None:
        with (far.folder / NAME).open("ab") as stream:
            stream.write(longer[len(BIG) :])

    task = during_download(far, proxy, grow)
    assert task.facts is not None
    assert (task.facts.size, task.facts.sha256) == (len(longer), sha256(longer))
    assert len(far.rows(tables.estadisticas)) == 40_001
    assert far.broken_promises() == []


def test_a_file_that_is_replaced_during_its_download_is_downloaded_again(far: Pipeline, proxy: CuttingProxy) -> None:
    far.deliver(NAME, BIG)
    other = report(record("otra@example.com"))
    task = during_download(far, proxy, lambda: far.deliver(NAME, other))
    assert task.facts is not None
    assert task.facts.sha256 == sha256(other)
    assert [row["email"] for row in far.rows(tables.estadisticas)] == ["otra@example.com"]
    assert far.broken_promises() == []


def test_a_file_that_vanishes_during_its_download_is_a_system_failure(far: Pipeline, proxy: CuttingProxy) -> None:
    far.deliver(NAME, BIG)
    task = during_download(far, proxy, lambda: (far.folder / NAME).unlink())
    assert isinstance(task.failure, TransientFailure)
    assert task.failure.mensaje == "report_1.txt desapareció del servidor durante la descarga"
    (row,) = far.rows(tables.bitacora_control)
    assert (row["estado"], row["sha256"]) == ("EN_PROCESO", None)
    assert far.staging() == []
    # The run is tried again: nobody else would end what this one began.
    (task,) = far.run([NAME])
    assert isinstance(task.failure, PermanentFailure)
    (row,) = far.rows(tables.bitacora_control)
    assert (row["estado"], row["sha256"], row["intentos"]) == ("FALLO_SISTEMA", None, 2)
    assert row["mensaje"].startswith("report_1.txt no está en el servidor, ni en la cuarentena, ni en los respaldos")
    assert far.staging() == []


def test_another_delivery_before_the_removal_is_left_for_the_next_pass(pipeline: Pipeline) -> None:
    first, second = report(record("ana@example.com")), report(record("eva@example.net"))
    pipeline.deliver(NAME, first)
    with pipeline.tools() as tools:
        task = pipeline.validated(tools, NAME)
        load(tools, task)
        pipeline.deliver(NAME, second)
        archive(tools, task)
    assert (pipeline.folder / NAME).read_bytes() == second
    assert pipeline.backups() == {sha256(first)}
    pipeline.run_pass()
    assert pipeline.states() == [(NAME, "COMPLETADO", False), (NAME, "COMPLETADO", True)]
    assert [row["email"] for row in pipeline.rows(tables.estadisticas)] == ["eva@example.net"]
    assert pipeline.broken_promises() == []


def test_a_cut_connection_is_taken_up_again(far: Pipeline, proxy: CuttingProxy) -> None:
    far.deliver(NAME, BIG)
    far.platform.sftp.list()
    proxy.cut_after(1_000_000)
    (task,) = far.run([NAME])
    assert task.estado is Estado.COMPLETADO
    assert proxy.accepted == 2
    assert len(far.rows(tables.estadisticas)) == 40_000
    assert far.backups() == {sha256(BIG)}
    assert far.broken_promises() == []


def test_a_connection_that_is_always_cut_is_a_system_failure_and_loses_nothing(
    far: Pipeline, proxy: CuttingProxy
) -> None:
    far.deliver(NAME, BIG)
    far.platform.sftp.list()
    proxy.cut_after(1_000_000, times=None)
    (task,) = far.process([NAME])
    assert isinstance(task.failure, TransientFailure)
    (row,) = far.rows(tables.bitacora_control)
    assert (row["estado"], row["intentos"]) == ("FALLO_SISTEMA", 2)
    assert row["mensaje"].startswith("se perdió la conexión SFTP con report_1.txt")
    assert far.on_server() == {NAME}
    assert far.staging() == []
    proxy.heal()
    (task,) = far.run([NAME], Source.RETRY)
    assert task.estado is Estado.COMPLETADO
    assert far.broken_promises() == []


def test_a_connection_that_was_cut_between_two_passes_is_opened_again(far: Pipeline, proxy: CuttingProxy) -> None:
    far.deliver(NAME, report(record()))
    far.run_pass()
    proxy.cut()
    far.deliver("report_2.txt", report(record("eva@example.net")))
    (task,) = far.run(["report_2.txt"])
    assert task.estado is Estado.COMPLETADO


# --------------------------------------------------------------------------------------------- what is refused


def refusal(settings: Settings) -> PermanentFailure:
    """Return the failure with which the server's folder cannot be listed."""
    with SftpConnection(settings) as connection, pytest.raises(PermanentFailure) as caught:
        connection.list()
    return caught.value


def no_answer(settings: Settings) -> TransientFailure:
    with SftpConnection(settings) as connection, pytest.raises(TransientFailure) as caught:
        connection.list()
    return caught.value


def test_an_unknown_host_key_is_refused(sftp_folder: SftpFolder, tmp_path: Path) -> None:
    empty = tmp_path / "known_hosts"
    empty.write_text("")
    failure = refusal(settings_of(sftp_folder, tmp_path, sftp_known_hosts=empty))
    server = sftp_folder.server
    assert failure.mensaje.startswith(
        f"VISITAS_SFTP_KNOWN_HOSTS: la llave de [{server.host}]:{server.port} (ssh-ed25519"
    )
    assert failure.remedio.endswith(f"ssh-keyscan -p {server.port} {server.host}")


def test_a_missing_known_hosts_file_is_named(sftp_folder: SftpFolder, tmp_path: Path) -> None:
    path = tmp_path / "nada" / "known_hosts"
    failure = refusal(settings_of(sftp_folder, tmp_path, sftp_known_hosts=path))
    assert failure.mensaje == f"VISITAS_SFTP_KNOWN_HOSTS: no se puede leer {path}: no existe"


def test_a_changed_host_key_is_refused(own_openssh_server: OpenSSHServer, tmp_path: Path) -> None:
    folder = SftpFolder(own_openssh_server, own_openssh_server.root)
    settings = settings_of(folder, tmp_path)
    with SftpConnection(settings) as connection:
        assert connection.list() == []
    own_openssh_server.rotate_host_key()
    failure = refusal(settings)
    address = f"{own_openssh_server.host}:{own_openssh_server.port}"
    assert failure.mensaje == (
        f"VISITAS_SFTP_KNOWN_HOSTS: la llave de {address} no es la que está en {own_openssh_server.known_hosts_file}"
    )


def test_a_login_that_is_not_accepted_is_refused(sftp_folder: SftpFolder, tmp_path: Path) -> None:
    # The host's own key is a good private key that opens nothing here.
    key = sftp_folder.server.folder / "host_key"
    failure = refusal(settings_of(sftp_folder, tmp_path, sftp_key_file=key))
    server = sftp_folder.server
    assert failure.mensaje == (f"VISITAS_SFTP_KEY_FILE: {server.host}:{server.port} no aceptó al usuario {server.user}")
    by_password = settings_of(sftp_folder, tmp_path, sftp_key_file=None, sftp_password="no es")
    assert refusal(by_password).mensaje.startswith("VISITAS_SFTP_PASSWORD: ")


def test_a_user_that_the_server_does_not_know_is_refused(sftp_folder: SftpFolder, tmp_path: Path) -> None:
    failure = refusal(settings_of(sftp_folder, tmp_path, sftp_user="nadie"))
    assert "no aceptó al usuario nadie" in failure.mensaje
    assert failure.remedio == "revise VISITAS_SFTP_USER y VISITAS_SFTP_KEY_FILE"


def test_a_key_file_that_is_not_there_is_named(sftp_folder: SftpFolder, tmp_path: Path) -> None:
    failure = refusal(settings_of(sftp_folder, tmp_path, sftp_key_file=tmp_path / "nada"))
    assert failure.mensaje == f"VISITAS_SFTP_KEY_FILE: no se puede leer {tmp_path / 'nada'}: no existe"


def test_a_key_file_that_is_no_key_is_named(sftp_folder: SftpFolder, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("no es una llave\n")
    failure = refusal(settings_of(sftp_folder, tmp_path, sftp_key_file=tmp_path / "key"))
    assert failure.mensaje.startswith("VISITAS_SFTP_KEY_FILE: ")


def test_a_folder_that_is_not_there_is_named(sftp_folder: SftpFolder, tmp_path: Path) -> None:
    failure = refusal(settings_of(sftp_folder, tmp_path, sftp_dir=str(sftp_folder.path / "nada")))
    assert failure.mensaje == (f"VISITAS_SFTP_DIR: la carpeta {sftp_folder.path / 'nada'} no existe en el servidor")


@pytest.mark.parametrize(("field", "setting"), [("sftp_host", "VISITAS_SFTP_HOST"), ("sftp_user", "VISITAS_SFTP_USER")])
def test_a_setting_that_is_missing_is_named(sftp_folder: SftpFolder, tmp_path: Path, field: str, setting: str) -> None:
    with (
        SftpConnection(settings_of(sftp_folder, tmp_path, **{field: None})) as connection,
        pytest.raises(SettingsError) as caught,
    ):
        connection.list()
    assert caught.value.ajuste == setting


def test_a_server_that_is_away_may_come_back(sftp_folder: SftpFolder, tmp_path: Path) -> None:
    port = free_port()
    failure = no_answer(settings_of(sftp_folder, tmp_path, sftp_port=port))
    host = sftp_folder.server.host
    assert failure.mensaje.startswith(f"VISITAS_SFTP_HOST, VISITAS_SFTP_PORT: {host}:{port} no responde (")
    unknown = no_answer(settings_of(sftp_folder, tmp_path, sftp_host="nada.invalid"))
    assert unknown.mensaje == "VISITAS_SFTP_HOST: no se encuentra el servidor nada.invalid"


@pytest.mark.databases("mariadb")
def test_a_port_that_speaks_something_else_is_named(
    database: Database, sftp_folder: SftpFolder, tmp_path: Path
) -> None:
    port = settings_for(database.url, {}, tmp_path).database_url.rpartition(":")[2].partition("/")[0]
    failure = no_answer(settings_of(sftp_folder, tmp_path, sftp_port=int(port)))
    assert failure.mensaje.startswith("VISITAS_SFTP_PORT: ")
    assert "no contesta como un servidor SFTP" in failure.mensaje


def test_packets_wait_for_no_receipt(sftp_folder: SftpFolder, tmp_path: Path) -> None:
    client = connect(settings_of(sftp_folder, tmp_path))
    transport = client.get_transport()
    assert transport is not None
    assert isinstance(transport.sock, socket.socket)
    assert transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    client.close()
