"""HOURLY and faster rules around changes of the clocks: compared with looking at every single second."""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from oncetask import InvalidRecurrenceError, Recurrence, preview

RULES = 60
CHANGES = [
    ("America/New_York", "2026-03-08T07:00"),
    ("America/New_York", "2026-11-01T06:00"),
    ("Europe/Berlin", "2026-10-25T01:00"),
    ("Australia/Lord_Howe", "2026-10-03T15:30"),
    ("Australia/Lord_Howe", "2026-04-04T15:00"),
    ("Antarctica/Troll", "2026-10-25T01:00"),
    ("Antarctica/Troll", "2026-03-29T01:00"),
    ("America/Sao_Paulo", "2018-02-18T02:00"),
    ("America/Sao_Paulo", "2018-11-04T03:00"),
    ("America/St_Johns", "2006-10-29T02:31"),
    ("America/St_Johns", "2006-04-02T03:31"),
    ("Pacific/Apia", "2011-12-30T10:00"),
    ("Asia/Kathmandu", "1985-12-31T18:30"),
]
HOURS = 18


@cache
def seconds(zone: str, change: str) -> Sequence[tuple[datetime, datetime]]:
    """Return every second around a change, with its local time."""
    begin = datetime.fromisoformat(f"{change}+00:00") - timedelta(hours=HOURS)
    instants = (begin + timedelta(seconds=second) for second in range(HOURS * 7200))
    return [(instant, instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None)) for instant in instants]


def a_rule(chance: random.Random) -> dict[str, list[int]]:
    """Return the parts of a rule."""
    parts: dict[str, list[int]] = {}
    if chance.random() < 0.5:
        parts["INTERVAL"] = [chance.choice([2, 3, 5, 7, 11, 30, 45, 90])]
    for name, most, share in (("BYHOUR", 24, 0.4), ("BYMINUTE", 60, 0.6), ("BYSECOND", 60, 0.6)):
        if chance.random() < share:
            parts[name] = sorted(chance.sample(range(most), chance.choice([1, 2, 5, most // 2])))
    return parts


def looked_for(
    freq: str, parts: dict[str, list[int]], *, first: int, around: Sequence[tuple[datetime, datetime]]
) -> Iterator[datetime]:
    """Yield the seconds from the `first` one on that the rule means, by its definition."""
    unit = {"HOURLY": 3600, "MINUTELY": 60, "SECONDLY": 1}[freq]
    stride = unit * parts.get("INTERVAL", [1])[0]
    begin, local_start = around[first]
    given = dict(parts)
    if freq == "HOURLY" and ("BYMINUTE" in parts or "BYSECOND" in parts):
        begin -= timedelta(minutes=local_start.minute, seconds=local_start.second)
        given = {"BYMINUTE": [local_start.minute], "BYSECOND": [local_start.second]} | parts
    elif freq == "MINUTELY" and "BYSECOND" in parts:
        begin -= timedelta(seconds=local_start.second)
    else:
        unit = 1
    hours, minutes, all_seconds = (given.get(name) for name in ("BYHOUR", "BYMINUTE", "BYSECOND"))
    return (
        instant
        for instant, local in islice(around, first, None)
        if (hours is None or local.hour in hours)
        and (minutes is None or local.minute in minutes)
        and (all_seconds is None or local.second in all_seconds)
        and (instant - begin) // timedelta(seconds=1) % stride < unit
    )


@pytest.mark.parametrize(("zone", "change"), CHANGES)
def test_no_second_is_missed_or_doubled(zone: str, change: str) -> None:
    """Random rules that begin before, within or after a repeated hour have the slots that their definition gives."""
    chance = random.Random(f"{zone} {change}")
    around = seconds(zone, change)
    compared = 0
    for _ in range(RULES):
        freq, parts = chance.choice(["HOURLY", "MINUTELY", "SECONDLY"]), a_rule(chance)
        first = chance.randrange(len(around) // 2 + 3600 * 2)
        start = around[first][0]
        text = ";".join([f"FREQ={freq}", *(f"{name}={','.join(map(str, value))}" for name, value in parts.items())])
        expected = list(islice(looked_for(freq, parts, first=first, around=around), 300))
        recurrence = Recurrence(rrule=text, dtstart=start, timezone=zone)
        try:
            found = preview(recurrence, 301)
        except InvalidRecurrenceError:  # there is none, or none after those: a shift by an odd number of minutes
            found = preview(recurrence, len(expected)) if expected else ()
        compared += bool(expected)
        shown = [slot for slot in found if slot <= around[-1][0]][:300]
        assert shown == expected, f"{text} from {start}"
    assert compared >= RULES / 3


def test_a_start_in_the_second_of_two_equal_hours_is_an_occurrence() -> None:
    """A daily rule begins with its start, though the local time means the first of the two on all other days."""
    start = datetime(2026, 11, 1, 6, 30, tzinfo=UTC)
    slots = preview(Recurrence(rrule="FREQ=DAILY", dtstart=start, timezone="America/New_York"), 2)

    assert slots == (start, start + timedelta(days=1))
