"""The store's time: the host's clock, corrected by what Firestore says in its replies; or an injected clock.

No query of Firestore can name its own now, so a claim has to. Every reply carries the server's time of the read or
commit, which lies between the call and its reply. While the host's clock fits into that, it is taken as it is; else it
is moved as little as needed. So hosts whose clocks are wrong agree with the server up to the time of a round trip.

The host's clock is read once; from then on its steady seconds count. A clock that is set while a worker runs would
otherwise end the leases of others, or start tomorrow's tasks, before the next reply could tell.
"""

import threading
from datetime import datetime, timedelta
from typing import Final

from oncetask_core.clock import Clock, SystemClock
from oncetask_core.errors import StoreUnavailableError
from oncetask_firestore.texts import to_micros

MARGIN: Final = timedelta(milliseconds=10)
"""How far the server's own clocks may lie apart, for good measure."""
WIDEST: Final = timedelta(seconds=5)
"""From a slower round trip nothing is learnt about the time."""
TRUSTED: Final = timedelta(minutes=1)
"""How long a correction is relied upon without a quicker round trip."""


READINGS: Final = 5
"""How often a clock is read; a thread is hardly ever interrupted in so many of them."""


def _at_one_moment(host: Clock) -> tuple[datetime, float]:
    """Return what a clock and its steady seconds say at one moment.

    Who is interrupted between the two would be behind all others by that time, however short it is: the quickest
    reading counts.
    """
    readings = []
    for _ in range(READINGS):
        before, now, after = host.monotonic(), host.now(), host.monotonic()
        readings.append((after - before, now, after))
    _, now, at = min(readings)
    return now, at


class StoreTime:
    """The store's time, which never runs backwards, and the numbers that creations get.

    Args:
        clock: An injected clock; None for the server's time.
        host: The clock of this machine.
    """

    def __init__(self, clock: Clock | None, *, host: Clock | None = None) -> None:
        self._clock = clock
        self._host = SystemClock() if host is None else host
        self._begun, self._began_at = _at_one_moment(self._host)
        self._correction = timedelta(0)
        self._learnt: float | None = None
        self._latest: datetime | None = None
        self._number = 0
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Return the time."""
        with self._lock:
            reading = self.host_now() + self._correction if self._clock is None else self._clock.now()
            self._latest = reading if self._latest is None else max(self._latest, reading)
            return self._latest

    def host_now(self) -> datetime:
        """Return what the clock of this machine said at first, and what has gone by since."""
        return self._begun + timedelta(seconds=self._host.monotonic() - self._began_at)

    def observe(self, sent: datetime, received: datetime, *, server: datetime) -> None:
        """Learn from a round trip: when it began and ended by this machine's clock, and the server's time in it."""
        lowest, highest = server - received - MARGIN, server - sent + MARGIN
        if not timedelta(0) <= received - sent <= WIDEST:
            return
        with self._lock:
            self._correction = max(lowest, min(highest, self._correction))
            self._learnt = self._host.monotonic()

    @property
    def is_known(self) -> bool:
        """Whether the time is known well enough for a decision that depends on it."""
        if self._clock is not None:
            return True
        learnt = self._learnt
        return learnt is not None and self._host.monotonic() - learnt <= TRUSTED.total_seconds()

    def check(self) -> None:
        """Refuse a decision that depends on the time while the time is not known well enough.

        Raises:
            StoreUnavailableError: No round trip of the last minute took less than five seconds.
        """
        if not self.is_known:
            raise StoreUnavailableError(
                f"the time of Firestore is not known: no call of the last {TRUSTED} was answered within {WIDEST}"
            )

    def monotonic(self) -> float:
        """Return seconds of the host that never run backwards."""
        return self._host.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds of the host."""
        await self._host.sleep(seconds)

    def numbers(self, count: int) -> int:
        """Return the first of as many rising numbers, above all that this instance gave before."""
        with self._lock:
            first = max(to_micros(self.host_now() + self._correction) * 1000, self._number)
            self._number = first + count
            return first
