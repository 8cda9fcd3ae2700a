"""SQLite, bound to the conformance suite: a file of its own for each case, read with `sqlite3`."""

import sqlite3
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from oncetask_conformance import INJECTED_CLOCK, SEATS, SPOILED_RECORDS, RawTask, Space, conformance
from oncetask_core.clock import Clock
from oncetask_core.store import TaskStore
from oncetask_sql import open_sqlite

pytestmark = pytest.mark.store("sqlite")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIMES = (
    "created_at",
    "wait_until",
    "order_at",
    "leased_until",
    "started_at",
    "cancelled_at",
    "done_at",
    "occurrence_timestamp",
)
DOCUMENTS = ("headers", "settled_by", "errors", "recurrence")


def raw_task(row: Mapping[str, object]) -> RawTask:
    """Return a row as plain values: times are microseconds, documents are JSON text."""
    values = {name: row[name] for name in RawTask.__struct_fields__}
    for name in TIMES:
        micros = values[name]
        if isinstance(micros, int):
            values[name] = EPOCH + timedelta(microseconds=micros)
    for name in DOCUMENTS:
        text = values[name]
        values[name] = msgspec.json.decode(text) if isinstance(text, str) else None
    return msgspec.convert(values, RawTask, strict=False)


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

    capabilities = frozenset({INJECTED_CLOCK, SEATS, SPOILED_RECORDS})

    @asynccontextmanager
    async def space(self, clock: Clock | None) -> AsyncIterator[Space]:
        """Return a file in a folder that is removed afterwards."""
        with tempfile.TemporaryDirectory(prefix="oncetask-") as folder:
            yield SqliteSpace(Path(folder) / "tasks.db", clock)


globals().update(conformance(SqliteHarness()))
