"""Lists of values as array literals: the driver's own adaptation of lists costs several times as much."""

from collections.abc import Iterable, Sequence


def numbers(values: Iterable[object]) -> str:
    """Return an array of integers, of which some may be NULL."""
    return "{" + ",".join(["NULL" if value is None else str(int(value)) for value in values]) + "}"  # type: ignore[call-overload]  # integers and booleans


def texts(values: Iterable[str | None]) -> str:
    """Return an array of texts, of which some may be NULL.

    Raises:
        ValueError: A text holds NUL, which PostgreSQL cannot store, or lone surrogates.
    """
    literal = "{" + ",".join(["NULL" if value is None else _quoted(value) for value in values]) + "}"
    if "\x00" in literal:
        raise ValueError("PostgreSQL stores no text with a NUL character")
    literal.encode()
    return literal


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def columns(rows: Sequence[Sequence[object]]) -> list[tuple[object, ...]]:
    """Return the values of rows by column."""
    return list(zip(*rows, strict=True))
