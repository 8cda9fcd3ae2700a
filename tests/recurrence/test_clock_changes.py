"""Local times around changes of the clocks, in twenty-two zones, by hand.

Each row: zone, first local day, local time, and the instants of FREQ=DAILY from then on. A `*` marks a local time that
does not exist: it is moved by the length of the gap, or left out with nonexistent="skip".
"""

from datetime import UTC, datetime, timedelta

import pytest

from oncetask import Recurrence, preview
from oncetask_core.recurrence import first, following

TABLE = [
    ("America/New_York", "2026-03-07 02:30", "03-07 07:30, 03-08 07:30*, 03-09 06:30"),
    ("America/New_York", "2026-10-31 01:30", "10-31 05:30, 11-01 05:30, 11-02 06:30"),
    ("Europe/London", "2026-03-28 01:30", "03-28 01:30, 03-29 01:30*, 03-30 00:30"),
    ("Europe/Berlin", "2026-03-28 02:30", "03-28 01:30, 03-29 01:30*, 03-30 00:30"),
    ("Europe/Berlin", "2026-10-24 02:30", "10-24 00:30, 10-25 00:30, 10-26 01:30"),
    ("Australia/Lord_Howe", "2026-10-03 02:15", "10-02 15:45, 10-03 15:45*, 10-04 15:15"),
    ("Australia/Lord_Howe", "2026-04-04 01:45", "04-03 14:45, 04-04 14:45, 04-05 15:15"),
    ("Australia/Sydney", "2026-10-03 02:30", "10-02 16:30, 10-03 16:30*, 10-04 15:30"),
    ("America/Sao_Paulo", "2018-11-03 00:30", "11-03 03:30, 11-04 03:30*, 11-05 02:30"),
    ("Africa/Casablanca", "2022-03-26 02:30", "03-26 01:30, 03-27 01:30, 03-28 02:30"),
    ("Asia/Tehran", "2022-03-21 00:30", "03-20 21:00, 03-21 21:00*, 03-22 20:00"),
    ("Asia/Kolkata", "2026-03-28 02:30", "03-27 21:00, 03-28 21:00, 03-29 21:00"),
    ("America/St_Johns", "2026-03-07 02:30", "03-07 06:00, 03-08 06:00*, 03-09 05:00"),
    ("America/Santiago", "2026-09-05 00:30", "09-05 04:30, 09-06 04:30*, 09-07 03:30"),
    ("America/Havana", "2026-03-07 00:30", "03-07 05:30, 03-08 05:30*, 03-09 04:30"),
    ("Asia/Beirut", "2026-03-28 00:30", "03-27 22:30, 03-28 22:30*, 03-29 21:30"),
    ("Africa/Cairo", "2026-04-23 00:30", "04-22 22:30, 04-23 22:30*, 04-24 21:30"),
    ("Pacific/Auckland", "2026-09-26 02:30", "09-25 14:30, 09-26 14:30*, 09-27 13:30"),
    ("Pacific/Chatham", "2026-09-26 02:50", "09-25 14:05, 09-26 14:05*, 09-27 13:05"),
    ("Antarctica/Troll", "2026-03-28 01:30", "03-28 01:30, 03-29 01:30*, 03-29 23:30"),
    ("Europe/Moscow", "2011-03-26 02:30", "03-25 23:30, 03-26 23:30*, 03-27 22:30"),
    ("Europe/Moscow", "2014-10-25 01:30", "10-24 21:30, 10-25 21:30, 10-26 22:30"),
    ("Europe/Istanbul", "2016-09-06 00:30", "09-05 21:30, 09-06 21:30, 09-07 21:30"),
    ("America/Caracas", "2016-04-30 02:45", "04-30 07:15, 05-01 07:15*, 05-02 06:45"),
    ("America/Asuncion", "2023-09-30 00:30", "09-30 04:30, 10-01 04:30*, 10-02 03:30"),
]


def rule_of(zone: str, day: str, time: str, **options: str) -> Recurrence:
    """Return FREQ=DAILY at a local time of a zone, from the beginning of a local day on."""
    hour, minute = time.split(":")
    begin = datetime.fromisoformat(f"{day}T00:00+00:00") - timedelta(hours=14)
    text = f"FREQ=DAILY;BYHOUR={int(hour)};BYMINUTE={int(minute)};BYSECOND=0"
    return Recurrence(rrule=text, dtstart=begin, timezone=zone, **options)  # type: ignore[arg-type]  # one of the choices


def instants(text: str, year: str) -> list[datetime]:
    """Return the instants of a cell."""
    return [datetime.fromisoformat(f"{year}-{part.strip(' *')}+00:00") for part in text.split(",")]


@pytest.mark.parametrize(("zone", "begin", "expected"), TABLE, ids=[f"{row[0]} {row[1]}" for row in TABLE])
def test_daily_times_around_a_change(zone: str, begin: str, expected: str) -> None:
    """A time that does not exist is shifted, or left out on request; one that occurs twice means the first."""
    day, time = begin.split(" ")
    wanted = instants(expected, day[:4])
    kept = [slot for slot, part in zip(wanted, expected.split(","), strict=True) if "*" not in part]
    after = wanted[0] - timedelta(seconds=1)

    assert list(preview(rule_of(zone, day, time), 3, after=after)) == wanted
    assert list(preview(rule_of(zone, day, time, nonexistent="skip"), len(kept), after=after)) == kept


def test_a_day_that_was_left_out_makes_no_double() -> None:
    """Samoa had no 30 December 2011: its noon is shifted onto that of the 31st, which occurs once."""
    slots = preview(rule_of("Pacific/Apia", "2011-12-28", "12:00"), 4)

    assert [f"{slot:%m-%d %H:%M}" for slot in slots] == ["12-27 22:00", "12-28 22:00", "12-29 22:00", "12-30 22:00"]


@pytest.mark.parametrize("day", ["2026-03-08", "2026-11-01"])
def test_hourly_rules_meet_every_hour_once(day: str) -> None:
    """Neither change of New York's clocks doubles or loses an hour."""
    start = datetime.fromisoformat(f"{day}T04:00+00:00")
    slots = preview(Recurrence(rrule="FREQ=HOURLY", dtstart=start, timezone="America/New_York"), 8)

    assert list(slots) == [start + timedelta(hours=n) for n in range(8)]


def test_an_hour_that_occurs_twice_is_met_twice_by_an_hourly_rule() -> None:
    """HOURLY with BYHOUR steps on real hours: 01:00 comes twice on the day the clocks go back."""
    start = datetime(2026, 11, 1, 0, 0, tzinfo=UTC)
    rule = Recurrence(rrule="FREQ=HOURLY;BYHOUR=1", dtstart=start, timezone="America/New_York")

    assert [f"{slot:%d %H:%M}" for slot in preview(rule, 3)] == ["01 05:00", "01 06:00", "02 06:00"]


def test_the_chain_of_following_slots_equals_the_preview() -> None:
    """Going from slot to slot, as a generator does, meets what the preview promised, and only ever forward."""
    rule = rule_of("Europe/Berlin", "2026-03-20", "02:30")
    expected = preview(rule, 20)
    cursor = first(rule)
    for slot in expected:
        assert cursor is not None
        assert cursor.slot == slot
        later = following(rule, cursor)
        assert later is not None
        assert later.slot > cursor.slot
        cursor = later
