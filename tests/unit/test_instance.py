"""Dagster's home and its `dagster.yaml`: written once, and in agreement with `VISITAS_DAGSTER_DB_URL`.

The folder and the file belong here; the instance that is opened on them does not.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from sqlalchemy.exc import OperationalError

from visitas_dagster.domain.failures import SettingsError, TransientFailure
from visitas_dagster.instance import prepare_home, storage_error
from visitas_dagster.settings import Settings, load_settings

URL = "mysql+mysqlconnector://visitas:secreto@db.example.com:3306/dagster"
STORAGE = {"mysql": {"mysql_url": {"env": "VISITAS_DAGSTER_DB_URL"}}}


def settings(home: Path, url: str | None = None) -> Settings:
    return load_settings(_env_file=None, home=home, dagster_db_url=url)


def written(home: Path) -> Path:
    return home / "dagster" / "dagster.yaml"


@pytest.mark.parametrize(("url", "storage"), [(None, None), (URL, STORAGE)])
def test_a_new_home_says_where_the_runs_are(tmp_path: Path, url: str | None, storage: object) -> None:
    assert prepare_home(settings(tmp_path, url)) == tmp_path / "dagster"
    assert yaml.safe_load(written(tmp_path).read_text("utf-8")).get("storage") == storage
    assert "secreto" not in written(tmp_path).read_text("utf-8")


def test_a_file_that_nobody_changed_follows_the_setting(tmp_path: Path) -> None:
    prepare_home(settings(tmp_path))
    prepare_home(settings(tmp_path, URL))
    assert yaml.safe_load(written(tmp_path).read_text("utf-8"))["storage"] == STORAGE
    before = written(tmp_path).stat().st_mtime_ns
    prepare_home(settings(tmp_path, URL.replace("db.", "otra.")))
    assert written(tmp_path).stat().st_mtime_ns == before


@pytest.mark.parametrize("own", ["telemetry:\n  enabled: false\n", "# env: VISITAS_DAGSTER_DB_URL\n", ""])
def test_a_setting_that_an_operators_file_does_not_use_is_told(tmp_path: Path, own: str) -> None:
    written(tmp_path).parent.mkdir()
    written(tmp_path).write_text(own, encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        prepare_home(settings(tmp_path, URL))
    assert str(refused.value) == (
        f"VISITAS_DAGSTER_DB_URL: {written(tmp_path)} no la usa. "
        "agregue al archivo la sección storage de docs/settings.md, o quite el ajuste"
    )
    assert written(tmp_path).read_text("utf-8") == own
    assert prepare_home(settings(tmp_path)) == tmp_path / "dagster"


def test_a_setting_that_the_file_asks_for_and_that_is_missing_is_told(tmp_path: Path) -> None:
    prepare_home(settings(tmp_path, URL))
    with pytest.raises(SettingsError) as refused:
        prepare_home(settings(tmp_path))
    assert str(refused.value) == (
        f"VISITAS_DAGSTER_DB_URL: falta, y {written(tmp_path)} la pide. "
        "escriba la URL de la base de datos de Dagster, o quite del archivo la sección storage"
    )


STORAGE_FULL = OperationalError("INSERT", {}, Exception("database or disk is full"))


def chained(*errors: Exception) -> Exception:
    """The first of them, each made by the one behind it."""
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (STORAGE_FULL, "database or disk is full"),
        (chained(RuntimeError("too many retries"), STORAGE_FULL), "database or disk is full"),
        (chained(TransientFailure("VISITAS_DB_URL: la base de datos no responde"), STORAGE_FULL), None),
        (chained(RuntimeError("tools"), TransientFailure("la base de datos no responde"), STORAGE_FULL), None),
        (ValueError("un defecto"), None),
    ],
    ids=["its own", "wrapped by Dagster", "of our database", "of our database, wrapped by Dagster", "a defect"],
)
def test_an_error_of_dagsters_storage_is_told_from_one_of_our_database(error: Exception, said: str | None) -> None:
    assert storage_error(error) == said
