"""The only clocks: the system's, and a virtual one for tests.

Stores ask `now`, workers `monotonic` and `sleep`; nothing else in the library reads a clock or waits by itself.
"""

import asyncio
import heapq
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol, runtime_checkable

from oncetask_core.limits import check_duration, check_time
from oncetask_core.posting import post

_MONOTONIC = getattr(time, "CLOCK_BOOTTIME", None)
"""Goes on while the machine is suspended, which CLOCK_MONOTONIC does not; absent outside Linux."""


@runtime_checkable
class Clock(Protocol):
    """A source of time that can be waited for."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never run backwards; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`; at once when not positive."""
        ...


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """Return the host's wall-clock time, aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the seconds since the machine started, suspension included where the system counts it."""
        return time.monotonic() if _MONOTONIC is None else time.clock_gettime(_MONOTONIC)

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running event loop."""
        await asyncio.sleep(max(seconds, 0.0))


TURNS = 100
"""How many turns of the event loop coroutines get to come to rest in virtual time."""
START = datetime(2030, 1, 1, tzinfo=UTC)
_Sleeper = tuple[datetime, int, asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class VirtualClock:
    """Time that stands still until a test moves it. Safe to use from several threads and event loops.

    Args:
        start: The first reading, aware; 2030-01-01T00:00Z when not given.
    """

    def __init__(self, start: datetime = START) -> None:
        self._now = check_time(start, "start")
        self._start = self._now
        self._lock = threading.Lock()
        self._sleepers: list[_Sleeper] = []
        self._count = 0

    def now(self) -> datetime:
        """Return the virtual time, aware UTC."""
        return self._now

    def monotonic(self) -> float:
        """Return the virtual seconds since the clock was made."""
        return (self._now - self._start).total_seconds()

    def advance(self, by: timedelta | float) -> None:
        """Move the time forward and wake everybody whose sleep is over.

        Args:
            by: A timedelta or seconds, not negative.

        Raises:
            ConfigurationError: `by` is negative or not a duration.
        """
        step = check_duration(by, "by")
        with self._lock:
            self._now += step
            over = self._pop_due()
        for _, _, loop, future in over:
            post(loop, _wake, future)

    async def run_for(self, by: timedelta | float) -> None:
        """Move the time forward from one sleeper's end to the next, letting the event loop run in between.

        Coroutines of this loop get as far as they can; threads are not waited for.

        Args:
            by: A timedelta or seconds, not negative.
        """
        end = self._now + check_duration(by, "by")
        await _let_run()
        while (wake := self.next_wake()) is not None and wake <= end:
            self.advance(max(wake - self._now, timedelta(0)))
            await _let_run()
        self.advance(end - self._now)
        await _let_run()

    def _pop_due(self) -> list[_Sleeper]:
        due: list[_Sleeper] = []
        while self._sleepers and self._sleepers[0][0] <= self._now:
            due.append(heapq.heappop(self._sleepers))
        return due

    def next_wake(self) -> datetime | None:
        """Return when the earliest sleeper wakes, or None when nobody sleeps."""
        with self._lock:
            while self._sleepers and self._sleepers[0][3].done():
                heapq.heappop(self._sleepers)
            return self._sleepers[0][0] if self._sleepers else None

    async def sleep(self, seconds: float) -> None:
        """Return when the time has been moved by at least `seconds`."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._count += 1
            deadline = self._now + timedelta(seconds=seconds)
            heapq.heappush(self._sleepers, (deadline, self._count, loop, future))
        await future


async def _let_run() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


async def wait_for_event(clock: Clock, event: asyncio.Event, seconds: float) -> bool:
    """Wait until `event` is set, but no longer than `seconds` of `clock`; return whether it is set."""
    if event.is_set() or seconds <= 0:
        return event.is_set()
    sleep = asyncio.ensure_future(clock.sleep(seconds))
    waiter = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({sleep, waiter}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sleep.cancel()
        waiter.cancel()
    return event.is_set()
