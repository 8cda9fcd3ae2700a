"""Where MariaDB's protocol commits: statements come as one text, of which COMMIT is the last."""

import asyncio
import re
from collections.abc import Callable

from tests.servers.cutting import Commits, Cut, Decide

_QUERY = b"\x03"
_COMMIT = b"COMMIT"
_WRITES = re.compile(rb"(^|;)\s*(INSERT|UPDATE|DELETE|SET STATEMENT)")


class MariadbLink:
    """One connection of a client, and the one to the server that belongs to it.

    Args:
        decide: Asked at each commit.
        is_running: Returns whether the server has a thread of a number.
    """

    def __init__(self, decide: Decide, is_running: Callable[[int], bool]) -> None:
        self._commits = Commits(decide)
        self._is_running = is_running
        self._thread = 0

    async def requests(self, client: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        """Pass on what the client says, until it ends or is to be cut off: then the writes go, but not the commit."""
        while True:
            number, body = await _packet(client)
            cut = self._cut(body) if number == 0 and body.startswith(_QUERY) else None
            if cut is Cut.BEFORE:
                body = body.removesuffix(_COMMIT).removesuffix(b";")
            if body != _QUERY:
                server.write(len(body).to_bytes(3, "little") + bytes([number]) + body)
            if cut is not None:
                return

    async def replies(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """Pass on what the server says, until it ends or a reply is to be kept back."""
        number, greeting = await _packet(server)
        behind = greeting.index(b"\0") + 1  # the version of the server
        self._thread = int.from_bytes(greeting[behind : behind + 4], "little")
        client.write(len(greeting).to_bytes(3, "little") + bytes([number]) + greeting)
        while (said := await server.read(65536)) and not self._commits.ends:
            client.write(said)

    async def ended(self) -> None:
        """Return once the server's thread is gone: it closes the socket first, and then rolls back."""
        while self._is_running(self._thread):  # noqa: ASYNC110 - the server alone knows
            await asyncio.sleep(0.001)

    def _cut(self, body: bytes) -> Cut | None:
        self._commits.wrote = self._commits.wrote or _WRITES.search(body[1:]) is not None
        if body.endswith(_COMMIT):
            return self._commits.cut()
        if body.endswith(b"ROLLBACK"):
            self._commits.wrote = False
        return None


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return the number of a packet within its exchange, and what it holds."""
    head = await reader.readexactly(4)
    return head[3], await reader.readexactly(int.from_bytes(head[:3], "little"))
