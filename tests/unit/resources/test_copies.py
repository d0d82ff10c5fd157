"""Where a delivery's bytes are on this machine, when a sealed backup is damaged.

Looking for copies belongs here; sealing them does not.
"""

import hashlib
import logging
import zipfile
from pathlib import Path

import pytest

from visitas_dagster.resources.copies import LocalCopy, copies, find_copy
from visitas_dagster.resources.folders import Folders

NAME = "report_7.txt"
DATA = b"email,jyv\n" * 500
SHA256 = hashlib.sha256(DATA).hexdigest()
MEMBER = Folders.name_in_zip(NAME, SHA256)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    folders = Folders(tmp_path)
    folders.ensure()
    for day in ("20240313", "20240314"):
        with zipfile.ZipFile(folders.backup / f"backup_{day}.zip", "w") as archive:
            archive.writestr(MEMBER, DATA)
    return folders


def test_the_newest_zip_comes_first(folders: Folders) -> None:
    newest, older = folders.zips()
    assert list(copies(folders, NAME, SHA256)) == [LocalCopy(newest, MEMBER), LocalCopy(older, MEMBER)]


def test_a_zip_that_is_none_any_more_hides_no_other(folders: Folders, caplog: pytest.LogCaptureFixture) -> None:
    newest, older = folders.zips()
    newest.write_bytes(newest.read_bytes()[:-30])
    with caplog.at_level(logging.WARNING, "visitas.respaldo"):
        assert find_copy(folders, NAME, [SHA256], {}) == (LocalCopy(older, MEMBER), SHA256)
    assert caplog.messages == [
        f"{newest} está dañado, no se busca en él; restáurelo de una copia, o sáquelo de backup/"
    ]


def test_a_member_with_other_bytes_is_not_taken(folders: Folders, caplog: pytest.LogCaptureFixture) -> None:
    newest, older = folders.zips()
    damaged = bytearray(newest.read_bytes())
    damaged[len(MEMBER) + 60] ^= 1
    newest.write_bytes(damaged)
    with caplog.at_level(logging.WARNING, "visitas.respaldo"):
        assert find_copy(folders, NAME, [SHA256], {}) == (LocalCopy(older, MEMBER), SHA256)
    assert caplog.messages == [
        f"{newest} ({MEMBER}) está dañado, no se toma; restáurelo de una copia, o sáquelo de backup/"
    ]
