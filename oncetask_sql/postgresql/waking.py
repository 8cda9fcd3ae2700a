"""Telling other processes that there is something to claim, and hearing it from them: NOTIFY and LISTEN.

A notification is sent after a commit and never within its transaction, where it would make all commits of the server
queue behind each other. One that is lost costs a worker the rest of its poll interval and nothing else.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator
from typing import Final

import psycopg
from psycopg import AsyncConnection

from oncetask_core.errors import StoreUnavailableError
from oncetask_sql.codec import Row
from oncetask_sql.lane import Lane, kept
from oncetask_sql.postgresql import failures
from oncetask_sql.postgresql.connecting import connect
from oncetask_sql.postgresql.location import Location
from oncetask_sql.postgresql.session import Session

PAUSE: Final = 0.01
"""Seconds between two notifications of one process."""
_NOTIFY: Final = "SELECT pg_notify(%(channel)s, %(message)s)"


class Wakes:
    """Notifications of one environment, on one event loop.

    Args:
        location: The server.
        env: The environment.
        lane: The connection that notifications are sent over.
    """

    def __init__(self, location: Location, env: str, lane: Lane[Session]) -> None:
        self._location = location
        self._channel = f"{location.names.prefix}wake_{location.names.lock_space & 0xFFFFFFFF:08x}"
        self._sender = secrets.token_hex(8)
        self._env = env
        self._lane = lane
        self._wanted = False
        self._sending: asyncio.Task[None] | None = None
        self._heard: AsyncGenerator[None, None] | None = None

    def tell(self) -> None:
        """Let the workers of other processes look for tasks, soon; what is said meanwhile is said once."""
        self._wanted = True
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())

    async def told(self) -> None:
        """Return when everything that was to be said has been said."""
        if self._sending is not None:
            await asyncio.wait([self._sending])

    async def changed(self) -> None:
        """Return once another process has told of tasks; the first call returns as soon as that can be heard.

        Raises:
            StoreUnavailableError: The server cannot be reached.
        """
        if self._heard is None:
            self._heard = self._listening()
        heard, self._heard = self._heard, None
        try:
            await anext(heard)
        except psycopg.Error as error:
            raise failures.store_error(error, self._location.address) from error
        except StopAsyncIteration as error:
            raise StoreUnavailableError("the connection for notifications was closed") from error
        self._heard = heard

    async def close(self) -> None:
        """End the connection that listens."""
        heard, self._heard = self._heard, None
        if heard is not None:
            await heard.aclose()

    async def _send(self) -> None:
        while self._wanted:
            self._wanted = False
            with contextlib.suppress(StoreUnavailableError):  # the poll of the others stands in for it
                await self._lane.run(self._notify)
            await asyncio.sleep(PAUSE)

    async def _notify(self, session: Session) -> None:
        await session.rows(_NOTIFY, {"channel": self._channel, "message": f"{self._sender} {self._env}"})

    async def _listening(self) -> AsyncGenerator[None, None]:
        """Yield once when listening has begun, then for each notification of somebody else."""
        opened = await connect(self._location, "wake-ups")
        async with contextlib.aclosing(kept(opened, AsyncConnection.close)) as keeper:
            connection: AsyncConnection[Row] = await anext(keeper)
            await connection.execute(f"LISTEN {self._channel}")
            yield
            async for notification in connection.notifies():
                sender, _, env = notification.payload.partition(" ")
                if sender != self._sender and env == self._env:
                    yield
