"""A program of the tests that imports everything once and then serves one request after the other.

Starting it and talking to it, a line of JSON each way, belongs here; what it does for a request does not.
"""

import json
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

from tests.support.pipeline import PROJECT


class WarmProgram:
    """The program, as a test calls it; ready once its imports are done.

    Attributes:
        module: what `python -m` runs; it says `ready`, and answers each line with a line.
    """

    module: str

    def __init__(self) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", self.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )
        assert self._answer() == "ready\n"

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it: its input closes."""
        self._process.communicate(timeout=60)

    def ask(self, request: Any) -> Any:
        """Send a request; return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()
