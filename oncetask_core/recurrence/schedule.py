"""What the rest of the core asks of a recurrence: its first slot, the next one, what is due, what comes."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import islice

import msgspec

from oncetask_core.errors import InvalidRecurrenceError
from oncetask_core.limits import check_time
from oncetask_core.recurrence.days import LAST_YEAR
from oncetask_core.recurrence.instants import zone_of
from oncetask_core.recurrence.parsing import parse
from oncetask_core.recurrence.rule import Recurrence
from oncetask_core.recurrence.slots import slots_from

MAX_FIRED = 100
MAX_DATES = 1000
MAX_PREVIEW = 10_000
FIRST_YEAR = 2
_INSTANT = timedelta(microseconds=1)


class Cursor(msgspec.Struct, frozen=True):
    """Where a generator stands."""

    slot: datetime
    """The instant of its next occurrence, UTC."""
    used: int
    """How many slots of the rule, excluded ones included, come before it; what COUNT counts."""


class Due(msgspec.Struct, frozen=True):
    """What a tick does."""

    fire: tuple[datetime, ...]
    """The slots for which an occurrence is created now."""
    next: Cursor | None
    """Where the generator goes; None when its rule has no further slot."""


def validate(recurrence: Recurrence) -> None:
    """Refuse a recurrence that could not be evaluated, or that never occurs.

    Raises:
        InvalidRecurrenceError: Names the value, the rule and the way out.
    """
    if not isinstance(recurrence.rrule, str):
        raise InvalidRecurrenceError(value=recurrence.rrule, rule="rrule is text", remedy="Write FREQ=DAILY or such.")
    check_start(recurrence.dtstart)
    zone_of(recurrence.timezone)
    for name, choices in (("nonexistent", ("shift", "skip")), ("catch_up", ("coalesce", "skip", "all"))):
        if getattr(recurrence, name) not in choices:
            raise InvalidRecurrenceError(
                value=getattr(recurrence, name), rule=f"{name} is one of {', '.join(choices)}", remedy="Choose one."
            )
    for dates in (recurrence.exdates, recurrence.rdates):
        if len(dates) > MAX_DATES:
            raise InvalidRecurrenceError(
                value=len(dates), rule=f"a recurrence lists at most {MAX_DATES} dates", remedy="Use a rule."
            )
        for day in dates:
            _aware(day, "a date of exdates or rdates")
    if first(recurrence) is None:
        raise InvalidRecurrenceError(
            value=recurrence.rrule, rule="a recurrence has at least one occurrence", remedy="It has no occurrence."
        )


def check_start(start: object) -> None:
    """Refuse a dtstart that is no aware time of whole seconds, or too near to the ends of the calendar.

    Raises:
        InvalidRecurrenceError: It is not.
    """
    moment = _aware(start, "dtstart")
    if moment.microsecond:
        raise InvalidRecurrenceError(
            value=start, rule="dtstart is in whole seconds", remedy="Use dtstart.replace(microsecond=0)."
        )
    if not FIRST_YEAR <= moment.year < LAST_YEAR:
        raise InvalidRecurrenceError(
            value=start, rule=f"dtstart lies in the years {FIRST_YEAR} to {LAST_YEAR - 1}", remedy="Correct it."
        )


def _aware(value: object, name: str) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidRecurrenceError(
            value=value, rule=f"{name} is an aware datetime", remedy="Add a tzinfo, such as datetime.UTC."
        )
    return check_time(value, name)


def _numbered(recurrence: Recurrence, point: datetime, used: int = 0) -> Iterator[Cursor]:
    """Yield the slots at `point` or later with their numbers, without the excluded ones, up to COUNT."""
    count = parse(recurrence.rrule).count
    excluded = {day.astimezone(UTC) for day in recurrence.exdates}
    added = sorted({day.astimezone(UTC) for day in recurrence.rdates if day.astimezone(UTC) >= point})
    number = used

    def of_rule() -> Iterator[Cursor]:
        nonlocal number
        for slot in slots_from(recurrence, point):
            if count is not None and number >= count:
                return
            yield Cursor(slot, number)
            number += 1

    latest: datetime | None = None
    for cursor in merge(of_rule(), (Cursor(day, -1) for day in added), key=lambda cursor: cursor.slot):
        if cursor.slot != latest and cursor.slot not in excluded:
            latest = cursor.slot
            yield Cursor(cursor.slot, cursor.used if cursor.used >= 0 else number)


def first(recurrence: Recurrence) -> Cursor | None:
    """Return the first occurrence, at DTSTART or later; None if there is none."""
    point = min([recurrence.dtstart, *recurrence.rdates]).astimezone(UTC)
    return next(_numbered(recurrence, point), None)


def following(recurrence: Recurrence, cursor: Cursor) -> Cursor | None:
    """Return the occurrence after `cursor`; None if there is none."""
    return next((later for later in _numbered(recurrence, cursor.slot, cursor.used) if later.slot > cursor.slot), None)


def due(recurrence: Recurrence, cursor: Cursor, *, now: datetime, limit: int = MAX_FIRED) -> Due:
    """Return what a tick at `now` creates and where the generator goes, by the recurrence's catch-up policy.

    - `coalesce`: the oldest missed slot fires, all others up to now are passed over.
    - `skip`: only the latest slot up to now fires.
    - `all`: every missed slot fires, at most `limit` in one tick, the others with the next ticks.
    """
    if cursor.slot > now:
        return Due(fire=(), next=cursor)
    if recurrence.catch_up == "all":
        upcoming = list(islice(_numbered(recurrence, cursor.slot, cursor.used), limit + 1))
        fired = [later for later in upcoming if later.slot <= now][:limit]
        rest = upcoming[len(fired) :]
        return Due(fire=tuple(later.slot for later in fired), next=rest[0] if rest else None)
    latest, following_ = _around(recurrence, cursor, now)
    return Due(fire=(cursor.slot if recurrence.catch_up == "coalesce" else latest,), next=following_)


def _around(recurrence: Recurrence, cursor: Cursor, now: datetime) -> tuple[datetime, Cursor | None]:
    """Return the latest slot up to now and the first after it."""
    latest = cursor.slot
    seek = cursor
    if parse(recurrence.rrule).count is None:
        upcoming = next(_numbered(recurrence, now + _INSTANT, cursor.used), None)
        if recurrence.catch_up == "coalesce":
            return latest, upcoming
    for later in _numbered(recurrence, seek.slot, seek.used):
        if later.slot > now:
            return latest, later
        latest = later.slot
    return latest, None


def resume(recurrence: Recurrence, *, after: datetime) -> Cursor | None:
    """Return the first occurrence after a time, as a generator that is reset resumes with it; None if there is none."""
    start = first(recurrence)
    if start is None:
        return None
    if parse(recurrence.rrule).count is None:
        return next(_numbered(recurrence, max(after + _INSTANT, start.slot)), None)
    return next((later for later in _numbered(recurrence, start.slot, start.used) if later.slot > after), None)


def preview(recurrence: Recurrence, count: int, *, after: datetime | None = None) -> tuple[datetime, ...]:
    """Return the next `count` occurrences after a time, by default from the first on; fewer if the rule ends.

    Args:
        recurrence: The recurrence.
        count: How many, at most 10,000.
        after: An aware time.

    Raises:
        InvalidRecurrenceError: The recurrence is malformed, out of bounds or empty, or an argument is none.
    """
    validate(recurrence)
    if type(count) is not int or not 0 <= count <= MAX_PREVIEW:
        raise InvalidRecurrenceError(
            value=count,
            rule=f"a preview has 0 to {MAX_PREVIEW} occurrences",
            remedy="Ask for the next ones by `after`.",
        )
    start = first(recurrence) if after is None else resume(recurrence, after=_aware(after, "after"))
    if start is None:
        return ()
    return tuple(cursor.slot for cursor in islice(_numbered(recurrence, start.slot, start.used), count))


def occurrence_id(generator_id: str, slot: datetime) -> str:
    """Return the id of an occurrence: that of its generator and the slot in whole seconds, UTC."""
    return f"{generator_id}_occ_{slot.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
