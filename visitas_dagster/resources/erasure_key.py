"""The key of the digests by which erased persons are known, in a file under ``VISITAS_HOME``.

Making, reading and using the key belongs here; the digests stand in the database.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from visitas_dagster.domain.failures import PermanentFailure
from visitas_dagster.resources.folders import disk_errors, write_durably

_KEY_BYTES = 32


class ErasureKey:
    """The secret without which the digests of erased persons tell nothing, not even to a list of guesses.

    It lies in a file beside the data and not in the database, so that a stolen copy of the tables names nobody.
    """

    def __init__(self, path: Path) -> None:
        """Remember the file; nothing is read yet."""
        self._path = path
        self._key: bytes | None = None

    def create(self) -> None:
        """Make the file where there is none.

        Raises:
            SystemFailure: the disk refuses it.
        """
        if not self._path.exists():
            write_durably(self._path, secrets.token_hex(_KEY_BYTES).encode(), mode=0o600, what="guardar la llave")

    def name(self) -> str:
        """Sixteen digits that tell this key from another without telling it."""
        return hashlib.blake2b(b"llave", key=self._read(), digest_size=8).hexdigest()

    def digest(self, address: str) -> str:
        """The keyed digest of an address, 64 hexadecimal digits; case makes no difference."""
        return hashlib.blake2b(address.lower().encode(), key=self._read(), digest_size=32).hexdigest()

    def _read(self) -> bytes:
        if self._key is None:
            with disk_errors("leer la llave de los olvidos"):
                if not self._path.is_file():
                    raise PermanentFailure(
                        f"falta {self._path}: sin esa llave no se sabe a quién se olvidó",
                        "restáurela de un respaldo de VISITAS_HOME",
                    )
                self._key = bytes.fromhex(self._path.read_text(encoding="ascii").strip())
        return self._key
