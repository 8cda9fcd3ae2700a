"""The wire record: the seventeen fields that the Go library writes, value by value as they stand in a document."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec


class MalformedError(ValueError):
    """A document that is no task: a field has the wrong type, or holds a text that is no time."""


class WireError(msgspec.Struct, frozen=True):
    """One entry of `errors`: a reported failure."""

    at: str
    error: str


class WireRule(msgspec.Struct, frozen=True):
    """The rule of a generator."""

    rrule: str
    dtstart: str
    exdates: tuple[str, ...] | None = None
    """Null and empty are two things on the wire."""


class WireTask(msgspec.Struct, frozen=True, kw_only=True):
    """What a document holds for everybody; texts are kept as they are."""

    id: str
    type: str
    data: object = None
    resource_key: str = ""
    env: str = ""
    wait_until: str = ""
    leased_until: str = ""
    created_at: str = ""
    done_at: str = ""
    attempts: int = 0
    errors: tuple[WireError, ...] | None = None
    """Null on create, an array from then on."""
    result: object = None
    recurrence: WireRule | None = None
    parent_recurrence_id: str = ""
    occurrence_timestamp: str = ""
    is_cancelled: bool = False
    cancelled_at: str = ""


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


FIELDS: Mapping[str, str] = {name: _camel(name) for name in WireTask.__struct_fields__}
"""The name on the wire of every field of `WireTask`."""


def decode(fields: Mapping[str, Any]) -> WireTask:
    """Return the wire record of a document; what is missing or null reads as empty, as in Go.

    Raises:
        MalformedError: A field has a type that Go would not read either, or there is no id or type.
    """
    values: dict[str, Any] = {}
    for name, on_wire in FIELDS.items():
        value = fields.get(on_wire)
        if value is not None:
            values[name] = _READERS.get(name, _text)(on_wire, value)
    if not values.get("id") or not values.get("type"):
        raise MalformedError("the field 'id' or 'type' is missing")
    return WireTask(**values)


def encode(wire: WireTask) -> dict[str, object]:
    """Return the fields of the document."""
    return {on_wire: encode_field(name, getattr(wire, name)) for name, on_wire in FIELDS.items()}


def encode_field(name: str, value: Any) -> object:
    """Return what a document holds for one field of the record."""
    if name == "errors" and value is not None:
        return [{"at": entry.at, "error": entry.error} for entry in value]
    if name == "recurrence" and value is not None:
        exdates = None if value.exdates is None else list(value.exdates)
        return {"rrule": value.rrule, "dtstart": value.dtstart, "exdates": exdates}
    return value


def _wrong(on_wire: str, value: object, expected: str) -> MalformedError:
    return MalformedError(f"the field {on_wire!r} is {expected}, not {type(value).__name__}")


def _text(on_wire: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(on_wire, value, "a string")
    return value


def _number(on_wire: str, value: object) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if type(value) is not int:
        raise _wrong(on_wire, value, "an integer")
    return value


def _flag(on_wire: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong(on_wire, value, "a boolean")
    return value


def _payload(on_wire: str, value: object) -> object:
    if not isinstance(value, dict):
        raise _wrong(on_wire, value, "a map")
    return value


def _anything(_: str, value: object) -> object:
    return value


def _entries(on_wire: str, value: object) -> tuple[WireError, ...]:
    if not isinstance(value, list):
        raise _wrong(on_wire, value, "an array")
    entries = (_map(f"{on_wire}[]", item) for item in value)
    return tuple(WireError(at=_part(entry, "at"), error=_part(entry, "error")) for entry in entries)


def _rule(on_wire: str, value: object) -> WireRule:
    fields = _map(on_wire, value)
    exdates = fields.get("exdates")
    if exdates is not None and not isinstance(exdates, list):
        raise _wrong("exdates", exdates, "an array")
    texts = None if exdates is None else tuple(_text("exdates[]", text) for text in exdates)
    return WireRule(rrule=_part(fields, "rrule"), dtstart=_part(fields, "dtstart"), exdates=texts)


def _map(on_wire: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _wrong(on_wire, value, "a map")
    return value


def _part(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    return "" if value is None else _text(name, value)


_READERS: Mapping[str, Callable[[str, Any], object]] = {
    "data": _payload,
    "attempts": _number,
    "errors": _entries,
    "result": _anything,
    "recurrence": _rule,
    "is_cancelled": _flag,
}
"""What reads a field; the others are texts."""
