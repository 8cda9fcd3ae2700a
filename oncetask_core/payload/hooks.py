"""What msgspec asks for types that it does not know by itself."""

from typing import Any

from oncetask_core.payload.models import dump_model, is_model, load_model
from oncetask_core.payload.rules import not_encodable

_SCALARS = (str, int, float)


def to_plain(value: object) -> object:
    """Return a value that msgspec can encode in place of `value`.

    Raises:
        BrokenRuleError: There is none.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if is_model(type(value)):
        return dump_model(value)
    raise not_encodable(type(value))


def from_plain(type_: Any, value: Any) -> Any:
    """Return the `type_` that the plain `value` stands for.

    Raises:
        ValueError: It stands for none.
        BrokenRuleError: JSON never does.
    """
    if type_ is object:
        return value
    if is_model(type_):
        return load_model(type_, value)
    base = scalar_base_of(type_)
    if base is None:
        raise not_encodable(type_)
    if type(value) is not base:
        raise ValueError(f"Expected `{base.__name__}`, got `{type(value).__name__}`")
    return type_(value)


def scalar_base_of(type_: object) -> type[str | int | float] | None:
    """Return which of str, int and float `type_` is a subclass of."""
    bases = (base for base in _SCALARS if isinstance(type_, type) and issubclass(type_, base))
    return next(bases, None)
