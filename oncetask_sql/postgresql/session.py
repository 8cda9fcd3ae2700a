"""A connection and what is said over it: single statements, and batches that take one round trip."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import AsyncClientCursor, AsyncConnection
from psycopg.pq import TransactionStatus

from oncetask_sql.codec import Row

Statement = tuple[str, Mapping[str, Any]]
"""SQL with named placeholders, and at least their values."""

BEGIN: Statement = ("BEGIN ISOLATION LEVEL READ COMMITTED", {})
COMMIT: Statement = ("COMMIT", {})


class Session:
    """One connection in autocommit mode.

    Args:
        connection: The connection.
        prelude: What each transaction begins with; empty where the session keeps its settings.

    Attributes:
        round_trips: How often the server was waited for.
    """

    def __init__(self, connection: AsyncConnection[Row], *, prelude: Sequence[Statement] = ()) -> None:
        self.connection = connection
        self.round_trips = 0
        self._opening = (BEGIN, *prelude)
        self._is_kept = not prelude
        self._planned_at = time.monotonic()

    async def plan_anew(self, *, after: float) -> None:
        """Let the server forget the plans of statements that were made longer than `after` seconds ago.

        A plan that was made while the tables were small reads them from end to end. The server makes another when it
        has analysed them, which may be minutes after they have grown.
        """
        if self._is_kept and time.monotonic() - self._planned_at >= after:
            await self.batch([("DISCARD PLANS", {})])
            self._planned_at = time.monotonic()

    async def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        """Run a statement and return its rows."""
        return (await self.batch([(sql, parameters)]))[0]

    async def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run statements one after the other in a single round trip; return the rows of each.

        The first that fails ends the batch and raises; a transaction that was begun is rolled back.
        """
        self.round_trips += 1
        try:
            return await (self._in_pipeline(statements) if self._is_kept else self._in_one_query(statements))
        except BaseException:
            await self._roll_back()
            raise

    async def begin(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Begin a transaction and run its first statements; the next batch goes on with it."""
        return (await self.batch([*self._opening, *statements]))[len(self._opening) :]

    async def transaction(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run statements as one transaction in a single round trip; if one fails nothing is written."""
        if len(statements) == 1 and self._is_kept:
            return await self.batch(statements)
        return (await self.batch([*self._opening, *statements, COMMIT]))[len(self._opening) : -1]

    async def abandon(self) -> None:
        """Roll the transaction back."""
        self.round_trips += 1
        await self._roll_back()

    async def _in_pipeline(self, statements: Sequence[Statement]) -> list[list[Row]]:
        async with self.connection.pipeline():
            cursors = [await self.connection.execute(sql, values) for sql, values in statements]
        return [await cursor.fetchall() if cursor.description is not None else [] for cursor in cursors]

    async def _in_one_query(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run statements as the text of one query, which a pooler sees begin and end.

        The driver ends a pipeline with a flush after the last synchronisation. A pooler that has seen the transaction
        end hands a connection of the server to whoever sends anything, and gets it back only after the next query.
        """
        async with AsyncClientCursor(self.connection) as cursor:
            text = ";\n".join([cursor.mogrify(sql, values) for sql, values in statements])
            await cursor.execute(text)
            replies = []
            for _ in statements:
                replies.append(await cursor.fetchall() if cursor.description is not None else [])
                cursor.nextset()
        return replies

    async def _roll_back(self) -> None:
        status = self.connection.info.transaction_status
        if status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            await self.connection.execute("ROLLBACK")
