"""Rules for which python-dateutil hangs, runs for seconds or fails: ours answer, or refuse, at once."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import pytest

from oncetask import InvalidRecurrenceError, Recurrence, preview
from oncetask_core.recurrence import Cursor, due, first, following, validate
from tests.recurrence.cpu import CPU_SECONDS, cpu_seconds

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
    "FREQ=YEARLY;INTERVAL=4;BYMONTH=2;BYMONTHDAY=29",
    "FREQ=DAILY;INTERVAL=9996;BYDAY=TU,WE,TH,FR,SA,SU",
    "FREQ=HOURLY;INTERVAL=4;BYHOUR=11;BYMONTH=4;BYMONTHDAY=30",
    "FREQ=HOURLY;BYSETPOS=2;BYDAY=MO",
    "FREQ=HOURLY;BYMINUTE=1,2;BYSETPOS=3",
    "FREQ=DAILY;BYMINUTE=" + ",".join(map(str, range(60))) + ";BYSECOND=" + ",".join(map(str, range(60))),
    "FREQ=SECONDLY;INTERVAL=7;BYMINUTE=7;BYSECOND=0;COUNT=5000",
    "FREQ=MINUTELY;BYHOUR=3;BYMINUTE=59;COUNT=5000",
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
    "FREQ=YEARLY;INTERVAL=5000;BYDAY=MO,TU,WE,TH,FR,SA,SU",
    "FREQ=MONTHLY;INTERVAL=10000;BYDAY=MO,TU,WE,TH,FR,SA,SU",
    "FREQ=HOURLY;INTERVAL=10000",
    "FREQ=SECONDLY;INTERVAL=7;BYHOUR=3;BYMINUTE=7;BYSECOND=0",
    "FREQ=SECONDLY;BYMINUTE=59;BYSECOND=59",
    "FREQ=WEEKLY;INTERVAL=9999;BYDAY=SA,FR",
]
COUNTED = ["SECONDLY", "MINUTELY", "HOURLY", "DAILY", "WEEKLY", "MONTHLY", "SECONDLY;BYMINUTE=59;BYSECOND=59"]
BEHIND = {"FREQ=SECONDLY": 10, "FREQ=MINUTELY": 40, "FREQ=HOURLY": 40, "FREQ=DAILY": 40, "FREQ=YEARLY;BYDAY=53MO": 40}

BOUND = 1000 * CPU_SECONDS


def milliseconds(call: Callable[..., object], *arguments: object, **options: object) -> float:
    """Return the CPU time of a call."""
    return 1000 * cpu_seconds(partial(call, *arguments, **options))


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


@pytest.mark.parametrize("freq", COUNTED)
def test_counting_over_a_long_time_is_bounded(freq: str) -> None:
    """The longest COUNT that is accepted is counted through within 50 ms."""
    recurrence = Recurrence(rrule=f"FREQ={freq};COUNT=5000", dtstart=LONG_AGO, timezone="Europe/Berlin")
    begin = first(recurrence)
    assert begin is not None

    assert milliseconds(validate, recurrence) <= BOUND
    assert milliseconds(due, recurrence, begin, now=NOW) <= BOUND


@pytest.mark.parametrize(("rule", "years"), BEHIND.items())
def test_the_latest_missed_slot_is_found_at_once(rule: str, years: int) -> None:
    """However many were missed."""
    recurrence = Recurrence(rrule=rule, dtstart=LONG_AGO, timezone="Europe/Berlin", catch_up="skip")
    begin, now = first(recurrence), LONG_AGO.replace(year=LONG_AGO.year + years, microsecond=7)
    assert begin is not None

    assert milliseconds(due, recurrence, begin, now=now) <= BOUND
    missed = due(recurrence, begin, now=now)
    (latest,) = missed.fire
    assert latest <= now
    assert missed.next is not None
    assert missed.next.slot > now
    later = following(recurrence, Cursor(latest, 0))
    assert later is not None
    assert later.slot == missed.next.slot


def test_what_is_missed_is_made_up_for_in_portions() -> None:
    """As many slots fire as can be found in the time; the next tick goes on."""
    rule = "FREQ=SECONDLY;INTERVAL=9973;BYMINUTE=7;BYSECOND=0"
    recurrence = Recurrence(rrule=rule, dtstart=LONG_AGO, catch_up="all")
    begin = first(recurrence)
    assert begin is not None

    assert milliseconds(due, recurrence, begin, now=NOW) <= BOUND
    portion = due(recurrence, begin, now=NOW)
    assert 0 < len(portion.fire) < 100
    assert portion.next is not None
    assert portion.next == following(recurrence, Cursor(portion.fire[-1], portion.next.used - 1))


def test_a_generator_that_cannot_find_its_next_slot_says_so() -> None:
    """It does not end as if its rule had."""
    recurrence = Recurrence(rrule="FREQ=HOURLY;INTERVAL=4;BYHOUR=11;BYMONTH=4", dtstart=LONG_AGO, catch_up="all")

    with pytest.raises(InvalidRecurrenceError, match="steps of a search"):
        due(recurrence, Cursor(LONG_AGO, 0), now=NOW)
