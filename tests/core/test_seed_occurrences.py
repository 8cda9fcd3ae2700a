"""What the tests of the Go library ask of a recurrence: its first occurrence, the next one, its end, its mistakes."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from oncetask_core.errors import InvalidRecurrenceError
from oncetask_core.recurrence import Cursor, Recurrence, first, following, resume, validate
from oncetask_core.task_data import Identity, Wishes, new_task

NINE = datetime(2030, 1, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


def daily(rest: str = "", **options: Any) -> Recurrence:
    """Return a rule for nine o'clock every day."""
    return Recurrence(rrule=f"FREQ=DAILY{rest}", dtstart=options.pop("dtstart", NINE), **options)


def slot(cursor: Cursor | None) -> datetime | None:
    """Return the instant of a cursor."""
    return None if cursor is None else cursor.slot


def test_the_first_occurrence_is_the_start_where_that_fits() -> None:
    """The start itself counts, and a start off the rule does not."""
    assert slot(first(daily())) == NINE
    assert slot(first(daily(";BYHOUR=11"))) == NINE + timedelta(hours=2)


def test_the_following_occurrence_is_later_than_the_one_before() -> None:
    """An occurrence does not follow itself."""
    start = first(daily())

    assert start is not None
    assert slot(following(daily(), start)) == NINE + DAY


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (NINE, NINE + DAY),
        (NINE - SECOND, NINE),
        (NINE + timedelta(hours=5), NINE + DAY),
        (NINE + 40 * DAY + SECOND, NINE + 41 * DAY),
    ],
)
def test_a_rule_is_taken_up_again_strictly_after_a_time(after: datetime, expected: datetime) -> None:
    """Whether or not that time is an occurrence."""
    assert slot(resume(daily(), after=after)) == expected


def test_a_removed_date_is_passed_over() -> None:
    """At the start, in the middle, and given in another zone."""
    rule = daily(exdates=(NINE, datetime(2030, 1, 3, 10, tzinfo=UTC) - timedelta(hours=1)))
    start = first(rule)

    assert start is not None
    assert start.slot == NINE + DAY
    assert slot(following(rule, start)) == NINE + 3 * DAY


def test_a_rule_ends_after_its_count() -> None:
    """Neither from its last occurrence nor from any later time is there another."""
    rule = daily(";COUNT=3")
    slots, cursor = [], first(rule)
    while cursor is not None:
        slots.append(cursor.slot)
        cursor = following(rule, cursor)

    assert slots == [NINE, NINE + DAY, NINE + 2 * DAY]
    assert resume(rule, after=NINE + 2 * DAY) is None
    assert resume(rule, after=NINE + 9 * DAY) is None


@pytest.mark.parametrize("rrule", ["", "INVALID", "FREQ=SOMETIMES", "COUNT=3"])
def test_a_text_that_is_no_rule_is_refused(rrule: str) -> None:
    """With value, rule and way out."""
    with pytest.raises(InvalidRecurrenceError) as caught:
        validate(Recurrence(rrule=rrule, dtstart=NINE))

    assert caught.value.rule
    assert caught.value.remedy


def test_a_start_without_a_zone_is_refused() -> None:
    """An instant is asked for, not a reading of somebody's clock."""
    with pytest.raises(InvalidRecurrenceError):
        validate(daily(dtstart=NINE.replace(tzinfo=None)))


@pytest.mark.parametrize("given", [{"rrule": "FREQ=DAILY"}, {"dtstart": NINE}])
def test_a_recurrence_needs_rule_and_start(given: dict[str, Any]) -> None:
    """There is no recurrence to validate without them."""
    with pytest.raises(TypeError, match="Missing required argument"):
        Recurrence(**given)


@dataclass(frozen=True)
class Report:
    """A payload that recurs."""

    rule: Recurrence
    kind: ClassVar[str] = "report"

    def idempotent_id(self) -> str:
        return "report"

    def scheduled_time(self) -> None:
        """Say that there is no other time."""

    def recurrence(self) -> Recurrence:
        return self.rule


def test_a_generator_waits_for_its_first_occurrence_and_keeps_its_rule() -> None:
    """Removed dates are kept, and one on the start makes the generator begin a day later."""
    rule = daily(exdates=(NINE, NINE + 7 * DAY))
    task = new_task(Report(rule), Wishes(), Identity(run_uid="run 1", created_by="call 1"))

    assert task.wait_until == NINE + DAY
    assert task.recurrence == rule
