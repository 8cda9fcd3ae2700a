"""Values as they stand in statements: the text protocol has no parameters.

What is written here is read under a `sql_mode` and a character set that `connecting` sets. On the caller's sessions
nobody knows these, so there values stay out of statements, and drivers put them in.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

Writing = Callable[[object], str]
"""Returns what stands for a value in a statement."""

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


class Bound:
    """Puts the names of values into a statement, in the style of PyMySQL: `%(p0)s`.

    Attributes:
        values: The values by name.
    """

    def __init__(self) -> None:
        self.values: dict[str, object] = {}

    def __call__(self, value: object) -> str:
        """Return what stands for a value; a collection becomes a list for IN, which holds nothing where it is empty."""
        if isinstance(value, Sql):
            return value
        if isinstance(value, Collection) and not isinstance(value, str):
            return ",".join([self(one) for one in value]) if value else "NULL"
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"%({name})s"


def filled(sql: str, values: Mapping[str, Any], *, written: Writing = literal) -> str:
    """Return a statement with `%(name)s` replaced by what stands for the values, of which it may name any."""
    return sql % _Written(values, written)


class _Written(dict[str, str]):
    """Writes only those values that a statement names."""

    def __init__(self, values: Mapping[str, Any], written: Writing) -> None:
        super().__init__()
        self._values = values
        self._written = written

    def __missing__(self, name: str) -> str:
        return self._written(self._values[name])
