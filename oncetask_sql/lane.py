"""One connection of one event loop. What is asked for runs one after the other, and to its end."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from oncetask_core.errors import StoreError


class Counted(Protocol):
    """A connection and what is said over it."""

    round_trips: int


S = TypeVar("S", bound=Counted)
T = TypeVar("T")


class Endpoint(Protocol[S]):
    """One kind of server, for one purpose."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What the driver raises."""
        ...

    async def connect(self) -> S:
        """Return a new session."""
        ...

    async def close(self, session: S, /) -> None:
        """Close the connection of a session."""
        ...

    def is_open(self, session: S, /) -> bool:
        """Return whether the connection of a session can be used, as far as is known here."""
        ...

    async def prepare(self, session: S, /) -> None:
        """Do what a session needs before any work."""
        ...

    def is_lost(self, error: Exception, /) -> bool:
        """Return whether an error of the driver means that the connection is gone."""
        ...

    def store_error(self, error: Exception, /) -> StoreError:
        """Return what an error of the driver means to the caller."""
        ...


class Lane(Generic[S]):
    """Connects when it is first needed, and anew after a failure of the connection.

    Args:
        endpoint: The server.
        only_reads: Whether work can be repeated whose outcome is unknown.

    Attributes:
        round_trips: How often the server was waited for.
    """

    def __init__(self, endpoint: Endpoint[S], *, only_reads: bool = False) -> None:
        self._endpoint = endpoint
        self._only_reads = only_reads
        self._turn = asyncio.Lock()
        self._session: S | None = None
        self._kept: AsyncGenerator[S, None] | None = None
        self.round_trips = 0

    async def run(self, work: Callable[[S], Awaitable[T]]) -> T:
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

    async def _run(self, work: Callable[[S], Awaitable[T]]) -> T:
        async with self._turn:
            try:
                return await self._attempt(work)
            except self._endpoint.errors as error:
                raise self._endpoint.store_error(error) from error

    async def _attempt(self, work: Callable[[S], Awaitable[T]]) -> T:
        """Run work, and again where only reads were asked of a connection that the server had ended meanwhile."""
        was_idle = self._session is not None
        try:
            return await self._work(work)
        except self._endpoint.errors as error:
            if not (self._endpoint.is_lost(error) and was_idle and self._only_reads):
                raise
        return await self._work(work)

    async def _work(self, work: Callable[[S], Awaitable[T]]) -> T:
        session = await self._connected()
        before = session.round_trips
        try:
            await self._endpoint.prepare(session)
            return await work(session)
        except StoreError:
            raise
        except BaseException:
            await self._drop()
            raise
        finally:
            self.round_trips += session.round_trips - before

    async def _connected(self) -> S:
        if self._session is None or not self._endpoint.is_open(self._session):
            await self._drop()
            self._kept = kept(await self._endpoint.connect(), self._endpoint.close)
            self._session = await anext(self._kept)
        return self._session

    async def _drop(self) -> None:
        kept, self._session, self._kept = self._kept, None, None
        if kept is not None:
            await kept.aclose()


async def kept(session: T, close: Callable[[T], Awaitable[None]]) -> AsyncGenerator[T, None]:
    """Yield a session; close it at the end, which comes at the latest with that of the event loop."""
    try:
        yield session
    finally:
        await close(session)


def _look_at(done: "asyncio.Task[T]") -> None:
    """Look at the error of work that nobody waits for any more: whoever asked was cancelled."""
    if not done.cancelled():
        done.exception()
