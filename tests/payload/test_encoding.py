"""Encoding: what is written, and what is refused before anything is written."""

import tracemalloc
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Any
from uuid import UUID

import attrs
import msgspec
import pytest

from oncetask_core.errors import InvalidTaskError
from oncetask_core.payload import encode_payload, encode_value, plain
from tests.payload.kinds import Attrs, Model, Plain, Size, Slotted, Struct, Typed

JSON = '{"text":"a","number":1,"ratio":1.0,"items":["b"],"more":{"c":null}}'
FIELDS: dict[str, Any] = {"ratio": 1.0, "items": ["b"], "more": {"c": None}}
HUGE = 10**5000


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Ratio(float):
    pass


class Mixed(Enum):
    NAN = float("nan")
    LIST = (1, 2)


@dataclass
class Node:
    value: object = None


@dataclass(slots=True)
class Empty:
    value: int


@attrs.define
class Private:
    _secret: int = 1


class Raising:
    """A dataclass field that raises when it is read."""

    def __get__(self, instance: object, owner: object) -> object:
        if instance is None:
            return 0
        raise KeyError("boom")

    def __set__(self, instance: object, value: object) -> None:
        pass


@dataclass
class Boom:
    value: Raising = Raising()


def nested(levels: int, inner: object) -> object:
    """Return `inner` inside of as many lists."""
    value = inner
    for _ in range(levels):
        value = [value]
    return value


def itself() -> object:
    """Return a list that contains itself."""
    items: list[object] = []
    items.append(items)
    return items


def cycle() -> object:
    """Return a record that contains itself."""
    node = Node()
    node.value = {"again": node}
    return node


def bomb(width: int, levels: int) -> object:
    """Return a value of few objects that stands for `width ** levels` values."""
    value: object = 1
    for _ in range(levels):
        value = [value] * width
    return value


@pytest.mark.parametrize(
    "value",
    [
        Plain("a", **FIELDS),
        Slotted("a", ratio=1.0, items=("b",), more={"c": None}),
        Attrs("a", **FIELDS),
        Struct("a", **FIELDS),
        Model(text="a", **FIELDS),
        Typed(text="a", number=1, ratio=1.0, items=["b"], more={"c": None}),
    ],
)
def test_every_sort_of_class_is_written_alike(value: object) -> None:
    """Compact, class attributes left out, integral floats still floats."""
    text = encode_payload(value)

    assert repr(plain(text)) == repr(plain(JSON)) or isinstance(value, Attrs)  # which msgspec sorts by name
    assert plain(text) == plain(JSON)
    assert len(text) == len(JSON)
    assert encode_value(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1, "1"),
        (1.0, "1.0"),
        (2**63 - 1, "9223372036854775807"),
        (-(2**63), "-9223372036854775808"),
        (1.7976931348623157e308, "1.7976931348623157e308"),
        ("a\n\u00e9\u2028\x7f", '"a\\n\u00e9\u2028\x7f"'),
        ("\\u0000", '"\\\\u0000"'),
        ("\\\\u0000", '"\\\\\\\\u0000"'),
        ("123456789012345678901234567890", '"123456789012345678901234567890"'),
        ("[" * 100 + "{" * 100, '"' + "[" * 100 + "{" * 100 + '"'),
        (['\\"[', *"[" * 65], '["\\\\\\"[",' + ",".join(['"["'] * 65) + "]"),
        ((1, "a"), '[1,"a"]'),
        ({1}, "[1]"),
        (frozenset({1}), "[1]"),
        (b"\x00", '"AA=="'),
        ({Size.SMALL: Size.LARGE, UUID(int=1): 1}, '{"s":"l","00000000-0000-0000-0000-000000000001":1}'),
        ({Text("a"): Text("b")}, '{"a":"b"}'),
        ([Number(5), Ratio(0.5)], "[5,0.5]"),
        (Empty.__new__(Empty), "{}"),
        (msgspec.Raw(b' {"a" : 1} '), ' {"a" : 1} '),
        ({}, "{}"),
    ],
)
def test_every_json_value_is_written(value: object, text: str) -> None:
    """Scalars, containers, edges of ranges, and text that only looks like something forbidden."""
    assert encode_value(value) == text


REFUSED = [
    pytest.param(float("nan"), "finite floats; got nan", "or None where there is no number.", id="nan"),
    pytest.param([{"a": float("inf")}], "finite floats; got inf", "or None where there is no number.", id="inf"),
    pytest.param([Ratio("-inf")], "finite floats; got -inf", "or None where there is no number.", id="own float"),
    pytest.param(Mixed.NAN, "finite floats; got nan", "or None where there is no number.", id="enum of nan"),
    pytest.param(Model(text="a", ratio=float("nan")), "finite floats; got nan", "no number.", id="nan in a model"),
    pytest.param(2**63, "2**63 - 1 and finite floats; got 9223372036854775808", "other numbers as text", id="2**63"),
    pytest.param([-(2**63) - 1], "got -9223372036854775809", "other numbers as text", id="-2**63 - 1"),
    pytest.param(HUGE, "got <int whose repr raised", "other numbers as text", id="5,001 digits"),
    pytest.param(Number(2**64), "got 18446744073709551616", "other numbers as text", id="own int"),
    pytest.param(Model(text="a", number=2**70), "got 1180591620717411303424", "as text", id="large int in a model"),
    pytest.param(
        {1: "a", "1": "b"}, "text as keys only, because JSON has no other keys; got 1", "str keys", id="int key"
    ),
    pytest.param({True: 1}, "text as keys only", "str keys", id="bool key"),
    pytest.param({None: 1}, "text as keys only", "str keys", id="None key"),
    pytest.param({1.5: 1}, "text as keys only", "str keys", id="float key"),
    pytest.param({(1, 2): 1}, "text as keys only", "a list of pairs", id="tuple key"),
    pytest.param({Mixed.LIST: 1}, "text as keys only", "a list of pairs", id="enum key of no text"),
    pytest.param({Size.SMALL: 1, "s": 2}, "each key once in an object; got 's'", "Rename one", id="keys written alike"),
    pytest.param(msgspec.Raw(b'{"a":1,"a":2}'), "each key once in an object; got 'a'", "Rename", id="key twice in raw"),
    pytest.param(msgspec.Raw(b'[{"a":[{"b":1,"b":1}]}]'), "each key once in an object; got 'b'", "Rename", id="deep"),
    pytest.param("ab\0c", r"""no NUL character in any text or key; got '"ab\\u0000'""", "pass bytes", id="NUL"),
    pytest.param({"\\\0": 1}, "no NUL character", "pass bytes", id="NUL in a key"),
    pytest.param([Text("\0")], "no NUL character", "pass bytes", id="NUL in a str of another class"),
    pytest.param(
        "x" * 90 + "\ud800y", r"no lone surrogates in any text or key; got 'xxx", "surrogateescape", id="surrogate"
    ),
    pytest.param(
        {"\udcff": 1}, r"no lone surrogates in any text or key; got '\udcff'", "pass bytes", id="surrogate in a key"
    ),
    pytest.param(
        "x" * 262_143, "at most 262144 bytes of JSON; got '262145 bytes'", "a reference to it.", id="too large"
    ),
    pytest.param([0] * 10_000, "at most 10000 values, each item", "a reference to it.", id="too many values"),
    pytest.param(bomb(2, 60), "at most 10000 values", "a reference to it.", id="narrow bomb"),
    pytest.param(bomb(5000, 5), "at most 10000 values", "a reference to it.", id="wide bomb"),
    pytest.param(msgspec.Raw(b"[" + b"0," * 9_999 + b"0]"), "at most 10000 values", "a reference", id="many in raw"),
    pytest.param(nested(65, 1), "nested at most 64 levels deep", "Flatten it", id="65 levels"),
    pytest.param(nested(64, []), "nested at most 64 levels deep", "Flatten it", id="65 levels, empty inside"),
    pytest.param(nested(100_000, 1), "nested at most 64 levels deep", "Flatten it", id="100,000 levels"),
    pytest.param(itself(), "does not contain itself", "Flatten it", id="a list in itself"),
    pytest.param(cycle(), "does not contain itself", "Flatten it", id="a record in itself"),
    pytest.param(msgspec.Raw(b"[" * 65 + b"]" * 65), "nested at most 64 levels", "Flatten it", id="deep raw"),
    pytest.param(msgspec.Raw(b"{bad"), "well-formed JSON; got 'JSON is malformed", "Correct the text.", id="bad raw"),
    pytest.param(msgspec.Raw(b"1e400"), "finite floats; got 'Number out of range'", "as text", id="1e400 in raw"),
    pytest.param(msgspec.Raw(b'"\xff"'), "well-formed JSON; got", "Correct the text.", id="no UTF-8 in raw"),
    pytest.param(
        len, "types that have a JSON form, which builtin_function_or_method has not", "dataclasses", id="function"
    ),
    pytest.param([object()], "which object has not; got 'object'", "Use dataclasses", id="object"),
    pytest.param({"a": deque([1])}, "which deque has not; got 'deque'", "convert it", id="deque"),
    pytest.param(Node(1 + 2j), "which complex has not; got 'complex'", "convert it", id="complex"),
    pytest.param(Plain, "which type has not; got 'type'", "convert it", id="a class"),
    pytest.param(
        Private(),
        "public attributes only, for private ones are not encoded; got 'Private._secret'",
        "Rename",
        id="attrs",
    ),
    pytest.param(
        Boom(), "an error of its own code (Boom); got \"KeyError: 'boom'\"", "Correct the property", id="raises"
    ),
]


@pytest.mark.parametrize(("value", "rule", "remedy"), REFUSED)
def test_what_does_not_come_back_is_refused_with_value_rule_and_way_out(value: object, rule: str, remedy: str) -> None:
    """Whatever some store or reader would lose, change or choke on is an error that says why."""
    with pytest.raises(InvalidTaskError) as caught:
        encode_value(value, "progress")

    assert str(caught.value).startswith("the progress ")
    assert rule in str(caught.value)
    assert remedy in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("value", [[1], "a", 1, None, (1, 2), {1}])
def test_a_payload_is_an_object(value: object) -> None:
    """What is no record and no dict cannot be a payload, though it can be a result."""
    assert encode_value(value)
    with pytest.raises(InvalidTaskError, match=f"the payload is a JSON object; got '{type(value).__name__}'. Wrap it"):
        encode_payload(value)


def test_the_error_of_the_value_s_own_code_is_the_cause() -> None:
    """Whoever wrote the property sees where it failed."""
    with pytest.raises(InvalidTaskError) as caught:
        encode_payload(Boom())

    assert isinstance(caught.value.__cause__, KeyError)


def test_a_refused_value_is_not_shown_as_a_whole() -> None:
    """An error names the part that is wrong; the rest of the payload stays private."""
    with pytest.raises(InvalidTaskError) as caught:
        encode_payload({"password": "secret", "ratio": float("nan")})

    assert "secret" not in str(caught.value)


def test_a_value_that_stands_for_many_is_refused_in_little_memory() -> None:
    """Lists that share their items are not unfolded beyond the limit."""
    value = bomb(5_000, 5)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidTaskError, match="at most 10000 values"):
            encode_value(value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 1_000_000


def test_values_at_every_limit_are_written() -> None:
    """The largest, the deepest and the fullest value is accepted."""
    assert len(encode_value("x" * 262_142)) == 262_144
    assert encode_value(nested(64, 1)) == "[" * 64 + "1" + "]" * 64
    assert encode_value(nested(63, [])) == "[" * 64 + "]" * 64
    assert plain(encode_value([0] * 9_999)) == [0] * 9_999
    assert plain(encode_value([[]] * 9_999)) == [[]] * 9_999


def test_the_limits_of_size_are_parameters() -> None:
    """A caller may ask for less or for more."""
    many = [0] * 20_000

    assert encode_value(many, nodes=20_001)
    with pytest.raises(InvalidTaskError, match="at most 20000 values"):
        encode_value(many, nodes=20_000)
    assert encode_payload({"a": "x" * 300_000}, limit=300_008)
    with pytest.raises(InvalidTaskError, match="at most 300007 bytes of JSON; got '300008 bytes'"):
        encode_payload({"a": "x" * 300_000}, limit=300_007)
    with pytest.raises(InvalidTaskError, match="at most 2 values"):
        encode_payload(Model(text="a"), nodes=2)
