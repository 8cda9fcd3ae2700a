"""How much CPU time one question about a rule may take."""

import math
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

CPU_SECONDS = 0.05 if sys.gettrace() is None else 0.25
"""Measuring coverage makes everything some times slower."""
REFERENCE_SECONDS = 0.0012
"""What the reference takes on a machine of which the limit is asked; a slower one takes longer for both."""
TRIES = 3
ROUNDS = 5


def cpu_seconds(call: Callable[[], object]) -> float:
    """Return the least CPU time of some calls; where that is over the limit, what it would be on a faster machine.

    Whatever else is at work there only adds to it: what is over the limit is asked again before it is believed.
    """
    least = reference = math.inf
    for _ in range(ROUNDS):
        least = min(least, *(_timed(call) for _ in range(TRIES)))
        if least <= CPU_SECONDS:
            return least
        reference = min(reference, *(_reference_within(least) for _ in range(TRIES)))
        if least / _slowness(reference) <= CPU_SECONDS:
            break
    return least / _slowness(reference)


def _slowness(reference: float) -> float:
    """Return how many times longer a machine takes, at least 1, on which the reference takes so many seconds."""
    return max(1.0, reference / REFERENCE_SECONDS)


def _reference_within(seconds: float) -> float:
    """Return what the reference takes, repeated for so many seconds: it meets what interrupts a call of that length."""
    began, count = time.process_time(), 0
    while (passed := time.process_time() - began) < seconds:
        _reference()
        count += 1
    return passed / count


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
