"""What the parameters of `VISITAS_DB_URL` ask for, and which are refused by name.

Reading them belongs here, and the files they name; what real servers make of it is tested with servers.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from visitas_dagster.domain.failures import PermanentFailure, SettingsError
from visitas_dagster.resources.database import open_engine
from visitas_dagster.resources.tls import Tls, split
from visitas_dagster.settings import load_settings

BASE = "mysql+pymysql://visitas:secreto@db.example.com/visitas"
CA = Path("/ruta/ca.pem")
CERT = Path("/ruta/cliente.pem")
KEY = Path("/ruta/cliente.key")


def wanted(query: str) -> Tls | None:
    return split(make_url(f"{BASE}?{query}"))[1]


@pytest.mark.parametrize(
    ("query", "tls"),
    [
        ("", None),
        ("charset=utf8mb4", None),
        ("unix_socket=/run/mysqld.sock", None),
        ("tls=0", None),
        ("ssl=false", None),
        ("tls=1", Tls()),
        ("ssl=true", Tls()),
        ("ssl=Sí", Tls()),
        ("ssl_verify_cert=true", Tls()),
        ("ssl_verify_identity=true&ssl_verify_cert=1", Tls()),
        ("ssl_check_hostname=true", Tls()),
        ("ssl_ca=/ruta/ca.pem", Tls(CA)),
        ("tls=1&ssl_ca=/ruta/ca.pem", Tls(CA)),
        ("ssl_ca=/ruta/ca.pem&ssl_check_hostname=false", Tls(CA, checks_name=False)),
        ("ssl_ca=/ruta/ca.pem&ssl_cert=/ruta/cliente.pem&ssl_key=/ruta/cliente.key", Tls(CA, CERT, KEY)),
        ("ssl_cert=/ruta/cliente.pem", Tls(cert=CERT)),
    ],
)
def test_what_a_url_asks_for(query: str, tls: Tls | None) -> None:
    assert wanted(query) == tls


@pytest.mark.parametrize(
    ("query", "line"),
    [
        (
            "ssl_caa=/ruta/ca.pem",
            "no se conoce el parámetro «ssl_caa» (¿quiso decir «ssl_ca»?). se admiten: charset, unix_socket, tls, ssl, "
            "ssl_verify_cert, ssl_verify_identity, ssl_check_hostname, ssl_ca, ssl_cert, ssl_key",
        ),
        (
            "TLS=1",
            "no se conoce el parámetro «TLS» (¿quiso decir «tls»?). se admiten: charset, unix_socket, tls, ssl, "
            "ssl_verify_cert, ssl_verify_identity, ssl_check_hostname, ssl_ca, ssl_cert, ssl_key",
        ),
        (
            "read_default_file=/ruta/my.cnf",
            "no se conoce el parámetro «read_default_file». se admiten: charset, unix_socket, tls, ssl, "
            "ssl_verify_cert, ssl_verify_identity, ssl_check_hostname, ssl_ca, ssl_cert, ssl_key",
        ),
        ("ssl_ca=/a.pem&ssl_ca=/b.pem", "el parámetro «ssl_ca» está repetido. déjelo una vez"),
        ("charset=latin1", "siempre se usa charset=utf8mb4. quite charset de la URL"),
        ("tls=tal+vez", "el parámetro «tls» debe ser true o false. corrija la URL"),
        ("ssl_check_hostname=2", "el parámetro «ssl_check_hostname» debe ser true o false. corrija la URL"),
        ("ssl_ca=ca.pem", "ssl_ca debe ser una ruta completa. ejemplo: ssl_ca=/ruta/archivo.pem"),
        (
            "ssl_verify_cert=false",
            "ssl_verify_cert=false dejaría la conexión sin verificar. quite ssl_verify_cert: TLS se verifica siempre",
        ),
        (
            "tls=0&ssl_ca=/ruta/ca.pem",
            "tls=0 dejaría la conexión sin verificar. quite tls: TLS se verifica siempre",
        ),
        (
            "tls=1&ssl=0",
            "ssl=0 dejaría la conexión sin verificar. quite ssl: TLS se verifica siempre",
        ),
        ("ssl_key=/ruta/cliente.key", "hay ssl_key y falta ssl_cert. agregue ssl_cert=/ruta/cliente.pem"),
        (
            "tls=1&ssl_check_hostname=false",
            "ssl_check_hostname=false sin ssl_ca aceptaría a cualquier servidor con un certificado público. "
            "agregue ssl_ca=/ruta/ca.pem, o quite ssl_check_hostname",
        ),
    ],
)
def test_what_a_url_may_not_ask(query: str, line: str) -> None:
    with pytest.raises(SettingsError) as refused:
        wanted(query)
    assert str(refused.value) == f"VISITAS_DB_URL: {line}"


_parameters = st.sampled_from(
    ["tls", "ssl", "ssl_verify_cert", "ssl_verify_identity", "ssl_check_hostname", "ssl_ca", "ssl_cert", "ssl_key"]
)
_values = st.sampled_from(["1", "0", "true", "false", "/ruta/ca.pem"])


@given(st.dictionaries(_parameters, _values, min_size=1))
def test_whatever_is_asked_is_refused_or_verified(query: dict[str, str]) -> None:
    try:
        tls = wanted("&".join(f"{name}={value}" for name, value in query.items()))
    except SettingsError:
        return
    if tls is None:
        # Only the two that say so in one word leave a connection plain.
        assert query in ({"tls": query.get("tls")}, {"ssl": query.get("ssl")})
    else:
        assert tls.checks_name or tls.ca is not None


@pytest.mark.parametrize("query", ["tls", "tls=", "ssl_ca=", "tls=1&ssl_ca="])
def test_a_parameter_without_a_value_is_not_dropped(query: str) -> None:
    name = query.rpartition("&")[2].partition("=")[0]
    with pytest.raises(SettingsError) as refused:
        open_engine(load_settings(_env_file=None, db_url=f"{BASE}?{query}"))
    assert str(refused.value) == (
        f"VISITAS_DB_URL: el parámetro «{name}» no tiene valor. complételo o quítelo de la URL"
    )


def test_a_question_mark_in_the_password_is_no_parameter() -> None:
    engine = open_engine(load_settings(_env_file=None, db_url="mysql://visitas:que?&x@db.example.com/visitas"))
    assert engine.url.password == "que?&x"


def test_sqlite_takes_no_parameters(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        open_engine(load_settings(_env_file=None, db_url=f"sqlite:///{tmp_path / 'x.db'}?tls=1"))
    assert str(refused.value) == "VISITAS_DB_URL: SQLite no admite el parámetro «tls». quítelo de la URL"


@pytest.mark.parametrize("url", [BASE, "sqlite://"])
def test_no_error_carries_the_values_of_a_statement(url: str) -> None:
    assert open_engine(load_settings(_env_file=None, db_url=url)).hide_parameters


# ------------------------------------------------------------------------------------------------------- files


def test_a_context_verifies_chain_and_name() -> None:
    context = Tls().context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PermanentFailure) as refused:
        Tls(tmp_path / "ca.pem").context()
    assert str(refused.value) == (
        f"VISITAS_DB_URL: ssl_ca: no se puede leer {tmp_path / 'ca.pem'}: no existe. corrija la ruta o los permisos"
    )


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no es PEM", encoding="utf-8")
    with pytest.raises(PermanentFailure) as refused:
        Tls(tmp_path / "ca.pem").context()
    assert str(refused.value) == (
        f"VISITAS_DB_URL: ssl_ca: {tmp_path / 'ca.pem'} no tiene certificados en PEM. corrija la ruta o el archivo"
    )


def test_a_client_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "cliente.pem").write_text("no es PEM", encoding="utf-8")
    with pytest.raises(PermanentFailure) as refused:
        Tls(cert=tmp_path / "cliente.pem").context()
    assert str(refused.value) == (
        f"VISITAS_DB_URL: ssl_cert, ssl_key: {tmp_path / 'cliente.pem'} no es la llave del certificado, "
        "o no está en PEM. corrija la ruta o el archivo"
    )
    with pytest.raises(PermanentFailure) as refused:
        Tls(cert=tmp_path / "otro.pem").context()
    assert str(refused.value) == (
        f"VISITAS_DB_URL: ssl_cert, ssl_key: no se puede leer {tmp_path / 'otro.pem'}: no existe. "
        "corrija la ruta o los permisos"
    )
