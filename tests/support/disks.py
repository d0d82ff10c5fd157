"""A file system of a few megabytes, to be filled; whether this machine lets one be made.

Mounting and filling it belongs here; what a full disk does to a pass does not.
"""

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Final, Self

import psutil

from tests.support.guardian import guardian, kill_all, wait_for_end

BLOCK: Final = 4096
_MOUNT: Final = 'mount -t tmpfs -o size="$1" visitas "$2" && echo ready && exec sleep infinity'


@functools.cache
def can_mount() -> bool:
    """Whether a file system may be mounted here, in a name space of one's own."""
    try:
        done = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "visitas", "/mnt"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        return False
    return done.returncode == 0


class SmallDisk:
    """A file system of a few megabytes.

    Attributes:
        path: its root, as any process of this user reaches it. SQLite does not: it follows links by itself.
        folder: its root, as the processes of :meth:`inside` see it; for the others an empty folder.
    """

    def __init__(self, folder: Path, size: int) -> None:
        """Mount it; raise `OSError` where this machine allows no name spaces."""
        folder.mkdir()
        self.folder = folder
        command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _MOUNT, "sh", str(size), str(folder)]
        self._holder = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        guardian().watch(self._holder.pid)
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "ready\n":
            self.__exit__()
            raise OSError("no name space may be made here")
        self.path = Path(f"/proc/{self._holder.pid}/root") / folder.relative_to("/")
        self._ballast = self.path / "lastre"

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process that holds it, and with it the disk."""
        process = psutil.Process(self._holder.pid)
        kill_all([process])
        wait_for_end([process], 20)
        self._holder.communicate()
        guardian().forget(self._holder.pid)

    def inside(self) -> list[str]:
        """What to put before a command, so that it finds the disk at `folder`."""
        return ["nsenter", "--target", str(self._holder.pid), "--user", "--mount", "--preserve-credentials", "--"]

    def leave(self, room: int) -> None:
        """Fill it up to so many bytes."""
        self.free()
        spare = shutil.disk_usage(self.path).free - room
        with self._ballast.open("wb") as stream:
            stream.write(b"\0" * (spare // BLOCK * BLOCK))
        assert shutil.disk_usage(self.path).free - room in range(BLOCK)

    def free(self) -> None:
        """Take away what filled it."""
        self._ballast.unlink(missing_ok=True)
