"""Recurrence and payloads as the Go library writes them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from dateutil.rrule import rrulestr

from tests.firestore import golang
from tests.firestore.golang import Fields, text

HORIZON = timedelta(days=3653)


def as_json(value: Any) -> Any:
    """Return a payload as Go stores it: every number becomes a double."""
    match value:
        case bool():
            return value
        case int():
            return float(value)
        case dict():
            return {key: as_json(item) for key, item in value.items()}
        case list():
            return [as_json(item) for item in value]
    return value


def _slot_from(rule: Fields, start: datetime) -> datetime | None:
    """Return the first slot at or after a time, in the zone of the rule's beginning."""
    begin = datetime.fromisoformat(rule["dtstart"])
    left_out = {datetime.fromisoformat(date) for date in rule["exdates"] or ()}
    slots: Any = rrulestr(rule["rrule"], dtstart=begin)
    slot: datetime | None = slots.after(start, inc=True)
    while slot is not None and slot in left_out:
        slot = slots.after(slot)
    return slot


def first_slot(rule: Fields) -> str:
    """Return what a new generator waits for, in UTC."""
    slot = _slot_from(rule, datetime.fromisoformat(rule["dtstart"]))
    if slot is None:
        raise ValueError("recurrence has no valid occurrences")
    return text(slot.astimezone(UTC))


def next_slot(rule: Fields, start: datetime) -> str | None:
    """Return what a ticked generator waits for, at the offset of the rule's beginning; None where it ends."""
    slot = _slot_from(rule, start)
    if slot is None or slot > start + HORIZON:
        return None
    return text(slot) if slot.utcoffset() == timedelta(0) else slot.isoformat(timespec="seconds")


def occurrence_of(generator: Fields, now: datetime) -> Fields:
    """Return the document of the slot that a generator waits for."""
    slot = generator["waitUntil"]
    copied = {name: generator[name] for name in ("type", "env", "data", "resourceKey")}
    own = {"parentRecurrenceId": generator["id"], "occurrenceTimestamp": slot, "waitUntil": slot}
    return golang.created(f"{generator['id']}_occ_{slot}", now, **copied, **own)
