"""MariaDB, as lanes connect to it."""

from oncetask_core.errors import StoreError
from oncetask_sql.mariadb import failures
from oncetask_sql.mariadb.connecting import connect, largest_packet
from oncetask_sql.mariadb.location import Location
from oncetask_sql.mariadb.session import Session


class Endpoint:
    """A server.

    Args:
        location: Where it is.
    """

    errors = failures.SERVER_ERRORS

    def __init__(self, location: Location) -> None:
        self._location = location

    async def connect(self) -> Session:
        """Return a new session."""
        connection = await connect(self._location)
        try:
            return Session(connection, packet=await largest_packet(connection))
        except BaseException:
            connection.close()
            raise

    async def close(self, session: Session) -> None:
        """Close the connection of a session."""
        await session.connection.ensure_closed()

    def is_open(self, session: Session) -> bool:
        """Return whether the connection of a session can be used, as far as is known here."""
        return bool(session.connection.connected)

    async def prepare(self, session: Session) -> None:
        """Do nothing: statements are planned when they run."""

    def is_lost(self, error: Exception) -> bool:
        """Return whether an error means that the connection is gone."""
        return failures.is_lost(error)

    def store_error(self, error: Exception) -> StoreError:
        """Return what an error means to the caller."""
        return failures.store_error(error, self._location.address)
