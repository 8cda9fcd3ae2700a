"""A way to a server that is cut at a chosen moment: before a commit reaches it, or before its reply returns.

Clients come without encryption. Whoever is cut off learns of it when the server has ended that connection, so that
nothing of it is still going on.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from typing import Protocol


class Cut(StrEnum):
    """Where a connection is cut."""

    BEFORE = "before the server sees the commit"
    AFTER = "after the commit, before its reply"


Decide = Callable[[bool], Cut | None]
"""Told at the end of each exchange or transaction whether it wrote, returns where to cut it, if at all."""


class Scissors:
    """Cuts the next write, once it is armed."""

    def __init__(self) -> None:
        self.cuts = 0
        self._next: Cut | None = None
        self._spare = 0

    def arm(self, cut: Cut, *, spare: int = 0) -> None:
        """Cut the next write, or one behind it."""
        self._next, self._spare = cut, spare

    def __call__(self, wrote: bool) -> Cut | None:  # noqa: FBT001 - the only thing there is to tell
        if not wrote or self._next is None:
            return None
        if self._spare:
            self._spare -= 1
            return None
        cut, self._next = self._next, None
        self.cuts += 1
        return cut


class Commits:
    """What one connection writes, and where it is cut.

    Args:
        decide: Asked at each commit.

    Attributes:
        wrote: Whether anything was written since the last commit.
        ends: Whether replies are kept back.
    """

    def __init__(self, decide: Decide) -> None:
        self._decide = decide
        self.wrote = False
        self.ends = False

    def cut(self) -> Cut | None:
        """Return where to cut the commit that is about to be passed on."""
        cut = None if self.ends else self._decide(self.wrote)
        self.wrote, self.ends = False, self.ends or cut is Cut.AFTER
        return cut


class Link(Protocol):
    """One connection of a client, and the one to the server that belongs to it."""

    async def requests(self, client: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        """Pass on what the client says, until it ends or is to be cut off."""
        ...

    async def replies(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """Pass on what the server says, until it ends or a reply is to be kept back."""
        ...

    async def ended(self) -> None:
        """Return once nothing of the connection is going on; its socket is closed."""
        ...


@contextlib.asynccontextmanager
async def cutting(host: str, port: int, link_of: Callable[[], Link]) -> AsyncIterator[int]:
    """Yield the port of a way to a server, for as long as the event loop runs."""
    links: set[asyncio.Task[None]] = set()

    async def connect(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection(host, port)
        link = link_of()
        flows = [
            asyncio.create_task(link.requests(client, to_server)),
            asyncio.create_task(link.replies(server, to_client)),
        ]
        try:
            await asyncio.wait(flows, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for flow in flows:
                flow.cancel()
            await asyncio.gather(*flows, return_exceptions=True)
            to_server.write_eof()
            with contextlib.suppress(ConnectionError):
                await server.read()
            await link.ended()
            to_server.close()
            to_client.transport.abort()

    def begin(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        links.add(asyncio.create_task(connect(client, to_client)))

    async with await asyncio.start_server(begin, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]
    await asyncio.gather(*links)
