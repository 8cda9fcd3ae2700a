"""Where PostgreSQL's protocol commits."""

import asyncio

from tests.servers.cutting import Commits, Cut, Decide

WRITES = (b"INSERT", b"UPDATE", b"DELETE", b"WITH")


class PostgresqlLink:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(self, decide: Decide) -> None:
        self._commits = Commits(decide)
        self._texts: dict[bytes, bytes] = {}
        self._is_open = False

    async def requests(self, client: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        """Pass on what the client says, until it ends or is to be cut off."""
        server.write(await _message(client, b""))
        while True:
            kind = await client.readexactly(1)
            message = await _message(client, kind)
            if self._at_the_end(kind, message[5:]) and self._commits.cut() is Cut.BEFORE:
                return
            server.write(message)

    async def replies(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """Pass on what the server says, until it ends or a reply is to be kept back."""
        while True:
            kind = await server.readexactly(1)
            message = await _message(server, kind)
            if not self._commits.ends:
                client.write(message)
            elif kind == b"Z":
                return

    async def ended(self) -> None:
        """Return at once: the socket was closed by the end of the server's process."""

    def _at_the_end(self, kind: bytes, body: bytes) -> bool:
        """Return whether this message commits: the call of COMMIT, or what ends an exchange outside transactions."""
        if kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            self._texts[name] = text.lstrip().upper()
        if kind != b"B":
            return kind == b"S" and not self._is_open
        text = self._texts[body.split(b"\0", 2)[1]]
        self._commits.wrote = self._commits.wrote or text.startswith(WRITES)
        self._is_open = text.startswith(b"BEGIN") or (self._is_open and not text.startswith((b"COMMIT", b"ROLLBACK")))
        return text.startswith(b"COMMIT")


async def _message(reader: asyncio.StreamReader, kind: bytes) -> bytes:
    length = await reader.readexactly(4)
    return kind + length + await reader.readexactly(int.from_bytes(length, "big") - 4)
