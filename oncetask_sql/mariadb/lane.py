"""One connection of one event loop. What is asked for runs one after the other, and to its end."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from asyncmy.connection import Connection

from oncetask_core.errors import StoreError
from oncetask_sql.mariadb import failures
from oncetask_sql.mariadb.connecting import connect, largest_packet
from oncetask_sql.mariadb.location import Location
from oncetask_sql.mariadb.session import Session

T = TypeVar("T")
Work = Callable[[Session], Awaitable[T]]


class Lane:
    """Connects when it is first needed, and anew after a failure of the connection.

    Args:
        location: The server.
        only_reads: Whether work can be repeated whose outcome is unknown.
    """

    def __init__(self, location: Location, *, only_reads: bool = False) -> None:
        self._location = location
        self._only_reads = only_reads
        self._turn = asyncio.Lock()
        self._session: Session | None = None
        self._kept: AsyncGenerator[Connection, None] | None = None
        self.round_trips = 0

    async def run(self, work: Work[T]) -> T:
        """Return what `work` returns.

        Whoever waits may be cancelled; the work goes on, so that no transaction is left in the middle.

        Raises:
            StoreUnavailableError: The server cannot be reached; whether anything was written is not known.
            StoreError: Another failure of the server; nothing was written.
        """
        running = asyncio.create_task(self._run(work))
        running.add_done_callback(_look_at)
        return await asyncio.shield(running)

    async def close(self) -> None:
        """Close the connection, once what runs has ended."""
        async with self._turn:
            await self._drop()

    async def _run(self, work: Work[T]) -> T:
        async with self._turn:
            try:
                return await self._attempt(work)
            except failures.SERVER_ERRORS as error:
                raise failures.store_error(error, self._location.address) from error

    async def _attempt(self, work: Work[T]) -> T:
        """Run work, and again where only reads were asked of a connection that the server had ended meanwhile."""
        was_idle = self._session is not None
        try:
            return await self._work(work)
        except failures.SERVER_ERRORS as error:
            if not (failures.is_lost(error) and was_idle and self._only_reads):
                raise
        return await self._work(work)

    async def _work(self, work: Work[T]) -> T:
        session = await self._connected()
        before = session.round_trips
        try:
            return await work(session)
        except StoreError:
            raise
        except BaseException:
            await self._drop()
            raise
        finally:
            self.round_trips += session.round_trips - before

    async def _connected(self) -> Session:
        if self._session is None or not self._session.connection.connected:
            await self._drop()
            self._kept = kept(await connect(self._location))
            connection = await anext(self._kept)
            self._session = Session(connection, packet=await largest_packet(connection))
        return self._session

    async def _drop(self) -> None:
        kept, self._session, self._kept = self._kept, None, None
        if kept is not None:
            await kept.aclose()


async def kept(connection: Connection) -> AsyncGenerator[Connection, None]:
    """Yield the connection; close it at the end, which comes at the latest with that of the event loop."""
    try:
        yield connection
    finally:
        await connection.ensure_closed()


def _look_at(done: "asyncio.Task[T]") -> None:
    """Look at the error of work that nobody waits for any more: whoever asked was cancelled."""
    if not done.cancelled():
        done.exception()
