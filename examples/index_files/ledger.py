"""An independent record of what handlers did: one SQLite file, one row per event, written at once.

The library knows nothing of it. Processes that are killed leave in it what they did until then.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from oncetask import OnceTask

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    at REAL NOT NULL, pid INTEGER NOT NULL, event TEXT NOT NULL, task TEXT NOT NULL,
    kind TEXT NOT NULL, run TEXT NOT NULL, lease TEXT NOT NULL
)
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event: `start` and `end` of a handler, `accepted` when the store took the end of the run."""

    at: float
    pid: int
    event: str
    task: str
    kind: str
    run: str
    lease: str


class Ledger:
    """Appends to and reads the ledger; usable from every thread of a process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()

    def note(self, event: str, task: OnceTask[object]) -> None:
        """Write one event, durably enough to survive the death of this process."""
        row = (time.monotonic(), os.getpid(), event, task.id, task.kind, task.run_uid, task.lease_uid or "")
        with self._connection() as connection:
            connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def entries(self) -> list[Entry]:
        """Return every event, in order."""
        with self._connection() as connection:
            return [Entry(*row) for row in connection.execute("SELECT * FROM events ORDER BY rowid")]

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(_SCHEMA)
            self._local.connection = connection
        yield connection
