"""What names, times and texts have to look like so that every store can keep them and every worker can use them.

Each check returns the value in its plain form (a plain `str`, an aware UTC `datetime`, ...) or raises an error
that names the value, the rule and the way out. Nothing is repaired silently: two ids that a repair would make
equal would be one task.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import NoReturn

from oncetask_core.errors import ConfigurationError, InputError, InvalidTaskError

MAX_ID_BYTES = 512
"""Ids and resource keys: what a B-tree index of any store accepts, with room to spare."""
MAX_NAME_BYTES = 128
"""Kinds, environments, queues and the names of headers."""
MAX_DURATION = timedelta(days=3660)
"""Ten years."""
LOWEST_PRIORITY = -10
HIGHEST_PRIORITY = 10
MAX_HEADERS = 64
MAX_HEADERS_BYTES = 8192
"""Names and values of all headers of a task together."""
MAX_ERROR_BYTES = 4096
"""The text of one recorded error."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNSTORABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_MICROSECOND = timedelta(microseconds=1)


def check_id(text: object, *, error: type[InputError] = InvalidTaskError) -> str:
    """Return a task id: 1 to 512 bytes of UTF-8 in NFC, without control characters.

    Raises:
        InvalidTaskError: It is something else; `error` names another class.
    """
    return _check_name(text, "a task id", most=MAX_ID_BYTES, error=error)


def check_ids(ids: Iterable[str]) -> list[str]:
    """Return task ids, each once, in their order.

    Raises:
        InvalidTaskError: One is no task id, or one thing was given in place of several, such as a text, whose letters
            are not meant.
    """
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise InvalidTaskError(
            value=ids, rule="several task ids are given as a list or another collection", remedy="Put one into a list."
        )
    return list(dict.fromkeys(check_id(task_id) for task_id in ids))


def check_resource_key(text: object, *, error: type[InputError] = InvalidTaskError) -> str:
    """Return a resource key: 1 to 512 bytes of UTF-8 in NFC, without control characters.

    Raises:
        InvalidTaskError: It is something else; `error` names another class.
    """
    return _check_name(text, "a resource key", most=MAX_ID_BYTES, error=error)


def check_kind(text: object, *, error: type[InputError] = InvalidTaskError) -> str:
    """Return a kind: 1 to 128 bytes of UTF-8 in NFC, without control characters.

    Raises:
        InvalidTaskError: It is something else; `error` names another class.
    """
    return _check_name(text, "a kind", most=MAX_NAME_BYTES, error=error)


def check_env(text: object) -> str:
    """Return the name of an environment: 1 to 128 bytes of UTF-8 in NFC, without control characters.

    Raises:
        InvalidTaskError: It is something else.
    """
    return _check_name(text, "the name of an environment", most=MAX_NAME_BYTES)


def check_queue(text: object, *, error: type[InputError] = InvalidTaskError) -> str:
    """Return the name of a queue: 1 to 128 bytes of UTF-8 in NFC, without control characters.

    Raises:
        InvalidTaskError: It is something else; `error` names another class.
    """
    return _check_name(text, "the name of a queue", most=MAX_NAME_BYTES, error=error)


def check_worker_name(text: object) -> str:
    """Return the name of a worker: 1 to 512 bytes of UTF-8 in NFC, without control characters.

    Raises:
        ConfigurationError: It is something else.
    """
    return _check_name(text, "the name of a worker", most=MAX_ID_BYTES, error=ConfigurationError)


def check_time(value: object, name: str, *, error: type[InputError] = InvalidTaskError) -> datetime:
    """Return an aware time as a plain `datetime` in UTC.

    Args:
        value: An aware datetime whose UTC time lies in the years 1 to 9999.
        name: What the time is called in the error.
        error: The class of the error.

    Raises:
        InvalidTaskError: It is naive, no datetime, or outside those years.
    """
    if not isinstance(value, datetime):
        raise error(value=value, rule=f"{name} is a datetime", remedy="Pass an aware datetime.")
    if value.tzinfo is UTC and type(value) is datetime:
        return value
    try:
        moment = value.astimezone(UTC) if value.utcoffset() is not None else None
    except Exception as cause:  # the offset comes from a tzinfo of the caller's own, or leads out of the years
        raise error(
            value=value,
            rule=f"{name} has a UTC time in the years 1 to 9999",
            remedy="Choose a time within those years and a zone that knows it.",
        ) from cause
    if moment is None:
        raise error(
            value=value,
            rule=f"{name} is aware: it says in which zone it is meant",
            remedy="Add a zone, as in datetime(..., tzinfo=UTC) or datetime.now(UTC).",
        )
    return datetime.combine(moment.date(), moment.time(), tzinfo=UTC)


def check_duration(
    value: object, name: str, *, positive: bool = False, error: type[InputError] = ConfigurationError
) -> timedelta:
    """Return a duration as a plain `timedelta`.

    Args:
        value: A timedelta, or seconds as int or float; from 0 to ten years.
        name: What the duration is called in the error.
        positive: Whether it has to be at least a microsecond.
        error: The class of the error: by default that of a wrong setting.

    Raises:
        ConfigurationError: It is no duration, not finite, negative, zero where `positive`, or too long.
    """
    if type(value) is timedelta:
        duration = value
    elif isinstance(value, timedelta):
        duration = timedelta(days=value.days, seconds=value.seconds, microseconds=value.microseconds)
    else:
        duration = _seconds(value, name, error)
    least = _MICROSECOND if positive else timedelta(0)
    if not least <= duration <= MAX_DURATION:
        _refuse_duration(value, name, least=least, error=error)
    return duration


def _seconds(value: object, name: str, error: type[InputError]) -> timedelta:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise error(
            value=value,
            rule=f"{name} is a timedelta, or seconds as int or float",
            remedy="Pass timedelta(minutes=5), or 300 for as many seconds.",
        )
    if not 0 <= value <= MAX_DURATION.total_seconds():  # NaN fails, too
        _refuse_duration(value, name, least=timedelta(0), error=error)
    return timedelta(seconds=value)


def _refuse_duration(value: object, name: str, *, least: timedelta, error: type[InputError]) -> NoReturn:
    lowest = "1 microsecond" if least else "0"
    raise error(
        value=value,
        rule=f"{name} lies between {lowest} and {MAX_DURATION.days} days",
        remedy="Pass a finite duration within those bounds.",
    )


def check_priority(value: object) -> int:
    """Return a priority: an int from -10 to 10, higher runs earlier.

    Raises:
        InvalidTaskError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not LOWEST_PRIORITY <= value <= HIGHEST_PRIORITY:
        raise InvalidTaskError(
            value=value,
            rule=f"a priority is an int from {LOWEST_PRIORITY} to {HIGHEST_PRIORITY}",
            remedy="Choose one of those; 0 is the default and higher runs earlier.",
        )
    return int(value)


def check_headers(value: object) -> dict[str, str]:
    """Return headers as a dict of their own: at most 64, 8 KiB together, without control characters.

    Raises:
        InvalidTaskError: It is no mapping of str to str, or too much.
    """
    if not isinstance(value, Mapping):
        raise InvalidTaskError(value=value, rule="headers are a mapping of str to str", remedy="Pass a dict.")
    if not value:
        return {}
    if len(value) > MAX_HEADERS:
        raise InvalidTaskError(
            value=len(value),
            rule=f"a task has at most {MAX_HEADERS} headers",
            remedy="Put what the handler needs into the payload.",
        )
    headers = {
        _check_name(name, "the name of a header", most=MAX_NAME_BYTES): _check_header(text)
        for name, text in value.items()
    }
    size = sum(len(name.encode()) + len(text.encode()) for name, text in headers.items())
    if size > MAX_HEADERS_BYTES:
        raise InvalidTaskError(
            value=size,
            rule=f"the headers of a task have at most {MAX_HEADERS_BYTES} bytes together",
            remedy="Put what the handler needs into the payload.",
        )
    return headers


def _check_header(text: object) -> str:
    if not isinstance(text, str) or _UNSTORABLE.search(text):
        raise InvalidTaskError(
            value=text,
            rule="the value of a header is a str without control characters and lone surrogates",
            remedy="Convert it to text, or encode it, for example as base64.",
        )
    return str.__str__(text)


def _check_name(text: object, what: str, *, most: int, error: type[InputError] = InvalidTaskError) -> str:
    if type(text) is str and 0 < len(text) <= most and text.isascii() and text.isprintable():
        return text
    if not isinstance(text, str):
        raise error(value=text, rule=f"{what} is a str", remedy="Convert it with str().")
    plain = str.__str__(text)
    if _CONTROL.search(plain):
        raise error(
            value=plain,
            rule=f"{what} has no control characters (NUL included)",
            remedy="Remove or escape them.",
        )
    if _SURROGATE.search(plain):
        raise error(
            value=plain,
            rule=f"{what} has no lone surrogates",
            remedy="Decode the text without surrogateescape.",
        )
    if not 1 <= len(plain.encode()) <= most:
        raise error(
            value=plain,
            rule=f"{what} has 1 to {most} bytes of UTF-8, not {len(plain.encode())}",
            remedy="Shorten it, for example to a hash of its parts." if plain else "Name it.",
        )
    if not unicodedata.is_normalized("NFC", plain):
        raise error(
            value=plain,
            rule=f"{what} is in Unicode normal form NFC, so that what looks the same is the same",
            remedy="Pass unicodedata.normalize('NFC', text).",
        )
    return plain


def clean_text(text: str, limit: int) -> str:
    r"""Return `text` in a form that every store can keep, in at most `limit` bytes of UTF-8.

    Control characters (line ends and tabs included) and lone surrogates are written as escapes like `\n` and
    `\x00`. What is too long is cut between two characters and ends with a mark that says how many were cut.
    """
    plain = str.__str__(text)
    shown = _UNSTORABLE.sub(_escape, plain[:limit])  # no character takes less than a byte
    if len(plain) <= limit and len(shown.encode()) <= limit:
        return shown
    room = max(limit - len(_mark(len(plain))), 0)
    kept = _fitting(plain, room)
    return _UNSTORABLE.sub(_escape, plain[:kept]) + _mark(len(plain) - kept)[:limit]


def _mark(count: int) -> str:
    return f"... ({count} characters cut)"


def _fitting(text: str, room: int) -> int:
    """Return how many characters from the start take at most `room` bytes once they are escaped."""
    sizes = accumulate(len(_UNSTORABLE.sub(_escape, char).encode()) for char in text[:room])
    return sum(size <= room for size in sizes)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def describe_exception(error: BaseException) -> str:
    """Return "TypeName: message" in at most 4 KiB that every store can keep, whatever the exception does."""
    name = type(error).__name__
    try:
        message = str.__str__(str(error))  # a subclass may have a say in formatting
    except KeyboardInterrupt:
        raise
    except BaseException as raised:  # noqa: BLE001 - a message that cannot be had must not hide the error itself
        message = f"<its message could not be read: {type(raised).__name__}>"
    return clean_text(f"{name}: {message}" if message else name, MAX_ERROR_BYTES)
