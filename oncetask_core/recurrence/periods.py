"""The days of a rule, period by period: years, months, weeks or days, of which INTERVAL leaves some out."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import date
from math import gcd

from oncetask_core.recurrence.days import CYCLE, DAYS_OF_WEEK, Filters, days_of
from oncetask_core.recurrence.parsing import DAILY, WEEKLY, YEARLY, Parts
from oncetask_core.recurrence.search import Search

PERIODS = (CYCLE, CYCLE * 12, 20_871, 146_097)
"""How many years, months, weeks and days 400 years have: after them the calendar begins anew."""
MONTHS = 12
LAST_YEAR = 9990
"""Rules end before it, so that no zone leads out of the calendar."""


Found = tuple[int, list[int]]
"""A period, and days of it as ordinals."""


def period_of(parts: Parts, ordinal: int) -> int:
    """Return the number of the period (year, month, week or day) that a day falls into."""
    if parts.freq == DAILY:
        return ordinal
    if parts.freq == WEEKLY:
        return (ordinal - 1 - parts.wkst) // DAYS_OF_WEEK
    day = date.fromordinal(ordinal)
    return day.year if parts.freq == YEARLY else day.year * MONTHS + day.month - 1


def periods(parts: Parts, filters: Filters, search: Search, *, start: date, after: int) -> Iterator[tuple[int, ...]]:
    """Yield the days of each period that counts, as ordinals, from the period of the ordinal `after` on.

    Ends when the calendar does, or when nothing comes any more: after the years in which the intervals and the
    calendar's 400 years come together again.

    Raises:
        InvalidRecurrenceError: The search has no steps left.
    """
    origin, least = period_of(parts, start.toordinal()), period_of(parts, after)
    cycle = CYCLE * parts.interval // gcd(parts.interval, PERIODS[parts.freq])
    first_year = date.fromordinal(after).year - (parts.freq == WEEKLY)
    idle = 0
    pending: list[int] = []
    for year in range(first_year, LAST_YEAR):
        idle += 1
        if idle > cycle + 1:
            break
        search.spend()
        for period, days in _of_year(parts, filters, search, year=year, origin=origin):
            if period < least or period < origin:
                continue
            if pending and period_of(parts, pending[0]) != period:
                yield tuple(pending)
                pending = []
            pending += days
            idle = 0
        if pending and not _goes_on(parts, pending[-1], year):
            yield tuple(pending)
            pending = []
    if pending:
        yield tuple(pending)


def _goes_on(parts: Parts, ordinal: int, year: int) -> bool:
    """Return whether the period of a day reaches into the next year; only weeks do."""
    return parts.freq == WEEKLY and period_of(parts, ordinal) == period_of(parts, date(year, 12, 31).toordinal())


def _of_year(
    parts: Parts, filters: Filters, search: Search, *, year: int, origin: int
) -> Iterator[tuple[int, list[int]]]:
    """Yield the periods of a year that INTERVAL means and that have days, with those of their days."""
    begin = date(year, 1, 1).toordinal()
    opening, closing = period_of(parts, begin), period_of(parts, date(year, 12, 31).toordinal())
    wanted = range(opening + (origin - opening) % parts.interval, closing + 1, parts.interval)
    days = days_of(filters, year) if wanted else ()
    if len(wanted) < len(days):
        search.spend(len(wanted))
        for period in wanted:
            low, high = (bisect_left(days, edge - begin) for edge in _edges(parts, period))
            if low < high:
                yield period, [begin + day for day in days[low:high]]
        return
    search.spend(len(days))
    for day in days:
        period = period_of(parts, begin + day)
        if (period - origin) % parts.interval == 0:
            yield period, [begin + day]


def _edges(parts: Parts, period: int) -> tuple[int, int]:
    """Return the first day of a period and the one after its last, as ordinals."""
    if parts.freq == DAILY:
        return period, period + 1
    if parts.freq == WEEKLY:
        first = period * DAYS_OF_WEEK + 1 + parts.wkst
        return first, first + DAYS_OF_WEEK
    if parts.freq == YEARLY:
        return date(period, 1, 1).toordinal(), date(period + 1, 1, 1).toordinal()
    (year, month), (later, after) = divmod(period, MONTHS), divmod(period + 1, MONTHS)
    return date(year, month + 1, 1).toordinal(), date(later, after + 1, 1).toordinal()


def places(bysetpos: Sequence[int], total: int) -> Sequence[int]:
    """Return which of the `total` occurrences of a period BYSETPOS means, in order."""
    wanted = {place - 1 if place > 0 else total + place for place in bysetpos}
    return sorted(place for place in wanted if 0 <= place < total)


def next_day(filters: Filters, search: Search, ordinal: int) -> int | None:
    """Return the ordinal of this day or of the next that passes, None if there is none."""
    day = date.fromordinal(ordinal)
    for year in range(day.year, min(day.year + CYCLE + 1, LAST_YEAR)):
        search.spend()
        begin = date(year, 1, 1).toordinal()
        days = days_of(filters, year)
        index = bisect_left(days, ordinal - begin)
        if index < len(days):
            return begin + days[index]
    return None
