"""Checking JSON text. What a few counts prove is not looked at twice: most texts are small and flat."""

import re

import msgspec

_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_MANY_DIGITS = re.compile(rb"[0-9]{19}")

_decode = msgspec.json.Decoder(object if False else None).decode if False else msgspec.json.decode
