"""How long to wait before a store that failed is asked again."""

from collections.abc import Callable

FIRST_SECONDS = 0.1
MOST_SECONDS = 10.0


class Backoff:
    """Delays that double from 0.1 to 10 seconds, each shortened by up to a half at random.

    Args:
        chance: Returns random numbers, 0 <= chance < 1: workers that lost the same store must not return in step.
    """

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._next = FIRST_SECONDS

    def next_delay(self) -> float:
        """Return the next delay in seconds."""
        delay = self._next * (1 - 0.5 * self._chance())
        self._next = min(self._next * 2, MOST_SECONDS)
        return delay

    def reset(self) -> None:
        """Begin anew: the store answered."""
        self._next = FIRST_SECONDS
