"""Loopback ports for servers.

They lie below the ranges from which Linux (from 32768) and macOS (from 49152) take the ports of outgoing connections.
So a server that is down for a restart finds its port free again, and a client that keeps knocking at it cannot end up
connected to itself.
"""

import random
import socket
from collections.abc import Iterator

LOOPBACK = "127.0.0.1"
RANGE = range(15_000, 32_000)


def free_ports() -> Iterator[int]:
    """Yield ports that are free now; somebody may be faster than the server that gets one."""
    chance = random.SystemRandom()  # tests seed the other one
    while True:
        port = chance.choice(RANGE)
        if is_free(port):
            yield port


def is_free(port: int) -> bool:
    """Tell whether a server could listen on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
