"""What can go wrong with a report, told apart by what the operator can do about it.

Exceptions that cross a room's door belong here; turning a library's error into one of them belongs to the room
that calls the library.

    VisitasError
    ├── LayoutFailure        the bytes or the header are no report: never retried by itself
    ├── SystemFailure        SFTP, database, disk or memory failed around a good file
    │   ├── TransientFailure   a later try may succeed (network, deadlock, lock wait, lost connection)
    │   └── PermanentFailure   no retry cures it (wrong key, full disk, no permission): stop and say so
    ├── SettingsError        a setting is missing or wrong: the start stops
    └── UsageError           a command was asked for something that is not there
"""

from visitas_dagster.domain.privacy import mask_addresses


class VisitasError(Exception):
    """Base of every failure an operator is told about.

    Attributes:
        mensaje: what happened, one line, in Spanish.
        remedio: what to do about it, one line, in Spanish; may be empty.
    """

    def __init__(self, mensaje: str, remedio: str = "") -> None:
        """Keep both texts on one line each: they go to logs, the ledger and the terminal."""
        self.mensaje = " ".join(mensaje.split())
        self.remedio = " ".join(remedio.split())
        super().__init__(self.mensaje, self.remedio)

    def __str__(self) -> str:
        """Return ``mensaje. remedio`` as one line."""
        if not self.remedio:
            return self.mensaje
        return f"{self.mensaje.rstrip('.')}. {self.remedio}"


class LayoutFailure(VisitasError):
    """The file's bytes or header cannot be read as a report (contract §2, ``FALLO_LAYOUT``).

    It quotes what was delivered: a file without a header names a person in its first line, so addresses are hidden.
    """

    def __init__(self, mensaje: str, remedio: str = "") -> None:
        """Hide every address in both texts."""
        super().__init__(mask_addresses(mensaje), mask_addresses(remedio))


class SystemFailure(VisitasError):
    """Something around the file failed (contract §2, ``FALLO_SISTEMA``)."""


class TransientFailure(SystemFailure):
    """A system failure that a later try may cure."""


class PermanentFailure(SystemFailure):
    """A system failure that no retry cures; it needs a person."""


class SettingsError(VisitasError):
    """A setting is missing or wrong (contract §5).

    Attributes:
        ajuste: the setting's name, e.g. ``VISITAS_SFTP_HOST``.
    """

    def __init__(self, ajuste: str, mensaje: str, remedio: str = "") -> None:
        """Name the setting first: ``VISITAS_X: mensaje``."""
        self.ajuste = ajuste
        super().__init__(f"{ajuste}: {mensaje}", remedio)


class UsageError(VisitasError):
    """A command was asked for something that does not exist, such as a file nobody knows (exit code 2)."""


class FileGone(Exception):
    """The named file is not in the server's folder (any more); whoever asked for it knows whether that is a failure."""
