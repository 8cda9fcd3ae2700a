"""Types of payloads and results, checked when a handler is registered."""

import collections
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass
from datetime import datetime
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest

from oncetask_core.errors import ConfigurationError
from oncetask_core.payload import check_type
from tests.payload.kinds import Aliased, Attrs, Colour, Holder, Model, Plain, Rich, Size, Slotted, Struct, Typed


class Text(str):
    __slots__ = ()


class Pair(NamedTuple):
    left: int
    right: str


class Level(IntEnum):
    LOW = 1


class Tree(msgspec.Struct):
    children: "list[Tree]" = []
    parent: "Tree | None" = None


@dataclass
class Unresolved:
    other: "Nowhere"  # type: ignore[name-defined] # noqa: F821 - unresolved on purpose


class UnresolvedModel(pydantic.BaseModel):
    other: "Nowhere"  # type: ignore[name-defined] # noqa: F821 - unresolved on purpose


class Chain(pydantic.BaseModel):
    rest: "Link | None" = None


class Link(pydantic.BaseModel):
    number: int


class PartlyTyped(TypedDict):
    call: Callable[[], None]


@attrs.define
class Private:
    _secret: int = 1


@dataclass
class NumberKeys:
    by_number: dict[int, str]


@dataclass
class WithInitVar:
    given: InitVar[int]


class Float(Enum):
    HALF = 0.5


class Opaque:
    pass


@pytest.mark.parametrize(
    "type_",
    [
        *[Plain, Slotted, Attrs, Struct, Model, Typed, Rich, Holder, Aliased, Tree, Chain, Pair],
        *[int, str, float, bool, None, type(None), object, Any, bytes, datetime, UUID, Colour, Size, Level, Text],
        *[int | None, Plain | None, str | int | list[int], Literal["a", "b"], Annotated[list[int], {}]],
        *[list[Any], tuple[int, ...], set[str], Sequence[Plain], list[object], list[Model | None]],
        *[dict[str, int], dict[Text, Text], dict[Size, int], dict[UUID, int], dict[Any, Any], Mapping[str, object]],
        dict[Literal["a", "b"], int],
        dict[datetime, int],
    ],
)
def test_a_type_with_a_json_form_is_accepted(type_: Any) -> None:
    """Records of every sort, scalars, containers, unions, recursive types and models."""
    check_type(type_)


KEYS = "has dicts with text as keys only, because JSON has no other keys"
FORM = "is made of types that have a JSON form, which"


@pytest.mark.parametrize(
    ("type_", "rule", "remedy"),
    [
        (Unresolved, "whose annotations resolve at run time (name 'Nowhere' is not defined)", "TYPE_CHECKING."),
        (Unresolved | None, "whose annotations resolve at run time", "TYPE_CHECKING."),
        (UnresolvedModel, "whose annotations resolve at run time", "TYPE_CHECKING."),
        (list[UnresolvedModel], "whose annotations resolve at run time", "TYPE_CHECKING."),
        (Callable[[], int], f"{FORM} Callable has not", "convert it to one of them."),
        (complex, f"{FORM} complex has not", "convert it to one of them."),
        (dict[str, list[Opaque]], f"{FORM} Opaque has not", "convert it to one of them."),
        (PartlyTyped, f"{FORM} Callable has not", "convert it to one of them."),
        (collections.deque[int], f"{FORM} deque has not", "convert it to one of them."),
        (type, f"{FORM} type has not", "convert it to one of them."),
        (msgspec.msgpack.Ext, f"{FORM} Ext has not", "convert it to one of them."),
        (NumberKeys, f"{KEYS} (here: keys of int)", "or a list of pairs."),
        (dict[float, int], f"{KEYS} (here: keys of float)", "or a list of pairs."),
        (list[dict[Level, int]], f"{KEYS} (here: keys of enum)", "or a list of pairs."),
        (dict[Literal[1, 2], int], f"{KEYS} (here: keys of literal)", "or a list of pairs."),
        (dict[str | int, int], f"{KEYS} (here: keys of union)", "or a list of pairs."),
        (
            Private,
            "public attributes only, for private ones are not encoded (here: Private._secret)",
            "or use a dataclass.",
        ),
        (WithInitVar, "that has a JSON form (TypeError: ", "Use types that JSON can hold."),
        (Float, "that has a JSON form (TypeError: Enums must contain either all str or all int", "JSON can hold."),
        (
            str | datetime,
            "that has a JSON form (TypeError: Type unions may not contain more than one",
            "JSON can hold.",
        ),
        (
            Plain | Slotted,
            "that has a JSON form (TypeError: Type unions may not contain more than one",
            "JSON can hold.",
        ),
        ("Plain", "that has a JSON form (TypeError: ", "Use types that JSON can hold."),
        (7, "that has a JSON form (TypeError: ", "Use types that JSON can hold."),
    ],
)
def test_a_type_without_a_json_form_is_refused_with_value_rule_and_way_out(type_: Any, rule: str, remedy: str) -> None:
    """What could not be written or read back is found when the handler is registered, not when it runs."""
    with pytest.raises(ConfigurationError) as caught:
        check_type(type_)

    assert str(caught.value).startswith("payloads and results are of a type ")
    assert rule in str(caught.value)
    assert str(caught.value).endswith(remedy)
    assert caught.value.value == type_
