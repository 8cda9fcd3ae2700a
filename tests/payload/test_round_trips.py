"""Round trips: what was encoded comes back equal."""

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oncetask_core.errors import InvalidTaskError
from oncetask_core.payload import decode_payload, decode_value, encode_payload, encode_value, plain
from tests.payload.kinds import Aliased, Attrs, Colour, Holder, Model, Plain, Rich, Size, Slotted, Struct, Typed

TEXT = st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
INTS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
FIELDS = st.fixed_dictionaries(
    {
        "text": TEXT,
        "number": INTS,
        "ratio": FLOATS,
        "items": st.lists(TEXT, max_size=5),
        "more": st.dictionaries(TEXT, INTS | st.none(), max_size=5),
    }
)


@pytest.mark.parametrize("type_", [Plain, Attrs, Struct, Model, Typed])
@given(fields=FIELDS)
def test_a_payload_of_any_sort_comes_back_equal(type_: type[Any], fields: dict[str, Any]) -> None:
    """Dataclasses, attrs classes, Structs, models and TypedDicts survive, whatever text and numbers they hold."""
    payload = type_(**fields)

    text = encode_payload(payload)

    assert decode_payload(text, type_) == payload
    assert encode_payload(decode_payload(text, type_)) == text
    assert plain(text) == fields


@given(fields=FIELDS)
def test_a_frozen_dataclass_with_slots_comes_back_equal(fields: dict[str, Any]) -> None:
    """Tuples of a record come back as tuples."""
    payload = Slotted(**fields | {"items": tuple(fields["items"])})

    assert decode_payload(encode_payload(payload), Slotted) == payload


@given(
    payload=st.builds(Rich, anything=TEXT | INTS | FLOATS, colour=st.sampled_from(Colour), size=st.sampled_from(Size))
)
def test_scalars_with_a_json_form_of_their_own_come_back_equal(payload: Rich) -> None:
    """Times, durations, UUIDs, decimals, enums, bytes, sets and tuples survive inside of a record."""
    whole = Rich(maybe=payload)

    assert decode_payload(encode_payload(whole), Rich) == whole


@given(numbers=st.lists(INTS, min_size=1, max_size=3), fields=FIELDS)
def test_models_inside_of_a_record_come_back_equal(numbers: list[int], fields: dict[str, Any]) -> None:
    """Aliases are used both ways, and computed fields are not taken for data."""
    payload = Holder(Aliased(No=numbers[0]), [Model(**fields)] * len(numbers))

    text = encode_payload(payload)

    assert decode_payload(text, Holder) == payload
    assert "doubled" not in text


JSON = st.recursive(
    st.none() | st.booleans() | INTS | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=30,
)


@given(value=JSON)
def test_any_plain_value_comes_back_equal_and_of_the_same_types(value: object) -> None:
    """Floats stay floats, ints stay ints, down to the sign of zero."""
    text = encode_value(value)

    assert repr(plain(text)) == repr(value)
    assert encode_value(plain(text)) == text
    assert decode_value(text) == value


HOSTILE = st.recursive(
    st.sampled_from([float("nan"), float("inf"), 2**63, "\0", "\ud800", 1 + 2j, object(), b"a", (), Size.SMALL])
    | st.integers()
    | st.floats()
    | st.text(alphabet=st.sampled_from([*string.ascii_letters, "\0", "\\", "u", "0", '"', "\udfff"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=2) | st.integers() | st.none() | st.sampled_from(Size), inner, max_size=4)
        | st.builds(Rich, anything=inner)
        | st.builds(lambda extra: Model.model_construct(text=extra), inner)
    ),
    max_leaves=20,
)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
@given(value=HOSTILE)
def test_an_arbitrary_value_is_written_so_that_it_can_be_read_or_refused(value: object) -> None:
    """No other exception escapes, and whatever is written keeps every rule of reading."""
    try:
        text = encode_value(value)
    except InvalidTaskError:
        return
    assert encode_value(plain(text)) == text
