"""What the rest of the core asks of a recurrence: its first slot, the next one, what is due, what comes."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import islice, takewhile

import msgspec

from oncetask_core.errors import InvalidRecurrenceError, InvalidTaskError
from oncetask_core.limits import check_time
from oncetask_core.recurrence.instants import zone_of
from oncetask_core.recurrence.parsing import parse
from oncetask_core.recurrence.periods import LAST_YEAR
from oncetask_core.recurrence.rule import Recurrence
from oncetask_core.recurrence.search import Search
from oncetask_core.recurrence.slots import FIRST_YEAR, slots_from

MAX_FIRED = 100
MAX_DATES = 1000
MAX_PREVIEW = 10_000
_SECOND = timedelta(seconds=1)


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


def validate(recurrence: Recurrence) -> Cursor:
    """Return the first slot; refuse a recurrence that could not be evaluated, or that never occurs.

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
    for name in ("exdates", "rdates"):
        _check_dates(getattr(recurrence, name), name)
    start = first(recurrence)
    if start is None:
        raise InvalidRecurrenceError(
            value=recurrence.rrule, rule="a recurrence has at least one occurrence", remedy="It has no occurrence."
        )
    if parse(recurrence.rrule).count is not None:
        for _ in _numbered(recurrence, _begin(recurrence), search=Search(recurrence.rrule)):
            pass
    return start


def check_start(start: object) -> None:
    """Refuse a dtstart that is no aware time of whole seconds, or too near to the ends of the calendar.

    Raises:
        InvalidRecurrenceError: It is not.
    """
    _check_second(start, "dtstart")


def _check_dates(dates: object, name: str) -> None:
    if not isinstance(dates, tuple):
        raise InvalidRecurrenceError(value=dates, rule=f"{name} is a tuple of datetimes", remedy="Pass a tuple.")
    if len(dates) > MAX_DATES:
        raise InvalidRecurrenceError(
            value=len(dates), rule=f"{name} has at most {MAX_DATES} dates", remedy="Use a rule instead."
        )
    for one in dates:
        _check_second(one, f"a date of {name}")


def _check_second(value: object, name: str) -> None:
    moment = _aware(value, name)
    if moment.microsecond:
        raise InvalidRecurrenceError(
            value=value, rule=f"{name} is in whole seconds", remedy="Use replace(microsecond=0)."
        )
    if not FIRST_YEAR <= moment.year < LAST_YEAR:
        raise InvalidRecurrenceError(
            value=value, rule=f"{name} lies in the years {FIRST_YEAR} to {LAST_YEAR - 1}", remedy="Correct it."
        )


def _aware(value: object, name: str) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidRecurrenceError(
            value=value, rule=f"{name} is an aware datetime", remedy="Add a tzinfo, such as datetime.UTC."
        )
    try:
        return check_time(value, name)
    except InvalidTaskError as error:
        raise InvalidRecurrenceError(value=error.value, rule=error.rule, remedy=error.remedy) from error


def _numbered(
    recurrence: Recurrence, point: datetime, used: int = 0, *, search: Search | None = None
) -> Iterator[Cursor]:
    """Yield the slots at `point` or later with their numbers, without the excluded ones, up to COUNT.

    Args:
        recurrence: The recurrence.
        point: Where to begin.
        used: The number of the first slot at `point` or later.
        search: What all slots together may take; without it the rule's COUNT was found to be affordable.
    """
    count = parse(recurrence.rrule).count
    search = search or Search(recurrence.rrule)
    excluded = {day.astimezone(UTC) for day in recurrence.exdates}
    added = sorted({day.astimezone(UTC) for day in recurrence.rdates if day.astimezone(UTC) >= point})
    number = used

    def of_rule() -> Iterator[Cursor]:
        nonlocal number
        for slot in slots_from(recurrence, point, search):
            if count is not None and number >= count:
                return
            yield Cursor(slot, number)
            number += 1

    latest: datetime | None = None
    for cursor in merge(of_rule(), (Cursor(day, -1) for day in added), key=lambda cursor: cursor.slot):
        if cursor.slot != latest and cursor.slot not in excluded:
            latest = cursor.slot
            yield Cursor(cursor.slot, cursor.used if cursor.used >= 0 else number)


def _begin(recurrence: Recurrence) -> datetime:
    return min([recurrence.dtstart, *recurrence.rdates]).astimezone(UTC)


def first(recurrence: Recurrence) -> Cursor | None:
    """Return the first occurrence, at DTSTART or later; None if there is none."""
    return next(_numbered(recurrence, _begin(recurrence)), None)


def following(recurrence: Recurrence, cursor: Cursor) -> Cursor | None:
    """Return the occurrence after `cursor`; None if there is none."""
    return next((later for later in _numbered(recurrence, cursor.slot, cursor.used) if later.slot > cursor.slot), None)


def due(recurrence: Recurrence, cursor: Cursor, *, now: datetime, limit: int = MAX_FIRED) -> Due:
    """Return what a tick at `now` creates and where the generator goes, by the recurrence's catch-up policy.

    - `coalesce`: the oldest missed slot fires, all others up to now are passed over.
    - `skip`: only the latest slot up to now fires.
    - `all`: every missed slot fires, at most `limit` in one tick, the others with the next ticks.

    A cursor before the rule's beginning is at no slot: nothing fires, and the generator resumes after `now`.
    """
    if cursor.slot > now:
        return Due(fire=(), next=cursor)
    if cursor.slot < _begin(recurrence):
        return Due(fire=(), next=resume(recurrence, after=now))
    if recurrence.catch_up == "all":
        return _all_due(recurrence, cursor, now, limit=limit)
    upcoming = _after(recurrence, cursor, now)
    slot = cursor.slot if recurrence.catch_up == "coalesce" else _latest(recurrence, cursor, now)
    return Due(fire=(slot,), next=upcoming)


def _all_due(recurrence: Recurrence, cursor: Cursor, now: datetime, *, limit: int) -> Due:
    """Return all missed slots; fewer, if the search for more of them would take too long."""
    met: list[Cursor] = []
    try:
        for later in islice(_numbered(recurrence, cursor.slot, cursor.used), limit + 1):
            met.append(later)
            if later.slot > now:
                break
    except InvalidRecurrenceError:
        if len(met) <= 1:
            raise
    else:
        if len(met) <= limit and (not met or met[-1].slot <= now):
            return Due(fire=tuple(later.slot for later in met), next=None)
    return Due(fire=tuple(later.slot for later in met[:-1]), next=met[-1])


def _after(recurrence: Recurrence, cursor: Cursor, time: datetime) -> Cursor | None:
    """Return the first slot after a time, as a generator that stands at `cursor` reaches it."""
    if time.year >= LAST_YEAR:
        return None
    if parse(recurrence.rrule).count is None:
        seconds = time.replace(microsecond=0) + _SECOND
        return next(_numbered(recurrence, max(seconds, cursor.slot), cursor.used), None)
    return next((later for later in _numbered(recurrence, cursor.slot, cursor.used) if later.slot > time), None)


def _latest(recurrence: Recurrence, cursor: Cursor, now: datetime) -> datetime:
    """Return the latest slot up to now, which is `cursor.slot` or a later one, by halving the time in which it lies."""
    if parse(recurrence.rrule).count is not None:
        missed = takewhile(lambda later: later.slot <= now, _numbered(recurrence, cursor.slot, cursor.used))
        return max((later.slot for later in missed), default=cursor.slot)
    low, high = cursor.slot, now.replace(microsecond=0)
    while low < high:
        middle = low + ((high - low) // _SECOND + 1) // 2 * _SECOND
        later = next(_numbered(recurrence, middle, cursor.used), None)
        if later is None or later.slot > now:
            high = middle - _SECOND
        else:
            low = later.slot
    return low


def resume(recurrence: Recurrence, *, after: datetime) -> Cursor | None:
    """Return the first occurrence after a time, as a generator that is reset resumes with it; None if there is none."""
    start = first(recurrence)
    return None if start is None else _after(recurrence, start, max(after, start.slot - _SECOND))


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
    search = Search(recurrence.rrule)
    slots: list[datetime] = []
    for cursor in islice(_numbered(recurrence, start.slot, start.used, search=search), count):
        slots.append(cursor.slot)
        search.renew()
    return tuple(slots)


def occurrence_id(generator_id: str, slot: datetime) -> str:
    """Return the id of an occurrence: that of its generator and the slot in whole seconds, UTC."""
    return f"{generator_id}_occ_{slot.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
