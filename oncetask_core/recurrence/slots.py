"""The instants that a rule's text means, one after the other, from any point on.

DAILY and slower rules are evaluated in local time, day by day; HOURLY and faster ones step on the UTC line and filter
by local time. Seeking is arithmetic: the time before the point costs nothing.
"""

from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache

from oncetask_core.errors import InvalidRecurrenceError
from oncetask_core.recurrence.days import CYCLE, LAST_YEAR, Filters, days_of, filters_of, is_empty, periods
from oncetask_core.recurrence.instants import instant_of, local_of, zone_of
from oncetask_core.recurrence.parsing import DAILY, FREQUENCIES, HOURLY, MINUTELY, Parts, parse, until_of
from oncetask_core.recurrence.rule import Recurrence

MAX_STEPS = 2_500
IDLE_PERIODS = (100, 100, 60, 1)
"""After so many periods (years, months, weeks, days) without a place for BYSETPOS none will have one: they differ only
by length and first weekday, and each sort comes within 40 years."""
DAY = timedelta(days=1)
UNITS = {HOURLY: timedelta(hours=1), MINUTELY: timedelta(minutes=1)}
SECOND = timedelta(seconds=1)

Time = tuple[int, int, int]


def slots_from(rule: Recurrence, point: datetime) -> Iterator[datetime]:
    """Yield the instants of the rule's text at `point` or later, strictly rising, until UNTIL; COUNT is not applied.

    Raises:
        InvalidRecurrenceError: The rule cannot be read, or is too sparse to be searched.
    """
    parts, zone = parse(rule.rrule), zone_of(rule.timezone)
    start = rule.dtstart.astimezone(UTC)
    local_start = local_of(start, zone)
    filters = filters_of(parts, local_start.date())
    until = _until(parts, zone)
    if is_empty(filters):
        return
    point = max(point, start)
    step = _slow if parts.freq <= DAILY else _fast
    latest: datetime | None = None
    for slot in step(parts, filters, local_start, point, zone=zone, shift=rule.nonexistent == "shift"):
        if until is not None and slot > until:
            return
        if slot >= point and (latest is None or slot > latest):
            latest = slot
            yield slot


def _until(parts: Parts, zone: tzinfo) -> datetime | None:
    """Return the last possible instant: a date means the end of that local day, a local time is one of the zone."""
    if parts.until is None:
        return None
    until = until_of(parts.until)
    if not isinstance(until, datetime):
        until = datetime(until.year, until.month, until.day, 23, 59, 59)  # noqa: DTZ001 - local
    return until if until.tzinfo is not None else instant_of(until, zone, shift=True)


@lru_cache(maxsize=512)
def _times(hours: tuple[int, ...], minutes: tuple[int, ...], seconds: tuple[int, ...]) -> tuple[Time, ...]:
    return tuple((hour, minute, second) for hour in hours for minute in minutes for second in seconds)


def _slow(  # noqa: PLR0917 - one signature for both ways of stepping
    parts: Parts, filters: Filters, start: datetime, point: datetime, *, zone: tzinfo, shift: bool
) -> Iterator[datetime]:
    times = _times(parts.byhour or (start.hour,), parts.byminute or (start.minute,), parts.bysecond or (start.second,))
    after = max(local_of(point, zone).date() - DAY, start.date()).toordinal()
    idle = 0
    for days in periods(parts, filters, start=start.date(), after=after):
        idle += 1
        if idle > IDLE_PERIODS[parts.freq]:
            return  # no period of any sort has a place that BYSETPOS asks for
        for day, time in _chosen(parts, days, times, after=after):
            idle = 0
            local = datetime.combine(date.fromordinal(day), datetime.min.time().replace(*time))
            if local < start:
                continue
            instant = instant_of(local, zone, shift=shift)
            if instant is not None:
                yield instant


def _chosen(parts: Parts, days: tuple[int, ...], times: tuple[Time, ...], *, after: int) -> Iterator[tuple[int, Time]]:
    """Yield the days and times of a period that count, in order, without making the whole list."""
    if not parts.bysetpos:
        for day in days[bisect_left(days, after) :]:
            for time in times:
                yield day, time
        return
    total = len(days) * len(times)
    places = {place - 1 if place > 0 else total + place for place in parts.bysetpos}
    for place in sorted(place for place in places if 0 <= place < total):
        yield days[place // len(times)], times[place % len(times)]


def _fast(  # noqa: PLR0917 - one signature for both ways of stepping
    parts: Parts, filters: Filters, start: datetime, point: datetime, *, zone: tzinfo, shift: bool
) -> Iterator[datetime]:
    """Step by the rule's unit; jump over local days, hours and minutes that the rule leaves out.

    Every step is a real instant, so `shift` has nothing to decide.
    """
    del shift
    unit = UNITS.get(parts.freq, SECOND)
    origin = _floor((instant_of(start, zone, shift=True) or point), unit, zone)
    stride = unit * parts.interval
    within = _within(parts, start)
    place = origin + stride * max((point - origin) // stride, 0)
    idle = 0
    while place.year < LAST_YEAR:
        idle += 1
        if idle > MAX_STEPS:
            raise _too_sparse(parts)
        local = local_of(place, zone)
        target = _next_allowed(parts, filters, local)
        if target is None:
            return
        if target > local:
            goal = instant_of(target, zone, shift=True)
            ahead = stride if goal is None or goal <= place else goal - place
            place += stride * -(-ahead // stride)
            continue
        found = [place + offset for offset in within]
        if found:
            idle = 0
        yield from found
        place += stride


def _too_sparse(parts: Parts) -> InvalidRecurrenceError:
    return InvalidRecurrenceError(
        value=FREQUENCIES[parts.freq],
        rule=f"a rule has an occurrence within {MAX_STEPS} steps of its search",
        remedy="Use FREQ=DAILY or slower with BYHOUR, BYMINUTE and BYSECOND.",
    )


def _floor(instant: datetime, unit: timedelta, zone: tzinfo) -> datetime:
    """Return the beginning of the local hour, minute or second of an instant."""
    local = local_of(instant, zone)
    if unit == UNITS[HOURLY]:
        return instant - timedelta(minutes=local.minute, seconds=local.second)
    return instant - timedelta(seconds=local.second) if unit == UNITS[MINUTELY] else instant


def _within(parts: Parts, start: datetime) -> list[timedelta]:
    """Return where within a step the occurrences lie."""
    if parts.freq == HOURLY:
        times = _times((0,), parts.byminute or (start.minute,), parts.bysecond or (start.second,))
    elif parts.freq == MINUTELY:
        times = _times((0,), (0,), parts.bysecond or (start.second,))
    else:
        times = ((0, 0, 0),)
    offsets = [timedelta(minutes=minute, seconds=second) for _, minute, second in times]
    if not parts.bysetpos:
        return offsets
    total = len(offsets)
    places = {place - 1 if place > 0 else total + place for place in parts.bysetpos}
    return [offsets[place] for place in sorted(places) if 0 <= place < total]


def _next_allowed(parts: Parts, filters: Filters, local: datetime) -> datetime | None:
    """Return `local` if the rule lets it pass, else the next local time at which that may be so."""
    day = _next_day(filters, local.date())
    if day is None:
        return None
    if day > local.date():
        return datetime.combine(day, datetime.min.time())
    if parts.byhour and local.hour not in parts.byhour:
        return local.replace(minute=0, second=0) + timedelta(hours=1)
    if parts.freq >= MINUTELY and parts.byminute and local.minute not in parts.byminute:
        return local.replace(second=0) + timedelta(minutes=1)
    if parts.freq > MINUTELY and parts.bysecond and local.second not in parts.bysecond:
        return local + SECOND
    return local


def _next_day(filters: Filters, day: date) -> date | None:
    """Return this day or the next that passes."""
    for year in range(day.year, min(day.year + CYCLE, LAST_YEAR)):
        begin = date(year, 1, 1)
        least = (day - begin).days if year == day.year else 0
        days = days_of(filters, year)
        index = bisect_left(days, least)
        if index < len(days):
            return begin + DAY * days[index]
    return None
