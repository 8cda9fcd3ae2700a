"""Waiting for what other processes do."""

import time
from collections.abc import Callable

ENOUGH = 60.0
"""Seconds after which something does not happen any more, however slow the machine is."""


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds; what does not happen is a failure."""
    deadline = time.monotonic() + ENOUGH
    while not holds():
        assert time.monotonic() < deadline, f"{what} within {ENOUGH} s"
        time.sleep(0.02)
