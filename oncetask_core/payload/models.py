"""Pydantic models, recognised by what they can do: pydantic itself is never imported."""

from typing import Protocol, Self, TypeGuard, cast

import msgspec

from oncetask_core.limits import MAX_ERROR_BYTES, clean_text


class Model(Protocol):
    """What a pydantic model offers."""

    def model_dump(self, *, mode: str, by_alias: bool, round_trip: bool) -> object:
        """Return the model as plain values."""
        ...

    @classmethod
    def model_validate_json(cls, json_data: bytes) -> Self:
        """Return the model that the text describes."""
        ...


def is_model(type_: object) -> TypeGuard[type[Model]]:
    """Return whether `type_` is a class of pydantic models."""
    return (
        isinstance(type_, type)
        and hasattr(type_, "model_dump_json")
        and hasattr(type_, "model_validate_json")
    )


def dump_model(model: object) -> object:
    """Return the model as plain values from which `load_model` makes an equal one; NaN stays NaN."""
    return cast(Model, model).model_dump(mode="json", by_alias=True, round_trip=True)


def load_model(type_: type[Model], value: object) -> Model:
    """Return the model that plain values describe, read in pydantic's JSON mode.

    Raises:
        ValueError: They do not fit. The message does not repeat the values.
    """
    try:
        return type_.model_validate_json(msgspec.json.encode(value))
    except ValueError as error:
        reason = _reason(error)
    raise ValueError(reason)  # outside of the handler: the original error shows the values


def _reason(error: ValueError) -> str:
    describe = getattr(error, "errors", None)
    if describe is None:
        return clean_text(str(error), MAX_ERROR_BYTES)
    details = describe(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{detail['msg']} - at `{'.'.join(map(str, detail['loc']))}`" for detail in details[:5])
