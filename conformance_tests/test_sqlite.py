"""SQLite, bound to the conformance suite: a file of its own for each case, read with `sqlite3`."""

import sqlite3
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from sql_rows import raw_task

from oncetask_conformance import INJECTED_CLOCK, REPEATS_AT_ONCE, SEATS, SPOILED_RECORDS, RawTask, Space, conformance
from oncetask_core.clock import Clock
from oncetask_core.store import TaskStore
from oncetask_sql import open_sqlite

pytestmark = pytest.mark.store("sqlite")


class SqliteSpace:
    """One database file."""

    def __init__(self, path: Path, clock: Clock | None) -> None:
        self._path = path
        self._clock = clock

    def store(self, env: str) -> TaskStore:
        """Return another instance on the file."""
        return open_sqlite(f"sqlite:///{self._path}", env=env, clock=self._clock)

    async def read(self, env: str) -> Sequence[RawTask]:
        """Return the rows of an environment."""
        with closing(sqlite3.connect(self._path)) as connection:
            connection.row_factory = sqlite3.Row
            rows = connection.execute("SELECT * FROM oncetask_task WHERE env = ?", (env,)).fetchall()
        return [raw_task(dict(row)) for row in rows]

    async def spoil(self, env: str, task_id: str) -> None:
        """Leave half a document in a column."""
        with closing(sqlite3.connect(self._path)) as connection, connection:
            connection.execute("UPDATE oncetask_task SET errors = '[{' WHERE env = ? AND id = ?", (env, task_id))


class SqliteHarness:
    """Binds the SQLite store."""

    capabilities = frozenset({INJECTED_CLOCK, REPEATS_AT_ONCE, SEATS, SPOILED_RECORDS})

    @asynccontextmanager
    async def space(self, clock: Clock | None) -> AsyncIterator[Space]:
        """Return a file in a folder that is removed afterwards."""
        with tempfile.TemporaryDirectory(prefix="oncetask-") as folder:
            yield SqliteSpace(Path(folder) / "tasks.db", clock)


globals().update(conformance(SqliteHarness()))
