"""Looking at a value before it is encoded: iteratively, and with a bounded number of steps whatever it contains."""

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from math import isfinite
from types import NoneType
from typing import Any
from uuid import UUID

import msgspec

from oncetask_core.payload.rules import (
    HIGHEST_INT,
    LOWEST_INT,
    MAX_DEPTH,
    BrokenRuleError,
    key_is_not_text,
    number_out_of_range,
    too_deep,
    too_many_nodes,
)

_ATOMS = frozenset({bool, NoneType, str, bytes, bytearray, datetime, date, time, timedelta, UUID, Decimal})
_TEXT_KEYS = (str, bytes, datetime, date, time, timedelta, UUID, Decimal)
_ARRAYS = (list, tuple, set, frozenset)
_NOTHING: tuple[object, ...] = ()


def walk(value: object, *, nodes: int) -> None:
    """Check the parts of `value`, level by level.

    Finds what the encoder would write as something else (NaN, keys that are no text), what would keep it busy
    for ever (a list that contains itself, or a small one that stands for 2**60 values) and what stores refuse.

    Raises:
        BrokenRuleError: A part of it breaks a rule.
    """
    level: list[object] = [value]
    seen = 0
    for _ in range(MAX_DEPTH + 1):
        seen += len(level)
        if seen > nodes:
            raise too_many_nodes(nodes)
        level = _next_level(level, most=nodes)
        if not level:
            return
    raise too_deep()


def _next_level(level: list[object], *, most: int) -> list[object]:
    parts: list[object] = []
    for item in level:
        if type(item) not in _ATOMS:
            parts.extend(_parts_of(item))
            if len(parts) > most:
                break
    return parts


def _parts_of(item: object) -> Iterable[object]:
    if isinstance(item, int):
        return _checked_number(item, fits=LOWEST_INT <= item <= HIGHEST_INT)
    if isinstance(item, float):
        return _checked_number(item, fits=isfinite(item))
    if isinstance(item, dict):
        return _checked_dict(item)
    if isinstance(item, _ARRAYS):
        return item
    return _parts_of_object(item)


def _checked_number(number: float, *, fits: bool) -> tuple[object, ...]:
    if not fits:
        raise number_out_of_range(number)
    return _NOTHING


def _checked_dict(items: dict[object, object]) -> Iterable[object]:
    for key in items:
        if type(key) is not str and not _is_text_key(key):
            raise key_is_not_text(key)
    return items.values()


def _is_text_key(key: object) -> bool:
    return isinstance(key.value if isinstance(key, Enum) else key, _TEXT_KEYS)


def _parts_of_object(item: object) -> Iterable[object]:
    if isinstance(item, Enum):
        return (item.value,)
    type_: Any = type(item)
    names = fields_of(type_)
    if names is None:
        return _NOTHING
    return [getattr(item, name, None) for name in names]


@lru_cache(maxsize=1024)
def fields_of(type_: type[object]) -> tuple[str, ...] | None:
    """Return the names of the fields that are encoded of a record class; None for other classes.

    Raises:
        BrokenRuleError: A field of it would be left out without a word.
    """
    if issubclass(type_, msgspec.Struct):
        return type_.__struct_fields__
    if is_dataclass(type_):
        return tuple(field.name for field in fields(type_))
    attributes = getattr(type_, "__attrs_attrs__", None)
    if attributes is None:
        return None
    names = tuple(str(attribute.name) for attribute in attributes)
    for name in names:
        if name.startswith("_"):
            raise BrokenRuleError(
                value=f"{type_.__qualname__}.{name}",
                rule="has attrs classes with public attributes only, for private ones are not encoded",
                remedy="Rename the attribute, or use a dataclass.",
            )
    return names
