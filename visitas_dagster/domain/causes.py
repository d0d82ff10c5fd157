"""Why the operating system refused something, in the operator's language.

The words for its error numbers belong here; what was being done, and what to do about it, does not.
"""

from __future__ import annotations

import errno

_CAUSES = {
    errno.ENOENT: "no existe",
    errno.EACCES: "sin permiso",
    errno.EPERM: "sin permiso",
    errno.EEXIST: "ya existe",
    errno.ENOTDIR: "en la ruta hay algo que no es una carpeta",
    errno.EISDIR: "es una carpeta",
    errno.EROFS: "el disco es de solo lectura",
    errno.ENOSPC: "no hay espacio en disco",
    errno.EDQUOT: "se acabó la cuota de disco",
    errno.EFBIG: "el archivo es demasiado grande",
    errno.EIO: "el disco falló",
    errno.ENAMETOOLONG: "el nombre es demasiado largo",
    errno.ELOOP: "los enlaces forman un círculo",
    errno.EMFILE: "hay demasiados archivos abiertos",
    errno.ENFILE: "hay demasiados archivos abiertos",
    errno.ECONNREFUSED: "conexión rechazada",
    errno.ECONNRESET: "la conexión se cortó",
    errno.EPIPE: "la conexión se cortó",
    errno.ETIMEDOUT: "no contestó a tiempo",
    errno.EHOSTUNREACH: "no hay camino hasta él",
    errno.ENETUNREACH: "no hay camino hasta él",
    errno.EADDRINUSE: "el puerto está ocupado",
    errno.EADDRNOTAVAIL: "la dirección no es de esta máquina",
}


def cause(error: OSError) -> str:
    """Return why, in a few words; the system's own where there are none here."""
    if isinstance(error, TimeoutError):
        return _CAUSES[errno.ETIMEDOUT]
    return _CAUSES.get(error.errno or 0) or " ".join((error.strerror or str(error) or type(error).__name__).split())
