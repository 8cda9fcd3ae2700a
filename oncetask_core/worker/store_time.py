"""The store's time as a worker knows it."""

from datetime import UTC, datetime, timedelta

from oncetask_core.clock import Clock


class StoreTime:
    """The last reading of the store's clock plus the time that passed since."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._reading = datetime.min.replace(tzinfo=UTC)
        self._at = clock.monotonic()

    def set(self, reading: datetime) -> None:
        """Take over a reading that has just arrived."""
        self._reading, self._at = reading, self._clock.monotonic()

    def now(self) -> datetime:
        """Return the store's time, aware UTC; behind the truth by at most the travel time of the last reading."""
        return self._reading + timedelta(seconds=self._clock.monotonic() - self._at)
