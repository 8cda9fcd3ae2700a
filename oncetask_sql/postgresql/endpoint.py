"""PostgreSQL, as lanes connect to it."""

from typing import Final

import psycopg

from oncetask_core.errors import StoreError
from oncetask_sql.postgresql import failures
from oncetask_sql.postgresql.connecting import connect, prelude
from oncetask_sql.postgresql.location import Location
from oncetask_sql.postgresql.session import Session

PLAN_SECONDS: Final = 5.0
"""How long a session keeps the plans of its statements; making them all takes some milliseconds."""


class Endpoint:
    """A server for one purpose.

    Args:
        name: What it is for; shown by the server as part of the application's name.
        location: The server.
    """

    errors = (psycopg.Error,)

    def __init__(self, name: str, location: Location) -> None:
        self._name = name
        self._location = location

    async def connect(self) -> Session:
        """Return a new session."""
        return Session(await connect(self._location, self._name), prelude=prelude(self._location))

    async def close(self, session: Session) -> None:
        """Close the connection of a session."""
        await session.connection.close()

    def is_open(self, session: Session) -> bool:
        """Return whether the connection of a session can be used, as far as is known here."""
        return not session.connection.closed

    async def prepare(self, session: Session) -> None:
        """Let the server forget plans that are old by now."""
        await session.plan_anew(after=PLAN_SECONDS)

    def is_lost(self, error: Exception) -> bool:
        """Return whether an error means that the connection may be gone."""
        return isinstance(error, psycopg.OperationalError)

    def store_error(self, error: Exception) -> StoreError:
        """Return what an error means to the caller."""
        return failures.store_error(error, self._location.address)
