"""Values to JSON text."""

import msgspec

from oncetask_core.errors import InvalidTaskError
from oncetask_core.limits import describe_exception
from oncetask_core.payload.hooks import to_plain
from oncetask_core.payload.rules import MAX_BYTES, MAX_NODES, Bounds, BrokenRuleError, surrogate_in_text
from oncetask_core.payload.text import read_text
from oncetask_core.payload.walking import walk


def encode_payload(value: object, *, limit: int = MAX_BYTES, nodes: int = MAX_NODES) -> str:
    """Return a payload as JSON text; `decode_payload` with its type makes an equal value of it.

    Args:
        value: A dataclass, attrs class, msgspec Struct, pydantic model, TypedDict or dict.
        limit: The most bytes that the text may have.
        nodes: The most values that it may have.

    Raises:
        InvalidTaskError: It cannot be kept; names the part, the rule and the way out. An exception that the
            value's own code raised is the cause.
    """
    text, plain = _encode(value, "payload", Bounds(limit, nodes))
    if not isinstance(plain, dict):
        raise InvalidTaskError(
            value=type(value).__name__,
            rule="the payload is a JSON object",
            remedy="Wrap it in a dataclass with a field for it, or in a dict.",
        )
    return text


def encode_value(value: object, what: str = "result", *, limit: int = MAX_BYTES, nodes: int = MAX_NODES) -> str:
    """Return any value as JSON text: a result, what a handler reports as progress, a control record.

    Args:
        value: Whatever has a JSON form: what `encode_payload` takes, and lists, text, numbers, None, ...
        what: What the value is called in the error.
        limit: The most bytes that the text may have.
        nodes: The most values that it may have.

    Raises:
        InvalidTaskError: It cannot be kept; names the part, the rule and the way out. An exception that the
            value's own code raised is the cause.
    """
    return _encode(value, what, Bounds(limit, nodes))[0]


def _encode(value: object, what: str, bounds: Bounds) -> tuple[str, object]:
    try:
        walk(value, nodes=bounds.nodes)
        data = _to_json(value)
        plain = read_text(data, bounds)
        return data.decode(), plain
    except BrokenRuleError as broken:
        raise InvalidTaskError(value=broken.value, rule=f"the {what} {broken.rule}", remedy=broken.remedy) from None
    except Exception as error:  # properties, fields and serializers of the value's own classes may raise anything
        raise InvalidTaskError(
            value=describe_exception(error),
            rule=f"the {what} can be read without an error of its own code ({type(value).__name__})",
            remedy="Correct the property, field or serializer that raises it.",
        ) from error


def _to_json(value: object) -> bytes:
    try:
        return msgspec.json.encode(value, enc_hook=to_plain)
    except UnicodeEncodeError as error:
        raise surrogate_in_text(error.object, error.start) from None
