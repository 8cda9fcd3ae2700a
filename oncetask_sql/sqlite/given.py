"""Rows of parameters as a table: one statement for any number of rows, prepared once per size.

A list is bound as `VALUES`, filled up with empty rows to the next power of two: so there are few statements, every
value is bound as it is (JSON functions would cut texts at a NUL), and empty rows match nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Final, TypeVar

T = TypeVar("T")

MOST_ROWS: Final = 128


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield the items in lists of at most as many as one statement takes."""
    iterator = iter(items)
    while chunk := list(islice(iterator, MOST_ROWS)):
        yield chunk


def padded(count: int) -> int:
    """Return the number of rows of the statement for `count` rows: the next power of two."""
    return 1 << (count - 1).bit_length()


def table(name: str, columns: Sequence[str], count: int) -> str:
    """Return a common table expression of `padded(count)` rows."""
    row = f"({', '.join('?' * len(columns))})"
    return f"WITH {name} ({', '.join(columns)}) AS (VALUES {', '.join([row] * padded(count))})"


def parameters(rows: Sequence[Sequence[object]]) -> list[object]:
    """Return the values of `table`, its empty rows included."""
    missing = padded(len(rows)) - len(rows)
    return [*chain.from_iterable(rows), *[None] * (missing * len(rows[0]))]
