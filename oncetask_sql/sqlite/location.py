"""Where the database file is and how it is opened: URLs and their options."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

from oncetask_core.errors import ConfigurationError

SYNCHRONOUS: Final = ("full", "extra", "normal")
LONGEST_TIMEOUT: Final = 3600.0
_FORM: Final = "Write sqlite:///relative.db or sqlite:////absolute/path.db."


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """A database file and its options."""

    path: Path
    """Absolute, so that a change of the working directory moves nothing."""
    synchronous: str = "full"
    """`full`: what was committed survives a loss of power. `normal`: the last commits may be lost then."""
    busy_timeout: float = 5.0
    """Seconds that a call waits for its turn to write before it raises `StoreUnavailableError`."""

    @property
    def url(self) -> str:
        """The URL of the file, without options."""
        return f"sqlite:///{quote(str(self.path))}"


def file_at(path: str | Path) -> Location:
    """Return the location of a file, with every option at its default; nothing is opened.

    Raises:
        ConfigurationError: It is no name of a file.
    """
    return Location(path=_absolute(str(path), given=path))


def located(url: str) -> Location:
    """Return the location that a URL names; nothing is opened.

    Raises:
        ConfigurationError: The URL is malformed, names no file, or has an option that is unknown or out of bounds.
    """
    parts = urlsplit(url)
    if parts.scheme != "sqlite":
        raise ConfigurationError(value=url, rule="the URL of a SQLite file begins with sqlite:///", remedy=_FORM)
    if parts.netloc or not parts.path.startswith("/"):
        raise ConfigurationError(value=url, rule="a SQLite URL has no host: three slashes, then the path", remedy=_FORM)
    if parts.fragment or url.endswith("#"):
        raise ConfigurationError(value=url, rule="a URL ends at its #", remedy="Write %23 for a # in the path.")
    options = _options(url, parts.query)
    return msgspec.structs.replace(Location(path=_absolute(unquote(parts.path[1:]), given=url)), **options)


def _absolute(name: str, *, given: object) -> Path:
    if name in ("", ":memory:") or name.startswith("file:"):
        raise ConfigurationError(
            value=given,
            rule="the store needs a file of its own that its connections share",
            remedy="For tasks in memory use memory://. " + _FORM,
        )
    if "\x00" in name:
        raise ConfigurationError(value=given, rule="a path has no NUL", remedy=_FORM)
    return Path(name).absolute()


def _options(url: str, query: str) -> dict[str, object]:
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    for name in names:
        if name not in _PARSERS or names.count(name) > 1:
            known = ", ".join(_PARSERS)
            raise ConfigurationError(
                value=url, rule=f"the option {name!r} is unknown or repeated", remedy=f"Known options: {known}."
            )
    return {name: _PARSERS[name](value) for name, value in pairs}


def _synchronous(value: str) -> str:
    if value.lower() not in SYNCHRONOUS:
        raise ConfigurationError(
            value=value,
            rule=f"synchronous is one of {', '.join(SYNCHRONOUS)}",
            remedy="Leave it out for full, which survives a loss of power.",
        )
    return value.lower()


def _busy_timeout(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_TIMEOUT:
        raise ConfigurationError(
            value=value,
            rule=f"busy_timeout is a number of seconds from 0 to {LONGEST_TIMEOUT:.0f}",
            remedy="Leave it out for 5 seconds.",
        )
    return seconds


_PARSERS: Final[Mapping[str, Callable[[str], object]]] = {
    "synchronous": _synchronous,
    "busy_timeout": _busy_timeout,
}
