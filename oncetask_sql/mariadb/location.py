"""Which server, and how it is talked to: URLs and their options."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

import msgspec

from oncetask_core.composition import masked
from oncetask_core.errors import ConfigurationError
from oncetask_sql import options
from oncetask_sql.names import PREFIX, Names

SCHEMES: Final = ("mysql", "mariadb")


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """A server, a database, and options."""

    url: str
    """The URL without options."""
    host: str
    port: int = 3306
    user: str | None = None
    password: str = ""
    database: str
    socket: str | None = None
    """The path of a Unix socket, in place of host and port."""
    tls_ca: str | None = None
    """A file with the certificates that the server's is checked against; given, the connection is encrypted."""
    table_prefix: str = PREFIX
    connect_timeout: float = 10.0
    """Seconds."""
    statement_timeout: float = 60.0
    """Seconds that one statement may take on the server."""

    @property
    def names(self) -> Names:
        """The names of the tables."""
        return Names(None, self.table_prefix)

    @property
    def qualified_names(self) -> Names:
        """The names of the tables, for sessions that may be on another database of the same server."""
        quoted = self.database.replace("`", "``")
        return Names(f"`{quoted}`", self.table_prefix)

    @property
    def address(self) -> str:
        """The URL without its password, for messages."""
        return masked(self.url)


def located(url: str) -> Location:
    """Return the location that a URL names; nothing is connected.

    Raises:
        ConfigurationError: The URL is malformed, or has an option that is unknown or out of bounds.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 3306
    except ValueError as error:
        raise _malformed(url) from error
    database = unquote(parts.path.removeprefix("/"))
    if parts.scheme not in SCHEMES or not database or "/" in database:
        raise _malformed(url)
    chosen: dict[str, Any] = {}
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _READERS:
            raise ConfigurationError(
                value=name,
                rule=f"the options of {masked(url)} are among {', '.join(sorted(_READERS))}",
                remedy="Remove it, or look for a slip of the pen.",
            )
        chosen[name] = _READERS[name](name, text, masked(url))
    return Location(
        url=urlunsplit(parts._replace(query="")),
        host=parts.hostname or "localhost",
        port=port,
        user=None if parts.username is None else unquote(parts.username),
        password=unquote(parts.password or ""),
        database=database,
        **chosen,
    )


def _malformed(url: str) -> ConfigurationError:
    return ConfigurationError(
        value=masked(url),
        rule="the URL of a MariaDB database begins with mysql:// or mariadb:// and names a database",
        remedy="Write mysql://user:password@host:3306/database.",
    )


_name: Final = options.names(longest=30, example="jobs_")
_READERS: Final[Mapping[str, options.Reader]] = {
    "table_prefix": _name,
    "connect_timeout": options.seconds,
    "statement_timeout": options.seconds,
    "socket": options.text,
    "tls_ca": options.text,
}
