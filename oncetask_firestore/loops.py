"""The clients of a process: each event loop has its own, and none is used after a fork."""

import asyncio
import os
from typing import Any
from weakref import WeakKeyDictionary

from google.cloud.firestore_v1 import AsyncClient

from oncetask_firestore.clients import name_of, new_client, options_of
from oncetask_firestore.database import Database
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
        self._process = os.getpid()
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Database] = WeakKeyDictionary()

    def here(self) -> Database:
        """Return the database of the running event loop; what a parent process had belongs to the parent.

        Raises:
            ConfigurationError: Project or credentials are missing or malformed.
        """
        if self._process != os.getpid():
            self._process, self._by_loop = os.getpid(), WeakKeyDictionary()
        loop = asyncio.get_running_loop()
        database = self._by_loop.get(loop)
        if database is None:
            made = new_client(self._options)
            database = self._by_loop[loop] = Database(made, self._time, self._usage, name=name_of(made))
        return database

    async def close(self) -> None:
        """Close the connection of the running event loop."""
        database = self._by_loop.pop(asyncio.get_running_loop(), None)
        if database is not None and self._process == os.getpid():
            await database.close()
