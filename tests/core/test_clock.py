"""The clocks: the system's, and one that stands still until a test moves it."""

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from oncetask_core import clock as clock_module
from oncetask_core.clock import START, Clock, SystemClock, VirtualClock, wait_for_event
from oncetask_core.errors import ConfigurationError, OncetaskError
from tests.asynchronous import asynchronous

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("clock", [SystemClock(), VirtualClock()])
def test_both_are_clocks(clock: object) -> None:
    """Whoever takes a clock takes either."""
    assert isinstance(clock, Clock)


def test_system_clock_tells_utc() -> None:
    """Aware, and the host's time."""
    before = datetime.now(UTC)
    reading = SystemClock().now()

    assert before <= reading <= datetime.now(UTC)
    assert reading.tzinfo is UTC


def test_system_clock_never_runs_backwards() -> None:
    """Two readings are in order."""
    clock = SystemClock()

    assert clock.monotonic() <= clock.monotonic()


def test_system_clock_does_without_a_boot_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system does not count suspension, the ordinary monotonic clock serves."""
    monkeypatch.setattr(clock_module, "_MONOTONIC", None)

    before = time.monotonic()
    assert before <= SystemClock().monotonic() <= time.monotonic()


@asynchronous
async def test_system_clock_sleeps() -> None:
    """And a duration that is over takes no time."""
    clock = SystemClock()
    begun = clock.monotonic()

    await clock.sleep(-5)
    await clock.sleep(0.001)

    assert clock.monotonic() - begun >= 0.001


def test_virtual_time_stands_still() -> None:
    """Until it is moved."""
    clock = VirtualClock()
    assert (clock.now(), clock.monotonic()) == (START, 0.0)

    clock.advance(1.5)
    clock.advance(SECOND)

    assert (clock.now(), clock.monotonic()) == (START + 2.5 * SECOND, 2.5)


def test_virtual_time_starts_where_it_is_told() -> None:
    """In UTC, whatever the zone of the start."""
    start = datetime(2031, 1, 1, 2, tzinfo=UTC) - timedelta(hours=1)

    assert VirtualClock(start).now() == start
    with pytest.raises(OncetaskError):
        VirtualClock(datetime(2031, 1, 1))  # noqa: DTZ001 - a naive start is what is refused


def test_virtual_time_never_runs_backwards() -> None:
    """A negative step is a mistake of the caller."""
    clock = VirtualClock()
    with pytest.raises(ConfigurationError, match="by"):
        clock.advance(-1)

    assert clock.now() == START


async def _sleep(clock: Clock, seconds: float, log: list[float]) -> None:
    await clock.sleep(seconds)
    log.append(seconds)


@asynchronous
async def test_sleepers_wake_when_their_time_has_come() -> None:
    """Neither earlier nor out of order."""
    clock, log = VirtualClock(), list[float]()
    sleepers = [asyncio.create_task(_sleep(clock, seconds, log)) for seconds in (3, 1, 2)]
    await asyncio.sleep(0)

    clock.advance(0.999)
    await asyncio.sleep(0.001)  # real time, for a sleeper that ended too early
    assert log == []
    clock.advance(1.001)
    await asyncio.gather(*sleepers[1:])
    assert log == [1, 2]
    clock.advance(1)
    await asyncio.gather(*sleepers)

    assert log == [1, 2, 3]


@asynchronous
async def test_no_time_is_slept_at_once() -> None:
    """Other coroutines get a turn."""
    await VirtualClock().sleep(0)
    await VirtualClock().sleep(-1)


@asynchronous
async def test_clock_tells_who_wakes_next() -> None:
    """Sleepers that gave up do not count."""
    clock, log = VirtualClock(), list[float]()
    assert clock.next_wake() is None
    early, late = (asyncio.create_task(_sleep(clock, seconds, log)) for seconds in (1, 2))
    await asyncio.sleep(0)
    assert clock.next_wake() == START + SECOND

    early.cancel()
    await asyncio.gather(early, return_exceptions=True)

    assert clock.next_wake() == START + 2 * SECOND
    clock.advance(5)
    await late
    assert clock.next_wake() is None


@asynchronous
async def test_sleeper_that_gave_up_is_not_woken() -> None:
    """Moving the time past it does no harm."""
    clock, log = VirtualClock(), list[float]()
    sleeper = asyncio.create_task(_sleep(clock, 1, log))
    await asyncio.sleep(0)
    sleeper.cancel()

    clock.advance(2)
    await asyncio.gather(sleeper, return_exceptions=True)
    await asyncio.sleep(0)

    assert log == []


@asynchronous
async def test_time_runs_from_one_sleeper_to_the_next() -> None:
    """Whoever sleeps again while the time runs wakes again, at the right time."""
    clock, log = VirtualClock(), list[float]()

    async def ticking() -> None:
        while True:
            await clock.sleep(2)
            log.append(clock.monotonic())

    ticker = asyncio.create_task(ticking())
    await clock.run_for(7)
    ticker.cancel()
    await asyncio.gather(ticker, return_exceptions=True)

    assert log == [2, 4, 6]
    assert clock.monotonic() == 7


@asynchronous
async def test_time_is_moved_from_another_thread() -> None:
    """A sleeper wakes on its own event loop."""
    clock, log = VirtualClock(), list[float]()
    sleeper = asyncio.create_task(_sleep(clock, 1, log))
    await asyncio.sleep(0)

    thread = threading.Thread(target=clock.advance, args=(1,))
    thread.start()
    await sleeper
    thread.join()

    assert log == [1]


@asynchronous
async def test_event_ends_a_wait() -> None:
    """The answer says that it is set."""
    clock, event = VirtualClock(), asyncio.Event()
    wait = asyncio.create_task(wait_for_event(clock, event, 10))
    await asyncio.sleep(0)
    event.set()

    assert await wait
    assert clock.now() == START


@asynchronous
async def test_wait_ends_with_its_time() -> None:
    """The answer says that the event is not set."""
    clock, event = VirtualClock(), asyncio.Event()
    wait = asyncio.create_task(wait_for_event(clock, event, 10))
    await clock.run_for(10)

    assert not await wait


@pytest.mark.parametrize(("is_set", "seconds"), [(True, 10), (True, 0), (False, 0), (False, -1)])
@asynchronous
async def test_nothing_to_wait_for_takes_no_time(*, is_set: bool, seconds: float) -> None:
    """An event that is set, or no time."""
    event = asyncio.Event()
    if is_set:
        event.set()

    assert await wait_for_event(VirtualClock(), event, seconds) is is_set
