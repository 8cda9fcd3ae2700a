"""Rules for which python-dateutil hangs, runs for seconds or fails: ours answer, or refuse, at once."""

import sys
import time
from datetime import UTC, datetime

import pytest

from oncetask import InvalidRecurrenceError, Recurrence, preview
from oncetask_core.recurrence import Cursor, due, first, following

LONG_AGO = datetime(1990, 1, 1, tzinfo=UTC)
NOW = datetime(2030, 6, 15, 12, 0, 30, tzinfo=UTC)

REFUSED = [
    "FREQ=DAILY;INTERVAL=0",
    "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=YEARLY;BYMONTH=4;BYMONTHDAY=31",
    "FREQ=SECONDLY;COUNT=999999999999",
    "FREQ=YEARLY;BYEASTER=400",
    "FREQ=YEARLY;BYDAY=54MO",
    "FREQ=DAILY;BYHOUR=1;BYSETPOS=2",
    "FREQ=SECONDLY;INTERVAL=7200;BYMINUTE=30",
]
ANSWERED = [
    "FREQ=SECONDLY",
    "FREQ=MINUTELY",
    "FREQ=MINUTELY;INTERVAL=7;BYHOUR=3",
    "FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=29",
    "FREQ=DAILY",
    "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=29",
    "FREQ=YEARLY;BYDAY=53MO",
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=SU",
    "FREQ=YEARLY;INTERVAL=100",
    "FREQ=YEARLY;BYHOUR=" + ",".join(map(str, range(24))) + ";BYMINUTE=" + ",".join(map(str, range(60))),
    "FREQ=YEARLY;BYMONTHDAY=1;BYSECOND=" + ",".join(map(str, range(60))) + ";BYSETPOS=-1",
    "FREQ=DAILY;UNTIL=20991231",
]

BOUND = 50 if sys.gettrace() is None else 250
"""Milliseconds of CPU time; measuring coverage makes everything some times slower."""


def milliseconds(call: object, *arguments: object, **options: object) -> float:
    """Return the least CPU time of three calls."""
    times = []
    for _ in range(3):
        began = time.process_time()
        call(*arguments, **options)  # type: ignore[operator]
        times.append(time.process_time() - began)
    return min(times) * 1000


@pytest.mark.parametrize("rule", REFUSED)
def test_rules_that_cannot_occur_are_refused_at_once(rule: str) -> None:
    """A refusal takes less than 50 ms and says why."""

    def refuse() -> None:
        with pytest.raises(InvalidRecurrenceError):
            preview(Recurrence(rrule=rule, dtstart=LONG_AGO), 1)

    assert milliseconds(refuse) <= BOUND


@pytest.mark.parametrize("rule", ANSWERED)
def test_every_call_answers_at_once_however_long_ago_the_rule_began(rule: str) -> None:
    """The first slot, the next one, and what is due after forty years: less than 50 ms each."""
    recurrence = Recurrence(rrule=rule, dtstart=LONG_AGO)
    begin = first(recurrence)
    assert begin is not None

    assert milliseconds(first, recurrence) <= BOUND
    assert milliseconds(following, recurrence, begin) <= BOUND
    assert milliseconds(due, recurrence, begin, now=NOW) <= BOUND
    after = due(recurrence, begin, now=NOW).next
    assert after is not None
    assert after.slot > NOW
    assert following(recurrence, Cursor(after.slot, after.used)) != after


def test_counting_over_a_long_time_is_bounded() -> None:
    """The longest COUNT is counted through within 50 ms."""
    recurrence = Recurrence(rrule="FREQ=MINUTELY;COUNT=5000", dtstart=LONG_AGO)
    begin = first(recurrence)
    assert begin is not None

    assert milliseconds(due, recurrence, begin, now=NOW) <= BOUND
    assert due(recurrence, begin, now=NOW).next is None
