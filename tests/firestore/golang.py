"""The Go library's side, from its specification alone: what it writes into a document, and which status it derives."""

from datetime import datetime, timedelta
from typing import Any

from firestore_rules import NO_WAIT, TYPES, derived_outcome, faults

__all__ = ["NO_WAIT", "TYPES", "cancel", "claim", "complete", "created", "fail", "faults", "reset", "status", "text"]

Fields = dict[str, Any]


def text(time: datetime) -> str:
    """Return a time as Go writes it: the fraction is cut off."""
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def status(fields: Fields, now: datetime) -> str:
    """Return what Go says about a document; the first rule that holds decides."""
    outcome = derived_outcome(fields)
    if outcome is not None:
        return outcome
    if fields["isCancelled"]:
        return "cancellationPending"
    if fields["leasedUntil"] and datetime.fromisoformat(fields["leasedUntil"]) > now:
        return "leased"
    waits = fields["waitUntil"] and datetime.fromisoformat(fields["waitUntil"].replace("0001", "1970")) > now
    return "waiting" if waits else "pending"


def created(task_id: str, now: datetime, **fields: Any) -> Fields:
    """Return the document of a new task."""
    empty: Fields = {name: "" for name, types in TYPES.items() if types == (str,)}
    rest = {"attempts": 0, "errors": None, "result": None, "recurrence": None, "isCancelled": False}
    own = {"id": task_id, "type": "kind", "env": "TEST", "data": {"to": "Ada", "n": 7.0}}
    return empty | rest | own | {"waitUntil": NO_WAIT, "createdAt": text(now)} | fields


def claim(fields: Fields, now: datetime, lease: timedelta = timedelta(minutes=10)) -> Fields:
    """Return what a claim writes."""
    return {"leasedUntil": text(now + lease), "attempts": fields["attempts"] + 1}


def complete(_: Fields, now: datetime, result: object = None) -> Fields:
    """Return what a success writes; nobody asks whose lease it is."""
    return {"doneAt": text(now), "leasedUntil": "", "result": result}


def fail(
    fields: Fields, now: datetime, delay: timedelta | None = timedelta(seconds=10), *, error: str = "boom"
) -> Fields:
    """Return what a failure writes: the next attempt, or the end."""
    entry = {"at": text(now), "error": error}
    errors = {"leasedUntil": "", "errors": [*(fields["errors"] or []), entry]}
    return errors | ({"doneAt": text(now)} if delay is None else {"waitUntil": text(now + delay)})


def cancel(_: Fields, now: datetime) -> Fields:
    """Return what a cancel writes."""
    return {"isCancelled": True, "cancelledAt": text(now), "waitUntil": NO_WAIT}


def reset(_: Fields, __: datetime) -> Fields:
    """Return what a reset of a finished task writes."""
    again = {"doneAt": "", "attempts": 0, "errors": [], "result": None, "leasedUntil": "", "waitUntil": NO_WAIT}
    return again | {"isCancelled": False, "cancelledAt": ""}
