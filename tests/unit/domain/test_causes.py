"""The operating system's refusals in Spanish.

The words for its error numbers belong here; who meets them does not.
"""

import errno
from pathlib import Path

import pytest

from visitas_dagster.domain.causes import cause


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "no existe"),
        (PermissionError(errno.EACCES, "Permission denied"), "sin permiso"),
        (IsADirectoryError(errno.EISDIR, "Is a directory"), "es una carpeta"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), "en la ruta hay algo que no es una carpeta"),
        (OSError(errno.ENOSPC, "No space left on device"), "no hay espacio en disco"),
        (OSError(errno.EROFS, "Read-only file system"), "el disco es de solo lectura"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "conexión rechazada"),
        (TimeoutError("timed out"), "no contestó a tiempo"),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "no contestó a tiempo"),
    ],
)
def test_a_known_cause_is_told_in_spanish(error: OSError, words: str) -> None:
    assert cause(error) == words


def test_the_systems_own_errors_are_known(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nada") as caught:
        (tmp_path / "nada").open()
    assert cause(caught.value) == "no existe"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EXDEV, "Invalid cross-device link"), "Invalid cross-device link"),
        (OSError("algo\n raro"), "algo raro"),
        (OSError(), "OSError"),
    ],
)
def test_an_unknown_cause_keeps_its_own_words(error: OSError, words: str) -> None:
    assert cause(error) == words
