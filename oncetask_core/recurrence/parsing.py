"""The text of a rule: read, checked against bounds, and turned into numbers."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from math import prod
from typing import NamedTuple

import msgspec
from dateutil.rrule import rrulestr

from oncetask_core.errors import InvalidRecurrenceError

MAX_TEXT = 1024
MAX_INTERVAL = 10_000
MAX_COUNT = 5_000
MAX_LIST = 366
MAX_TIMES = 1440

FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY")
YEARLY, MONTHLY, WEEKLY, DAILY, HOURLY, MINUTELY, SECONDLY = range(7)
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


class Weekday(NamedTuple):
    """A weekday, Monday being 0, and which one of its period: 0 means every one."""

    day: int
    nth: int


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """A rule's parts as numbers; empty tuples mean that a part is not given."""

    freq: int
    interval: int = 1
    count: int | None = None
    until: str | None = None
    wkst: int = 0
    bymonth: tuple[int, ...] = ()
    byweekno: tuple[int, ...] = ()
    byyearday: tuple[int, ...] = ()
    bymonthday: tuple[int, ...] = ()
    byday: tuple[Weekday, ...] = ()
    byhour: tuple[int, ...] = ()
    byminute: tuple[int, ...] = ()
    bysecond: tuple[int, ...] = ()
    bysetpos: tuple[int, ...] = ()


_LISTS: Mapping[str, tuple[int, int, bool]] = {
    "BYMONTH": (1, 12, False),
    "BYWEEKNO": (1, 53, True),
    "BYYEARDAY": (1, 366, True),
    "BYMONTHDAY": (1, 31, True),
    "BYHOUR": (0, 23, False),
    "BYMINUTE": (0, 59, False),
    "BYSECOND": (0, 59, False),
    "BYSETPOS": (1, 366, True),
}
_NUMBER = re.compile(r"[+-]?[0-9]{1,6}")
_DAY = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_UNTIL = re.compile(r"[0-9]{8}(T[0-9]{6}Z?)?")


def refused(text: str, rule: str, remedy: str) -> InvalidRecurrenceError:
    """Return the error for a part of a rule."""
    return InvalidRecurrenceError(value=text, rule=rule, remedy=remedy)


@lru_cache(maxsize=1024)
def parse(text: str) -> Parts:
    """Return the parts of a rule's text.

    Raises:
        InvalidRecurrenceError: The text is malformed or out of bounds; names the part.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT:
        raise refused(text, f"a rule has at most {MAX_TEXT} bytes", "Split it into several generators.")
    body = text.removeprefix("RRULE:")
    given: dict[str, str] = {}
    for part in body.split(";"):
        name, equals, value = part.partition("=")
        if not equals or not value or name in given or name not in _READERS:
            known = ", ".join(_READERS)
            raise refused(part, f"a rule is a list of NAME=VALUE, each name once, of {known}", "Correct this part.")
        given[name] = value
    if "FREQ" not in given:
        raise refused(text, "a rule has a FREQ", f"Add FREQ=DAILY or another of {', '.join(FREQUENCIES)}.")
    values: dict[str, object] = {}
    for name, value in given.items():
        values[name.lower()] = _READERS[name](name, value)
    parts = msgspec.convert(values, Parts)
    _check_combination(text, parts)
    _check_with_dateutil(body)
    return parts


def _check_combination(text: str, parts: Parts) -> None:
    nth = any(day.nth for day in parts.byday)
    if nth and (parts.freq not in (YEARLY, MONTHLY) or (parts.freq == YEARLY and parts.byweekno)):
        raise refused(text, "BYDAY with a number is for FREQ=MONTHLY and YEARLY without BYWEEKNO", "Leave it out.")
    if parts.byweekno and parts.freq != YEARLY:
        raise refused(text, "BYWEEKNO is for FREQ=YEARLY", "Use FREQ=YEARLY.")
    days = (parts.bymonth, parts.byweekno, parts.byyearday, parts.bymonthday, parts.byday)
    if parts.bysetpos and not any((*days, parts.byhour, parts.byminute, parts.bysecond)):
        raise refused(text, "BYSETPOS chooses among what another BY part gives", "Add one, or leave BYSETPOS out.")
    times = prod(max(len(numbers), 1) for numbers in (parts.byhour, parts.byminute, parts.bysecond))
    if parts.freq <= DAILY and times > MAX_TIMES:
        raise refused(text, f"BYHOUR, BYMINUTE and BYSECOND give at most {MAX_TIMES:,} times", "Use FREQ=SECONDLY.")


def _check_with_dateutil(body: str) -> None:
    """Let a second reader agree; UNTIL apart, which it reads differently."""
    plain = ";".join(part for part in body.split(";") if not part.startswith("UNTIL="))
    try:
        rrulestr(plain, dtstart=datetime(2000, 1, 1))  # noqa: DTZ001 - only the text is of interest
    except (ValueError, TypeError, IndexError) as error:
        if "empty set" in str(error):  # said about this start, not about the text
            return
        raise refused(body, f"a rule follows RFC 5545 ({error})", "Correct the rule.") from error


def _frequency(_: str, value: str) -> int:
    if value not in FREQUENCIES:
        raise refused(value, f"FREQ is one of {', '.join(FREQUENCIES)}", "Choose one.")
    return FREQUENCIES.index(value)


def _bounded(most: int) -> Callable[[str, str], int]:
    def read(name: str, value: str) -> int:
        if not _NUMBER.fullmatch(value) or not 1 <= int(value) <= most:
            raise refused(f"{name}={value}", f"{name} is a whole number from 1 to {most}", "Correct it.")
        return int(value)

    return read


def _until(_: str, value: str) -> str:
    if not _UNTIL.fullmatch(value):
        raise refused(value, "UNTIL is a date or time such as 20301231 or 20301231T235959Z", "Correct it.")
    until_of(value)
    return value


def until_of(text: str) -> datetime | date:
    """Return what an UNTIL says: a date, an aware UTC time, or a local time.

    Raises:
        InvalidRecurrenceError: There is no such day or time.
    """
    try:
        if "T" not in text:
            return date(int(text[:4]), int(text[4:6]), int(text[6:]))
        time = datetime.strptime(text.removesuffix("Z"), "%Y%m%dT%H%M%S")  # noqa: DTZ007 - local unless it says Z
    except ValueError as error:
        raise refused(text, "UNTIL is a day and time that exist", "Correct it.") from error
    return time.replace(tzinfo=UTC) if text.endswith("Z") else time


def _numbers(name: str, value: str) -> tuple[int, ...]:
    least, most, negative = _LISTS[name]
    texts = value.split(",")
    if len(texts) > MAX_LIST:
        raise refused(f"{name}={value}", f"{name} lists at most {MAX_LIST} values", "Use a simpler rule.")
    numbers = set()
    for text in texts:
        number = int(text) if _NUMBER.fullmatch(text) else most + 1
        if not least <= (abs(number) if negative else number) <= most:
            sign = f", or -{most} to -{least}" if negative else ""
            raise refused(f"{name}={text}", f"{name} lists numbers from {least} to {most}{sign}", "Correct it.")
        numbers.add(number)
    return tuple(sorted(numbers))


def _days(name: str, value: str) -> tuple[Weekday, ...]:
    days = set()
    for text in value.split(","):
        match = _DAY.fullmatch(text)
        nth = int(match[1]) if match and match[1] else 0
        if match is None or abs(nth) > 53 or (match[1] and nth == 0):  # noqa: PLR2004 - weeks of a year
            raise refused(f"{name}={text}", "BYDAY lists days such as MO, 1MO or -1FR, up to the 53rd", "Correct it.")
        days.add(Weekday(WEEKDAYS.index(match[2]), nth))
    return tuple(sorted(days))


def _week_start(name: str, value: str) -> int:
    if value not in WEEKDAYS:
        raise refused(f"{name}={value}", f"WKST is one of {', '.join(WEEKDAYS)}", "Correct it.")
    return WEEKDAYS.index(value)


_READERS: Mapping[str, Callable[[str, str], object]] = {
    "FREQ": _frequency,
    "INTERVAL": _bounded(MAX_INTERVAL),
    "COUNT": _bounded(MAX_COUNT),
    "UNTIL": _until,
    "WKST": _week_start,
    "BYDAY": _days,
    **dict.fromkeys(_LISTS, _numbers),
}
