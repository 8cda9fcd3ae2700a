"""The clients of a process: each event loop has its own, and none is used after a fork."""

from typing import Any

from google.cloud.firestore_v1 import AsyncClient

from oncetask_core.loops import PerLoop
from oncetask_firestore.clients import name_of, new_client, options_of
from oncetask_firestore.database import Database
from oncetask_firestore.forks import calls_from_here, check_fork
from oncetask_firestore.store_time import StoreTime
from oncetask_firestore.usage import Usage


class Loops:
    """The database as every event loop that uses a store sees it.

    Args:
        client: A client whose project, database and credentials are used; it is not used itself.
        project: The project, where no client is given.
        database: The database, where no client is given.
        credentials: The credentials, where no client is given.
        time: Learns the server's time from every reply.
        usage: Counts what is asked on every loop.
    """

    def __init__(
        self,
        client: AsyncClient | None,
        *,
        project: str | None,
        database: str | None,
        credentials: object,
        time: StoreTime,
        usage: Usage,
    ) -> None:
        self._time = time
        self._usage = usage
        self._options: dict[str, Any] = {"project": project, "database": database, "credentials": credentials}
        if client is not None:
            self._options = options_of(client)
        self._by_loop = PerLoop(self._connected)

    def here(self) -> Database:
        """Return the database of the running event loop of this process.

        Raises:
            ConfigurationError: Project or credentials are missing or malformed, or this process was forked from one
                that had called Firestore.
        """
        return self._by_loop.here()

    async def close(self) -> None:
        """Close the connection of the running event loop."""
        await self._by_loop.close()

    def _connected(self) -> Database:
        check_fork()
        made = new_client(self._options)
        calls_from_here()
        return Database(made, self._time, self._usage, name=name_of(made))
