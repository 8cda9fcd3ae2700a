"""What rules mean, where readings differ, and what is due when."""

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from oncetask import InvalidRecurrenceError, Recurrence, preview
from oncetask_core.recurrence import Cursor, Due, due, first, following, occurrence_id, parsing, resume, validate

START = datetime(2030, 1, 1, 9, 0, tzinfo=UTC)


def rule(text: str, **options: object) -> Recurrence:
    """Return a recurrence from the first of January 2030 on."""
    return Recurrence(rrule=text, **({"dtstart": START} | options))  # type: ignore[arg-type]  # the test's own


def days(text: str, count: int = 4, **options: object) -> list[str]:
    """Return the first slots as text."""
    return [f"{slot:%Y-%m-%d %H:%M}" for slot in preview(rule(text, **options), count)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FREQ=DAILY", ["2030-01-01 09:00", "2030-01-02 09:00"]),
        ("RRULE:FREQ=DAILY;INTERVAL=10", ["2030-01-01 09:00", "2030-01-11 09:00"]),
        ("FREQ=WEEKLY;BYDAY=MO,WE", ["2030-01-02 09:00", "2030-01-07 09:00"]),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=SU;WKST=SU", ["2030-01-13 09:00", "2030-01-27 09:00"]),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=SU;WKST=MO", ["2030-01-06 09:00", "2030-01-20 09:00"]),
        ("FREQ=MONTHLY;BYMONTHDAY=31", ["2030-01-31 09:00", "2030-03-31 09:00"]),
        ("FREQ=MONTHLY;BYMONTHDAY=-1", ["2030-01-31 09:00", "2030-02-28 09:00"]),
        ("FREQ=MONTHLY;BYDAY=-1FR", ["2030-01-25 09:00", "2030-02-22 09:00"]),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", ["2030-01-31 09:00", "2030-02-28 09:00"]),
        ("FREQ=YEARLY;BYDAY=20MO", ["2030-05-20 09:00", "2031-05-19 09:00"]),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", ["2030-05-13 09:00", "2031-05-12 09:00"]),
        ("FREQ=YEARLY;BYYEARDAY=-1", ["2030-12-31 09:00", "2031-12-31 09:00"]),
        ("FREQ=DAILY;BYHOUR=9,17;BYMINUTE=30", ["2030-01-01 09:30", "2030-01-01 17:30"]),
        ("FREQ=DAILY;BYDAY=1MO", None),
        ("FREQ=HOURLY;INTERVAL=6", ["2030-01-01 09:00", "2030-01-01 15:00"]),
        ("FREQ=MINUTELY;INTERVAL=90", ["2030-01-01 09:00", "2030-01-01 10:30"]),
        ("freq=daily", None),
        ("FREQ=FORTNIGHTLY", None),
        ("FREQ=DAILY;", None),
        ("FREQ=DAILY;COUNT=0", None),
        ("FREQ=DAILY;INTERVAL=0", None),
        ("FREQ=DAILY;BYEASTER=1", None),
        ("DTSTART=20300101T000000Z;FREQ=DAILY", None),
        ("FREQ=DAILY;FREQ=DAILY", None),
        ("FREQ=DAILY;BYSECOND=60", None),
        ("FREQ=DAILY;BYSETPOS=1", None),
        ("FREQ=DAILY;INTERVAL=\u0661", None),
        ("FREQ=DAILY;UNTIL=20300102", ["2030-01-01 09:00", "2030-01-02 09:00"]),
        ("FREQ=DAILY;UNTIL=20300102T085959Z", ["2030-01-01 09:00"]),
        ("FREQ=DAILY;UNTIL=20300102T090000", ["2030-01-01 09:00", "2030-01-02 09:00"]),
        ("FREQ=DAILY;UNTIL=20300131;COUNT=1", ["2030-01-01 09:00"]),
        ("FREQ=DAILY;UNTIL=20300231", None),
        ("FREQ=DAILY;UNTIL=20291231", None),
    ],
)
def test_rules_mean_what_the_table_says(text: str, expected: list[str] | None) -> None:
    """Each row: a rule and its first slots, or None where it is refused."""
    if expected is None:
        with pytest.raises(InvalidRecurrenceError):
            validate(rule(text))
    else:
        assert days(text, 2) == expected


def test_week_numbers_are_those_of_iso_8601() -> None:
    """Weeks 1, 52 and 53 around New Year, where python-dateutil is wrong in some years."""
    for number in (1, 52, 53):
        text = f"FREQ=YEARLY;BYWEEKNO={number};BYDAY=MO,TU,WE,TH,FR,SA,SU"
        slots = preview(rule(text), 300)
        first_day, last_day = START.date(), slots[-1].date()
        span = (first_day + timedelta(days=n) for n in range((last_day - first_day).days + 1))

        assert [slot.date() for slot in slots] == [day for day in span if day.isocalendar().week == number]


def test_a_count_counts_excluded_slots() -> None:
    """EXDATE removes slots after COUNT has counted them (RFC 5545, 3.8.5.1)."""
    assert days("FREQ=DAILY;COUNT=3", exdates=(START + timedelta(days=1),)) == ["2030-01-01 09:00", "2030-01-03 09:00"]


def test_added_dates_join_the_rule_once() -> None:
    """RDATE adds instants, those of the rule not twice, and EXDATE removes them, too."""
    added = (START + timedelta(hours=3), START + timedelta(days=1), START + timedelta(hours=5))

    assert days("FREQ=DAILY;COUNT=2", 9, rdates=added, exdates=(START + timedelta(hours=5),)) == [
        "2030-01-01 09:00",
        "2030-01-01 12:00",
        "2030-01-02 09:00",
    ]


def test_the_start_is_an_occurrence_only_if_it_matches() -> None:
    """DTSTART on a Tuesday is none of the Fridays."""
    assert days("FREQ=WEEKLY;BYDAY=FR", 1) == ["2030-01-04 09:00"]


MISSED = START + timedelta(days=3, hours=1)


@pytest.mark.parametrize("count", ["", ";COUNT=100"])
@pytest.mark.parametrize(
    ("policy", "fired"),
    [("coalesce", [0]), ("skip", [3]), ("all", [0, 1, 2, 3])],
)
def test_missed_slots_are_made_up_for_as_asked(policy: str, fired: list[int], count: str) -> None:
    """The oldest, the latest, or all of the slots that were missed; then the first after now."""
    recurrence = rule(f"FREQ=DAILY{count}", catch_up=policy)
    begin = first(recurrence)
    assert begin is not None

    tick = due(recurrence, begin, now=MISSED)

    assert list(tick.fire) == [START + timedelta(days=n) for n in fired]
    assert tick.next is not None
    assert tick.next.slot == START + timedelta(days=4)
    if count:
        assert tick.next.used == 4


@pytest.mark.parametrize("policy", ["coalesce", "skip", "all"])
def test_a_cursor_before_the_beginning_fires_nothing(policy: str) -> None:
    """It is at no slot; the generator resumes after now, or ends where the rule has."""
    before, now = Cursor(START - timedelta(seconds=1), 0), MISSED

    assert due(rule("FREQ=DAILY;COUNT=9", catch_up=policy), before, now=now) == Due(
        (), Cursor(START + timedelta(days=4), 4)
    )
    assert due(rule("FREQ=DAILY;COUNT=4", catch_up=policy), before, now=now) == Due((), None)


def test_all_missed_slots_come_in_bounded_portions() -> None:
    """At most `limit` occurrences in a tick; the next tick goes on where it stopped."""
    recurrence = rule("FREQ=DAILY", catch_up="all")
    begin = first(recurrence)
    assert begin is not None

    tick = due(recurrence, begin, now=MISSED, limit=3)

    assert len(tick.fire) == 3
    assert tick.next is not None
    assert due(recurrence, tick.next, now=MISSED).fire == (START + timedelta(days=3),)


def test_nothing_is_due_before_its_time() -> None:
    """A tick that comes early changes nothing."""
    recurrence = rule("FREQ=DAILY")
    begin = first(recurrence)
    assert begin is not None

    assert due(recurrence, begin, now=START - timedelta(seconds=1)) == Due(fire=(), next=begin)


def test_a_rule_ends() -> None:
    """After its last slot nothing follows, and nothing can be resumed."""
    recurrence = rule("FREQ=DAILY;COUNT=2")

    assert following(recurrence, Cursor(START + timedelta(days=1), 1)) is None
    assert resume(recurrence, after=START + timedelta(days=1)) is None
    assert resume(rule("FREQ=DAILY;UNTIL=20300105"), after=START + timedelta(days=30)) is None


@pytest.mark.parametrize("text", ["FREQ=DAILY", "FREQ=DAILY;COUNT=50"])
def test_resuming_knows_how_much_of_the_count_is_used(text: str) -> None:
    """A generator that is reset goes on with its first slot after now, and with the rest of its COUNT."""
    cursor = resume(rule(text), after=MISSED)

    assert cursor is not None
    assert cursor.slot == START + timedelta(days=4)
    assert cursor.used == (4 if "COUNT" in text else 0)


def test_the_local_time_of_a_zone_is_meant() -> None:
    """Seven in the morning of Berlin, in winter and in summer."""
    slots = preview(rule("FREQ=MONTHLY;BYMONTHDAY=1;BYHOUR=7;BYMINUTE=0;BYSECOND=0", timezone="Europe/Berlin"), 8)

    assert {slot.hour for slot in slots if slot.month in {2, 3}} == {6}
    assert {slot.hour for slot in slots if slot.month in {5, 6, 7}} == {5}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dtstart": datetime(2030, 1, 1)}, "aware"),  # noqa: DTZ001 - naive on purpose
        ({"dtstart": date(2030, 1, 1)}, "aware"),
        ({"dtstart": START.replace(microsecond=5)}, "whole seconds"),
        ({"timezone": "Mars/Olympus"}, "IANA"),
        ({"timezone": "../../etc/passwd"}, "IANA"),
        ({"exdates": (datetime(2030, 1, 1),)}, "aware"),  # noqa: DTZ001 - naive on purpose
        ({"exdates": (START,) * 1001}, "1000"),
        ({"catch_up": "sometimes"}, "catch_up"),
        ({"nonexistent": "maybe"}, "nonexistent"),
        ({"rrule": "FREQ=DAILY;X=" + "1" * 2000}, "1024"),
        ({"rrule": 7}, "text"),
        ({"rrule": "FREQ=YEARLY;BYYEARDAY=" + ",".join(["1"] * 367)}, "366"),
        ({"rrule": "FREQ=DAILY;BYWEEKNO=3"}, "BYWEEKNO"),
        ({"rrule": "BYDAY=MO"}, "FREQ"),
        ({"rrule": "FREQ=DAILY;WKST=XX"}, "WKST"),
        ({"rrule": "FREQ=DAILY;BYDAY=0MO"}, "BYDAY"),
        ({"rrule": "FREQ=DAILY;UNTIL=tomorrow"}, "UNTIL"),
    ],
)
def test_bad_recurrences_are_explained(options: dict[str, object], says: str) -> None:
    """The error names the value, the rule and the way out."""
    with pytest.raises(InvalidRecurrenceError, match=says):
        validate(Recurrence(**({"rrule": "FREQ=DAILY", "dtstart": START} | options)))  # type: ignore[arg-type]  # wrong on purpose


def test_occurrence_ids_are_those_of_the_go_library() -> None:
    """Generator, `_occ_`, and the slot in whole seconds of UTC."""
    assert occurrence_id("report", START) == "report_occ_2030-01-01T09:00:00Z"


def test_a_slot_before_a_gap_of_centuries_is_not_lost() -> None:
    """Nor is the one after it."""
    found = days("FREQ=DAILY;INTERVAL=60;BYYEARDAY=-238;BYDAY=TH", 3, dtstart=datetime(2029, 6, 2, tzinfo=UTC))

    assert found == ["2194-05-08 00:00", "2217-05-08 00:00", "2892-05-08 00:00"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FREQ=HOURLY", ["9989-12-31 22:30", "9989-12-31 23:30"]),
        ("FREQ=DAILY", ["9989-12-31 22:30"]),
        ("FREQ=YEARLY;BYMONTH=1,12;BYMONTHDAY=31", ["9989-12-31 22:30"]),
        ("FREQ=HOURLY;BYMONTH=6", None),
    ],
)
def test_rules_end_before_the_calendar_does(text: str, expected: list[str] | None) -> None:
    """What does not occur before that is refused."""
    recurrence = rule(text, dtstart=datetime(9989, 12, 31, 22, 30, tzinfo=UTC))
    if expected is None:
        with pytest.raises(InvalidRecurrenceError, match="at least one occurrence"):
            preview(recurrence, 5)
    else:
        assert [f"{slot:%Y-%m-%d %H:%M}" for slot in preview(recurrence, 5)] == expected


@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Kiritimati"])
@pytest.mark.parametrize("freq", ["YEARLY", "WEEKLY", "WEEKLY;BYDAY=TH,FR,SU", "DAILY", "HOURLY"])
def test_no_zone_leads_out_of_the_calendar(freq: str, zone: str) -> None:
    """The last local year is 9989 everywhere."""
    slots = preview(rule(f"FREQ={freq}", dtstart=datetime(9989, 12, 30, tzinfo=UTC), timezone=zone), 100)

    assert slots
    assert {slot.astimezone(ZoneInfo(zone)).year for slot in slots} == {9989}


@pytest.mark.parametrize("year", [1, 9990])
def test_a_start_at_the_ends_of_the_calendar_is_refused(year: int) -> None:
    """Local times would lie outside the years that can be told."""
    with pytest.raises(InvalidRecurrenceError, match="years 2 to 9989"):
        validate(rule("FREQ=DAILY", dtstart=datetime(year, 1, 1, tzinfo=UTC)))


def test_a_rule_that_another_reader_finds_empty_for_its_own_start_is_read() -> None:
    """Whether hours can be reached depends on where the rule begins."""
    assert days("FREQ=HOURLY;INTERVAL=2;BYHOUR=1,3", 2) == ["2030-01-02 01:00", "2030-01-02 03:00"]


def test_a_rule_that_has_ended_has_nothing_to_show() -> None:
    """After its last slot there is no next one, for a preview and for a generator that is reset."""
    ended = rule("FREQ=DAILY;UNTIL=20300102")

    assert preview(ended, 3, after=datetime(2031, 1, 1, tzinfo=UTC)) == ()
    assert resume(ended, after=datetime(2031, 1, 1, tzinfo=UTC)) is None
    assert resume(rule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"), after=START) is None


@pytest.mark.parametrize("count", [-1, 10_001, 2.0, "3", True])
def test_a_preview_of_no_number_is_refused(count: object) -> None:
    """The error names it."""
    with pytest.raises(InvalidRecurrenceError, match="0 to 10000 occurrences"):
        preview(rule("FREQ=DAILY"), count)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("after", [datetime(2030, 1, 1), date(2030, 1, 1), "2030-01-01"])  # noqa: DTZ001 - on purpose
def test_a_preview_after_no_time_is_refused(after: object) -> None:
    """A naive time could mean any zone."""
    with pytest.raises(InvalidRecurrenceError, match="aware datetime"):
        preview(rule("FREQ=DAILY"), 3, after=after)  # type: ignore[arg-type]  # on purpose


def test_what_a_second_reader_refuses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that two readers read differently runs for nobody."""

    def refuse(text: str, **_: object) -> None:
        raise ValueError(f"not for me: {text}")

    monkeypatch.setattr(parsing, "rrulestr", refuse)
    with pytest.raises(InvalidRecurrenceError, match=r"follows RFC 5545 \(not for me: FREQ=DAILY;INTERVAL=9\)"):
        validate(rule("FREQ=DAILY;INTERVAL=9;UNTIL=20310101"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timezone": 5}, "IANA name"),
        ({"timezone": ["UTC"]}, "IANA name"),
        ({"timezone": "../etc"}, "IANA name"),
        ({"exdates": None}, "exdates is a tuple"),
        ({"rdates": [START]}, "rdates is a tuple"),
        ({"rdates": (START,) * 1001}, "at most 1000 dates"),
        ({"rdates": (START.replace(microsecond=1),)}, "whole seconds"),
        ({"exdates": (START.replace(tzinfo=None),)}, "aware datetime"),
        ({"dtstart": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))}, "years 1 to 9999"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    """Each by an error that names it."""
    with pytest.raises(InvalidRecurrenceError, match=message):
        validate(rule("FREQ=DAILY", **options))


@pytest.mark.parametrize("until", ["99991231", "99991231T235959", "99991231T235959Z"])
@pytest.mark.parametrize("zone", [None, "America/New_York", "Asia/Tokyo"])
def test_until_may_say_for_ever(until: str, zone: str | None) -> None:
    """The end of the calendar is the end of the rule."""
    assert len(preview(rule(f"FREQ=DAILY;UNTIL={until}", timezone=zone), 5)) == 5


@pytest.mark.parametrize("until", ["00010101", "00010101T000000", "00010101T000000Z"])
def test_until_before_everything_leaves_nothing(until: str) -> None:
    """The rule is refused, whatever the zone."""
    with pytest.raises(InvalidRecurrenceError, match="at least one occurrence"):
        validate(rule(f"FREQ=DAILY;UNTIL={until}", timezone="Asia/Tokyo"))


def test_nothing_comes_after_the_end_of_time() -> None:
    """The latest possible time is an answer, too."""
    end = datetime.max.replace(tzinfo=UTC)

    assert resume(rule("FREQ=DAILY"), after=end) is None
    assert preview(rule("FREQ=DAILY"), 3, after=end) == ()
    assert due(rule("FREQ=DAILY"), Cursor(START, 0), now=end) == Due(fire=(START,), next=None)


def test_a_day_without_a_midnight_or_without_hours_may_be_the_last() -> None:
    """UNTIL as a date counts to the end of the local day, the second of two equal hours included."""
    autumn = rule("FREQ=HOURLY;UNTIL=20180217", dtstart=datetime(2018, 2, 18, tzinfo=UTC), timezone="America/Sao_Paulo")
    left_out = rule("FREQ=DAILY;UNTIL=20111230", dtstart=datetime(2011, 12, 29, tzinfo=UTC), timezone="Pacific/Apia")

    assert [slot.hour for slot in preview(autumn, 9)] == [0, 1, 2]
    assert [slot.day for slot in preview(left_out, 9)] == [29, 30]


def test_weeks_counted_from_the_end_reach_over_new_year() -> None:
    """The last days of December belong to week 1 of the next year where ISO 8601 says so."""
    slots = days("FREQ=YEARLY;BYWEEKNO=-53;BYDAY=MO,TU,WE,TH", 4, dtstart=datetime(2025, 12, 1, tzinfo=UTC))

    assert [slot[:10] for slot in slots] == ["2025-12-29", "2025-12-30", "2025-12-31", "2026-01-01"]


def test_places_of_rare_periods_are_waited_for() -> None:
    """BYSETPOS may find nothing for decades."""
    assert [slot[:10] for slot in days("FREQ=WEEKLY;BYMONTHDAY=29,1;BYDAY=MO,TU;BYSETPOS=2", 2)] == [
        "2044-03-01",
        "2072-03-01",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FREQ=HOURLY;BYMINUTE=5,10,15;BYSETPOS=-1", ["2030-01-01 09:15", "2030-01-01 10:15"]),
        ("FREQ=MINUTELY;BYSECOND=10,20;BYSETPOS=1", ["2030-01-01 09:00", "2030-01-01 09:01"]),
        ("FREQ=HOURLY;BYDAY=TU;BYSETPOS=1", ["2030-01-01 09:00", "2030-01-01 10:00"]),
    ],
)
def test_places_within_an_hour_or_a_minute(text: str, expected: list[str]) -> None:
    """The periods of fast rules are short."""
    assert days(text, 2) == expected


def test_all_that_a_rule_had_left_is_made_up_for() -> None:
    """Then the generator ends; one whose COUNT is used up does so at once."""
    now = START + timedelta(days=30)
    ended = rule("FREQ=DAILY;UNTIL=20300103", catch_up="all")
    used_up = rule("FREQ=DAILY;COUNT=2", catch_up="all")

    fired = tuple(START + timedelta(days=day) for day in range(3))
    assert due(ended, Cursor(START, 0), now=now) == Due(fire=fired, next=None)
    assert due(used_up, Cursor(START, 2), now=now) == Due(fire=(), next=None)
