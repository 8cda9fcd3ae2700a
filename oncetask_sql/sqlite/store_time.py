"""The store's time: the host's clock, which the stored ratchet keeps from running backwards."""

import threading

from oncetask_core.clock import Clock
from oncetask_sql.times import to_micros


class StoreTime:
    """Reads the clock; never falls below what was read or stored before.

    Args:
        clock: The host's clock, or an injected one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest = 0
        self._lock = threading.Lock()

    def read(self, stored: int) -> int:
        """Return the time in microseconds, at least `stored` and every time returned before."""
        with self._lock:
            self._latest = max(self._latest, stored, to_micros(self._clock.now()))
            return self._latest
