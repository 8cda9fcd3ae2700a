"""JSON text to values."""

from functools import lru_cache
from typing import Any, NoReturn, TypeVar, overload

import msgspec

from oncetask_core.errors import PayloadError, shown
from oncetask_core.limits import MAX_ERROR_BYTES, clean_text, describe_exception
from oncetask_core.payload.hooks import from_plain
from oncetask_core.payload.rules import MAX_BYTES, MAX_NODES, Bounds, BrokenRuleError, surrogate_in_text
from oncetask_core.payload.text import read_text

T = TypeVar("T")

REGISTER = "Register a type that fits what is stored, or delete the task."
ASK = "Ask for a type that fits what is stored, or correct the one that the handler or the payload class declares."


def decode_payload(text: str, type_: type[T], *, limit: int = MAX_BYTES, nodes: int = MAX_NODES) -> T:
    """Return the payload that a JSON text describes.

    Args:
        text: What `encode_payload` wrote, or any JSON that keeps the same rules.
        type_: What to make of it; fields that it does not know are ignored.
        limit: The most bytes that the text may have.
        nodes: The most values that it may have.

    Raises:
        PayloadError: The text breaks a rule or does not fit the type; says what and where. Nothing else is raised.
    """
    value: T = _decode(text, type_, what="payload", bounds=Bounds(limit, nodes))
    return value


@overload
def decode_value(text: str, type_: type[T], *, limit: int = ..., nodes: int = ...) -> T: ...
@overload
def decode_value(text: str, type_: Any = ..., *, limit: int = ..., nodes: int = ...) -> Any: ...
def decode_value(text: str, type_: Any = object, *, limit: int = MAX_BYTES, nodes: int = MAX_NODES) -> Any:
    """Return the value that a JSON text describes; by default in plain form.

    Args:
        text: What `encode_value` wrote, or any JSON that keeps the same rules.
        type_: What to make of it: a class or any other type, such as `list[int] | None`.
        limit: The most bytes that the text may have.
        nodes: The most values that it may have.

    Raises:
        PayloadError: The text breaks a rule or does not fit the type; says what and where. Nothing else is raised.
    """
    return _decode(text, type_, what="value", bounds=Bounds(limit, nodes))


def plain(text: str, *, limit: int = MAX_BYTES, nodes: int = MAX_NODES) -> object:
    """Return the value of a JSON text as dicts, lists, text, numbers, bools and None.

    Raises:
        PayloadError: The text breaks a rule or is no JSON. Nothing else is raised.
    """
    value: object = _decode(text, object, what="value", bounds=Bounds(limit, nodes))
    return value


def _decode(text: str, type_: Any, *, what: str, bounds: Bounds) -> Any:
    try:
        data = _to_bytes(text)
        value = read_text(data, bounds)
        return value if type_ is object else decoder_of(type_).decode(data)
    except BrokenRuleError as broken:
        reason = f"the stored {what} breaks the rule that it {broken.rule}; got {shown(broken.value)}"
        raise PayloadError(f"{reason}. {REGISTER}") from None
    except msgspec.ValidationError as error:
        _misfit(what, type_, clean_text(str(error), MAX_ERROR_BYTES), cause=error.__cause__)
    except Exception as error:  # noqa: BLE001 - constructors and validators of the type's own may raise anything
        _misfit(what, type_, describe_exception(error), cause=error)


def _misfit(what: str, type_: Any, reason: str, *, cause: BaseException | None) -> NoReturn:
    remedy = REGISTER if what == "payload" else ASK
    raise PayloadError(f"the stored {what} does not fit {_name(type_)}: {reason}. {remedy}") from cause


def _to_bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise surrogate_in_text(text, error.start) from None


def _name(type_: Any) -> str:
    return type_.__qualname__ if isinstance(type_, type) else str(type_)


def decoder_of(type_: Any) -> msgspec.json.Decoder[Any]:
    """Return the decoder of a type.

    Raises:
        TypeError: msgspec cannot decode the type.
        NameError: An annotation in it names what does not exist.
    """
    try:
        return _cached_decoder(type_)
    except TypeError:  # the type cannot be hashed, as Annotated[int, {}], or cannot be decoded
        return msgspec.json.Decoder(type_, dec_hook=from_plain)


@lru_cache(maxsize=1024)
def _cached_decoder(type_: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type_, dec_hook=from_plain)
