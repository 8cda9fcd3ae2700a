"""Where local days begin and end, and where within them the clocks are changed; seconds since 1970."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import NamedTuple

SECONDS_OF_DAY = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()


class Stretch(NamedTuple):
    """A part of a local day in which the clocks are not changed."""

    begin: int
    end: int
    """The second after its last."""
    midnight: int
    """When the local day would begin if its clocks had always been so."""


def seconds_of(instant: datetime) -> int:
    """Return an instant of whole seconds as seconds since 1970."""
    return (instant - _EPOCH) // timedelta(seconds=1)


def instant_at(seconds: int) -> datetime:
    """Return the instant, UTC."""
    return _EPOCH + timedelta(seconds=seconds)


def offset_at(seconds: int, zone: tzinfo) -> int:
    """Return by how many seconds local time is ahead of UTC."""
    if zone is UTC:
        return 0
    offset = instant_at(seconds).astimezone(zone).utcoffset()
    return 0 if offset is None else offset // timedelta(seconds=1)


def stretches(ordinal: int, zone: tzinfo) -> Iterator[Stretch]:
    """Yield the parts of a local day in order: one, but two or so on a day on which the clocks are changed."""
    nominal = (ordinal - _EPOCH_DAY) * SECONDS_OF_DAY
    begin, end = _midnights(ordinal, zone)[0], _midnights(ordinal + 1, zone)[1]
    while begin < end:
        offset = offset_at(begin, zone)
        change = end if offset_at(end - 1, zone) == offset else _change(begin, end - 1, zone)
        yield Stretch(begin, change, nominal - offset)
        begin = change


def _midnights(ordinal: int, zone: tzinfo) -> tuple[int, int]:
    """Return the first and the last instant at which a local day begins; one that does not exist is moved."""
    local = datetime.combine(date.fromordinal(ordinal), datetime.min.time(), zone)
    first, last = (seconds_of(local.replace(fold=fold).astimezone(UTC)) for fold in (0, 1))
    if first <= last:
        return first, last
    change = _change(last, first, zone)
    return change, change


def _change(low: int, high: int, zone: tzinfo) -> int:
    """Return the first second of `low` to `high` at which the offset is no longer that of `low`."""
    offset = offset_at(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        if offset_at(middle, zone) == offset:
            low = middle
        else:
            high = middle
    return high
