"""The instants that a rule's text means, one after the other, from any point on.

DAILY and slower rules are evaluated in local time, day by day; HOURLY and faster ones step in real time. Seeking is
arithmetic: the time before the point costs nothing.
"""

from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import groupby

from oncetask_core.recurrence.clocks import instant_at, stretches
from oncetask_core.recurrence.days import Filters, filters_of, is_empty
from oncetask_core.recurrence.instants import instant_of, local_of, shifted, zone_of
from oncetask_core.recurrence.parsing import DAILY, Parts, parse, until_of
from oncetask_core.recurrence.periods import LAST_YEAR, periods, places
from oncetask_core.recurrence.rule import Recurrence
from oncetask_core.recurrence.search import Search
from oncetask_core.recurrence.steps import steps_from

DAY = timedelta(days=1)
FIRST_YEAR = 2


def slots_from(rule: Recurrence, point: datetime, search: Search) -> Iterator[datetime]:
    """Yield the instants of the rule's text at `point` or later, strictly rising, until UNTIL; COUNT is not applied.

    Raises:
        InvalidRecurrenceError: The rule cannot be read, or the search has no steps left.
    """
    parts, zone = parse(rule.rrule), zone_of(rule.timezone)
    start = rule.dtstart.astimezone(UTC)
    filters = filters_of(parts, local_of(start, zone).date())
    until = _until(parts, zone)
    if is_empty(filters):
        return
    point = max(point, start)
    if parts.freq <= DAILY:
        found = _slow(parts, filters, search, start=start, point=point, zone=zone, shift=rule.nonexistent == "shift")
    else:
        found = steps_from(parts, filters, search, start=start, point=point, zone=zone)
    latest: datetime | None = None
    for slot in found:
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
    if not FIRST_YEAR <= until.year < LAST_YEAR:  # no zone leads out of the calendar
        return datetime(min(max(until.year, 1), LAST_YEAR), 1, 1, tzinfo=UTC)
    if isinstance(until, datetime):
        return until if until.tzinfo is not None else shifted(until, zone)
    day = list(stretches(until.toordinal(), zone))
    midnight = datetime.combine(until, datetime.min.time())
    return instant_at(day[-1].end - 1) if day else shifted(midnight, zone)


def _slow(
    parts: Parts,
    filters: Filters,
    search: Search,
    *,
    start: datetime,
    point: datetime,
    zone: tzinfo,
    shift: bool,
) -> Iterator[datetime]:
    """Yield the instants in order, from those of the local day before `point` on."""
    begin = local_of(start, zone)
    after = max(local_of(point, zone).date() - DAY, begin.date())
    held: list[datetime] = []
    for day, locals_ in _days(parts, filters, search, begin=begin, after=after):
        counted = [local for local in locals_ if local >= begin]
        instants = [start if local == begin else instant_of(local, zone, shift=shift) for local in counted]
        found = [instant for instant in instants if instant is not None]
        if zone is not UTC:  # a time that was moved may come after times of the next day
            held = sorted([*held, *found])
            edge = shifted(datetime.combine(day + DAY, datetime.min.time()), zone)
            found, held = [one for one in held if one < edge], [one for one in held if one >= edge]
        yield from found
    yield from held


def _days(
    parts: Parts, filters: Filters, search: Search, *, begin: datetime, after: date
) -> Iterator[tuple[date, list[datetime]]]:
    """Yield the local days that have occurrences, with their local times in order."""
    times = [
        timedelta(hours=hour, minutes=minute, seconds=second)
        for hour in parts.byhour or (begin.hour,)
        for minute in parts.byminute or (begin.minute,)
        for second in parts.bysecond or (begin.second,)
    ]
    least = after.toordinal()
    for days in periods(parts, filters, search, start=begin.date(), after=least):
        search.spend()
        for ordinal, chosen in _times_of(parts, days, times, least=least):
            midnight = datetime.fromordinal(ordinal)
            yield midnight.date(), [midnight + time for time in chosen]


def _times_of(
    parts: Parts, days: tuple[int, ...], times: list[timedelta], *, least: int
) -> Iterator[tuple[int, list[timedelta]]]:
    """Yield the days of a period with the times of day that count: all, or those at the places of BYSETPOS."""
    if not parts.bysetpos:
        yield from ((day, times) for day in days[bisect_left(days, least) :])
        return
    chosen = places(parts.bysetpos, len(days) * len(times))
    for index, group in groupby(chosen, key=lambda place: place // len(times)):
        yield days[index], [times[place % len(times)] for place in group]
