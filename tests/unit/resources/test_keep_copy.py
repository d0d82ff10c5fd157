"""Copies into the backup and the quarantine: whole, and never so that writing to one changes another that stays.

Files alone belong here; which copy is kept when is `tests/integration`'s.
"""

import errno
import os
from pathlib import Path

import pytest

from tests.support.pipeline import sha256
from visitas_dagster.resources.folders import keep_copy

DATA = b"email,jyv\n" * 1000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "staging" / "run" / "report_1.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backup" / "20240314" / "report_1__000000000000.txt"


def below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("gives", [True, False])
def test_a_copy_stands_whole_when_its_source_is_gone(source: Path, target: Path, gives: bool) -> None:
    keep_copy(source, target, sha256(DATA), gives=gives)
    assert source.samefile(target) is gives
    assert source.read_bytes() == DATA
    source.unlink()
    assert target.read_bytes() == DATA
    assert below(target.parent) == [target.name]


def test_where_no_link_can_be_made_the_bytes_are_copied(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    keep_copy(source, target, sha256(DATA), gives=True)
    assert not source.samefile(target)
    assert (source.read_bytes(), target.read_bytes()) == (DATA, DATA)
    assert below(target.parent) == [target.name]


@pytest.mark.parametrize("gives", [True, False])
def test_a_copy_with_other_bytes_is_replaced_and_one_with_the_right_ones_stays(
    source: Path, target: Path, gives: bool
) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(DATA)
    keep_copy(source, target, sha256(DATA), gives=gives)
    assert not source.samefile(target)
    target.write_bytes(b"damaged")
    keep_copy(source, target, sha256(DATA), gives=gives)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("gives", [True, False])
def test_what_an_earlier_try_had_linked_is_never_written_into(source: Path, target: Path, gives: bool) -> None:
    target.parent.mkdir(parents=True)
    os.link(source, target.with_name(f"run.{sha256(DATA)[:12]}.parcial"))
    keep_copy(source, target, sha256(DATA), gives=gives)
    assert (source.read_bytes(), target.read_bytes()) == (DATA, DATA)
    assert below(target.parent) == [target.name]
