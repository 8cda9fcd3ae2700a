"""A thread with a connection of its own, on which whole transactions run one after the other.

A call crosses from the event loop to the thread and back once, whatever its transaction consists of. The
connection lives in the frame of the thread alone: a forked child, which has no such thread, never touches it.
"""

import queue
import sqlite3
import threading
from concurrent.futures import Future
from typing import Any, TypeVar

from oncetask_core.errors import StoreError
from oncetask_sql.sqlite import failures
from oncetask_sql.sqlite.connecting import FileConnection, connect
from oncetask_sql.sqlite.forks import Gate
from oncetask_sql.sqlite.location import Location
from oncetask_sql.sqlite.turns import READ, WRITE, Work, patiently, transact

T = TypeVar("T")
_Job = tuple["Future[Any]", str, Work[Any]]
_Jobs = queue.SimpleQueue["_Job | Future[None]"]
"""A future alone is the end: it is done when the connection is closed."""


class Lane:
    """Runs transactions on one connection; any thread may submit them. The thread starts with the first.

    Args:
        name: What the lane is for; names its thread.
        location: The file.
    """

    def __init__(self, name: str, location: Location) -> None:
        self._name = name
        self._location = location
        self._lock = threading.Lock()
        self._jobs: _Jobs | None = None

    def __del__(self) -> None:
        if self._jobs is not None:
            self._jobs.put(Future())

    def read(self, work: Work[T]) -> "Future[T]":
        """Run a transaction that writes nothing."""
        return self._submit(READ, work)

    def write(self, work: Work[T]) -> "Future[T]":
        """Run a transaction that may write."""
        return self._submit(WRITE, work)

    def close(self) -> "Future[None]":
        """End the thread after everything that was submitted so far; done when the connection is closed."""
        closed: Future[None] = Future()
        with self._lock:
            jobs, self._jobs = self._jobs, None
        if jobs is None:
            closed.set_result(None)
        else:
            jobs.put(closed)
        return closed

    def _submit(self, begin: str, work: Work[T]) -> "Future[T]":
        future: Future[T] = Future()
        with self._lock:
            if self._jobs is None:
                self._jobs = self._start()
            self._jobs.put((future, begin, work))
        return future

    def _start(self) -> _Jobs:
        jobs: _Jobs = queue.SimpleQueue()
        name = f"oncetask-sqlite-{self._name}"
        threading.Thread(target=_serve, args=(jobs, self._location), name=name, daemon=True).start()
        return jobs


def _serve(jobs: _Jobs, location: Location) -> None:
    gate = Gate()
    connection: FileConnection | None = None
    while not isinstance(job := jobs.get(), Future):
        if job[0].set_running_or_notify_cancel():
            with gate:
                connection = _perform(job, connection, location=location, gate=gate)
        del job  # its work holds on to what it was given
    with gate:
        _close(connection)
    if job.set_running_or_notify_cancel():
        job.set_result(None)


def _perform(job: _Job, connection: FileConnection | None, *, location: Location, gate: Gate) -> FileConnection | None:
    """Run a job, and return the connection for the next one; None after a failure that a new one may not have."""
    future, begin, work = job
    try:
        used = patiently(lambda: connect(location), location, gate=gate) if connection is None else connection
        connection = used
        result = patiently(lambda: transact(used, begin, work, location=location), location, gate=gate)
    except sqlite3.Error as error:
        future.set_exception(failures.store_error(error, location.path))
        _close(connection)
        return None
    except (UnicodeEncodeError, OverflowError) as error:
        future.set_exception(StoreError(f"a value that SQLite can neither keep nor look for: {error}"))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to whoever waits for the result
        future.set_exception(error)
    else:
        future.set_result(result)
    return connection


def _close(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        connection.close()
