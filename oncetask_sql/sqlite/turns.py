"""Taking turns at the file: transactions, and the wait for whoever writes at the moment."""

import contextlib
import random
import sqlite3
import time
from collections.abc import Callable
from typing import Final, TypeVar

from oncetask_sql.sqlite import failures
from oncetask_sql.sqlite.connecting import FileConnection
from oncetask_sql.sqlite.forks import Gate
from oncetask_sql.sqlite.location import Location

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

READ: Final = "BEGIN"
WRITE: Final = "BEGIN IMMEDIATE"
"""The file is locked from the beginning: a transaction that locks it later may find that what it read is stale."""

SHORTEST_PAUSE: Final = 0.001
LONGEST_PAUSE: Final = 0.005
"""Whoever waits asks again after a random time that does not grow. SQLite's own waiting grows to a tenth of a second,
by which a process that waits loses every race against one that has just committed."""


def patiently(act: Callable[[], T], location: Location, *, gate: Gate) -> T:
    """Return what `act` returns, once nobody keeps the file locked.

    Args:
        act: Does all or nothing.
        location: The file, and how long to wait.
        gate: Of this thread, which is inside; left for the time of each pause.

    Raises:
        StoreUnavailableError: It was locked for longer than the location's `busy_timeout`.
        sqlite3.Error: Anything else that went wrong.
    """
    started = time.monotonic()
    while True:
        try:
            return act()
        except sqlite3.OperationalError as error:
            if not failures.is_busy(error):
                raise
            waited = time.monotonic() - started
            if waited >= location.busy_timeout:
                raise failures.busy(location.path, waited) from error
        gate.pause(random.uniform(SHORTEST_PAUSE, LONGEST_PAUSE))


def transact(connection: FileConnection, begin: str, work: Work[T], *, location: Location) -> T:
    """Run `work` in one transaction and return what it returns; if it raises, nothing is written.

    Args:
        connection: In autocommit mode.
        begin: `READ` or `WRITE`.
        work: Uses the connection, and neither commits nor rolls back.
        location: The file, for messages.

    Raises:
        StoreUnavailableError: The commit failed; whether anything was written is not known.
        StoreError: It is to write, and the file is not where it was any more.
        sqlite3.Error: The transaction could not begin, or a statement failed.
    """
    connection.execute(begin)
    try:
        if begin == WRITE:
            connection.check_is_at(location.path)
        result = work(connection)
    except BaseException:
        _roll_back(connection)
        raise
    try:
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        _roll_back(connection)
        raise failures.unknown_outcome(error, location.path) from error
    return result


def _roll_back(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):  # a connection that cannot even roll back is closed by its lane
        if connection.in_transaction:
            connection.execute("ROLLBACK")
