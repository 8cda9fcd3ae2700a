"""PostgreSQL, bound to the conformance suite: a schema of its own for each case, read with psycopg."""

import itertools
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import psycopg
import pytest
from psycopg.rows import DictRow, dict_row
from sql_rows import raw_task

from oncetask_conformance import INJECTED_CLOCK, REPEATS_AT_ONCE, SEATS, SPOILED_RECORDS, RawTask, Space, conformance
from oncetask_core.clock import Clock
from oncetask_core.store import TaskStore
from oncetask_sql.postgresql.store import open_postgresql

URL = os.environ.get("ONCETASK_TEST_POSTGRESQL", "")
needs_server = pytest.mark.skipif(not URL, reason="no PostgreSQL: start one, or name it in ONCETASK_TEST_POSTGRESQL")
pytestmark = [pytest.mark.store("postgresql"), needs_server]
_numbers = itertools.count(1)


class PostgresqlSpace:
    """One schema, and a connection of its own to look into it."""

    def __init__(
        self, schema: str, clock: Clock | None, connection: psycopg.AsyncConnection[DictRow], *, options: str
    ) -> None:
        self._schema = schema
        self._url = f"{URL}?schema={schema}{options}"
        self._clock = clock
        self._connection = connection

    def store(self, env: str) -> TaskStore:
        """Return another instance on the schema."""
        return open_postgresql(self._url, env=env, clock=self._clock)

    async def read(self, env: str) -> Sequence[RawTask]:
        """Return the rows of an environment."""
        rows = await self._connection.execute(f"SELECT * FROM {self._schema}.oncetask_task WHERE env = %s", (env,))
        return [raw_task(row) for row in await rows.fetchall()]

    async def spoil(self, env: str, task_id: str) -> None:
        """Leave half a document in a column."""
        await self._connection.execute(
            f"UPDATE {self._schema}.oncetask_task SET errors = '[{{' WHERE env = %s AND id = %s", (env, task_id)
        )


class PostgresqlHarness:
    """Binds the PostgreSQL store, with more options of its URL."""

    capabilities = frozenset({INJECTED_CLOCK, REPEATS_AT_ONCE, SEATS, SPOILED_RECORDS})

    def __init__(self, *, options: str = "") -> None:
        self._options = options

    @asynccontextmanager
    async def space(self, clock: Clock | None) -> AsyncIterator[Space]:
        """Return a schema that is removed afterwards."""
        schema = f"case_{os.getpid()}_{next(_numbers)}"
        async with await psycopg.AsyncConnection.connect(URL, autocommit=True, row_factory=dict_row) as connection:
            yield PostgresqlSpace(schema, clock, connection, options=self._options)
            await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


globals().update(conformance(PostgresqlHarness()))
