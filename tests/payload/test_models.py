"""Pydantic models: recognised without importing pydantic, and without silent losses."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pydantic
import pytest

from oncetask_core.errors import InvalidTaskError
from oncetask_core.payload import decode_payload, encode_payload
from tests.payload.kinds import NOON, Aliased


class Loose(pydantic.BaseModel):
    """A model with a field of no type, where pydantic does not know what it has to keep."""

    value: Any = None


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")

    at: pydantic.AwareDatetime
    by_number: dict[int, str] = {}


class Words(pydantic.BaseModel):
    """A model that writes NaN as text, and a dict as a shorter one."""

    model_config = pydantic.ConfigDict(ser_json_inf_nan="strings")

    ratio: float
    words: dict[str, int] = {}

    @pydantic.field_serializer("words", when_used="json")
    def positive(self, words: dict[str, int]) -> dict[str, int]:
        """Leave out what is the default."""
        return {word: count for word, count in words.items() if count}


class Everything:
    """What answers to every name, as some proxies and mocks do."""

    def __getattr__(self, name: str) -> object:
        return lambda *_args, **_options: {}


@dataclass
class Wrapper:
    inner: object


@pytest.mark.parametrize("wrap", [lambda model: model, Wrapper, lambda model: {"inner": [model]}])
@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (float("nan"), "finite floats; got nan"),
        ([1, {"a": (float("inf"),)}], "finite floats; got inf"),
        ({float("-inf")}, "finite floats; got -inf"),
        ([{1: "a", "1": "b"}], "each key once in an object; got \"[1, '1']\""),
        (2**63, "got 9223372036854775808"),
        ("\0", "no NUL character"),
        ("\ud800", "error of its own code"),
        (len, "error of its own code"),
        ([0] * 10_000, "at most 10000 values"),
    ],
)
def test_what_pydantic_would_drop_or_change_is_refused(wrap: Any, value: object, rule: str) -> None:
    """A NaN that would become null, and keys that would become one, are errors at any depth."""
    with pytest.raises(InvalidTaskError) as caught:
        encode_payload(wrap(Loose(value=value)))

    assert rule in str(caught.value)


def test_a_model_that_contains_itself_is_refused() -> None:
    """The cycle is reported instead of followed."""
    model = Loose()
    model.value = [model]

    with pytest.raises(InvalidTaskError, match="Circular reference"):
        encode_payload(model)


@pytest.mark.parametrize(
    "model",
    [
        Strict(at=NOON, by_number={1: "a"}),
        Loose(value=[1, {"a": (2.0, None)}]),
        Loose(value={"a", "b"}),
        Aliased(No=7),
    ],
)
def test_a_model_is_read_as_pydantic_reads_json(model: pydantic.BaseModel) -> None:
    """Strict models, forbidden extras, aliases and keys of a declared type come back as they were."""
    read = decode_payload(encode_payload(model), type(model))

    assert read.model_dump(mode="json") == type(model).model_validate_json(encode_payload(model)).model_dump(
        mode="json"
    )
    assert type(read) is type(model)


def test_a_model_may_have_a_json_form_of_its_own() -> None:
    """What a model writes deliberately is no loss."""
    assert encode_payload(Words(ratio=float("nan"), words={"a": 1, "b": 0})) == '{"ratio":"NaN","words":{"a":1}}'


def test_an_object_that_answers_to_every_name_is_no_model() -> None:
    """The class decides, for an instance may pretend."""
    with pytest.raises(InvalidTaskError, match="Everything"):
        encode_payload(Everything())


def test_the_codec_imports_no_pydantic() -> None:
    """Who does not use pydantic neither needs it nor pays for it."""
    script = "import sys, oncetask_core.payload; sys.exit('pydantic' in sys.modules or 'attrs' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
