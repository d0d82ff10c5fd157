"""A day's zip: what goes in, in which bytes, and that nothing is lost when something goes wrong.

Sealing alone, on a folder of its own, belongs here; the close around it does not.
"""

import errno
import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visitas_dagster.closing import sealing
from visitas_dagster.closing.loose import loose_days
from visitas_dagster.closing.sealing import MANIFEST, Sealed, seal, zip_path
from visitas_dagster.domain.failures import PermanentFailure, TransientFailure
from visitas_dagster.resources.folders import Folders

DAY = date(2024, 3, 14)


def no_states(names: Iterable[str]) -> Mapping[str, str]:
    return {}


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    folders = Folders(tmp_path)
    folders.ensure()
    return folders


def put(folders: Folders, name: str, data: bytes, digest: str | None = None) -> Path:
    """Put a loose backup of the day; ``digest`` where its name is to tell another one than its bytes have."""
    path = folders.backed_up(name, digest or hashlib.sha256(data).hexdigest(), DAY)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def stored(folders: Folders) -> dict[str, bytes]:
    """The members of the day's zip but the manifest."""
    with zipfile.ZipFile(zip_path(folders, DAY)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(names) == len(set(names))
        return {name: archive.read(name) for name in names if name != MANIFEST}


def manifest(folders: Folders) -> list[dict[str, Any]]:
    with zipfile.ZipFile(zip_path(folders, DAY)) as archive:
        found: list[dict[str, Any]] = json.loads(archive.read(MANIFEST))
        return found


def in_backup(folders: Folders) -> set[str]:
    return {str(path.relative_to(folders.backup)) for path in folders.backup.rglob("*")}


def test_loose_copies_become_members_and_go(folders: Folders) -> None:
    first, second = put(folders, "report_1.txt", b"uno\n"), put(folders, "report_2.txt", b"")
    sealed = seal(folders, DAY, lambda names: {first.name: "COMPLETADO"})
    assert sealed == Sealed(folders.backup / "backup_20240314.zip", added=2, members=2)
    assert stored(folders) == {first.name: b"uno\n", second.name: b""}
    assert in_backup(folders) == {"backup_20240314.zip"}
    assert manifest(folders) == [
        {
            "archivo": "report_1.txt",
            "miembro": first.name,
            "sha256": hashlib.sha256(b"uno\n").hexdigest(),
            "bytes": 4,
            "estado": "COMPLETADO",
        },
        {
            "archivo": "report_2.txt",
            "miembro": second.name,
            "sha256": hashlib.sha256(b"").hexdigest(),
            "bytes": 0,
            "estado": None,
        },
    ]


def test_a_day_without_backups_has_no_zip(folders: Folders) -> None:
    assert seal(folders, DAY, no_states) == Sealed(None)
    (folders.backup / "20240314").mkdir()
    assert seal(folders, DAY, no_states) == Sealed(None)
    assert in_backup(folders) == set()


def test_a_second_sealing_without_anything_new_leaves_the_zip_as_it_is(folders: Folders) -> None:
    put(folders, "report_1.txt", b"uno\n")
    seal(folders, DAY, no_states)
    before = zip_path(folders, DAY).stat()
    assert seal(folders, DAY, no_states) == Sealed(zip_path(folders, DAY), added=0, members=1)
    assert zip_path(folders, DAY).stat() == before


def test_other_bytes_under_a_members_name_overwrite_nothing(folders: Folders) -> None:
    digest = hashlib.sha256(b"ana@example.com").hexdigest()
    first = put(folders, "report_1.txt", b"ana@example.com")
    seal(folders, DAY, no_states)
    put(folders, "report_1.txt", b"olvidado", digest)
    assert seal(folders, DAY, no_states).added == 1
    second = f"report_1__{digest[:12]}+{hashlib.sha256(b'olvidado').hexdigest()[:12]}.txt"
    assert stored(folders) == {first.name: b"ana@example.com", second: b"olvidado"}
    # And the same once more is nothing new.
    put(folders, "report_1.txt", b"olvidado", digest)
    assert seal(folders, DAY, no_states).added == 0
    assert in_backup(folders) == {"backup_20240314.zip"}
    assert [entry["archivo"] for entry in manifest(folders)] == ["report_1.txt"] * 2


def test_what_is_no_copy_of_ours_is_left_alone(folders: Folders) -> None:
    put(folders, "report_1.txt", b"uno\n")
    folder = folders.backup / "20240314"
    (folder / "notas.txt").write_text("de una persona")
    (folder / "report_2__aaaaaaaaaaaa.txt.parcial").write_text("a medias")
    (folder / "report_3__aaaaaaaaaaaa.txt").symlink_to("notas.txt")
    assert seal(folders, DAY, no_states).added == 1
    assert {path.name for path in folder.iterdir()} == {
        "notas.txt",
        "report_2__aaaaaaaaaaaa.txt.parcial",
        "report_3__aaaaaaaaaaaa.txt",
    }
    assert loose_days(folders) == set()


contents = st.dictionaries(st.integers(1, 30), st.binary(max_size=300), max_size=8)


@settings(max_examples=40, deadline=None)
@given(closes=st.lists(contents, min_size=1, max_size=4))
def test_however_many_closes_it_took_the_zip_is_the_same(closes: list[dict[int, bytes]]) -> None:
    everything = {(number, data) for close in closes for number, data in close.items()}
    made = []
    for batches in (closes, [everything]):
        with tempfile.TemporaryDirectory() as home:
            folders = Folders(Path(home))
            folders.ensure()
            for batch in batches:
                for number, data in batch.items() if isinstance(batch, dict) else batch:
                    put(folders, f"report_{number}.txt", data)
                seal(folders, DAY, no_states)
            made.append(zip_path(folders, DAY).read_bytes() if everything else b"")
            if everything:
                found = sorted((name.partition("__")[0], data) for name, data in stored(folders).items())
                assert found == sorted((f"report_{number}", data) for number, data in everything)
    assert made[0] == made[1]


# ------------------------------------------------------------------------------------------------ what goes wrong


def test_a_copy_that_arrives_meanwhile_is_left_for_the_next_close(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folders, "report_1.txt", b"uno\n")
    original = sealing._verify

    def arriving(*arguments: Any) -> None:
        put(folders, "report_2.txt", b"dos\n")
        original(*arguments)

    monkeypatch.setattr(sealing, "_verify", arriving)
    assert seal(folders, DAY, no_states).members == 1
    assert loose_days(folders) == {DAY}
    monkeypatch.undo()
    assert seal(folders, DAY, no_states) == Sealed(zip_path(folders, DAY), added=1, members=2)


def test_a_copy_that_changes_before_it_goes_stays(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(folders, "report_1.txt", b"ana\n")
    original = sealing._put_in_place

    def changing(*arguments: Any) -> None:
        original(*arguments)
        other = path.with_suffix(".nuevo")
        other.write_bytes(b"***\n")
        other.replace(path)

    monkeypatch.setattr(sealing, "_put_in_place", changing)
    assert seal(folders, DAY, no_states).left == 1
    assert path.read_bytes() == b"***\n"


def test_a_copy_that_changes_while_it_is_read_back_stops_the_sealing(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(folders, "report_1.txt", b"ana\n")
    original = sealing._verify

    def changing(*arguments: Any) -> None:
        path.write_bytes(b"***\n")
        original(*arguments)

    monkeypatch.setattr(sealing, "_verify", changing)
    with pytest.raises(TransientFailure, match="cambió mientras se sellaba"):
        seal(folders, DAY, no_states)
    assert in_backup(folders) == {"20240314", f"20240314/{path.name}"}


@pytest.mark.parametrize("place", ["first", "middle", "end"])
def test_a_temporary_zip_that_is_damaged_never_takes_the_place(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    path = put(folders, "report_1.txt", os.urandom(5000))
    original = sealing._verify

    def spoiling(temporary: Path, *rest: Any) -> None:
        data = bytearray(temporary.read_bytes())
        data[{"first": 2, "middle": len(data) // 2, "end": len(data) - 20}[place]] ^= 0xFF
        temporary.write_bytes(data)
        original(temporary, *rest)

    monkeypatch.setattr(sealing, "_verify", spoiling)
    with pytest.raises(TransientFailure, match="no salió bien al leerlo de vuelta"):
        seal(folders, DAY, no_states)
    assert in_backup(folders) == {"20240314", f"20240314/{path.name}"}


def test_a_full_disk_leaves_everything_as_it_was(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folders, "report_1.txt", b"uno\n")
    seal(folders, DAY, no_states)
    before = zip_path(folders, DAY).read_bytes()
    path = put(folders, "report_2.txt", b"dos\n")
    original = zipfile.ZipFile.writestr

    def full(archive: zipfile.ZipFile, *arguments: Any) -> None:
        original(archive, *arguments)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "backup")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(PermanentFailure, match="no hay espacio en disco para sellar el respaldo del día"):
        seal(folders, DAY, no_states)
    assert in_backup(folders) == {"backup_20240314.zip", "20240314", f"20240314/{path.name}"}
    assert zip_path(folders, DAY).read_bytes() == before


def test_a_damaged_zip_is_told_and_not_touched(folders: Folders) -> None:
    first = put(folders, "report_1.txt", b"uno\n")
    seal(folders, DAY, no_states)
    spoiled = bytearray(zip_path(folders, DAY).read_bytes())
    spoiled[30 + len(first.name) + 2] ^= 0xFF
    zip_path(folders, DAY).write_bytes(spoiled)
    path = put(folders, "report_2.txt", b"dos\n")
    with pytest.raises(PermanentFailure, match="está dañado"):
        seal(folders, DAY, no_states)
    assert zip_path(folders, DAY).read_bytes() == spoiled
    assert path.read_bytes() == b"dos\n"


def test_a_half_written_zip_of_a_killed_close_is_no_obstacle(folders: Folders) -> None:
    put(folders, "report_1.txt", b"uno\n")
    (folders.backup / "backup_20240314.zip.parcial").write_bytes(b"PK\x03\x04")
    assert seal(folders, DAY, no_states).members == 1
    assert in_backup(folders) == {"backup_20240314.zip"}
