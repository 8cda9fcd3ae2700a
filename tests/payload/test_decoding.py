"""Decoding: whatever a store returns, the result is a value of the type or a `PayloadError`."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Self

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oncetask_core.errors import PayloadError
from oncetask_core.payload import decode_payload, decode_value, plain
from tests.payload.kinds import Aliased, Attrs, Holder, Model, Plain, Rich, Slotted, Struct, Typed

CLASSES: list[type[Any]] = [Plain, Slotted, Attrs, Struct, Model, Typed]


class Text(str):
    __slots__ = ()


class Angle(float):
    """A number of somebody's own that refuses some values."""

    def __new__(cls, value: float) -> Self:
        if value < 0:
            raise ValueError("an angle is not negative")
        return super().__new__(cls, value)


@dataclass
class Picky:
    number: int

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError(f"too small\n: {self.number}")
        if self.number > 9:
            raise LookupError("too large")


@dataclass
class Unresolved:
    other: "Nowhere"  # type: ignore[name-defined] # noqa: F821 - unresolved on purpose


class Duck:
    """What looks like a pydantic model and raises errors of its own."""

    @classmethod
    def model_validate_json(cls, json_data: bytes) -> "Duck":
        raise ValueError("not\0today") if json_data == b"1" else LookupError("never")

    def model_dump_json(self) -> str:
        return ""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        (" [1 , 2.0,\ttrue]\n", [1, 2.0, True]),
        ('{"a": {"b": []}}', {"a": {"b": []}}),
        ('"\\u00e9\\ud83d\\ude00\\/"', "\u00e9\U0001f600/"),
        ('"\\\\u0000"', "\\u0000"),
        ("9223372036854775807", 2**63 - 1),
        ("1e5", 1e5),
        ("1.0", 1.0),
        ("-0.0", 0.0),
        ("1e-400", 0.0),
    ],
)
def test_any_json_reads_as_plain_values(text: str, value: object) -> None:
    """Spaces and escapes of other writers are no obstacle, and integral floats stay floats."""
    read = plain(text)

    assert read == value
    assert type(read) is type(value)
    assert decode_value(text) == read
    assert decode_value(text, Any) == read


BROKEN = [
    pytest.param("", "well-formed JSON; got 'Input data was truncated'", id="empty"),
    pytest.param('{"a":1', "well-formed JSON", id="cut"),
    pytest.param("{'a':1}", "well-formed JSON", id="no JSON"),
    pytest.param("NaN", "well-formed JSON", id="NaN"),
    pytest.param("[-Infinity]", "well-formed JSON", id="-Infinity"),
    pytest.param("01", "well-formed JSON", id="leading zero"),
    pytest.param("1 2", "well-formed JSON", id="two values"),
    pytest.param('"\0"', "well-formed JSON", id="raw NUL"),
    pytest.param('"\n"', "well-formed JSON", id="raw line end"),
    pytest.param('"\\u0000"', r"""no NUL character in any text or key; got '"\\u0000'""", id="NUL"),
    pytest.param('{"\\\\\\u0000":1}', "no NUL character", id="NUL in a key after a backslash"),
    pytest.param('"\\ud800"', "well-formed JSON", id="escaped surrogate"),
    pytest.param('"\\udc00"', "well-formed JSON", id="escaped low surrogate"),
    pytest.param('"a\ud800"', "no lone surrogates in any text or key; got '\"a\\ud800'", id="surrogate"),
    pytest.param('{"a":1,"a":1}', "each key once in an object; got 'a'", id="key twice"),
    pytest.param('[{"a":1,"\\u0061":2}]', "each key once in an object; got 'a'", id="key twice, escaped"),
    pytest.param("9223372036854775808", "only ints from -2**63 to 2**63 - 1", id="2**63"),
    pytest.param("[-9223372036854775809]", "only ints from -2**63 to 2**63 - 1", id="-2**63 - 1"),
    pytest.param("9" * 5000, "only ints from -2**63 to 2**63 - 1", id="5,000 digits"),
    pytest.param('{"a":1e400}', "finite floats; got 'Number out of range", id="1e400"),
    pytest.param("[" * 65 + "]" * 65, "nested at most 64 levels deep", id="65 levels"),
    pytest.param("[" * 100_000, "nested at most 64 levels deep", id="100,000 levels, open"),
    pytest.param('{"a":' * 40_000 + "1" + "}" * 40_000, "nested at most 64 levels deep", id="40,000 objects"),
    pytest.param('"""' + '\\"' * 100_000 + "[" * 70, "well-formed JSON", id="many quotes"),
    pytest.param("]" * 100 + "[" * 100, "well-formed JSON", id="closed before it was opened"),
    pytest.param("[" + "0," * 9_999 + "0]", "at most 10000 values", id="too many values"),
    pytest.param('"' + "x" * 262_143 + '"', "at most 262144 bytes of JSON; got '262145 bytes'", id="too large"),
    pytest.param('"' + "\u00e9" * 131_072 + '"', "at most 262144 bytes", id="too large in UTF-8"),
]


@pytest.mark.parametrize("text", [param.values[0] for param in BROKEN], ids=[param.id for param in BROKEN])
@pytest.mark.parametrize("type_", [Plain, Model, object, dict[str, Any]])
def test_broken_text_is_a_payload_error_for_every_type(text: str, type_: Any) -> None:
    """The rules hold before any type is looked at."""
    with pytest.raises(PayloadError):
        decode_payload(text, type_)


@pytest.mark.parametrize(("text", "rule"), BROKEN)
def test_the_error_of_broken_text_names_the_rule_and_the_way_out(text: str, rule: str) -> None:
    """Whoever reads the task's history learns what is wrong with what is stored."""
    with pytest.raises(PayloadError) as caught:
        plain(text)

    assert str(caught.value).startswith("the stored value breaks the rule that it ")
    assert rule in str(caught.value)
    assert str(caught.value).endswith("Register a type that fits what is stored, or delete the task.")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("type_", CLASSES)
@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"text":"a","ratio":1,"items":[],"more":{"a":"private"}}', "more"),
        ('{"text":"a","ratio":"private","items":[],"more":{}}', "ratio"),
        ('{"ratio":1,"items":[],"more":{}}', "text"),
    ],
)
def test_text_that_does_not_fit_its_type_says_where_but_not_what(type_: type[Any], text: str, where: str) -> None:
    """The error names the type and the place; the stored values stay private, in its causes, too."""
    with pytest.raises(PayloadError, match=f"the stored payload does not fit {type_.__name__}: ") as caught:
        decode_payload(text, type_)

    assert where in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None:
        assert "private" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@pytest.mark.parametrize(
    ("text", "type_", "reason"),
    [
        ('[1,"a"]', list[int], "list[int]: Expected `int`, got `str` - at `$[1]`"),
        ("[1]", Plain, "Plain: Expected `object`, got `array`"),
        ('{"number":-1}', Picky, r"Picky: too small\n: -1"),
        ('{"number":10}', Picky, "Picky: LookupError: too large"),
        ('{"other":1}', Unresolved, "Unresolved: NameError: name 'Nowhere' is not defined"),
        (
            '{"first":{"No":"x"}}',
            Holder,
            "Holder: Input should be a valid integer, unable to parse string as an integer - at `No` - at `$.first`",
        ),
        ("{}", "Plain", "Plain: TypeError: Type ''Plain'' is not supported"),
        ("{}", int | str | Plain | Attrs, "TypeError: Type unions may not contain"),
        ('"a"', Angle, "Angle: Expected `float`, got `str`"),
        ("-1.0", Angle, "Angle: an angle is not negative"),
        ("1", Duck, r"Duck: not\x00today"),
        ("2", Duck, "Duck: LookupError: never"),
        ("1", list[Annotated[str, {}]], "Expected `array`, got `int`"),
    ],
)
def test_the_reason_of_a_misfit_is_told(text: str, type_: Any, reason: str) -> None:
    """Wrong shapes, refusing constructors and types that cannot be decoded are all payload errors."""
    with pytest.raises(PayloadError) as caught:
        decode_value(text, type_)

    assert str(caught.value).endswith("correct the one that the handler or the payload class declares.")
    assert f"the stored value does not fit {reason}" in str(caught.value) or f": {reason}" in str(caught.value)


def test_the_error_of_the_type_s_own_code_is_the_cause() -> None:
    """Whoever wrote the constructor sees where it failed."""
    with pytest.raises(PayloadError) as small:
        decode_payload('{"number":-1}', Picky)
    with pytest.raises(PayloadError) as large:
        decode_payload('{"number":10}', Picky)

    assert isinstance(small.value.__cause__, ValueError)
    assert isinstance(large.value.__cause__, LookupError)


@pytest.mark.parametrize("type_", [Callable, list[complex], dict[str, type]])
def test_a_type_without_a_json_form_is_a_payload_error(type_: Any) -> None:
    """A type that no registration checked is refused when it is used."""
    with pytest.raises(PayloadError, match="is made of types that have a JSON form"):
        decode_value("[1]" if type_ == list[complex] else '{"a":1}', type_)


@pytest.mark.parametrize("text", [None, 7, b"{}"])
def test_what_is_no_text_at_all_is_a_payload_error(text: Any) -> None:
    """A store that returns another type does not break the worker."""
    with pytest.raises(PayloadError):
        plain(text)


def test_a_huge_reason_is_cut() -> None:
    """A message that repeats what is stored stays short enough to be recorded."""
    with pytest.raises(PayloadError) as caught:
        decode_value(json.dumps({"size": "x" * 100_000}), Rich)

    assert len(str(caught.value)) < 5_000


def test_fields_that_a_type_does_not_know_are_ignored() -> None:
    """A newer release may have written more than an older one reads."""
    assert decode_payload('{"text":"a","new":[1]}', Plain) == Plain("a")
    assert decode_payload('{"text":"a","new":[1]}', Model) == Model(text="a")


def test_plain_parts_of_a_type_stay_plain() -> None:
    """`object` and `Any` take whatever stands there."""
    assert decode_value('[{"a":[1]}]', list[object]) == [{"a": [1]}]
    assert decode_value('{"a":"b"}', dict[Text, Text]) == {Text("a"): Text("b")}


def test_a_type_that_cannot_be_hashed_is_decoded_all_the_same() -> None:
    """Metadata of an annotation may be anything."""
    assert decode_value("[1,2]", Annotated[list[int], {}]) == [1, 2]


def test_the_limits_of_size_are_parameters() -> None:
    """What was written under wider limits can be read under them."""
    text = "[" + "0," * 19_999 + "0]"

    assert len(decode_value(text, list[int], nodes=20_001)) == 20_000
    assert plain('"' + "x" * 300_000 + '"', limit=300_002) == "x" * 300_000
    with pytest.raises(PayloadError):
        decode_payload('{"a":1}', dict[str, int], limit=6)
    with pytest.raises(PayloadError):
        decode_payload('{"a":[1,{},[]]}', dict[str, Any], nodes=4)


FRAGMENTS = st.sampled_from(
    [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        '"',
        "\\",
        "\\u0000",
        "\\ud800",
        "u",
        "0",
        "-",
        "1e400",
        "9" * 20,
        "null",
        "NaN",
        " ",
        "a",
        '"a":',
        "\0",
        "\ud800",
    ]
)
ANY_CHARACTERS = st.text(alphabet=st.characters(codec=None, exclude_categories=()))
ANY_TEXT = ANY_CHARACTERS | st.lists(FRAGMENTS, max_size=40).map("".join)


@given(text=ANY_TEXT)
def test_arbitrary_text_is_a_value_or_a_payload_error(text: str) -> None:
    """No other exception escapes, for no type; what is read agrees with Python's own reader."""
    types: list[Any] = [*CLASSES, Aliased, Holder, Rich, int, list[int]]
    for type_ in types:
        try:
            decode_payload(text, type_)
        except PayloadError:
            continue
    try:
        value = plain(text)
    except PayloadError:
        return
    assert value == json.loads(text)


SCALARS = st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | ANY_CHARACTERS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(ANY_CHARACTERS, inner))


@given(value=VALUES, indent=st.none() | st.integers(0, 2), ascii_only=st.booleans())
def test_json_of_another_writer_is_read_exactly_or_refused(value: object, indent: int | None, ascii_only: bool) -> None:  # noqa: FBT001 - drawn
    """Python's own writer takes NaN, large ints and lone surrogates; those alone are refused."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)

    try:
        read = plain(text)
    except PayloadError:
        assert not is_clean(value)
    else:
        assert read == value
        assert is_clean(value)


def is_clean(value: object) -> bool:
    """Return whether a plain value keeps the rules on numbers and text."""
    match value:
        case dict():
            return all(is_clean(part) for item in value.items() for part in item)
        case list():
            return all(is_clean(part) for part in value)
        case str():
            return "\0" not in value and not any(0xD800 <= ord(char) < 0xE000 for char in value)
        case int():
            return -(2**63) <= value < 2**63
        case float():
            return abs(value) != float("inf") and value == value  # noqa: PLR0124 - NaN alone differs from itself
        case _:
            return True


def test_the_decoder_of_a_type_is_made_once() -> None:
    """Decoding is fast because msgspec studies a type at its first use only."""
    from oncetask_core.payload.decoding import decoder_of

    assert decoder_of(Plain) is decoder_of(Plain)
    assert isinstance(decoder_of(Plain), msgspec.json.Decoder)
