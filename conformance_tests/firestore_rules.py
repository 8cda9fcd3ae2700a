"""The strict rules of a collection that workers of the Go library share: what is wrong with a document.

Written from the document format alone, without the store's own code. Some rules hold for every document; the others for
those that nobody but us has written since our latest write, which the stamps in our map tell.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

Fields = Mapping[str, Any]

NO_WAIT = "0001-01-01T00:00:00Z"
HIDDEN = "9999-12-31T23:59:59Z"
SCOPED = "!oncetask:"
TYPES: Mapping[str, tuple[type, ...]] = {
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
"""The seventeen fields of the Go library."""
OURS: Mapping[str, tuple[type, ...]] = {
    "oncetask": (dict,),
    "oncetaskPayload": (str,),
    "oncetaskResult": (str, type(None)),
    "oncetaskProgress": (str, type(None)),
}
"""What may stand beside them."""
NEVER_EMPTY = ("id", "type", "env", "createdAt", "waitUntil")
TIMES = ("createdAt", "doneAt", "cancelledAt", "leasedUntil", "waitUntil", "occurrenceTimestamp")
SLOTS = ("waitUntil", "occurrenceTimestamp")
"""To which a Go worker that ticks a generator gives the offset of its rule's beginning."""
EXACT = {
    "createdAt": "createdAt",
    "doneAt": "doneAt",
    "cancelledAt": "cancelledAt",
    "leasedUntil": "leasedUntil",
    "occurrenceTimestamp": "occurrence",
}
"""By the field with the text of a time: that of our map with the exact one."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_SLOT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def faults(fields: Fields, name: str | None = None) -> list[str]:
    """Return what is wrong with a document, given its name or not; nothing where all is well."""
    ours = fields.get("oncetask")
    if isinstance(ours, dict) and "aside" in ours:
        return [*_set_aside(fields)]
    found = [*_types(fields)] or [*_values(fields), *_states(fields)]
    if name is not None:
        found += _names(fields, name)
    if not found and isinstance(ours, dict):
        found += _extras(fields, ours)
    return found


def collection_faults(documents: Mapping[str, Fields]) -> list[str]:
    """Return what is wrong with the documents of a collection, given by their names."""
    return [f"{name}: {fault}" for name, fields in documents.items() for fault in faults(fields, name)]


def _set_aside(fields: Fields) -> Iterator[str]:
    if fields.get("waitUntil") != HIDDEN:
        yield f"it is set aside, but waitUntil is {fields.get('waitUntil')!r}"


def _types(fields: Fields) -> Iterator[str]:
    yield from (f"{name} is missing" for name in TYPES if name not in fields)
    yield from (f"{name} is no field of either side" for name in fields if name not in TYPES and name not in OURS)
    for name, types in (*TYPES.items(), *OURS.items()):
        if name in fields and not _is_a(fields[name], types):
            yield f"{name} is of type {type(fields[name]).__name__}"


def _is_a(value: object, types: tuple[type, ...]) -> bool:
    return type(value) is int if types == (int,) else isinstance(value, types)


def _names(fields: Fields, name: str) -> Iterator[str]:
    if name != fields.get("id") and not name.startswith(SCOPED):
        yield f"the document of {fields.get('id')!r} has the name {name!r}"


def _values(fields: Fields) -> Iterator[str]:
    yield from (f"{name} is empty" for name in NEVER_EMPTY if not fields[name])
    yield from (f"{name} is {fields[name]!r}" for name in TIMES if fields[name] and not _is_time(fields, name))
    if fields["attempts"] < 0:
        yield f"attempts is {fields['attempts']}"
    for entry in fields["errors"] or ():
        if not _is_map(entry, at=str, error=str) or not _is_instant(_TIME, entry["at"]):
            yield f"an entry of errors is {entry!r}"
    yield from _rule(fields["recurrence"])


def _is_time(fields: Fields, name: str) -> bool:
    return _is_instant(_SLOT if name in SLOTS and not is_untouched(fields) else _TIME, fields[name])


def _is_instant(pattern: "re.Pattern[str]", text: str) -> bool:
    if not pattern.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_map(value: object, **types: type) -> bool:
    return isinstance(value, dict) and set(value) == set(types) and all(type(value[k]) is types[k] for k in types)


def _rule(rule: Any) -> Iterator[str]:
    if rule is None:
        return
    dates = rule.get("exdates", "")
    times = [rule.get("dtstart"), *(dates if isinstance(dates, list) else ())]
    known = set(rule) == {"rrule", "dtstart", "exdates"} and (dates is None or isinstance(dates, list))
    if not known or not all(isinstance(text, str) for text in (rule["rrule"], *times)):
        yield f"recurrence is {rule!r}"
    elif not all(_is_instant(_SLOT, time) for time in times):
        yield f"a time of the recurrence is none: {rule!r}"


def _states(fields: Fields) -> Iterator[str]:
    """Yield what no state of either side has."""
    if fields["doneAt"] and fields["leasedUntil"]:
        yield "it is done and leased"
    if fields["leasedUntil"] and not fields["attempts"]:
        yield "it is leased without an attempt"
    if fields["isCancelled"] is not bool(fields["cancelledAt"]):
        yield f"isCancelled is {fields['isCancelled']}, but cancelledAt is {fields['cancelledAt']!r}"
    if fields["occurrenceTimestamp"] and not fields["parentRecurrenceId"]:
        yield "it has a slot and no parent"
    if fields["parentRecurrenceId"] and fields["recurrence"] is not None:
        yield "it is an occurrence and a generator"


def is_untouched(fields: Fields) -> bool:
    """Return whether nobody has written a document since our latest write."""
    ours = fields.get("oncetask")
    if not isinstance(ours, dict):
        return False
    stamp = [fields[name] for name in ("doneAt", "leasedUntil", "attempts")]
    seen = [fields[name] for name in ("waitUntil", "isCancelled", "cancelledAt")] + [len(fields["errors"] or ())]
    return bool(ours.get("stamp") == stamp and ours.get("seen") == seen)


def _extras(fields: Fields, ours: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with our map, and with what we wrote beside it."""
    texts, numbers = ("run", "createdBy", "write"), ("createdAt", "waitUntil", "sequence")
    yield from (f"oncetask.{name} is {ours.get(name)!r}" for name in texts if not isinstance(ours.get(name), str))
    wrong = [name for name in numbers if type(ours.get(name)) is not int]
    yield from (f"oncetask.{name} is {ours.get(name)!r}" for name in wrong)
    if wrong or not is_untouched(fields):
        return
    if fields["waitUntil"] == NO_WAIT:
        yield "we left NoWait in waitUntil"
    else:
        up = not fields["leasedUntil"] or not fields["resourceKey"]
        if fields["waitUntil"] != _text(_EPOCH + timedelta(microseconds=ours["waitUntil"]), up=up):
            yield f"waitUntil {fields['waitUntil']} is not {ours['waitUntil']} rounded {'up' if up else 'down'}"
    yield from _rounded_down(fields, ours)
    yield from _lease(fields, ours)
    yield from _outcome(fields, ours.get("outcome"))


def _rounded_down(fields: Fields, ours: Mapping[str, Any]) -> Iterator[str]:
    for name, exact in EXACT.items():
        micros = ours.get(exact)
        text = "" if micros is None else _text(_EPOCH + timedelta(microseconds=micros))
        is_known = micros is not None or name not in {"createdAt", "cancelledAt", "occurrenceTimestamp"}
        if is_known and fields[name] != text:
            yield f"{name} {fields[name]!r} is not {micros} rounded down"


def _lease(fields: Fields, ours: Mapping[str, Any]) -> Iterator[str]:
    if ("lease" in ours) is not bool(fields["leasedUntil"]):
        yield f"leasedUntil is {fields['leasedUntil']!r}, and our lease is {ours.get('lease')!r}"
    if fields["recurrence"] is not None and fields["leasedUntil"]:
        yield "we leased a generator"
    if ours.get("suspect", False) is not bool(ours.get("crashes", 0)):
        yield f"suspect is {ours.get('suspect')}, and crashes are {ours.get('crashes')}"


def _outcome(fields: Fields, outcome: str | None) -> Iterator[str]:
    """Yield where Go would derive another end than ours; `errors` holds a bounded number."""
    if outcome != derived_outcome(fields):
        yield f"our outcome is {outcome}, and Go derives {derived_outcome(fields)}"
    count = len(fields["errors"] or ())
    if outcome == "failed" and fields["attempts"] != count:
        yield f"it failed, with {fields['attempts']} attempts and {count} errors"


def derived_outcome(fields: Fields) -> str | None:
    """Return how a task ended as the Go library derives it; None while it has not."""
    if fields["doneAt"] in {"", NO_WAIT}:
        return None
    if fields["isCancelled"]:
        return "cancelled"
    return "completed" if fields["attempts"] > len(fields["errors"] or ()) else "failed"


def _text(time: datetime, *, up: bool = False) -> str:
    whole = time.replace(microsecond=0)
    if up and whole != time and whole < datetime.max.replace(microsecond=0, tzinfo=UTC):
        whole += _SECOND
    if up:
        whole = max(whole, datetime.min.replace(tzinfo=UTC) + _SECOND)
    return f"{whole.year:04}-{whole:%m-%dT%H:%M:%S}Z"
