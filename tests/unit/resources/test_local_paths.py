"""Where a report's bytes stand on this machine: whatever the server calls it, inside the folder meant for them.

The paths that are made from a name belong here; what is done at them does not.
"""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from visitas_dagster.domain.arrivals import MAX_NAME, WORKING_SUFFIXES, is_report
from visitas_dagster.resources.folders import LAYOUT, SISTEMA, Folders, local_name
from visitas_dagster.resources.logs import log_name

HOME = Path("/home/etl")
FOLDERS = Folders(HOME)
DIGEST = "a" * 64
DAY = date(2024, 3, 14)
ANY = r"(?s)(.*)"

pieces = st.sampled_from(
    [
        "..",
        ".",
        "/",
        "\\",
        "~",
        "-",
        "*",
        "?",
        "[",
        "]",
        "$(x)",
        "`",
        "'",
        '"',
        ";",
        "\n",
        "\0",
        " ",
        "report_1",
        ".txt",
    ]
)
names = st.one_of(st.lists(pieces, max_size=12).map("".join), st.text(max_size=MAX_NAME + 5))


@given(names)
@example("../../etc/passwd")
@example("\U0001f4e7" * 255)
@example("a" * 255)
@example("a." + "b" * 253)
def test_every_path_made_from_a_name_that_is_taken_stays_in_its_folder(name: str) -> None:
    assume(is_report(name, ANY))
    for folder, path in {
        FOLDERS.staging / "corrida": FOLDERS.staged("corrida", name),
        FOLDERS.backup / "20240314": FOLDERS.backed_up(name, DIGEST, DAY),
        FOLDERS.cuarentena / LAYOUT: FOLDERS.quarantined(LAYOUT, name, DIGEST),
        FOLDERS.cuarentena / SISTEMA: FOLDERS.quarantined(SISTEMA, name, DIGEST),
        FOLDERS.logs / "20240314": FOLDERS.logs / "20240314" / log_name(name),
    }.items():
        assert path.parent == folder
        assert Path(os.path.normpath(path)) == path
        assert path.name not in ("", ".", "..")
        # Room for what we put behind it.
        assert max(len(os.fsencode(path.name + ending)) for ending in WORKING_SUFFIXES) <= 255
    assert not {"/", "\\"} & set(FOLDERS.name_in_zip(name, DIGEST))
    assert FOLDERS.name_in_zip(name, DIGEST) not in (".", "..")


@given(names)
def test_a_name_on_disk_is_found_again_by_either_name(name: str) -> None:
    assume(is_report(name, ANY))
    # A dead run's file is known by its name on disk only.
    assert local_name(local_name(name)) == local_name(name)
    assert FOLDERS.backed_up(local_name(name), DIGEST, DAY) == FOLDERS.backed_up(name, DIGEST, DAY)


@given(st.text(st.sampled_from("aé\U0001f4e7"), min_size=200, max_size=MAX_NAME - 5), st.sampled_from(["", ".txt"]))
def test_two_long_names_stay_two(name: str, ending: str) -> None:
    assert local_name(f"{name}x{ending}") != local_name(f"{name}y{ending}")


@pytest.mark.parametrize("name", ["report_1.txt", "-rf.txt", "a b.txt", "*.txt", "a" * 225])
def test_a_name_that_leaves_room_is_kept(name: str) -> None:
    assert local_name(name) == name


def test_a_long_name_keeps_its_beginning_and_its_ending() -> None:
    shortened = local_name(f"report_{'9' * 244}.txt")
    assert len(shortened) == 225
    assert shortened.startswith("report_999")
    assert shortened.endswith(".txt")
