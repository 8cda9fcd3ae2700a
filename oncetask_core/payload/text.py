"""Checking JSON text. What a few counts prove is not looked at twice, for most texts are small and flat."""

import json
import re
from itertools import accumulate

import msgspec

from oncetask_core.payload.rules import (
    MAX_DEPTH,
    Bounds,
    key_twice,
    not_json,
    nul_in_text,
    number_out_of_range,
    too_deep,
    too_large,
)
from oncetask_core.payload.walking import walk

_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
"""A shorter row of digits is no int beyond 64 bits."""


def read_text(data: bytes, bounds: Bounds) -> object:
    """Return the plain value of a JSON text that keeps every rule.

    Raises:
        BrokenRuleError: It breaks one, or is no JSON at all.
    """
    if len(data) > bounds.limit:
        raise too_large(len(data), bounds.limit)
    opened = data.count(b"[") + data.count(b"{")
    if opened > MAX_DEPTH and _depth_of(data) > MAX_DEPTH:
        raise too_deep()
    if rb"\u0000" in data:
        _refuse_nul(data)
    value = _parse(data)
    most_nodes = opened + data.count(b",") + 1
    if most_nodes > bounds.nodes or _LONG_NUMBER.search(data):
        walk(value, nodes=bounds.nodes)
    if msgspec.json.encode(value) != data:  # else no key was lost, so none stood there twice
        json.loads(data, object_pairs_hook=_check_keys, parse_int=str, parse_float=str)
    return value


def _refuse_nul(data: bytes) -> None:
    nul = _NUL.search(data)
    if nul:
        raise nul_in_text(data[: nul.end()])


def _depth_of(data: bytes) -> int:
    brackets = _STRINGS.sub(b"", data).translate(None, _ALL_BUT_BRACKETS)
    return max(accumulate(1 if bracket in b"[{" else -1 for bracket in brackets), default=0)


def _parse(data: bytes) -> object:
    try:
        return msgspec.json.decode(data)
    except msgspec.ValidationError as error:  # of an untyped text: a number beyond any type
        raise number_out_of_range(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise not_json(str(error)) from None


def _check_keys(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise key_twice(key)
        seen.add(key)
