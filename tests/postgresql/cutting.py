"""A way to the server that is cut at a chosen moment: before a commit reaches it, or before its reply returns.

Clients come without encryption. Whoever is cut off learns of it when the server has ended that connection, so that
nothing of it is still going on.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from enum import StrEnum

WRITES = (b"INSERT", b"UPDATE", b"DELETE", b"WITH")


class Cut(StrEnum):
    """Where a connection is cut."""

    BEFORE = "before the server sees the commit"
    AFTER = "after the commit, before its reply"


Decide = Callable[[bool], Cut | None]
"""Told at the end of each exchange or transaction whether it wrote, returns where to cut it, if at all."""


class _Link:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(self, decide: Decide) -> None:
        self._decide = decide
        self._texts: dict[bytes, bytes] = {}
        self._is_open = False
        self._wrote = False
        self._ends = False

    async def requests(self, client: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        """Pass on what the client says, until it ends or is to be cut off."""
        server.write(await _message(client, b""))
        while True:
            kind = await client.readexactly(1)
            message = await _message(client, kind)
            if self._at_the_end(kind, message[5:]) and self._cuts() is Cut.BEFORE:
                return
            server.write(message)

    async def replies(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """Pass on what the server says, until it ends or a reply is to be kept back."""
        while True:
            kind = await server.readexactly(1)
            message = await _message(server, kind)
            if not self._ends:
                client.write(message)
            elif kind == b"Z":
                return

    def _at_the_end(self, kind: bytes, body: bytes) -> bool:
        """Return whether this message commits: the call of COMMIT, or what ends an exchange outside transactions."""
        if kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            self._texts[name] = text.lstrip().upper()
        if kind != b"B":
            return kind == b"S" and not self._is_open
        text = self._texts[body.split(b"\0", 2)[1]]
        self._wrote = self._wrote or text.startswith(WRITES)
        self._is_open = text.startswith(b"BEGIN") or (self._is_open and not text.startswith((b"COMMIT", b"ROLLBACK")))
        return text.startswith(b"COMMIT")

    def _cuts(self) -> Cut | None:
        cut = None if self._ends else self._decide(self._wrote)
        self._wrote, self._ends = False, self._ends or cut is Cut.AFTER
        return cut


async def _message(reader: asyncio.StreamReader, kind: bytes) -> bytes:
    length = await reader.readexactly(4)
    return kind + length + await reader.readexactly(int.from_bytes(length, "big") - 4)


@contextlib.asynccontextmanager
async def cutting(host: str, port: int, decide: Decide) -> AsyncIterator[int]:
    """Yield the port of a way to a server, for as long as the event loop runs."""
    links: set[asyncio.Task[None]] = set()

    async def connect(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection(host, port)
        link = _Link(decide)
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
                await server.read()  # ends when the server's process has
            to_server.close()
            to_client.transport.abort()

    def begin(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        links.add(asyncio.create_task(connect(client, to_client)))

    async with await asyncio.start_server(begin, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]
    await asyncio.gather(*links)
