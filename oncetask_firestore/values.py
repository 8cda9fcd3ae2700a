"""Payloads and results: JSON text on our side, Firestore values on the wire.

Go reads and writes native values, so natively they stand there. Firestore forgets what JSON text says beyond its
value (the order of keys, spaces, the form of numbers), so the text is kept beside the value where the value alone
would be read back as another text.
"""

import base64
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from oncetask_firestore.texts import rounded_down

LOWEST_INT = -(2**63)
HIGHEST_INT = 2**63 - 1
MAX_DEPTH = 18
"""Firestore nests 20 deep, the document and the field included."""
MAX_KEY_BYTES = 1500
LONG = 100_000
"""Characters of a result that are not kept twice: a payload, which Go has to read, takes half of the document."""
UNSTORABLE = "json"
"""The one key of a map that stands for what Firestore cannot hold: the JSON text."""
_RESERVED = re.compile("__.*__", re.DOTALL)
_EXACT_INTEGERS = 2.0**63


class UnstorableError(ValueError):
    """A JSON value that Firestore has no form for."""


def payload_value(text: str) -> object:
    """Return what `data` holds for a payload: a map, as Go demands; or null for JSON null."""
    value = _storable(text)
    return value if isinstance(value, dict) or (value is None and text == "null") else {UNSTORABLE: text}


def result_value(text: str | None) -> object:
    """Return what `result` holds: null for a long text that would stand beside its value."""
    if text is None:
        return None
    try:
        value = _checked(json.loads(text), MAX_DEPTH)
    except (ValueError, RecursionError):
        value = {UNSTORABLE: text}
    return None if len(text) > LONG and kept_text(text, value) is not None else value


def _storable(text: str) -> object:
    try:
        return _checked(json.loads(text), MAX_DEPTH)
    except (ValueError, RecursionError):
        return None


def kept_text(text: str, value: object) -> str | None:
    """Return the text to keep beside its value: None where the value is read back as this very text."""
    return None if to_text(value) == text else text


def to_text(value: object) -> str:
    """Return the JSON text of a Firestore value: keys in order, integral doubles as ints, bytes as base64."""
    return msgspec.json.encode(_plain(value), order="deterministic").decode()


def _checked(value: object, depth: int) -> object:
    match value:
        case dict():
            return {_checked_key(key): _checked(item, _deeper(depth)) for key, item in value.items()}
        case list():
            if any(isinstance(item, list) for item in value):
                raise UnstorableError("an array in an array")
            return [_checked(item, _deeper(depth)) for item in value]
        case bool() | None:
            return value
        case int() if not LOWEST_INT <= value <= HIGHEST_INT:
            raise UnstorableError("an int beyond 64 bits")
        case float() if not math.isfinite(value):
            raise UnstorableError("a number beyond all doubles")
        case str():
            value.encode()  # lone surrogates
    return value


def _checked_key(key: str) -> str:
    if not key or len(key.encode()) > MAX_KEY_BYTES or _RESERVED.fullmatch(key):
        raise UnstorableError(f"the key {key[:20]!r}")
    return key


def _deeper(depth: int) -> int:
    if depth == 0:
        raise UnstorableError("too deep")
    return depth - 1


def _plain(value: Any) -> object:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return _plain_number(value)
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return _plain_time(value)
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    return _plain_object(value)


def _plain_number(value: float) -> float | int | str:
    if not math.isfinite(value):
        return str(value)
    if value.is_integer() and abs(value) < _EXACT_INTEGERS:
        return int(value)
    return value


def _plain_time(value: datetime) -> str:
    utc = value.astimezone(UTC)
    fraction = f".{utc.microsecond:06}".rstrip("0") if utc.microsecond else ""
    return rounded_down(utc).removesuffix("Z") + fraction + "Z"


def _plain_object(value: Any) -> object:
    """Return geographic points as their coordinates, references as their paths, anything else as text."""
    if hasattr(value, "latitude") and hasattr(value, "longitude"):
        return {"latitude": _plain(value.latitude), "longitude": _plain(value.longitude)}
    return str(value.path) if hasattr(value, "path") else str(value)
