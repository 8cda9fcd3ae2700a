"""Pydantic models, recognised by what they can do: pydantic itself is never imported."""

from typing import Protocol, Self, TypeGuard, cast

import msgspec

from oncetask_core.errors import shown
from oncetask_core.limits import MAX_ERROR_BYTES, clean_text
from oncetask_core.payload.rules import key_twice, number_out_of_range


class Model(Protocol):
    """What a pydantic model offers."""

    def model_dump(self, *, by_alias: bool, round_trip: bool) -> object:
        """Return the model as dicts and lists of the values of its fields."""
        ...

    def model_dump_json(self, *, by_alias: bool, round_trip: bool) -> str:
        """Return the model as JSON text."""
        ...

    @classmethod
    def model_rebuild(cls) -> object:
        """Resolve what was unknown when the class was written."""
        ...

    @classmethod
    def model_validate_json(cls, json_data: bytes) -> Self:
        """Return the model that the text describes."""
        ...


def is_model(type_: object) -> TypeGuard[type[Model]]:
    """Return whether `type_` is a class of pydantic models."""
    return isinstance(type_, type) and hasattr(type_, "model_dump_json") and hasattr(type_, "model_validate_json")


def dump_model(model: object) -> object:
    """Return the model as plain values, from which `load_model` makes an equal one.

    Raises:
        BrokenRuleError: Some part of it cannot be kept.
    """
    whole = cast(Model, model)
    plain: object = msgspec.json.decode(whole.model_dump_json(by_alias=True, round_trip=True))
    _refuse_losses(whole.model_dump(by_alias=True, round_trip=True), plain)
    return plain


def _refuse_losses(before: object, after: object) -> None:
    """Refuse what pydantic drops without a word: a NaN that became None, keys that became one key."""
    waiting = [(before, after)]
    while waiting:
        python, json = waiting.pop()
        if isinstance(python, dict) and isinstance(json, dict):
            if len(json) < len(python) and not all(isinstance(key, str) for key in python):
                raise key_twice(shown(list(python)))
            waiting.extend(zip(python.values(), json.values(), strict=False))
        elif isinstance(python, list | tuple | set | frozenset) and isinstance(json, list):
            waiting.extend(zip(python, json, strict=False))
        elif isinstance(python, float) and json is None:
            raise number_out_of_range(python)


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
    return "; ".join(f"{detail['msg']} - at `{'.'.join(map(str, detail['loc']))}`" for detail in describe()[:5])
