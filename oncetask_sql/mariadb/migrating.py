"""Migrations without an event loop around them: for the command line."""

import asyncio

from oncetask_sql.lane import Lane
from oncetask_sql.mariadb import opening
from oncetask_sql.mariadb.endpoint import Endpoint
from oncetask_sql.mariadb.location import located


def migrate(url: str) -> None:
    """Bring the schema of a database to this version.

    Raises:
        ConfigurationError: The URL is malformed, or the server too old.
        StoreUnavailableError: The server cannot be reached now.
        SchemaError: The schema is newer than this library.
    """
    location = located(url)
    way = Lane(Endpoint(location))
    asyncio.run(way.run(lambda session: opening.migrate(session, location)))


def pending_script(url: str) -> str:
    """Return as plain SQL what `migrate` would do; nothing is written.

    Raises:
        ConfigurationError: The URL is malformed.
        StoreUnavailableError: The server cannot be reached now.
        SchemaError: The schema is newer than this library.
    """
    location = located(url)
    way = Lane(Endpoint(location))
    version = asyncio.run(way.run(lambda session: opening.version_at_most_ours(session, location)))
    return opening.script(location, after=version)
