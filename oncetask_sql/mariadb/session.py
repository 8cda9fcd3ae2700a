"""A connection and what is said over it: single statements, and batches that take one round trip."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from asyncmy.connection import Connection
from asyncmy.errors import MySQLError

from oncetask_sql.codec import Row

Statement = str
"""SQL with its values in it."""

BEGIN: Final = ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION")
COMMIT: Final = "COMMIT"
ROLLBACK: Final = "ROLLBACK"
MOST_BYTES: Final = 4 * 1024 * 1024
"""How much goes out in one round trip, unless a single statement is longer."""


class Session:
    """One connection in autocommit mode.

    Args:
        connection: The connection.
        packet: How many bytes the server takes at once: its `max_allowed_packet`.

    Attributes:
        round_trips: How often the server was waited for.
    """

    def __init__(self, connection: Connection, *, packet: int) -> None:
        self.connection = connection
        self.round_trips = 0
        self._longest = packet - 1  # the first byte says what it is

    async def rows(self, sql: Statement) -> Sequence[Row]:
        """Run a statement and return its rows."""
        return (await self.batch([sql]))[0]

    async def batch(self, statements: Sequence[Statement]) -> list[Sequence[Row]]:
        """Run statements one after the other in a single round trip; return the rows of each.

        The first that fails ends the batch and raises; a transaction that was begun is rolled back.

        Raises:
            ValueError: A statement is longer than the server takes, or holds lone surrogates.
        """
        results: list[Sequence[Row]] = []
        try:
            for text in self._packed(statements):
                results += await self._ask(text)
        except BaseException:
            await self.abandon()
            raise
        return results

    async def begin(self, statements: Sequence[Statement]) -> list[Sequence[Row]]:
        """Begin a transaction and run its first statements; the next batch goes on with it."""
        return (await self.batch([*BEGIN, *statements]))[len(BEGIN) :]

    async def transaction(self, statements: Sequence[Statement]) -> list[Sequence[Row]]:
        """Run statements as one transaction in a single round trip; if one fails nothing is written."""
        return (await self.begin([*statements, COMMIT]))[:-1]

    async def abandon(self) -> None:
        """Roll the transaction back, if there is one."""
        if self.connection.connected:
            with contextlib.suppress(MySQLError):  # a connection that cannot even do this is of no use any more
                await self._ask(ROLLBACK.encode())

    async def _ask(self, text: bytes) -> list[Sequence[Row]]:
        self.round_trips += 1
        cursor = self.connection.cursor()
        await cursor.execute(text)
        results: list[Sequence[Row]] = [await cursor.fetchall()]
        while await cursor.nextset():
            results.append(await cursor.fetchall())
        return results

    def _packed(self, statements: Iterable[Statement]) -> Iterator[bytes]:
        """Yield the statements joined, as many together as fit."""
        waiting: list[bytes] = []
        size = 0
        for one in statements:
            text = one.encode()
            if len(text) > self._longest:
                raise ValueError(
                    f"it takes {len(text)} bytes, and the server's max_allowed_packet is {self._longest + 1}: "
                    "raise that, or keep payloads and results smaller"
                )
            size += len(text) + 1
            if waiting and size > min(MOST_BYTES, self._longest):
                yield b";".join(waiting)
                waiting, size = [], len(text) + 1
            waiting.append(text)
        if waiting:
            yield b";".join(waiting)
