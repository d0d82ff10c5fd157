"""Modules that libraries bring in where they find them, for what is not used here: half a command's start is imports.

Which ones are left out belongs here; what a command imports itself does not.
"""

from __future__ import annotations

import sys

_SPARED = (
    # paramiko's, half of its own start-up, for a rule of OpenSSH's configuration files that is not read here.
    "invoke",
    # Pandera's, for making up data: 5 % of what dispatch imports, and only there where a developer's tools are.
    "hypothesis",
)


def leave_out() -> None:
    """Have them pass for not installed in this process, which the libraries do without; what is in stays."""
    for name in _SPARED:
        # How Python marks a module that is not to be had.
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
