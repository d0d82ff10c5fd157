"""Every setting: its default, where it is read from, and the one line that refuses a wrong one.

Reading settings belongs here; what is done with them does not.
"""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from visitas_dagster.domain.failures import SettingsError
from visitas_dagster.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of this machine, and no `.env` but a test's own."""
    for name in os.environ:
        if name.startswith("VISITAS_") or name == "DAGSTER_HOME":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def refused(**environment: str) -> SettingsError:
    """The refusal of these settings."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        with pytest.raises(SettingsError) as caught:
            load_settings()
    return caught.value


def test_the_defaults_are_the_contracts(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.home == tmp_path / "var"
    assert settings.database_url == f"sqlite:///{tmp_path / 'var' / 'visitas.db'}"
    assert (settings.sftp_host, settings.sftp_user, settings.sftp_password, settings.sftp_key_file) == (None,) * 4
    assert settings.sftp_port == 22
    assert settings.sftp_known_hosts == Path.home() / ".ssh" / "known_hosts"
    assert settings.sftp_dir == "/home/vinkOS/archivosVisitas"
    assert settings.patron_archivo == r"report_(\d+)\.txt"
    assert settings.aliases == {}
    assert settings.espera_estable_s == 30
    assert settings.conexiones_db == 8
    assert settings.zona_horaria == "America/Mexico_City"
    assert (settings.reintentos, settings.reintento_base_s) == (3, 2)
    assert (settings.retencion_logs_dias, settings.retencion_backup_dias) == (30, 90)
    assert (settings.smtp_url, settings.alerta_correo, settings.alerta_webhook) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("VISITAS_HOME", "/srv/etl", "home", Path("/srv/etl")),
        ("VISITAS_HOME", "~/etl", "home", Path.home() / "etl"),
        ("VISITAS_SFTP_HOST", "sftp.example", "sftp_host", "sftp.example"),
        ("VISITAS_SFTP_PORT", "2222", "sftp_port", 2222),
        ("VISITAS_SFTP_USER", "vinkOS", "sftp_user", "vinkOS"),
        ("VISITAS_SFTP_KEY_FILE", "~/llave", "sftp_key_file", Path.home() / "llave"),
        ("VISITAS_SFTP_KNOWN_HOSTS", "/etc/ssh/known", "sftp_known_hosts", Path("/etc/ssh/known")),
        ("VISITAS_SFTP_DIR", "/datos", "sftp_dir", "/datos"),
        ("VISITAS_PATRON_ARCHIVO", r"visitas_(\d+)\.csv", "patron_archivo", r"visitas_(\d+)\.csv"),
        ("VISITAS_ESPERA_ESTABLE_S", "0.5", "espera_estable_s", 0.5),
        ("VISITAS_CONEXIONES_DB", "2", "conexiones_db", 2),
        ("VISITAS_CONEXIONES_SFTP", "2", "conexiones_sftp", 2),
        ("VISITAS_ARCHIVOS_POR_CORRIDA", "10", "archivos_por_corrida", 10),
        ("VISITAS_PROCESOS", "1", "procesos", 1),
        ("VISITAS_MEMORIA_MIB", "1024", "memoria_mib", 1024),
        ("VISITAS_INTERVALO_SENSOR_S", "60", "intervalo_sensor_s", 60),
        ("VISITAS_ZONA_HORARIA", "Europe/Madrid", "zona_horaria", "Europe/Madrid"),
        ("VISITAS_REINTENTOS", "0", "reintentos", 0),
        ("VISITAS_REINTENTO_BASE_S", "0", "reintento_base_s", 0),
        ("VISITAS_ALERTA_TASA_ERROR", "0.5", "alerta_tasa_error", 0.5),
        ("VISITAS_ALERTA_DEMORA_H", "0", "alerta_demora_h", 0),
        ("VISITAS_ALERTA_ESPERA_H", "0.5", "alerta_espera_h", 0.5),
        ("VISITAS_ALERTA_REMITENTE", "visitas@example.com", "alerta_remitente", "visitas@example.com"),
        ("VISITAS_RETENCION_LOGS_DIAS", "1", "retencion_logs_dias", 1),
        ("VISITAS_RETENCION_BACKUP_DIAS", "1", "retencion_backup_dias", 1),
        ("VISITAS_ALERTA_CORREO", "guardia@example.com", "alerta_correo", "guardia@example.com"),
        ("DAGSTER_HOME", "/srv/dagster", "dagster_home", Path("/srv/dagster")),
    ],
)
def test_each_setting_is_read_from_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, field: str, value: object
) -> None:
    monkeypatch.setenv(name, text)
    assert getattr(load_settings(), field) == value


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("VISITAS_DB_URL", "db_url", "mysql://u:secreto@h/b"),
        ("VISITAS_SFTP_PASSWORD", "sftp_password", "secreto"),
        ("VISITAS_SMTP_URL", "smtp_url", "smtps://u:secreto@h"),
        ("VISITAS_ALERTA_WEBHOOK", "alerta_webhook", "https://h.example/secreto"),
        ("VISITAS_DAGSTER_DB_URL", "dagster_db_url", "mysql://u:secreto@h/b"),
    ],
)
def test_a_secret_is_read_and_never_shown(monkeypatch: pytest.MonkeyPatch, name: str, field: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    settings = load_settings()
    assert getattr(settings, field).get_secret_value() == value
    assert "secreto" not in repr(settings)
    assert "secreto" not in str(settings)
    assert "secreto" not in settings.model_dump_json()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VISITAS_SMTP_URL", "smtp://u:secreto@correo.example"),
        ("VISITAS_ALERTA_CORREO", "secreto"),
        ("VISITAS_ALERTA_REMITENTE", "secreto"),
        ("VISITAS_ALERTA_WEBHOOK", "ftp://h.example/secreto"),
    ],
)
def test_a_channel_that_is_none_stops_the_start_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}: ") as caught:
        load_settings()
    assert "secreto" not in str(caught.value)


def test_a_database_url_is_taken_with_its_password() -> None:
    assert load_settings(db_url="mysql://u:secreto@h/b").database_url == "mysql://u:secreto@h/b"


def test_an_env_file_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "VISITAS_SFTP_HOST=archivo.example\nVISITAS_SFTP_USER=señora\nOTRA_COSA=1\n", encoding="utf-8"
    )
    monkeypatch.setenv("VISITAS_SFTP_HOST", "entorno.example")
    assert load_settings().require_sftp() == ("entorno.example", "señora")


def test_an_empty_value_is_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VISITAS_SFTP_PORT", "VISITAS_SFTP_HOST", "VISITAS_DB_URL", "VISITAS_SFTP_KEY_FILE"):
        monkeypatch.setenv(name, "")
    settings = load_settings()
    assert (settings.sftp_port, settings.sftp_host, settings.db_url, settings.sftp_key_file) == (22, None, None, None)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("VISITAS_SFTP_PORT", "veintidós", "debe ser un número entero"),
        ("VISITAS_SFTP_PORT", "22.5", "debe ser un número entero"),
        ("VISITAS_SFTP_PORT", "0", "debe ser 1 o mayor"),
        ("VISITAS_SFTP_PORT", "65536", "debe ser 65535 o menor"),
        ("VISITAS_ESPERA_ESTABLE_S", "-1", "debe ser 0 o mayor"),
        ("VISITAS_ESPERA_ESTABLE_S", "mucho", "debe ser un número"),
        ("VISITAS_ESPERA_ESTABLE_S", "nan", "debe ser un número finito"),
        ("VISITAS_ESPERA_ESTABLE_S", "inf", "debe ser un número finito"),
        ("VISITAS_CONEXIONES_DB", "1", "debe ser 2 o mayor"),
        ("VISITAS_ARCHIVOS_POR_CORRIDA", "0", "debe ser 1 o mayor"),
        ("VISITAS_REINTENTOS", "-1", "debe ser 0 o mayor"),
        ("VISITAS_REINTENTO_BASE_S", "-0.1", "debe ser 0 o mayor"),
        ("VISITAS_ALERTA_TASA_ERROR", "1.1", "debe ser 1 o menor"),
        ("VISITAS_RETENCION_LOGS_DIAS", "0", "debe ser 1 o mayor"),
        ("VISITAS_RETENCION_BACKUP_DIAS", "0", "debe ser 1 o mayor"),
        (
            "VISITAS_ZONA_HORARIA",
            "Mexico/Marte",
            "no se conoce la zona horaria «Mexico/Marte»; ejemplo: America/Mexico_City",
        ),
        ("VISITAS_ZONA_HORARIA", "../etc", "no se conoce la zona horaria «../etc»; ejemplo: America/Mexico_City"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line_that_names_it(name: str, value: str, message: str) -> None:
    failure = refused(**{name: value})
    assert failure.ajuste == name
    assert failure.mensaje == f"{name}: {message}"
    assert "\n" not in str(failure)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VISITAS_PATRON_ARCHIVO", "report_("),
        ("VISITAS_PATRON_ARCHIVO", r"report_\d+\.txt"),
        ("VISITAS_ALIAS_COLUMNAS", "jk"),
        ("VISITAS_ALIAS_COLUMNAS", "jk=nada"),
    ],
)
def test_a_pattern_or_an_alias_that_makes_no_sense_is_refused(name: str, value: str) -> None:
    failure = refused(**{name: value})
    assert failure.ajuste == name
    assert str(failure).startswith(f"{name}: ")
    assert "\n" not in str(failure)


def test_the_first_of_several_wrong_values_is_named() -> None:
    failure = refused(VISITAS_SFTP_PORT="x", VISITAS_REINTENTOS="y")
    assert failure.ajuste == "VISITAS_SFTP_PORT"


def test_a_wrong_value_is_not_repeated() -> None:
    # What was mistaken for a port may be a password.
    assert "secreto" not in str(refused(VISITAS_SFTP_PORT="secreto"))


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "VISITAS_SFTP_HOST"),
        ({"sftp_host": "sftp.example"}, "VISITAS_SFTP_USER"),
        ({"sftp_user": "u"}, "VISITAS_SFTP_HOST"),
    ],
)
def test_a_missing_server_or_user_is_named_when_needed(given: dict[str, str], missing: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(**given).require_sftp()
    assert caught.value.ajuste == missing
    assert caught.value.mensaje == f"{missing}: falta"


def test_aliases_are_read() -> None:
    assert set(load_settings(alias_columnas="jk=jyv, fgh = jyv").aliases.values()) == {"jyv"}


def test_dagster_lives_under_home_unless_it_is_told_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert load_settings(home="etl").instance_dir == tmp_path / "etl" / "dagster"
    monkeypatch.setenv("DAGSTER_HOME", "dagster")
    assert load_settings(home="etl").instance_dir == tmp_path / "dagster"


def test_settings_do_not_change() -> None:
    settings: Settings = load_settings()
    with pytest.raises(ValidationError):
        settings.sftp_port = 23
