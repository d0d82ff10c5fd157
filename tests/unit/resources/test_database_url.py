"""Which URLs are known to be right without SQLAlchemy: none that it, or we, would then refuse.

The form belongs here; what is wrong with the others, and in which words, does not.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visitas_dagster.resources.database import open_engine
from visitas_dagster.resources.database_url import is_plain
from visitas_dagster.settings import load_settings

PLAIN = [
    "mysql+pymysql://visitas:clave@db.example.com:3306/visitas",
    "mariadb://visitas@127.0.0.1/visitas_2026",
    "mysql://visitas:%40%3A@db/visitas?charset=utf8mb4",
    "sqlite:////var/lib/visitas/visitas.db",
]
OTHERS = [
    "",
    "visitas",
    "://",
    "mysql://u:secreto@127.0.0.1:puerto/b",
    "mysql://u:secreto@127.0.0.1",
    "mysql://u:secreto@127.0.0.1/b?tls=1",
    "mysql://u:secreto@127.0.0.1/b?charset=latin1",
    "mysql://u:secreto@127.0.0.1/b?ssl_ca=",
    "postgresql://u:secreto@127.0.0.1/b",
    "sqlite:////tmp/x.db?tls=1",
    "sqlite:////tmp/x.db\n",
]


@pytest.mark.parametrize("url", PLAIN)
def test_the_plain_form_is_known(url: str) -> None:
    assert is_plain(url)


@pytest.mark.parametrize("url", OTHERS)
def test_every_other_has_to_be_judged(url: str) -> None:
    assert not is_plain(url)


def words(alphabet: str, least: int = 1) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=least, max_size=12)


LETTERS = "aZ09_.~%-$ /@:?#[]&=\n'\"ñ"
URLS = st.one_of(
    st.builds(
        "{}://{}{}@{}{}/{}{}".format,
        st.sampled_from(["mysql", "mysql+pymysql", "mariadb", "mariadb+pymysql"]),
        words("aZ09_.~%-"),
        st.builds("{}{}".format, st.sampled_from(["", ":"]), words("aZ09_.~%-", 0)),
        words("aZ09.-"),
        st.sampled_from(["", ":1", ":3306", ":99999"]),
        words("aZ09_$-"),
        st.sampled_from(["", "?charset=utf8mb4"]),
    ),
    st.builds("mysql://{}@{}/{}".format, words(LETTERS), words(LETTERS), words(LETTERS)),
    st.builds("sqlite:///{}".format, words(LETTERS)),
)


@given(URLS)
def test_what_is_plain_is_never_refused(url: str) -> None:
    if is_plain(url):
        engine = open_engine(load_settings(_env_file=None, db_url=url))
        assert engine.url.database
        engine.dispose()
