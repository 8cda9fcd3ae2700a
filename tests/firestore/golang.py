"""The Go library's side, from its specification alone: what it writes into a document, and which status it derives."""

import re
from datetime import datetime, timedelta
from typing import Any

Fields = dict[str, Any]

NO_WAIT = "0001-01-01T00:00:00Z"
TEXT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
TYPES: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "type": (str,),
    "data": (dict, type(None)),
    "resourceKey": (str,),
    "env": (str,),
    "waitUntil": (str,),
    "leasedUntil": (str,),
    "createdAt": (str,),
    "doneAt": (str,),
    "attempts": (int,),
    "errors": (list, type(None)),
    "result": (object,),
    "recurrence": (dict, type(None)),
    "parentRecurrenceId": (str,),
    "occurrenceTimestamp": (str,),
    "isCancelled": (bool,),
    "cancelledAt": (str,),
}
TIMES = ("waitUntil", "leasedUntil", "createdAt", "doneAt", "cancelledAt", "occurrenceTimestamp")


def text(time: datetime) -> str:
    """Return a time as Go writes it: the fraction is cut off."""
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def status(fields: Fields, now: datetime) -> str:
    """Return what Go says about a document; the first rule that holds decides."""
    done = fields["doneAt"] not in ("", NO_WAIT)
    if done and fields["isCancelled"]:
        return "cancelled"
    if done:
        return "completed" if fields["attempts"] > len(fields["errors"] or []) else "failed"
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


def faults(fields: Fields) -> list[str]:
    """Return what is wrong with a document that workers of both sides share; nothing where all is well."""
    found = [f"{name} is missing" for name in TYPES if name not in fields]
    found += [
        f"{name} is a {type(fields[name]).__name__}"
        for name, types in TYPES.items()
        if name in fields and not (isinstance(fields[name], types) and (types != (int,) or type(fields[name]) is int))
    ]
    if found:
        return found
    found += [f"{name} is {fields[name]!r}" for name in TIMES if fields[name] and not TEXT.fullmatch(fields[name])]
    found += [f"{name} is empty" for name in ("id", "type", "env", "createdAt", "waitUntil") if not fields[name]]
    for entry in fields["errors"] or []:
        if set(entry) != {"at", "error"} or not TEXT.fullmatch(entry["at"]):
            found.append(f"an entry of errors is {entry!r}")
    if fields["recurrence"] is not None and set(fields["recurrence"]) != {"rrule", "dtstart", "exdates"}:
        found.append(f"recurrence is {fields['recurrence']!r}")
    if fields["doneAt"] and fields["leasedUntil"]:
        found.append("it is done and leased")
    if fields["leasedUntil"] and not fields["attempts"]:
        found.append("it is leased without an attempt")
    return found
