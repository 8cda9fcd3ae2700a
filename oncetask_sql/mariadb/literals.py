"""Values as they stand in statements: the text protocol has no parameters.

What is written here is read under a `sql_mode` and a character set that `connecting` sets.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

_ESCAPES: Final = str.maketrans({"\\": "\\\\", "'": "\\'", "\x00": "\\0"})


class Sql(str):
    """A part of a statement, which stands in it as it is."""

    __slots__ = ()


def literal(value: object) -> str:
    """Return a value as SQL; a collection becomes a list for IN, which holds nothing where it is empty.

    Raises:
        ValueError: A text holds lone surrogates.
        TypeError: A value is neither text, integer, None nor a collection of those.
    """
    if value is None:
        return "NULL"
    if isinstance(value, Sql):
        return value
    if isinstance(value, str):
        value.encode()
        return f"'{value.translate(_ESCAPES)}'"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, Collection) and not isinstance(value, bytes | bytearray):
        return ",".join([literal(one) for one in value]) if value else "NULL"
    raise TypeError(f"{type(value).__name__} has no place in a statement")


def filled(sql: str, values: Mapping[str, Any]) -> str:
    """Return a statement with `%(name)s` replaced by the values, of which it may name any."""
    return sql % _Literals(values)


class _Literals(dict[str, str]):
    """Writes only those values that a statement names."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__()
        self._values = values

    def __missing__(self, name: str) -> str:
        return literal(self._values[name])
