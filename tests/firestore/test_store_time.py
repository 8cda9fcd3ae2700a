"""The server's time, learnt from replies: hosts whose clocks are wrong agree with it."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import pytest

from oncetask_core.clock import START, VirtualClock
from oncetask_core.errors import StoreUnavailableError
from oncetask_firestore.store_time import MARGIN, READINGS, StoreTime

SECOND = timedelta(seconds=1)
Observe = Callable[[timedelta, timedelta], None]


class SettableClock(VirtualClock):
    """A clock that somebody sets, without time going by."""

    step = timedelta(0)

    def now(self) -> datetime:
        """Return what the clock says."""
        return super().now() + self.step


class InterruptedClock(VirtualClock):
    """A clock whose readers are interrupted some times, right after they have read it."""

    def __init__(self, *, seconds: Sequence[float]) -> None:
        super().__init__()
        self.interruptions = list(seconds)

    def now(self) -> datetime:
        """Return what the clock says, a while ago."""
        read = super().now()
        if self.interruptions:
            self.advance(self.interruptions.pop())
        return read


class Host:
    """A machine whose clock differs from the server's."""

    def __init__(self, error: timedelta) -> None:
        self.server = START
        self.clock = SettableClock(START + error)
        self.time = StoreTime(None, host=self.clock)

    def passes(self, by: timedelta) -> None:
        """Let time go by for both."""
        self.clock.advance(by)
        self.server += by

    def round_trip(self, there: timedelta, back: timedelta) -> None:
        """Ask the server something."""
        sent = self.time.host_now()
        self.passes(there)
        answered = self.server
        self.passes(back)
        self.time.observe(sent, self.time.host_now(), server=answered)

    def error(self) -> timedelta:
        """Return how far the store's time is from the server's."""
        return self.time.now() - self.server


@pytest.mark.parametrize("seconds", [-3600, -1, 1, 3600])
def test_a_wrong_clock_is_corrected_up_to_a_round_trip(seconds: int) -> None:
    """Before and after: nothing else is promised about times."""
    host = Host(timedelta(seconds=seconds))
    host.round_trip(SECOND / 10, SECOND / 20)

    assert abs(host.error()) <= SECOND / 10 + MARGIN


@pytest.mark.parametrize("seconds", [(), (0.00002,), (0.05, 0.05, 0.05, 0.05), (0.3, 0.2, 0.0005, 0.2, 0.3)])
def test_who_is_interrupted_while_the_clock_is_read_reads_it_again(seconds: Sequence[float]) -> None:
    """However short it was, or an instance on a busy machine would be behind those beside it."""
    clock = InterruptedClock(seconds=seconds)
    time = StoreTime(None, host=clock)
    clock.interruptions.clear()

    quickest = min(seconds) if len(seconds) == READINGS else 0.0
    assert clock.now() - time.now() == timedelta(seconds=quickest)


def test_a_clock_that_fits_is_taken_as_it_is() -> None:
    """So two processes of one machine have one time."""
    host = Host(MARGIN)
    for _ in range(3):
        host.round_trip(SECOND / 10, SECOND / 100)

    assert host.time.now() == host.clock.now()


def test_quicker_round_trips_make_it_better_and_slow_ones_no_worse() -> None:
    """A reply that took more than five seconds says nothing."""
    host = Host(timedelta(minutes=5))
    host.round_trip(SECOND, SECOND)
    host.passes(2 * SECOND)
    host.round_trip(SECOND / 100, SECOND / 100)
    exact = host.error()
    host.round_trip(timedelta(minutes=1), SECOND)

    assert abs(exact) <= SECOND / 100 + MARGIN
    assert host.error() == exact


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(hours=1)])
def test_a_clock_that_is_set_while_a_worker_runs_changes_nothing(step: timedelta) -> None:
    """The leases of others do not end by it, and what is due tomorrow does not begin."""
    host = Host(timedelta(minutes=5))
    host.round_trip(SECOND / 10, SECOND / 10)
    host.clock.step = step
    between = host.error()
    host.round_trip(SECOND / 10, SECOND / 10)

    assert abs(between) <= SECOND / 10 + MARGIN
    assert abs(host.error()) <= SECOND / 10 + MARGIN
    assert host.time.numbers(1) < (START.timestamp() + 60) * 10**9


def test_it_never_runs_backwards() -> None:
    """It stands still until a correction is made good."""
    host = Host(timedelta(minutes=5))
    before = host.time.now()
    host.round_trip(SECOND, SECOND)

    assert host.time.now() == before


def test_an_injected_clock_is_followed() -> None:
    """Whatever a server says."""
    clock = VirtualClock()
    time = StoreTime(clock)
    time.observe(datetime.now(START.tzinfo), datetime.now(START.tzinfo), server=START - SECOND)
    time.check()

    assert time.now() == START


def test_without_a_quick_reply_nothing_is_claimed() -> None:
    """Neither before the first one, nor a minute after the last."""
    host = Host(SECOND)
    with pytest.raises(StoreUnavailableError, match="not known"):
        host.time.check()
    host.round_trip(SECOND, SECOND)
    host.time.check()
    host.passes(timedelta(seconds=61))
    host.round_trip(6 * SECOND, SECOND)

    with pytest.raises(StoreUnavailableError, match="not known"):
        host.time.check()


def test_numbers_rise() -> None:
    """Although the clock stands still."""
    host = Host(timedelta(0))
    numbers = [host.time.numbers(3) for _ in range(3)]

    assert numbers == [numbers[0], numbers[0] + 3, numbers[0] + 6]
