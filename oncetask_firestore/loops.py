"""The clients of a process: each event loop has its own, and none is used after a fork."""

import asyncio
import os
from typing import Any
from weakref import WeakKeyDictionary

from google.cloud.firestore_v1 import AsyncClient

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
            self._options = _options_of(client)
        self._process = os.getpid()
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Database] = WeakKeyDictionary()

    def here(self) -> Database:
        """Return the database of the running event loop; what a parent process had belongs to the parent."""
        if self._process != os.getpid():
            self._process, self._by_loop = os.getpid(), WeakKeyDictionary()
        loop = asyncio.get_running_loop()
        database = self._by_loop.get(loop)
        if database is None:
            database = self._by_loop[loop] = Database(AsyncClient(**self._options), self._time, self._usage)
        return database

    async def close(self) -> None:
        """Close the connection of the running event loop."""
        database = self._by_loop.pop(asyncio.get_running_loop(), None)
        if database is not None and self._process == os.getpid():
            await database.close()


def _options_of(client: AsyncClient) -> dict[str, Any]:
    return {
        "project": client.project,
        "database": client._database,  # noqa: SLF001 - the client tells it by no other way
        "credentials": client._credentials,  # noqa: SLF001 - a client cannot be copied by other means
        "client_options": client._client_options,  # noqa: SLF001 - nor its options be asked for
    }
