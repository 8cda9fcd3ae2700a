"""Times as the Go library writes them: UTC text in whole seconds, compared as text.

Waiting times are rounded up and leases down, so that a reader of the text is never early with the one nor late with
the other; only while a key is held, the waiting time of its holder, which has passed, is rounded down. The exact time
stands beside the text in a field of ours, and counts only while it rounds to that text.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

NO_WAIT = "0001-01-01T00:00:00Z"
"""What Go writes into `waitUntil` on create, reset and cancel; we never do."""
HIDDEN = "9999-12-31T23:59:59Z"
"""A `waitUntil` that no worker of either side reaches."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(microsecond=0, tzinfo=UTC)
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)

Rounding = Callable[[datetime], str]


def rounded_down(time: datetime) -> str:
    """Return the text of a lease, an end or an entry: the second that has begun."""
    utc = time.astimezone(UTC)
    return f"{utc.year:04}-{utc:%m-%dT%H:%M:%S}Z"


def rounded_up(time: datetime) -> str:
    """Return the text of a waiting time: the first second at which it has passed, other than NoWait."""
    utc = time.astimezone(UTC)
    whole = utc.replace(microsecond=0)
    if whole != utc and whole < _LAST:
        whole += _SECOND
    return rounded_down(max(whole, _FIRST + _SECOND))


def parsed(text: str) -> datetime | None:
    """Return the time of a text as Go reads it: any offset, any fraction; empty and year 1 mean none.

    Raises:
        ValueError: It is no RFC 3339 text.
    """
    if text in ("", NO_WAIT):
        return None
    if not _RFC_3339.fullmatch(text):
        raise ValueError(f"{text!r} is no RFC 3339 time")
    try:
        time = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no time between the years 1 and 9999") from error
    return None if time == _FIRST else time


def exact(micros: int | None, text: str, *roundings: Rounding) -> datetime | None:
    """Return the time that a text stands for: the exact one where that rounds to the text, else the text's own.

    Raises:
        ValueError: The text is none, or the exact time is none.
    """
    if micros is not None and text:
        time = from_micros(micros)
        if any(rounding(time) == text for rounding in roundings):
            return time
    return parsed(text)


def to_micros(time: datetime) -> int:
    """Return the microseconds from 1970 to an aware time."""
    return (time - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the aware UTC time this many microseconds after 1970.

    Raises:
        ValueError: No calendar has it.
    """
    try:
        return _EPOCH + timedelta(microseconds=micros)
    except OverflowError as error:
        raise ValueError(f"{micros} microseconds lie outside the years 1 to 9999") from error
