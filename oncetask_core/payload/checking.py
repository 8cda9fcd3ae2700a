"""Whether a type can be written as JSON and read back, found out when a handler is registered."""

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import msgspec
from msgspec import inspect

from oncetask_core.errors import ConfigurationError
from oncetask_core.limits import describe_exception
from oncetask_core.payload.decoding import decoder_of
from oncetask_core.payload.hooks import scalar_base_of
from oncetask_core.payload.models import is_model
from oncetask_core.payload.rules import BrokenRuleError, not_encodable
from oncetask_core.payload.walking import fields_of

_TEXT = (
    inspect.AnyType,
    inspect.StrType,
    inspect.BytesType,
    inspect.DateTimeType,
    inspect.DateType,
    inspect.TimeType,
    inspect.TimeDeltaType,
    inspect.UUIDType,
    inspect.DecimalType,
)


def check_type(type_: Any) -> None:
    """Check that values of `type_` can be encoded and decoded.

    Raises:
        ConfigurationError: Some cannot; names the part of the type and the way out.
    """
    try:
        decoder_of(type_)
        for part in _parts_of(inspect.type_info(type_)):
            _check_part(part)
    except NameError as error:
        _refuse(
            type_,
            f"whose annotations resolve at run time ({error})",
            "Import the name outside of TYPE_CHECKING.",
        )
    except BrokenRuleError as broken:
        _refuse(type_, f"that {broken.rule} (here: {broken.value})", broken.remedy)
    except Exception as error:  # noqa: BLE001 - annotations and class attributes are evaluated: they may raise anything
        _refuse(type_, f"that has a JSON form ({describe_exception(error)})", "Use types that JSON can hold.")


def _refuse(type_: Any, rule: str, remedy: str) -> NoReturn:
    raise ConfigurationError(value=type_, rule=f"payloads and results are of a type {rule}", remedy=remedy) from None


def _parts_of(type_: inspect.Type) -> Iterator[inspect.Type]:
    """Yield every type that occurs in `type_`, itself included, once, however recursive it is."""
    seen: set[int] = set()
    waiting: list[object] = [type_]
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, inspect.Type):
            yield part
        waiting.extend(_inner(part))


def _inner(part: object) -> Sequence[object]:
    if isinstance(part, tuple):
        return part
    if isinstance(part, inspect.Type | inspect.Field):
        return [getattr(part, name) for name in part.__struct_fields__]
    return ()


def _check_part(part: inspect.Type) -> None:
    if isinstance(part, inspect.CustomType):
        _check_custom(part.cls)
    elif isinstance(part, inspect.ExtType):
        raise not_encodable(msgspec.msgpack.Ext)
    elif isinstance(part, inspect.DataclassType):
        fields_of(part.cls)
    elif isinstance(part, inspect.DictType) and not _is_text(part.key_type):
        raise BrokenRuleError(
            value=f"keys of {type(part.key_type).__name__.removesuffix('Type').lower()}",
            rule="has dicts with text as keys only, because JSON has no other keys",
            remedy="Use dict[str, ...], or a list of pairs.",
        )


def _check_custom(cls: Any) -> None:
    if cls is object or scalar_base_of(cls) is not None:
        return
    if not is_model(cls):
        raise not_encodable(cls)
    if not getattr(cls, "__pydantic_complete__", True):
        cls.model_rebuild()


def _is_text(key: inspect.Type) -> bool:
    if isinstance(key, inspect.UnionType):
        return all(_is_text(part) for part in key.types)
    if isinstance(key, inspect.LiteralType):
        return all(isinstance(value, str) for value in key.values)
    if isinstance(key, inspect.EnumType):
        return all(isinstance(member.value, str) for member in key.cls)
    if isinstance(key, inspect.CustomType):
        return scalar_base_of(key.cls) is str
    return isinstance(key, _TEXT)
