"""Which server, and how it is talked to: URLs and their options."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from oncetask_core.composition import masked
from oncetask_core.errors import ConfigurationError
from oncetask_sql.names import Names

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,39}")
_LONGEST_SECONDS: Final = 86_400.0


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """A server, a database, and options."""

    url: str
    """What the driver gets: the URL without our own options."""
    schema: str | None = None
    """The schema of the tables; None leaves it to the server's search path."""
    table_prefix: str = "oncetask_"
    pooler: bool = False
    """Whether a pooler gives each transaction another server connection: nothing is then kept in a session."""
    application_name: str = "oncetask"
    connect_timeout: float = 10.0
    """Seconds."""
    statement_timeout: float = 60.0
    """Seconds that one statement may take on the server."""

    @property
    def names(self) -> Names:
        """The names of the tables."""
        return Names(self.schema, self.table_prefix)

    @property
    def address(self) -> str:
        """The URL without its password, for messages."""
        return masked(self.url)


def located(url: str) -> Location:
    """Return the location that a URL names; nothing is connected.

    Raises:
        ConfigurationError: The URL is malformed, or has an option that is unknown or out of bounds.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise ConfigurationError(
            value=masked(url),
            rule="the URL of a PostgreSQL database begins with postgresql://",
            remedy="Write postgresql://user:password@host:5432/database.",
        )
    options: dict[str, Any] = {}
    others: list[tuple[str, str]] = []
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if name in _READERS:
            options[name] = _READERS[name](name, text, masked(url))
        else:
            others.append((name, text))
    plain = urlunsplit(parts._replace(scheme="postgresql", query=urlencode(others)))
    return Location(url=plain, **options)


def _name(option: str, text: str, url: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise ConfigurationError(
            value=text,
            rule=f"{option} of {url} is 1 to 40 lower-case letters, digits and underscores, and begins with no digit",
            remedy=f"For example ?{option}=jobs.",
        )
    return text


def _seconds(option: str, text: str, url: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise ConfigurationError(
            value=text,
            rule=f"{option} of {url} is a number of seconds above 0 and up to {_LONGEST_SECONDS:g}",
            remedy=f"For example ?{option}=30.",
        )
    return seconds


def _pooler(option: str, text: str, url: str) -> bool:
    if text not in ("transaction", "none"):
        raise ConfigurationError(
            value=text,
            rule=f"{option} of {url} is none or transaction",
            remedy="Write ?pooler=transaction for pgbouncer in transaction mode.",
        )
    return text == "transaction"


def _label(_option: str, text: str, _url: str) -> str:
    return text


_READERS: Final[Mapping[str, Callable[[str, str, str], object]]] = {
    "schema": _name,
    "table_prefix": _name,
    "pooler": _pooler,
    "application_name": _label,
    "connect_timeout": _seconds,
    "statement_timeout": _seconds,
}
