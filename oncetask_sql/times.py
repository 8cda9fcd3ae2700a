"""Times as integers: microseconds since 1970-01-01T00:00Z."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(time: datetime) -> int:
    """Return an aware time as microseconds since 1970, exactly."""
    return (time - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the aware UTC time.

    Raises:
        OverflowError: It lies outside the years 1 to 9999.
        TypeError: `micros` is no number.
    """
    return _EPOCH + timedelta(microseconds=micros)


def micros_in(duration: timedelta) -> int:
    """Return a duration as microseconds, exactly."""
    return duration // _MICROSECOND
