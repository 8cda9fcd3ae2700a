"""What the operations of the store share inside one transaction: the time, the environment, rows, touched keys."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from oncetask_sql.codec import SELECTED, Row, Task, decode
from oncetask_sql.sqlite.store_time import StoreTime
from oncetask_sql.times import from_micros

_LOOK: Final = "SELECT clock_at FROM oncetask_meta"
_TICK: Final = "UPDATE oncetask_meta SET clock_at = max(clock_at, ?) RETURNING clock_at"
_ONE: Final = f"SELECT {SELECTED} FROM oncetask_task INDEXED BY oncetask_task_id WHERE env = ? AND id = ?"


class Key(NamedTuple):
    """What has one seat: a resource key within a kind."""

    kind: str
    key: str


class Transaction:
    """An open transaction on the tasks of one environment.

    Attributes:
        env: The environment.
        touched: The keys whose seats have to be looked at before the transaction ends.
        micros: The store's time of this transaction in microseconds; `look` or `tick` comes before.
        now: The same as a datetime.
    """

    def __init__(self, connection: sqlite3.Connection, *, env: str, time: StoreTime) -> None:
        self._connection = connection
        self._time = time
        self.env = env
        self.touched: set[Key] = set()
        self.micros = 0
        self.now = from_micros(0)

    def look(self) -> None:
        """Read the time without storing it."""
        self.settle_time(self._connection.execute(_LOOK).fetchone()[0])

    def tick(self) -> None:
        """Read the time and store it, because what is written will be dated by it."""
        before = self._time.read(0)
        self.settle_time(self._connection.execute(_TICK, (before,)).fetchall()[0][0])

    def settle_time(self, stored: int) -> None:
        """Fix the time of this transaction, at least what is stored."""
        self.micros = self._time.read(stored)
        self.now = from_micros(self.micros)

    def all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run a statement and return all of its rows."""
        return self._connection.execute(sql, parameters).fetchall()

    def each(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run a query whose rows are read one by one, for who may stop early."""
        return self._connection.execute(sql, parameters)

    def one(self, task_id: str) -> Task | None:
        """Return a task of the environment.

        Raises:
            UnreadableRowError: Its row is damaged.
        """
        rows = self.all(_ONE, (self.env, task_id))
        return decode(rows[0]) if rows else None

    def touch(self, kind: str, resource_key: str | None) -> None:
        """Note that the key of a task that was written may need another seat."""
        if resource_key is not None and is_text(resource_key):
            self.touched.add(Key(kind, resource_key))


def is_text(value: object) -> bool:
    """Return whether a value read from a column is proper text; damaged text holds lone surrogates."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False
