"""Options of URLs: each is read by a function of its name, its text, and the URL for messages."""

import re
from collections.abc import Callable
from typing import Final

from oncetask_core.errors import ConfigurationError

Reader = Callable[[str, str, str], object]
_LONGEST_SECONDS: Final = 86_400.0


def names(*, longest: int, example: str) -> Reader:
    """Return what reads the name of a schema, or what names of tables begin with."""
    pattern = re.compile(rf"[a-z_][a-z0-9_]{{0,{longest - 1}}}")

    def name(option: str, text: str, url: str) -> str:
        if pattern.fullmatch(text) is None:
            rule = f"{option} of {url} is 1 to {longest} lower-case letters, digits and underscores, and begins with"
            raise ConfigurationError(value=text, rule=f"{rule} no digit", remedy=f"For example ?{option}={example}.")
        return text

    return name


def seconds(option: str, text: str, url: str) -> float:
    """Return a length of time.

    Raises:
        ConfigurationError: It is no number of seconds above 0 and up to a day.
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= _LONGEST_SECONDS:
        raise ConfigurationError(
            value=text,
            rule=f"{option} of {url} is a number of seconds above 0 and up to {_LONGEST_SECONDS:g}",
            remedy=f"For example ?{option}=30.",
        )
    return number


def text(_option: str, text: str, _url: str) -> str:
    """Return a text as it is."""
    return text
