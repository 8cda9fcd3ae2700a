"""The rules that JSON has to keep so that every store holds it and every reader gets back what was written."""

from typing import NamedTuple

from oncetask_core.errors import OncetaskError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 64
"""How many arrays and objects may contain each other; a lone `{}` has depth 1."""
MAX_NODES = 10_000
"""How many values there may be, counting each scalar, array and object, but no keys."""
LOWEST_INT = -(2**63)
HIGHEST_INT = 2**63 - 1
_CONTEXT = 24
"""How much of a text an error shows before the character that it is about."""


class Bounds(NamedTuple):
    """How much JSON is accepted."""

    limit: int = MAX_BYTES
    """In bytes of UTF-8."""
    nodes: int = MAX_NODES


class BrokenRuleError(OncetaskError):
    """A rule is broken; the codec says of what and raises the error that its caller promises.

    Attributes:
        value: The part that breaks it, which is small even where the whole is huge.
        rule: What is true of everything that keeps the rule: "has ...".
        remedy: What somebody who writes such a value can do instead.
    """

    def __init__(self, *, value: object, rule: str, remedy: str) -> None:
        super().__init__(rule)
        self.value = value
        self.rule = rule
        self.remedy = remedy


def too_large(size: int, limit: int) -> BrokenRuleError:
    """Return the error of a text of `size` bytes."""
    return BrokenRuleError(
        value=f"{size} bytes",
        rule=f"has at most {limit} bytes of JSON",
        remedy="Keep large data elsewhere and pass a reference to it.",
    )


def too_deep() -> BrokenRuleError:
    """Return the error of a value that is nested too deeply, or contains itself."""
    return BrokenRuleError(
        value=f"more than {MAX_DEPTH} levels",
        rule=f"is nested at most {MAX_DEPTH} levels deep and does not contain itself",
        remedy="Flatten it, for example to a list of items that name their parents.",
    )


def too_many_nodes(nodes: int) -> BrokenRuleError:
    """Return the error of a value with too many parts."""
    return BrokenRuleError(
        value=f"more than {nodes} values",
        rule=f"has at most {nodes} values, each item of a list or dict counted",
        remedy="Keep large data elsewhere and pass a reference to it.",
    )


def number_out_of_range(value: object) -> BrokenRuleError:
    """Return the error of a number that not every store can hold."""
    return BrokenRuleError(
        value=value,
        rule="has only ints from -2**63 to 2**63 - 1 and finite floats",
        remedy="Write other numbers as text, or None where there is no number.",
    )


def nul_in_text(before: bytes) -> BrokenRuleError:
    """Return the error of a JSON text with a NUL, which stands at the end of `before`."""
    return BrokenRuleError(
        value=before[-_CONTEXT:].decode(errors="replace"),
        rule="has no NUL character in any text or key",
        remedy="Remove it, or pass bytes, which are written as base64.",
    )


def surrogate_in_text(text: str, index: int) -> BrokenRuleError:
    """Return the error of a text that is no valid Unicode."""
    return BrokenRuleError(
        value=text[max(index - _CONTEXT, 0) : index + 1],
        rule="has no lone surrogates in any text or key",
        remedy="Decode the text without surrogateescape, or pass bytes, which are written as base64.",
    )


def key_is_not_text(key: object) -> BrokenRuleError:
    """Return the error of a dict whose key would come back as something else."""
    return BrokenRuleError(
        value=key,
        rule="has dicts with text as keys only, because JSON has no other keys",
        remedy="Use str keys, or a list of pairs.",
    )


def key_twice(key: str) -> BrokenRuleError:
    """Return the error of an object in which a key stands twice."""
    return BrokenRuleError(
        value=key,
        rule="has each key once in an object",
        remedy="Rename one of the keys that are written alike.",
    )


def not_json(reason: str) -> BrokenRuleError:
    """Return the error of a text that is no JSON."""
    return BrokenRuleError(value=reason, rule="is well-formed JSON", remedy="Correct the text.")


def not_encodable(type_: object) -> BrokenRuleError:
    """Return the error of a value of a type that cannot be written and read back."""
    name = getattr(type_, "__qualname__", repr(type_))
    return BrokenRuleError(
        value=name,
        rule=f"is made of types that have a JSON form, which {name} has not",
        remedy="Use dataclasses, attrs classes, msgspec Structs, pydantic models, dicts with str keys, lists, str, "
        "int, float, bool, None, datetime, UUID, Decimal, bytes or Enum; or convert it to one of them.",
    )
