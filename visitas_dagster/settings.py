"""Every setting of the platform, one typed and frozen class, read from the environment and ``.env``.

Names, defaults and the one-line refusal of a wrong value belong here; what is done with a value does not.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dotenv.parser import parse_stream
from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from visitas_dagster.domain.causes import cause
from visitas_dagster.domain.channels import (
    MAIL_SETTING,
    SENDER_SETTING,
    parse_addresses,
    parse_smtp_url,
    parse_webhook,
)
from visitas_dagster.domain.failures import SettingsError
from visitas_dagster.domain.layout import FILE_PATTERN, file_pattern, parse_aliases

_PREFIX = "VISITAS_"

TEXT_LINES, JSON_LINES = "texto", "json"
"""How a line of a log is written: ``VISITAS_LOG_FORMATO``."""


def _expand(value: Any) -> Any:
    if not isinstance(value, str) or not value:
        return value
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError(f"no se sabe cuál es la carpeta personal de «{value}»; escriba la ruta completa") from error


_PathSetting = Annotated[Path, BeforeValidator(_expand)]


class Settings(BaseSettings):
    """The contract's settings (section 5), and the few that this project adds (``docs/settings.md``).

    Field ``x`` is read from ``VISITAS_X``. An instance does not change; tests pass values as arguments.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    home: _PathSetting = Path("var")
    db_url: SecretStr | None = None

    sftp_host: str | None = None
    sftp_port: int = Field(default=22, ge=1, le=65535)
    sftp_user: str | None = None
    sftp_password: SecretStr | None = None
    sftp_key_file: _PathSetting | None = None
    # os.path leaves the sign where nobody knows the user's folder; that file is then one that does not exist.
    sftp_known_hosts: _PathSetting = Field(default_factory=lambda: Path(os.path.expanduser("~/.ssh/known_hosts")))
    sftp_dir: str = "/home/vinkOS/archivosVisitas"

    patron_archivo: str = FILE_PATTERN
    alias_columnas: str = ""
    espera_estable_s: float = Field(default=30, ge=0, allow_inf_nan=False)
    # Two at least: one holds the reservations of a run, one loads.
    conexiones_db: int = Field(default=8, ge=2)
    conexiones_sftp: int = Field(default=4, ge=1)
    archivos_por_corrida: int = Field(default=75, ge=1)
    procesos: int = Field(default=2, ge=1)
    memoria_mib: int = Field(default=640, ge=512)
    intervalo_sensor_s: int = Field(default=15, ge=1)
    zona_horaria: str = "America/Mexico_City"

    reintentos: int = Field(default=3, ge=0)
    reintento_base_s: float = Field(default=2, ge=0, allow_inf_nan=False)
    alerta_tasa_error: float = Field(default=0.1, ge=0, le=1)
    # Ten years at the most: a date before the year 1 is none.
    alerta_demora_h: float = Field(default=26, ge=0, le=87600)
    alerta_espera_h: float = Field(default=2, ge=0, le=87600)

    log_formato: str = TEXT_LINES
    retencion_logs_dias: int = Field(default=30, ge=1)
    retencion_backup_dias: int = Field(default=90, ge=1)

    smtp_url: SecretStr | None = None
    alerta_correo: str | None = None
    alerta_remitente: str | None = None
    alerta_webhook: SecretStr | None = None

    dagster_home: _PathSetting | None = Field(
        default=None, validation_alias=AliasChoices("dagster_home", "DAGSTER_HOME")
    )

    dagster_db_url: SecretStr | None = None

    @field_validator("home", "dagster_home")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        """A run may be executed from another working directory than the one that read the setting."""
        return value.absolute() if value is not None else None

    @field_validator("log_formato")
    @classmethod
    def _known_form(cls, value: str) -> str:
        if value not in (TEXT_LINES, JSON_LINES):
            raise ValueError(f"debe ser {TEXT_LINES} o {JSON_LINES}")
        return value

    @field_validator("zona_horaria")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            # OSError: the name of a region alone (`America`) is a folder.
            raise ValueError(f"no se conoce la zona horaria «{value}»; ejemplo: America/Mexico_City") from error
        return value

    @property
    def aliases(self) -> dict[str, str]:
        """Declared header aliases, delivered name (normalised) → contract column."""
        return parse_aliases(self.alias_columnas)

    @property
    def zone(self) -> ZoneInfo:
        """The time zone in which "today", "this month" and "this year" are meant."""
        return ZoneInfo(self.zona_horaria)

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL, with its password; a SQLite file under ``VISITAS_HOME`` when none is set."""
        if self.db_url is not None:
            return self.db_url.get_secret_value()
        return f"sqlite:///{self.home / 'visitas.db'}"

    @property
    def instance_dir(self) -> Path:
        """Dagster's home: ``DAGSTER_HOME`` where set, else a folder under ``VISITAS_HOME``."""
        return self.dagster_home or self.home / "dagster"

    def require_sftp(self) -> tuple[str, str]:
        """Return ``(host, user)``; raise :class:`SettingsError` naming the first one that is missing."""
        if not self.sftp_host:
            raise SettingsError("VISITAS_SFTP_HOST", "falta", "escriba el nombre o la dirección del servidor SFTP")
        if not self.sftp_user:
            raise SettingsError("VISITAS_SFTP_USER", "falta", "escriba el usuario del servidor SFTP")
        return self.sftp_host, self.sftp_user


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; raise :class:`SettingsError` with one line that names the first wrong one."""
    env_file = overrides.get("_env_file", Settings.model_config.get("env_file"))
    if env_file:
        _require_sound(Path(env_file))
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        raise _first_error(error) from None
    # Each raises the one line itself: the domain knows what a pattern, an alias and an address are.
    file_pattern(settings.patron_archivo)
    parse_aliases(settings.alias_columnas)
    _require_channels(settings)
    return settings


def _require_channels(settings: Settings) -> None:
    parse_addresses(settings.alerta_correo or "", MAIL_SETTING)
    parse_addresses(settings.alerta_remitente or "", SENDER_SETTING)
    if settings.smtp_url is not None:
        parse_smtp_url(settings.smtp_url.get_secret_value())
    if settings.alerta_webhook is not None:
        parse_webhook(settings.alerta_webhook.get_secret_value())


def _require_sound(env_file: Path) -> None:
    """Refuse a ``.env`` that is there and cannot be read: left out in silence, it would take its settings along."""
    if not os.path.lexists(env_file):
        return
    remedy = "corrija el archivo o quítelo"
    try:
        with env_file.open(encoding="utf-8") as stream:
            wrong = [binding.original.line for binding in parse_stream(stream) if binding.error]
    except OSError as error:
        raise SettingsError(".env", f"no se puede leer {env_file.absolute()} ({cause(error)})", remedy) from error
    except UnicodeDecodeError as error:
        raise SettingsError(".env", f"{env_file.absolute()} no es texto en UTF-8", remedy) from error
    if wrong:
        raise SettingsError(
            ".env", f"no se entiende la línea {wrong[0]} de {env_file.absolute()}", "escríbala como NOMBRE=valor"
        )


_MESSAGES = {
    "int_parsing": "debe ser un número entero",
    "int_parsing_size": "debe ser un número entero, y es demasiado largo",
    "int_from_float": "debe ser un número entero",
    "float_parsing": "debe ser un número",
    "finite_number": "debe ser un número finito",
    "greater_than_equal": "debe ser {ge:g} o mayor",
    "less_than_equal": "debe ser {le:g} o menor",
}


def _first_error(error: ValidationError) -> SettingsError:
    """Turn Pydantic's report into the contract's one line; the value itself may be a secret, so it stays out."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = str(first["loc"][0])
    setting = name.upper() if name.upper() == "DAGSTER_HOME" else _PREFIX + name.upper()
    template = _MESSAGES.get(first["type"], first["msg"].removeprefix("Value error, "))
    return SettingsError(setting, template.format(**first.get("ctx", {})), "corrija el ajuste")
