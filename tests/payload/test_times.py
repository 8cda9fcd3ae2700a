"""Times, durations and priorities: what is accepted, and in which form it comes back."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import IntEnum
from zoneinfo import ZoneInfo

import pytest

from oncetask_core.errors import ConfigurationError, InvalidTaskError
from oncetask_core.limits import check_duration, check_priority, check_time

EAST = timezone(timedelta(hours=5, minutes=30))


HUGE = 10**5000
"""More digits than Python turns into text."""


class Moment(datetime):
    """A datetime of somebody's own."""


class Span(timedelta):
    """A timedelta of somebody's own."""


class Level(IntEnum):
    HIGH = 7


class Broken(tzinfo):
    """A zone that raises."""

    def utcoffset(self, moment: datetime | None, /) -> timedelta | None:
        raise LookupError("no such zone")

    dst = utcoffset

    def tzname(self, moment: datetime | None, /) -> str | None:
        return None


class Floating(tzinfo):
    """A zone that does not know its offset, which makes its times naive."""

    def utcoffset(self, moment: datetime | None, /) -> timedelta | None:
        return None

    dst = utcoffset

    def tzname(self, moment: datetime | None, /) -> str | None:
        return None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (datetime(2030, 1, 1, 12, 0, 0, 7, tzinfo=UTC), datetime(2030, 1, 1, 12, 0, 0, 7, tzinfo=UTC)),
        (datetime(2030, 1, 1, 12, tzinfo=EAST), datetime(2030, 1, 1, 6, 30, tzinfo=UTC)),
        (datetime(2030, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin")), datetime(2030, 7, 1, 10, tzinfo=UTC)),
        (Moment(2030, 1, 1, 12, 0, 0, 7, tzinfo=UTC), datetime(2030, 1, 1, 12, 0, 0, 7, tzinfo=UTC)),
        (Moment(2030, 1, 1, 12, tzinfo=EAST), datetime(2030, 1, 1, 6, 30, tzinfo=UTC)),
        (datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)),
        (datetime.max.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_an_aware_time_comes_back_in_utc(given: datetime, expected: datetime) -> None:
    """Zones and subclasses are gone, the instant is the same to the microsecond."""
    time = check_time(given, "at")

    assert time == expected
    assert time.tzinfo is UTC
    assert type(time) is datetime


@pytest.mark.parametrize(
    ("given", "rule", "remedy"),
    [
        (datetime(2030, 1, 1), "at is aware: it says in which zone it is meant", "datetime.now(UTC)."),  # noqa: DTZ001 - naive on purpose
        (datetime(2030, 1, 1, tzinfo=Floating()), "at is aware", "datetime.now(UTC)."),
        (datetime(1, 1, 1, tzinfo=EAST), "at has a UTC time in the years 1 to 9999", "a zone that knows it."),
        (datetime(2030, 1, 1, tzinfo=Broken()), "at has a UTC time in the years", "a zone that knows it."),
        ("2030-01-01", "at is a datetime; got '2030-01-01'", "Pass an aware datetime."),
        (
            datetime(2030, 1, 1, tzinfo=UTC).date(),
            "at is a datetime; got datetime.date(2030, 1, 1)",
            "Pass an aware datetime.",
        ),
        (None, "at is a datetime; got None", "Pass an aware datetime."),
        (1893456000, "at is a datetime; got 1893456000", "Pass an aware datetime."),
    ],
)
def test_what_is_no_time_is_refused_with_value_rule_and_way_out(given: object, rule: str, remedy: str) -> None:
    """A time that means different instants to different readers, or none, is an error."""
    with pytest.raises(InvalidTaskError) as caught:
        check_time(given, "at")

    assert rule in str(caught.value)
    assert str(caught.value).endswith(remedy)
    assert caught.value.value is given


def test_the_years_end_where_datetime_ends() -> None:
    """A time whose UTC form lies beyond year 9999 is refused."""
    west = timezone(timedelta(hours=-1))

    with pytest.raises(InvalidTaskError, match="years 1 to 9999"):
        check_time(datetime.max.replace(tzinfo=west), "at")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (timedelta(minutes=1), timedelta(minutes=1)),
        (Span(days=1, microseconds=3), timedelta(days=1, microseconds=3)),
        (60, timedelta(minutes=1)),
        (0.25, timedelta(milliseconds=250)),
        (0, timedelta(0)),
        (-0.0, timedelta(0)),
        (Level.HIGH, timedelta(seconds=7)),
        (timedelta(days=3660), timedelta(days=3660)),
        (3660 * 86400, timedelta(days=3660)),
    ],
)
def test_a_duration_comes_back_as_a_timedelta(given: object, expected: timedelta) -> None:
    """Seconds and subclasses become what they mean."""
    duration = check_duration(given, "delay")

    assert duration == expected
    assert type(duration) is timedelta


@pytest.mark.parametrize(
    ("given", "rule", "remedy"),
    [
        (-1, "delay lies between 0 and 3660 days; got -1", "within those bounds."),
        (-0.001, "delay lies between 0 and 3660 days; got -0.001", "within those bounds."),
        (timedelta(microseconds=-1), "delay lies between 0 and 3660 days", "within those bounds."),
        (float("nan"), "delay lies between 0 and 3660 days; got nan", "within those bounds."),
        (float("inf"), "delay lies between 0 and 3660 days; got inf", "within those bounds."),
        (1e300, "delay lies between 0 and 3660 days; got 1e+300", "within those bounds."),
        pytest.param(HUGE, "delay lies between 0 and 3660 days; got <int whose repr raised", "bounds.", id="huge"),
        (timedelta(days=3660, microseconds=1), "delay lies between 0 and 3660 days", "within those bounds."),
        (timedelta.max, "delay lies between 0 and 3660 days", "within those bounds."),
        (True, "delay is a timedelta, or seconds as int or float; got True", "300 for as many seconds."),
        ("5m", "delay is a timedelta, or seconds as int or float; got '5m'", "300 for as many seconds."),
        (Decimal(5), "delay is a timedelta, or seconds as int or float; got Decimal('5')", "300 for as many seconds."),
        (None, "delay is a timedelta, or seconds as int or float; got None", "300 for as many seconds."),
    ],
)
def test_what_is_no_duration_is_refused_with_value_rule_and_way_out(given: object, rule: str, remedy: str) -> None:
    """A duration that is negative, endless or of another type is an error."""
    with pytest.raises(ConfigurationError) as caught:
        check_duration(given, "delay")

    assert rule in str(caught.value)
    assert str(caught.value).endswith(remedy)
    assert caught.value.value is given


@pytest.mark.parametrize("given", [0, 0.0, timedelta(0), 1e-9])
def test_a_positive_duration_takes_at_least_a_microsecond(given: object) -> None:
    """What is zero on the grain of stored times is not positive."""
    with pytest.raises(ConfigurationError, match="poll lies between 1 microsecond and 3660 days"):
        check_duration(given, "poll", positive=True)

    assert check_duration(1e-6, "poll", positive=True) == timedelta(microseconds=1)


@pytest.mark.parametrize("given", [-1, None])
def test_the_caller_chooses_the_class_of_the_error(given: object) -> None:
    """A duration that belongs to a task instead of a setting is reported as such."""
    with pytest.raises(InvalidTaskError):
        check_duration(given, "delay", error=InvalidTaskError)


@pytest.mark.parametrize(("given", "expected"), [(-10, -10), (0, 0), (10, 10), (Level.HIGH, 7)])
def test_a_priority_comes_back_as_a_plain_int(given: int, expected: int) -> None:
    """Members of an IntEnum are taken by their value."""
    priority = check_priority(given)

    assert priority == expected
    assert type(priority) is int


@pytest.mark.parametrize("given", [-11, 11, pytest.param(HUGE, id="huge"), True, False, 1.0, "1", None])
def test_what_is_no_priority_is_refused_with_value_rule_and_way_out(given: object) -> None:
    """Only the ints from -10 to 10 are priorities."""
    with pytest.raises(
        InvalidTaskError, match=r"a priority is an int from -10 to 10; got .*0 is the default"
    ) as caught:
        check_priority(given)

    assert caught.value.value is given
