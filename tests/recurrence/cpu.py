"""How much CPU time one question about a rule may take."""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

CPU_SECONDS = 0.05 if sys.gettrace() is None else 0.25
"""Measuring coverage makes everything some times slower."""
REFERENCE_SECONDS = 0.0012
"""What the reference takes on a machine of which the limit is asked; a slower one takes longer for both."""
TRIES = 3


def cpu_seconds(call: Callable[[], object]) -> float:
    """Return the least CPU time of three calls; where that is over the limit, what it would be on a faster machine."""
    least = min(_timed(call) for _ in range(TRIES))
    return least if least <= CPU_SECONDS else least / _slowness()


def _slowness() -> float:
    """Return how many times longer this machine takes at this moment, at least 1."""
    return max(1.0, min(_timed(_reference) for _ in range(TRIES)) / REFERENCE_SECONDS)


def _timed(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def _reference() -> None:
    """Do what looking for slots consists of: step through days and look at them."""
    at, step = datetime(2030, 1, 1, tzinfo=UTC), timedelta(seconds=61)
    found = 0
    for _ in range(20_000):
        at += step
        found += at.weekday() == 3
