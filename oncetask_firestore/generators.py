"""Where a generator stands that a Go worker created or moved: it writes the next slot, and counts none."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from oncetask_core.errors import InvalidRecurrenceError
from oncetask_core.recurrence import Cursor, Recurrence, first, following

_SECOND = timedelta(seconds=1)
_BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=1000)
def standing(rule: Recurrence, slot: datetime | None) -> Cursor | None:
    """Return where a generator stands; None where its rule cannot be evaluated, or has ended.

    Args:
        rule: Its rule.
        slot: What it waits for; None after a reset: it is before all slots, so that a tick fires nothing and resumes.
    """
    if slot is None:
        return Cursor(min(_BEFORE_ALL, rule.dtstart - _SECOND), 0)
    if "COUNT" not in rule.rrule.upper():
        return Cursor(slot, 0)
    try:
        cursor = first(rule)
        while cursor is not None and cursor.slot < slot:
            cursor = following(rule, cursor)
    except InvalidRecurrenceError:
        return None
    return cursor
