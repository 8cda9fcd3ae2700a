"""Which server, and how it is talked to: URLs and their options."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from oncetask_core.composition import masked
from oncetask_core.errors import ConfigurationError
from oncetask_sql import options
from oncetask_sql.names import Names


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
    chosen: dict[str, Any] = {}
    others: list[tuple[str, str]] = []
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if name in _READERS:
            chosen[name] = _READERS[name](name, text, masked(url))
        else:
            others.append((name, text))
    plain = urlunsplit(parts._replace(scheme="postgresql", query=urlencode(others)))
    return Location(url=plain, **chosen)


def _pooler(option: str, text: str, url: str) -> bool:
    if text not in ("transaction", "none"):
        raise ConfigurationError(
            value=text,
            rule=f"{option} of {url} is none or transaction",
            remedy="Write ?pooler=transaction for pgbouncer in transaction mode.",
        )
    return text == "transaction"


_name: Final = options.names(longest=40, example="jobs")
_READERS: Final[Mapping[str, options.Reader]] = {
    "schema": _name,
    "table_prefix": _name,
    "pooler": _pooler,
    "application_name": options.text,
    "connect_timeout": options.seconds,
    "statement_timeout": options.seconds,
}
