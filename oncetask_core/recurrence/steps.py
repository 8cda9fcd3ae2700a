"""HOURLY and faster rules: steps of real time, of which those count whose local time the rule lets pass.

The search goes from local day to local day, and within one through stretches without a change of the clocks. There the
local time is a sum, and the steps that fall into an hour or a minute are a `range`.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from heapq import merge
from typing import NamedTuple

from oncetask_core.recurrence.clocks import SECONDS_OF_DAY, Stretch, instant_at, seconds_of, stretches
from oncetask_core.recurrence.days import Filters
from oncetask_core.recurrence.instants import local_of
from oncetask_core.recurrence.parsing import HOURLY, MINUTELY, SECONDLY, Parts
from oncetask_core.recurrence.periods import LAST_YEAR, next_day, places
from oncetask_core.recurrence.search import Search

STEPS_OF_DAY = 12
"""What looking for a day's changes of the clocks takes, in steps of a search."""
HOUR = 3600
MINUTE = 60
UNITS = {HOURLY: HOUR, MINUTELY: MINUTE, SECONDLY: 1}
LAST_SECOND = seconds_of(datetime(LAST_YEAR, 1, 1, tzinfo=UTC))


class _Steps(NamedTuple):
    """A rule as seconds."""

    parts: Parts
    search: Search
    base: int
    """A step; all others are whole strides away."""
    stride: int
    within: tuple[int, ...] | None
    """How long after the local hour or minute of a step its occurrences come; None where the step is its own."""

    def between(self, begin: int, end: int) -> range:
        """Return the steps from `begin` on and before `end`."""
        return range(begin + (self.base - begin) % self.stride, end, self.stride)


def steps_from(
    parts: Parts, filters: Filters, search: Search, *, start: datetime, point: datetime, zone: tzinfo
) -> Iterator[datetime]:
    """Yield the instants of a rule at `point` or later, in order.

    Raises:
        InvalidRecurrenceError: The search has no steps left.
    """
    steps = _steps_of(parts, search, start=start, zone=zone)
    if steps.within == ():
        return
    least = seconds_of(point)
    early: Iterator[int] = iter(())
    ordinal = next_day(filters, search, local_of(point, zone).toordinal())
    while ordinal is not None:
        search.spend(STEPS_OF_DAY)
        day = list(stretches(ordinal, zone))
        following = ordinal + 1
        if day:
            upcoming = next(iter(steps.between(max(day[0].begin, least) - HOUR, LAST_SECOND)), LAST_SECOND)
            if upcoming >= day[-1].end:
                following = max(following, local_of(instant_at(upcoming - HOUR), zone).toordinal())
            elif day[-1].end > day[-1].midnight + SECONDS_OF_DAY or day[0].end > day[0].midnight + SECONDS_OF_DAY:
                early = merge(early, _of_day(steps, day, least))  # the next day begins before this one has ended
            else:
                yield from map(instant_at, merge(early, _of_day(steps, day, least)))
                early = iter(())
        ordinal = next_day(filters, search, following)
    yield from map(instant_at, early)


def _steps_of(parts: Parts, search: Search, *, start: datetime, zone: tzinfo) -> _Steps:
    local, base = local_of(start, zone), seconds_of(start)
    within: tuple[int, ...] | None = None
    if parts.freq == HOURLY and (parts.byminute or parts.bysecond):
        minutes, seconds = parts.byminute or (local.minute,), parts.bysecond or (local.second,)
        within = tuple(minute * MINUTE + second for minute in minutes for second in seconds)
        base -= local.minute * MINUTE + local.second
    elif parts.freq == MINUTELY and parts.bysecond:
        within = parts.bysecond
        base -= local.second
    if parts.bysetpos:
        chosen = places(parts.bysetpos, len(within or (0,)))
        within = tuple(within[place] for place in chosen) if within else None if chosen else ()
    return _Steps(parts, search, base, UNITS[parts.freq] * parts.interval, within)


def _of_day(steps: _Steps, day: Sequence[Stretch], least: int) -> Iterator[int]:
    """Yield what a local day has from `least` on."""
    for stretch in day:
        begin = max(stretch.begin, stretch.midnight)
        end = min(stretch.end, stretch.midnight + SECONDS_OF_DAY)
        for hour in steps.parts.byhour or range(24):
            opening = stretch.midnight + hour * HOUR
            if opening < end and opening + HOUR > max(begin, least):
                for second in _of_hour(steps, opening, begin=begin, end=end):
                    if begin <= second < end and second >= least:
                        yield second


def _of_hour(steps: _Steps, opening: int, *, begin: int, end: int) -> Iterator[int]:
    """Yield what a local hour has, in order; steps count from `begin` on and before `end`."""
    if steps.parts.freq == HOURLY and steps.within is not None:
        return _in_hours(steps, opening, steps.within)
    return _in_minutes(steps, opening, begin=begin, end=end)


def _in_hours(steps: _Steps, opening: int, within: tuple[int, ...]) -> Iterator[int]:
    """Yield the given times of a local hour, where they lie less than an hour after a step."""
    steps.search.spend()
    if steps.between(opening - HOUR + 1, opening + HOUR):
        for offset in within:
            steps.search.spend()
            if (opening + offset - steps.base) % steps.stride < HOUR:
                yield opening + offset


def _in_minutes(steps: _Steps, opening: int, *, begin: int, end: int) -> Iterator[int]:
    """Yield the steps that pass, or the given seconds of their minutes."""
    parts, within = steps.parts, steps.within
    for low, high in _windows(steps, opening):
        steps.search.spend()
        for step in steps.between(max(low, begin), min(high, end)):
            steps.search.spend()
            minute, second = divmod(step - opening, MINUTE)
            if parts.freq >= MINUTELY and parts.byminute and minute not in parts.byminute:
                continue
            if within is not None:
                yield from (step - second + offset for offset in within)
            elif parts.freq <= MINUTELY or not parts.bysecond or second in parts.bysecond:
                yield step


def _windows(steps: _Steps, opening: int) -> Iterator[tuple[int, int]]:
    """Yield where in an hour to look for steps: at each minute or second that passes, if there are fewer than steps."""
    parts, most = steps.parts, HOUR // steps.stride
    minutes = parts.byminute or range(60)
    if parts.freq > MINUTELY and parts.bysecond and len(minutes) * len(parts.bysecond) <= most:
        for minute in minutes:
            for second in parts.bysecond:
                yield opening + minute * MINUTE + second, opening + minute * MINUTE + second + 1
    elif parts.freq >= MINUTELY and parts.byminute and len(minutes) <= most:
        for minute in minutes:
            yield opening + minute * MINUTE, opening + minute * MINUTE + MINUTE
    else:
        yield opening, opening + HOUR
