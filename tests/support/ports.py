"""Free loopback ports for servers that keep theirs through a restart.

Finding a port belongs here; listening on it does not.
"""

import random
import socket

LOOPBACK = "127.0.0.1"

# Below the range from which the kernel gives outgoing connections their ports: while a server is down,
# no client of anyone's sits on its port by chance.
_RANGE = range(20_000, 32_000)


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    # The system's chance: property tests seed Python's own, alike in every process of a run.
    for port in random.SystemRandom().sample(_RANGE, k=100):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port in {_RANGE}")
