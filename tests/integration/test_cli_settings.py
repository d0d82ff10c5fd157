"""A missing or wrong setting stops each command with one line on stderr that names it and its cure.

Settings that no server is asked about belong here, and `VISITAS_HOME`; those of the SFTP server and the database
have files of their own.
"""

import re
from pathlib import Path

import pytest

from tests.support.command import Ended, Visitas
from tests.support.pipeline import report

EVERY_COMMAND = (
    ["init"],
    ["dispatch"],
    ["close"],
    ["status"],
    ["report"],
    ["check", "report_1.txt"],
    ["explain", "report_1.txt"],
    ["replay", "report_1.txt"],
    ["release", "report_1.txt"],
    ["forget", "ana@example.com"],
)
ON_THE_SERVER = (["dispatch"], ["status"])
ON_DISK = (["init"], ["dispatch"])


@pytest.fixture
def visitas(tmp_path: Path) -> Visitas:
    """Give an installation without a server; its database has its tables."""
    (tmp_path / "report_1.txt").write_bytes(report())
    return Visitas(tmp_path, {})


@pytest.fixture
def ready(visitas: Visitas) -> Visitas:
    """Give it with its folders and tables."""
    assert visitas.run("init").code == 0
    return visitas


def refused(line: str, code: int = 2) -> Ended:
    """What a command ends with that stops at once."""
    return Ended(code, "", f"visitas: {line}\n")


# ------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("VISITAS_SFTP_PORT", "veintidós", "VISITAS_SFTP_PORT: debe ser un número entero. Corrija el ajuste"),
        ("VISITAS_SFTP_PORT", "22.5", "VISITAS_SFTP_PORT: debe ser un número entero. Corrija el ajuste"),
        ("VISITAS_SFTP_PORT", "65536", "VISITAS_SFTP_PORT: debe ser 65535 o menor. Corrija el ajuste"),
        ("VISITAS_REINTENTOS", "-1", "VISITAS_REINTENTOS: debe ser 0 o mayor. Corrija el ajuste"),
        ("VISITAS_ESPERA_ESTABLE_S", "inf", "VISITAS_ESPERA_ESTABLE_S: debe ser un número finito. Corrija el ajuste"),
        (
            "VISITAS_ZONA_HORARIA",
            "Mexico/Marte",
            "VISITAS_ZONA_HORARIA: no se conoce la zona horaria «Mexico/Marte»; ejemplo: America/Mexico_City. "
            "Corrija el ajuste",
        ),
        (
            # A folder of the zones, not a zone.
            "VISITAS_ZONA_HORARIA",
            "America",
            "VISITAS_ZONA_HORARIA: no se conoce la zona horaria «America»; ejemplo: America/Mexico_City. "
            "Corrija el ajuste",
        ),
        (
            "VISITAS_PATRON_ARCHIVO",
            r"report_(\d+",
            r"VISITAS_PATRON_ARCHIVO: «report_(\d+» no es una expresión regular: no se entiende desde el carácter 8. "
            r"Use una como «report_(\d+)\.txt».",
        ),
        (
            "VISITAS_PATRON_ARCHIVO",
            "report.txt",
            "VISITAS_PATRON_ARCHIVO: «report.txt» no tiene un grupo que dé el consecutivo. "
            r"Use una como «report_(\d+)\.txt».",
        ),
        (
            "VISITAS_ALIAS_COLUMNAS",
            "jk",
            'VISITAS_ALIAS_COLUMNAS: «jk» no tiene la forma nombre=columna. Por ejemplo "jk=jyv".',
        ),
        (
            "VISITAS_ALIAS_COLUMNAS",
            "jk=jv",
            "VISITAS_ALIAS_COLUMNAS: «jv» no es una columna (¿quiso decir «jyv»?)",
        ),
        (
            "VISITAS_HOME",
            "~nadie_de_aqui/etl",
            "VISITAS_HOME: no se sabe cuál es la carpeta personal de «~nadie_de_aqui/etl»; escriba la ruta completa. "
            "Corrija el ajuste",
        ),
        (
            "DAGSTER_HOME",
            "~nadie_de_aqui/d",
            "DAGSTER_HOME: no se sabe cuál es la carpeta personal de «~nadie_de_aqui/d»; escriba la ruta completa. "
            "Corrija el ajuste",
        ),
    ],
)
def test_a_wrong_value_is_named(visitas: Visitas, name: str, value: str, line: str) -> None:
    assert visitas.run("init", **{name: value}) == refused(line)
    assert not visitas.home.exists()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("visitas", "no es una URL de base de datos"),
        ("://", "no es una URL de base de datos"),
        ("mysql://u:secreto@127.0.0.1:puerto/b", "no es una URL de base de datos"),
        ("postgresql://u:secreto@127.0.0.1/b", "no se admite «postgresql»"),
        ("mysql://u:secreto@127.0.0.1", "falta el nombre de la base de datos"),
    ],
)
def test_a_wrong_database_url_is_named_without_its_password(visitas: Visitas, url: str, said: str) -> None:
    line = f"VISITAS_DB_URL: {said}. Ejemplo: mysql+pymysql://usuario:clave@servidor:3306/visitas"
    for command in ("init", "status"):
        assert visitas.run(command, VISITAS_DB_URL=url) == refused(line)


@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_every_command_stops_at_a_wrong_setting(visitas: Visitas, command: list[str]) -> None:
    line = "VISITAS_ALERTA_TASA_ERROR: debe ser 1 o menor. Corrija el ajuste"
    assert visitas.run(*command, VISITAS_ALERTA_TASA_ERROR="1.5") == refused(line)


@pytest.mark.parametrize("command", ON_THE_SERVER)
@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"VISITAS_SFTP_USER": "ana"},
            "VISITAS_SFTP_HOST: falta. Escriba el nombre o la dirección del servidor SFTP",
        ),
        ({"VISITAS_SFTP_HOST": "sftp.example"}, "VISITAS_SFTP_USER: falta. Escriba el usuario del servidor SFTP"),
        # An empty value is a missing one.
        (
            {"VISITAS_SFTP_HOST": "", "VISITAS_SFTP_USER": "ana"},
            "VISITAS_SFTP_HOST: falta. Escriba el nombre o la dirección del servidor SFTP",
        ),
    ],
)
def test_a_missing_server_is_named(ready: Visitas, command: list[str], changes: dict[str, str], line: str) -> None:
    ended = ready.run(*command, **changes)
    assert (ended.code, ended.err) == (2, f"visitas: {line}\n")
    # What the database knows is shown all the same.
    known = "La bitácora está vacía: todavía no se ha procesado ningún archivo.\n"
    assert ended.out == (known if command == ["status"] else "")


# --------------------------------------------------------------------------------------------------- .env


@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_an_env_file_that_is_a_folder_is_named(visitas: Visitas, command: list[str]) -> None:
    (visitas.folder / ".env").mkdir()
    line = f".env: no se puede leer {visitas.folder / '.env'} (es una carpeta). Corrija el archivo o quítelo"
    assert visitas.run(*command) == refused(line)


def test_an_env_file_in_another_encoding_is_named(visitas: Visitas) -> None:
    (visitas.folder / ".env").write_bytes("VISITAS_SFTP_USER=señora\n".encode("cp1252"))
    line = f".env: {visitas.folder / '.env'} no es texto en UTF-8. Corrija el archivo o quítelo"
    assert visitas.run("init") == refused(line)


def test_an_env_file_that_leads_nowhere_is_named(visitas: Visitas) -> None:
    (visitas.folder / ".env").symlink_to("otro.env")
    line = f".env: no se puede leer {visitas.folder / '.env'} (no existe). Corrija el archivo o quítelo"
    assert visitas.run("init") == refused(line)


def test_an_env_file_that_may_not_be_read_is_named(visitas: Visitas) -> None:
    (visitas.folder / ".env").touch(mode=0o000)
    line = f".env: no se puede leer {visitas.folder / '.env'} (sin permiso). Corrija el archivo o quítelo"
    assert visitas.run_bound_by_permissions("init") == refused(line)


def test_a_line_of_an_env_file_that_is_no_setting_is_named(visitas: Visitas) -> None:
    (visitas.folder / ".env").write_text('VISITAS_SFTP_PORT=22\nesto no es = "un ajuste\n', encoding="utf-8")
    line = f".env: no se entiende la línea 2 de {visitas.folder / '.env'}. Escríbala como NOMBRE=valor"
    assert visitas.run("init") == refused(line)


def test_a_wrong_value_in_an_env_file_is_named(visitas: Visitas) -> None:
    (visitas.folder / ".env").write_text("VISITAS_SFTP_PORT=abc\n", encoding="utf-8")
    assert visitas.run("init") == refused("VISITAS_SFTP_PORT: debe ser un número entero. Corrija el ajuste")


# --------------------------------------------------------------------------------------------------- home


CURE = "Cree la carpeta, o dé permiso de escritura sobre ella al usuario que corre visitas"
SERVER = {"VISITAS_SFTP_HOST": "127.0.0.1", "VISITAS_SFTP_USER": "ana"}


@pytest.mark.parametrize("command", ON_DISK)
def test_a_home_below_a_file_is_named(visitas: Visitas, command: list[str]) -> None:
    home = visitas.folder / "report_1.txt" / "etl"
    line = f"VISITAS_HOME: no se puede escribir en {home}/staging (en la ruta hay algo que no es una carpeta). {CURE}"
    assert visitas.run(*command, VISITAS_HOME=str(home), **SERVER) == refused(line)


@pytest.mark.parametrize("command", ON_DISK)
def test_a_home_that_may_not_be_written_is_named(visitas: Visitas, command: list[str]) -> None:
    visitas.home.mkdir(mode=0o555)
    line = f"VISITAS_HOME: no se puede escribir en {visitas.home}/staging (sin permiso). {CURE}"
    assert visitas.run_bound_by_permissions(*command, **SERVER) == refused(line)


def test_a_folder_of_the_home_that_may_not_be_written_is_named(ready: Visitas) -> None:
    (ready.home / "backup").chmod(0o555)
    line = f"VISITAS_HOME: no se puede escribir en {ready.home}/backup (sin permiso). {CURE}"
    assert ready.run_bound_by_permissions("dispatch", **SERVER) == refused(line)


def test_a_dagster_home_that_cannot_be_written_is_named(visitas: Visitas) -> None:
    home = visitas.folder / "report_1.txt" / "dagster"
    line = f"DAGSTER_HOME: no se puede escribir en {home} (en la ruta hay algo que no es una carpeta). {CURE}"
    assert visitas.run("init", DAGSTER_HOME=str(home)) == refused(line)


@pytest.mark.parametrize("command", [["status"], ["dispatch"]])
def test_a_home_that_is_not_there_yet_wants_init(visitas: Visitas, command: list[str]) -> None:
    line = "VISITAS_DB_URL: en la base de datos faltan las tablas. Ejecute: visitas init"
    assert visitas.run(*command, **SERVER) == refused(line, 1)
    assert not (visitas.home / "visitas.db").exists()


# ------------------------------------------------------------------------------------------------ Dagster


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"storage: [1\n", "while parsing a flow sequence"),
        (b"almacen: 1\n", "Errors whilst loading dagster instance config at dagster.yaml."),
        ("# señal\n".encode("cp1252"), "'utf-8' codec can't decode byte"),
    ],
)
def test_a_dagster_yaml_that_cannot_be_read_is_named(ready: Visitas, content: bytes, said: str) -> None:
    path = ready.home / "dagster" / "dagster.yaml"
    path.write_bytes(content)
    ended = ready.run("init")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith(f"visitas: DAGSTER_HOME: Dagster no entiende {path} ({said}")
    assert ended.err.endswith("). Corrija el archivo, o bórrelo y ejecute: visitas init\n")


def test_a_database_of_dagsters_own_that_is_down_is_named(visitas: Visitas) -> None:
    url = "mysql+mysqlconnector://ana:secreto@127.0.0.1:1/dagster"
    ended = visitas.run("init", VISITAS_DAGSTER_DB_URL=url)
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.startswith("visitas: VISITAS_DAGSTER_DB_URL: la base de datos de Dagster no se puede usar (2003")
    assert ended.err.endswith("). Revise que esté encendida, y usuario, clave y permisos\n")
    assert "secreto" not in ended.err


# ------------------------------------------------------------------------------------------------ defects


@pytest.fixture
def broken(ready: Visitas) -> Visitas:
    """Give an installation whose program has a defect: Python runs this file before the program."""
    (ready.folder / "sitecustomize.py").write_text(
        "import visitas_dagster.loading.schema as schema\n"
        "def require_current(engine):\n"
        "    raise RuntimeError('algo se\\nrompió')\n"
        "schema.require_current = require_current\n",
        encoding="utf-8",
    )
    return ready


def test_a_defect_is_one_line_and_its_traceback_is_in_the_logs(broken: Visitas) -> None:
    path = broken.environment()["PYTHONPATH"]
    ended = broken.run("status", PYTHONPATH=f"{broken.folder}:{path}")
    found = re.fullmatch(
        r"visitas: error inesperado, RuntimeError: algo se rompió\. "
        r"El detalle está en (.+): envíelo a quien mantiene visitas\n",
        ended.err,
    )
    assert (ended.code, ended.out) == (1, "")
    assert found is not None
    kept = Path(found[1])
    assert kept.is_relative_to(broken.home / "logs")
    assert kept.read_text(encoding="utf-8").endswith("RuntimeError: algo se\nrompió\n")


def test_a_traceback_that_cannot_be_kept_is_said_in_the_line(broken: Visitas) -> None:
    (broken.home / "logs").chmod(0o555)
    path = broken.environment()["PYTHONPATH"]
    ended = broken.run_bound_by_permissions("status", PYTHONPATH=f"{broken.folder}:{path}")
    assert (ended.code, ended.out) == (1, "")
    assert re.fullmatch(
        r"visitas: error inesperado, RuntimeError: algo se rompió\. El detalle no se pudo guardar: "
        rf"{broken.home}/logs/\d{{8}}: sin permiso; corrija eso y repita la orden\n",
        ended.err,
    )


# --------------------------------------------------------------------------------------------------- else


def test_the_package_itself_is_the_command(visitas: Visitas) -> None:
    by_name, by_package = (
        visitas.run("--help"),
        visitas.run_as_package("--help"),
    )
    assert by_package == by_name
    assert by_package.out.startswith("Uso: visitas [OPCIONES] COMANDO [ARGUMENTOS]...\n")
    assert visitas.run_as_package("borrar").code == 2


def test_a_terminal_without_spanish_letters_still_gets_its_line(visitas: Visitas) -> None:
    ended = visitas.run("check", "nada", LANG="C", LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert ended == refused("ARCHIVO: no se puede leer nada: no existe. Revise la ruta")
    ended = visitas.run("check", "report_1.txt", PYTHONIOENCODING="ascii")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("report_1.txt: quedar?a COMPLETADO\n")


def test_a_reader_that_leaves_is_no_defect(visitas: Visitas) -> None:
    process = visitas.start("check", "report_1.txt")
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "")
