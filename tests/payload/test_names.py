"""Ids, kinds, keys, queues and environments: what is a name, and what is not."""

from collections.abc import Callable
from enum import Enum, StrEnum

import pytest

from oncetask_core.errors import InvalidTaskError
from oncetask_core.limits import check_env, check_headers, check_id, check_kind, check_queue, check_resource_key

Check = Callable[[object], str]

LONG: list[Check] = [check_id, check_resource_key]
SHORT: list[Check] = [check_kind, check_env, check_queue]
ALL = LONG + SHORT


class Text(str):
    """A str of somebody's own."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Kind(StrEnum):
    EMAIL = "email"


class Old(str, Enum):  # noqa: UP042 - what many programs still have
    EMAIL = "email"


@pytest.mark.parametrize("check", ALL)
@pytest.mark.parametrize(
    "name", ["a", "email:a@example.com", "A a ", "\u00e9t\u00e9", "\u4e2d\u6587", "\U0001f600", "a/b", "..", "\\", "'"]
)
def test_a_readable_name_is_returned_as_it_is(check: Check, name: str) -> None:
    """Whatever can be read and stored is a name, and nothing about it is changed."""
    assert check(name) == name


@pytest.mark.parametrize("check", ALL)
@pytest.mark.parametrize("name", [Text("email"), Kind.EMAIL, Old.EMAIL])
def test_a_str_of_another_class_becomes_a_plain_str(check: Check, name: str) -> None:
    """Members of a StrEnum and other subclasses are taken by their characters."""
    plain = check(name)

    assert type(plain) is str
    assert plain == "email"


@pytest.mark.parametrize(("check", "most"), [(check, 512) for check in LONG] + [(check, 128) for check in SHORT])
@pytest.mark.parametrize("char", ["a", "\u00e9"])
def test_a_name_ends_at_its_last_byte(check: Check, most: int, char: str) -> None:
    """The limit counts bytes of UTF-8: the longest name is taken, one more byte is refused."""
    longest = char * (most // len(char.encode()))

    assert check(longest) == longest
    with pytest.raises(InvalidTaskError, match=f"1 to {most} bytes of UTF-8, not {most + 1}.*Shorten it"):
        check(longest + "a")


@pytest.mark.parametrize("check", ALL)
@pytest.mark.parametrize(
    ("name", "rule", "remedy"),
    [
        ("", "bytes of UTF-8, not 0; got ''", "Name it."),
        (None, "is a str; got None", "Convert it with str()."),
        (7, "is a str; got 7", "Convert it with str()."),
        (b"a", "is a str; got b'a'", "Convert it with str()."),
        ("a\0b", r"no control characters (NUL included); got 'a\x00b'", "Remove or escape them."),
        ("a\n", r"no control characters (NUL included); got 'a\n'", "Remove or escape them."),
        ("\x1b[0m", "no control characters", "Remove or escape them."),
        ("a\x7f", "no control characters", "Remove or escape them."),
        ("a\x85", "no control characters", "Remove or escape them."),
        ("a\ud800", r"no lone surrogates; got 'a\ud800'", "Decode the text without surrogateescape."),
        ("\udcff", "no lone surrogates", "Decode the text without surrogateescape."),
        ("e\u0301", "normal form NFC", "Pass unicodedata.normalize('NFC', text)."),
        ("\u212b", "normal form NFC", "Pass unicodedata.normalize('NFC', text)."),
        (Text("a\0"), "no control characters", "Remove or escape them."),
    ],
)
def test_what_is_no_name_is_refused_with_value_rule_and_way_out(
    *, check: Check, name: object, rule: str, remedy: str
) -> None:
    """A name that some store could not keep, or could confuse with another, is an error that says why."""
    with pytest.raises(InvalidTaskError) as caught:
        check(name)

    assert rule in str(caught.value)
    assert str(caught.value).endswith(remedy)
    assert caught.value.value == name


@pytest.mark.parametrize(
    ("check", "what"),
    [
        (check_id, "a task id"),
        (check_resource_key, "a resource key"),
        (check_kind, "a kind"),
        (check_env, "the name of an environment"),
        (check_queue, "the name of a queue"),
    ],
)
def test_the_error_says_which_name_is_wrong(check: Check, what: str) -> None:
    """Each check calls its subject by its own word."""
    with pytest.raises(InvalidTaskError, match=f"^{what} is a str"):
        check(None)


def test_headers_become_a_plain_dict_of_their_own() -> None:
    """Later changes of the caller's mapping do not reach the task."""
    given = {Text("traceparent"): Text("00-1")}

    headers = check_headers(given)
    given.clear()

    assert headers == {"traceparent": "00-1"}
    assert {type(part) for item in headers.items() for part in item} == {str}


def test_no_headers_are_an_empty_dict() -> None:
    """Absence needs no special case."""
    assert check_headers({}) == {}


def test_headers_end_at_their_limits() -> None:
    """Sixty-four headers are taken, and 8 KiB of names and values together."""
    assert len(check_headers({f"h{index}": "" for index in range(64)})) == 64
    assert check_headers({"ab": "\u00e9" * 4095})


@pytest.mark.parametrize(
    ("headers", "rule", "remedy"),
    [
        (None, "headers are a mapping of str to str; got None", "Pass a dict."),
        ([("a", "b")], "headers are a mapping of str to str; got [('a', 'b')]", "Pass a dict."),
        ({f"h{index}": "" for index in range(65)}, "at most 64 headers; got 65", "into the payload."),
        ({"ab": "\u00e9" * 4096}, "at most 8192 bytes together; got 8194", "into the payload."),
        ({"": "a"}, "the name of a header has 1 to 128 bytes", "Name it."),
        ({1: "a"}, "the name of a header is a str; got 1", "Convert it with str()."),
        ({"a\n": "a"}, "the name of a header has no control characters", "Remove or escape them."),
        ({"a": 1}, "the value of a header is a str without control characters and lone surrogates; got 1", "base64."),
        (
            {"a": "b\0"},
            r"the value of a header is a str without control characters and lone surrogates; got 'b\x00'",
            "base64.",
        ),
        ({"a": "\ud800"}, "the value of a header is a str without", "base64."),
    ],
)
def test_wrong_headers_are_refused_with_value_rule_and_way_out(headers: object, rule: str, remedy: str) -> None:
    """Headers that some store could not keep are an error that says why."""
    with pytest.raises(InvalidTaskError) as caught:
        check_headers(headers)

    assert rule in str(caught.value)
    assert str(caught.value).endswith(remedy)
