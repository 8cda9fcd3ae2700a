"""Which days a rule means, year by year.

What a rule's BY parts mean depends on a year only by its length, the weekday of its first day and the length of the
year before. There are 28 such sorts of years, so each rule is worked out at most 28 times, however far it reaches.
"""

from calendar import isleap, monthrange
from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from math import gcd
from typing import NamedTuple

from oncetask_core.recurrence.parsing import DAILY, MONTHLY, WEEKLY, YEARLY, Parts

DAYS_OF_WEEK = 7
CYCLE = 400
PERIODS = (CYCLE, CYCLE * 12, 20_871, 146_097)
"""How many years, months, weeks and days 400 years have: after them the calendar begins anew."""
MOST_DAYS = 20_000
LAST_YEAR = 9990
"""Rules end before it, so that no zone leads out of the calendar."""
LEAST_WEEK = 4
"""A week belongs to the year that has at least so many of its days (RFC 5545, WKST)."""


class Filters(NamedTuple):
    """The parts of a rule that choose days, what follows from DTSTART included."""

    by_year: bool
    """Whether numbered weekdays count within the year; else within the month."""
    wkst: int
    bymonth: tuple[int, ...]
    byweekno: tuple[int, ...]
    byyearday: tuple[int, ...]
    bymonthday: tuple[int, ...]
    weekdays: frozenset[int]
    nth: tuple[tuple[int, int], ...]


def filters_of(parts: Parts, start: date) -> Filters:
    """Return the filters of a rule that starts on the local date `start`."""
    bymonth, bymonthday = parts.bymonth, parts.bymonthday
    plain = frozenset(day.day for day in parts.byday if not day.nth)
    nth = tuple((day.day, day.nth) for day in parts.byday if day.nth)
    if not (parts.byweekno or parts.byyearday or parts.bymonthday or parts.byday):
        if parts.freq == YEARLY:
            bymonth, bymonthday = bymonth or (start.month,), (start.day,)
        elif parts.freq == MONTHLY:
            bymonthday = (start.day,)
        elif parts.freq == WEEKLY:
            plain = frozenset({start.weekday()})
    by_year = parts.freq == YEARLY and not parts.bymonth
    return Filters(by_year, parts.wkst, bymonth, parts.byweekno, parts.byyearday, bymonthday, plain, nth)


def days_of(filters: Filters, year: int) -> tuple[int, ...]:
    """Return the days of a year that the filters let pass, as days after 1 January, in order."""
    first = date(year, 1, 1).weekday()
    return _days_of_sort(filters, isleap(year), first, isleap(year - 1))


@lru_cache(maxsize=4096)
def _days_of_sort(filters: Filters, leap: bool, first: int, leap_before: bool) -> tuple[int, ...]:  # noqa: FBT001, PLR0917 - a key
    year = _Sort(leap, first, leap_before)
    passing = [day for day in range(year.length) if _passes(filters, year, day)]
    if not filters.weekdays and not filters.nth:
        return tuple(passing)
    numbered = _numbered(filters, year)
    return tuple(day for day in passing if year.weekday(day) in filters.weekdays or day in numbered)


class _Sort:
    """A year of one of the 28 sorts."""

    def __init__(self, leap: bool, first: int, leap_before: bool) -> None:  # noqa: FBT001 - a key
        self.length = 366 if leap else 365
        self.first = first
        self.length_before = 366 if leap_before else 365
        lengths = [monthrange(2000 if leap else 2001, month)[1] for month in range(1, 13)]
        self.months = [(sum(lengths[:index]), length) for index, length in enumerate(lengths)]
        self.month_of = [month for month, (_, length) in enumerate(self.months, 1) for _ in range(length)]

    def weekday(self, day: int) -> int:
        """Return the weekday of a day after 1 January."""
        return (self.first + day) % DAYS_OF_WEEK

    def first_week(self, wkst: int) -> int:
        """Return the day on which week 1 begins; it may be one of the year before, so negative."""
        into = (self.first - wkst) % DAYS_OF_WEEK
        return -into if DAYS_OF_WEEK - into >= LEAST_WEEK else DAYS_OF_WEEK - into

    def weeks(self, wkst: int) -> int:
        """Return how many weeks the year has."""
        into_next = (self.first + self.length - wkst) % DAYS_OF_WEEK
        next_first = -into_next if DAYS_OF_WEEK - into_next >= LEAST_WEEK else DAYS_OF_WEEK - into_next
        return (self.length + next_first - self.first_week(wkst)) // DAYS_OF_WEEK

    def before(self) -> "_Sort":
        """Return the year before; what lies before that does not matter."""
        return _Sort(self.length_before == 366, (self.first - self.length_before) % DAYS_OF_WEEK, False)  # noqa: PLR2004 - a key


def _passes(filters: Filters, year: _Sort, day: int) -> bool:
    month = year.month_of[day]
    begin, length = year.months[month - 1]
    in_month = day - begin + 1
    return (
        (not filters.bymonth or month in filters.bymonth)
        and (not filters.byyearday or day + 1 in filters.byyearday or day - year.length in filters.byyearday)
        and (not filters.bymonthday or in_month in filters.bymonthday or in_month - length - 1 in filters.bymonthday)
        and (not filters.byweekno or _in_week(filters, year, day))
    )


def _in_week(filters: Filters, year: _Sort, day: int) -> bool:
    first = year.first_week(filters.wkst)
    number, total = (day - first) // DAYS_OF_WEEK + 1, year.weeks(filters.wkst)
    if number < 1:
        before = year.before()
        total = before.weeks(filters.wkst)
        number = total
    elif number > total:
        number, total = 1, 53
        return 1 in filters.byweekno
    return number in filters.byweekno or number - total - 1 in filters.byweekno


def _numbered(filters: Filters, year: _Sort) -> frozenset[int]:
    ranges = year.months
    if filters.by_year:
        ranges = [(0, year.length)]
    elif filters.bymonth:
        ranges = [year.months[month - 1] for month in filters.bymonth]
    found = set()
    for begin, length in ranges:
        for weekday, nth in filters.nth:
            same = [day for day in range(begin, begin + length) if year.weekday(day) == weekday]
            index = nth - 1 if nth > 0 else len(same) + nth
            if 0 <= index < len(same):
                found.add(same[index])
    return frozenset(found)


def is_empty(filters: Filters) -> bool:
    """Return whether no day of any year passes."""
    return not any(
        _days_of_sort(filters, leap, first, leap_before)
        for leap in (False, True)
        for first in range(DAYS_OF_WEEK)
        for leap_before in (False, True)
        if not (leap and leap_before)
    )


def period_of(parts: Parts, ordinal: int) -> int:
    """Return the number of the period (year, month, week or day) that a day falls into."""
    if parts.freq == DAILY:
        return ordinal
    if parts.freq == WEEKLY:
        return (ordinal - 1 - parts.wkst) // DAYS_OF_WEEK
    day = date.fromordinal(ordinal)
    return day.year if parts.freq == YEARLY else day.year * 12 + day.month - 1


def periods(parts: Parts, filters: Filters, *, start: date, after: int) -> Iterator[tuple[int, ...]]:
    """Yield the days of each period that counts, as ordinals, from the period of the ordinal `after` on.

    Ends when the calendar does, or when nothing comes any more: after the years in which a rule's intervals and the
    calendar's 400 years come together again, or after `MOST_DAYS` beyond the first 400 years.
    """
    origin, least = period_of(parts, start.toordinal()), period_of(parts, after)
    first_year = date.fromordinal(after).year - (parts.freq == WEEKLY)
    pending: list[int] = []
    current = None
    idle = looked = 0
    cycle = CYCLE * parts.interval // gcd(parts.interval, PERIODS[parts.freq])
    for year in range(first_year, LAST_YEAR):
        idle += 1
        if idle > cycle or (idle > CYCLE and looked > MOST_DAYS):
            break
        begin = date(year, 1, 1).toordinal()
        opening = period_of(parts, begin)
        if opening + (origin - opening) % parts.interval > period_of(parts, begin + 365):
            continue
        days = days_of(filters, year)
        looked += len(days)
        for day in days:
            period = period_of(parts, begin + day)
            if period < least or period < origin or (period - origin) % parts.interval:
                continue
            if period != current:
                if pending:
                    yield tuple(pending)
                pending, current, idle, looked = [], period, 0, 0
            pending.append(begin + day)
    if pending:
        yield tuple(pending)
