"""The plain form of ``VISITAS_DB_URL``, of which it is known without SQLAlchemy that it will be taken.

Recognising it belongs here; every other form is judged, and each is read, where the engine is opened.
"""

from __future__ import annotations

import re

_SERVER = re.compile(
    r"(?:mysql|mariadb)(?:\+pymysql)?://[\w.~%-]+(?::[\w.~%-]*)?@[A-Za-z0-9.-]+(?::[0-9]{1,5})?/[\w$-]+"
    r"(?:\?charset=utf8mb4)?",
    re.ASCII,
)
_FILE = re.compile(r"sqlite:///[\w./~ -]+", re.ASCII)


def is_plain(url: str) -> bool:
    """Say whether a URL cannot be refused: user, host and name of a server's database without anything special in
    them, or the path of a file. False says nothing of a URL.
    """
    return any(form.fullmatch(url) for form in (_SERVER, _FILE))
