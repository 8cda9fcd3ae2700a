"""Which days a rule means, year by year.

What a rule's BY parts mean depends on a year only by its length, the weekday of its first day and the lengths of the
years before and after. There are 42 such sorts of years, so each rule is worked out that often, however far it reaches.
"""

from calendar import isleap, monthrange
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from oncetask_core.recurrence.parsing import MONTHLY, WEEKLY, YEARLY, Parts

DAYS_OF_WEEK = 7
DAYS_OF_YEAR = 365
CYCLE = 400
LEAST_WEEK = 4
"""A week belongs to the year that has at least so many of its days (RFC 5545, WKST)."""


Leaps = tuple[bool, bool, bool]
"""Whether the year before, the year itself and the year after it are leap years."""


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
    return _days_of_sort(filters, first, (isleap(year - 1), isleap(year), isleap(year + 1)))


@lru_cache(maxsize=4096)
def _days_of_sort(filters: Filters, first: int, leaps: Leaps) -> tuple[int, ...]:
    year = _Sort(first, leaps)
    passing = [day for day in range(year.length) if _passes(filters, year, day)]
    if not filters.weekdays and not filters.nth:
        return tuple(passing)
    numbered = _numbered(filters, year)
    return tuple(day for day in passing if year.weekday(day) in filters.weekdays or day in numbered)


class _Sort:
    """A year of one of the sorts."""

    def __init__(self, first: int, leaps: Leaps) -> None:
        before, leap, after = leaps
        self.first = first
        self.length = DAYS_OF_YEAR + leap
        self.length_before, self.length_after = DAYS_OF_YEAR + before, DAYS_OF_YEAR + after
        lengths = [monthrange(2000 if leap else 2001, month)[1] for month in range(1, 13)]
        self.months = [(sum(lengths[:index]), length) for index, length in enumerate(lengths)]
        self.month_of = [month for month, (_, length) in enumerate(self.months, 1) for _ in range(length)]

    def weekday(self, day: int) -> int:
        """Return the weekday of a day after 1 January."""
        return (self.first + day) % DAYS_OF_WEEK

    def week(self, day: int, wkst: int) -> tuple[int, int]:
        """Return the number of a day's week, and how many weeks the year has that the week belongs to."""
        own, later = _first_week(self.first, wkst), self.length + _first_week(self.first + self.length, wkst)
        if day < own:
            own, later = _first_week(self.first - self.length_before, wkst) - self.length_before, own
        elif day >= later:
            end = self.length + self.length_after
            own, later = later, end + _first_week(self.first + end, wkst)
        return (day - own) // DAYS_OF_WEEK + 1, (later - own) // DAYS_OF_WEEK


def _first_week(first: int, wkst: int) -> int:
    """Return the day on which week 1 of a year begins that begins with this weekday; it may be negative."""
    into = (first - wkst) % DAYS_OF_WEEK
    return -into if DAYS_OF_WEEK - into >= LEAST_WEEK else DAYS_OF_WEEK - into


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
    number, total = year.week(day, filters.wkst)
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
        _days_of_sort(filters, first, leaps)
        for first in range(DAYS_OF_WEEK)
        for leaps in ((False, False, False), (True, False, False), (False, True, False), (False, False, True))
    )
