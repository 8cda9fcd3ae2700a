"""Texts of unknown origin: made storable, cut, and had from exceptions that resist."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oncetask_core.limits import MAX_ERROR_BYTES, clean_text, describe_exception

ANY_TEXT = st.text(alphabet=st.characters(codec=None, exclude_categories=()), max_size=60)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("", ""),
        ("plain \u00e9 \U0001f600", "plain \u00e9 \U0001f600"),
        ("a\0b", r"a\x00b"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x1b[31m\x7f\x85", r"\x1b[31m\x7f\x85"),
        ("a\ud800b\udcff", r"a\ud800b\udcff"),
    ],
)
def test_what_no_store_keeps_is_written_as_an_escape(text: str, clean: str) -> None:
    """Control characters and lone surrogates become visible, everything else stays."""
    assert clean_text(text, 100) == clean


def test_a_long_text_ends_with_a_mark_that_says_how_much_was_cut() -> None:
    """The mark counts the characters of the original that are missing, and fits into the limit."""
    text = "x" * 1000

    cut = clean_text(text, 100)

    kept = cut.count("x")
    assert cut == "x" * kept + f"... ({1000 - kept} characters cut)"
    assert 90 <= len(cut) <= 100


def test_a_text_of_exactly_the_limit_is_not_cut() -> None:
    """The limit itself is allowed."""
    assert clean_text("x" * 100, 100) == "x" * 100
    assert clean_text("\u00e9" * 50, 100) == "\u00e9" * 50


def test_escapes_count_with_the_bytes_that_they_take() -> None:
    """A text that only fits without its escapes is cut, and no escape is cut in two."""
    cut = clean_text("\0" * 30, 100)

    kept = cut.count(r"\x00")
    assert cut == r"\x00" * kept + f"... ({30 - kept} characters cut)"
    assert len(cut) <= 100


def test_a_limit_without_room_for_the_mark_still_holds() -> None:
    """Even then the result is not longer than asked for."""
    assert clean_text("x" * 100, 5) == "... ("
    assert clean_text("x" * 100, 0) == ""


@given(text=ANY_TEXT, limit=st.integers(0, 80))
def test_any_text_becomes_storable_and_short_enough(text: str, limit: int) -> None:
    """Whatever comes in, the result is UTF-8 without control characters, within the limit, and final."""
    clean = clean_text(text, limit)

    assert len(clean.encode()) <= limit
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in clean)
    assert clean_text(clean, limit) == clean


class LoudError(Exception):
    """An exception whose text is computed."""

    def __init__(self, text: object) -> None:
        super().__init__()
        self.text = text

    def __str__(self) -> str:
        if isinstance(self.text, BaseException):
            raise self.text
        return self.text  # type: ignore[return-value] # hostile on purpose


class Sly(str):
    """A str whose methods lie."""

    __slots__ = ()

    def __str__(self) -> str:
        return "lie"

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        raise AssertionError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no"), "ValueError: no"),
        (ValueError(), "ValueError"),
        (KeyError("a"), "KeyError: 'a'"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (LoudError(RuntimeError("x")), "LoudError: <its message could not be read: RuntimeError>"),
        (LoudError(SystemExit(1)), "LoudError: <its message could not be read: SystemExit>"),
        (LoudError(RecursionError()), "LoudError: <its message could not be read: RecursionError>"),
        (LoudError(None), "LoudError: <its message could not be read: TypeError>"),
        (LoudError(7), "LoudError: <its message could not be read: TypeError>"),
        (LoudError(Sly("text")), "LoudError: text"),
        (ValueError("a\0\ud800\n"), r"ValueError: a\x00\ud800\n"),
        (type("Na\nme", (Exception,), {})("x"), r"Na\nme: x"),
        (ExceptionGroup("both", [ValueError("a"), KeyError("b")]), "ExceptionGroup: both (2 sub-exceptions)"),
    ],
)
def test_any_exception_has_a_description(error: BaseException, text: str) -> None:
    """Whatever its `__str__` does, an exception is recorded under its type's name."""
    description = describe_exception(error)

    assert description == text
    assert description.isprintable()


def test_a_huge_message_is_cut_to_four_kibibytes() -> None:
    """The history of a task stays bounded whatever its handler raises."""
    description = describe_exception(ValueError("\U0001f600" * 1_000_000))

    assert description.startswith("ValueError: \U0001f600")
    assert description.endswith("characters cut)")
    assert MAX_ERROR_BYTES - 10 <= len(description.encode()) <= MAX_ERROR_BYTES


def test_an_interrupt_by_the_user_is_not_swallowed() -> None:
    """Ctrl-C while a message is computed ends the program as it should."""
    with pytest.raises(KeyboardInterrupt):
        describe_exception(LoudError(KeyboardInterrupt()))
