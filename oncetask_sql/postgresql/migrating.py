"""Migrations without an event loop around them: for the command line."""

import asyncio

from oncetask_sql.lane import Lane
from oncetask_sql.postgresql import opening
from oncetask_sql.postgresql.endpoint import Endpoint
from oncetask_sql.postgresql.location import located


def migrate(url: str) -> None:
    """Bring the schema of a database to this version.

    Raises:
        ConfigurationError: The URL is malformed, the server too old, or the database not in UTF-8.
        StoreUnavailableError: The server cannot be reached now.
        SchemaError: The schema is newer than this library, or its version is not recorded.
    """
    location = located(url)
    way = Lane(Endpoint("migrate", location))
    asyncio.run(way.run(lambda session: opening.migrate(session, location)))


def pending_script(url: str) -> str:
    """Return as plain SQL what `migrate` would do; nothing is written.

    Raises:
        ConfigurationError: The URL is malformed.
        StoreUnavailableError: The server cannot be reached now.
        SchemaError: The schema is newer than this library, or its version is not recorded.
    """
    location = located(url)
    way = Lane(Endpoint("migrate", location))
    version = asyncio.run(way.run(lambda session: opening.sound_version(session, location)))
    return opening.script(location, after=version)
