"""The store on a SQLite file, for any number of processes of one machine."""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from oncetask_core.claims import Claim
from oncetask_core.clock import Clock, SystemClock
from oncetask_core.env import DEFAULT_ENV
from oncetask_core.errors import StoreError
from oncetask_core.limits import check_env
from oncetask_core.query import Page, TaskFilter, TaskQuery
from oncetask_core.store import Claimed, ControlRecord, Found, Renewed
from oncetask_core.task import NewTask
from oncetask_core.transition import Answer, Atom, Guard, Inserted, Verdict
from oncetask_sql.sqlite import applying, claiming, controlling, inserting, listing, opening, renewing
from oncetask_sql.sqlite.lane import Lane
from oncetask_sql.sqlite.location import Location, file_at, located
from oncetask_sql.sqlite.seating import seat
from oncetask_sql.sqlite.store_time import StoreTime
from oncetask_sql.sqlite.transaction import Transaction

T = TypeVar("T")
LOOK_SECONDS = 0.03
"""How long it takes at most until a write of another process is noticed."""


class _Lanes:
    """The connections of one process: what writes, what renews and what reads never queue behind each other here."""

    def __init__(self, location: Location) -> None:
        self.writer = Lane("writer", location)
        self.renewer = Lane("renewer", location)
        self.reader = Lane("reader", location)

    async def close(self) -> None:
        for lane in (self.writer, self.renewer, self.reader):
            await asyncio.wrap_future(lane.close())


class SqliteStore:
    """Tasks in a SQLite file that the processes of one machine share; implements `TaskStore`.

    The file is put into WAL mode. Usable from any thread and event loop, and after a fork: a child process gets
    connections of its own.

    Args:
        location: The file, as a path or with options as `located` reads them from a URL.
        env: The environment whose tasks are read and written.
        clock: Where the store's time comes from; the host's clock when not given.

    Raises:
        ConfigurationError: `location` names no file.
        InvalidTaskError: No store could keep the name of the environment.
    """

    def __init__(self, location: Location | Path | str, *, env: str = DEFAULT_ENV, clock: Clock | None = None) -> None:
        self._location = location if isinstance(location, Location) else file_at(location)
        self._env = check_env(env)
        self._time = StoreTime(SystemClock() if clock is None else clock)
        self._notices = clock is None or isinstance(clock, SystemClock)
        self._version: int | None = None
        self._is_open = False
        self._lanes: dict[int, _Lanes] = {}
        self._without_work: set[object] = set()

    @property
    def env(self) -> str:
        """The environment whose tasks this instance reads and writes."""
        return self._env

    @property
    def capabilities(self) -> frozenset[str]:
        """The clock can be injected; on the host's clock the store notices what other connections write."""
        return frozenset({"injected_clock", "wake_ups"} if self._notices else {"injected_clock"})

    async def open(self) -> None:
        """Check the place, the file and the schema, which is created in a file that has none of ours.

        Raises:
            ConfigurationError: The file cannot be created, read or written there, or the file system is remote.
            SchemaError: The schema is older or newer than this library, or was changed.
            StoreUnavailableError: The file was locked for too long.
        """
        if not self._is_open:
            await asyncio.to_thread(opening.prepare, self._location)
            self._is_open = True

    async def close(self) -> None:
        """Finish what was asked for so far and close the connections of this process."""
        self._is_open = False
        lanes = self._lanes.pop(os.getpid(), None)
        if lanes is not None:
            await lanes.close()

    async def migrate(self) -> None:
        """Bring the schema of the file to this version, creating the file where there is none.

        Raises:
            ConfigurationError: The file cannot be created, read or written there.
            SchemaError: The schema is newer than this library.
            StoreUnavailableError: The file was locked for too long.
        """
        await asyncio.to_thread(opening.migrate, self._location)

    async def now(self) -> datetime:
        """Return the store's time, aware UTC."""
        return await self._read(_now)

    async def insert(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        """Add the tasks whose ids are unknown.

        Raises:
            StoreError: A value cannot be stored; then no task of the call was added.
        """
        return await self._write(lambda tx: inserting.insert(tx, tasks)) if tasks else ()

    async def get(self, ids: Collection[str]) -> Found:
        """Return the tasks with these ids."""
        return await self._read(lambda tx: listing.get(tx, ids))

    async def find(self, query: TaskQuery) -> Page:
        """Return one page of the tasks that match.

        Raises:
            ConfigurationError: The page size or cursor is invalid, or the filter names too many ids.
        """
        return await self._read(lambda tx: listing.find(tx, query))

    async def count(self, where: TaskFilter) -> int:
        """Return how many tasks match.

        Raises:
            ConfigurationError: The filter names too many ids.
        """
        return await self._read(lambda tx: listing.count(tx, where))

    async def claim(self, claim: Claim) -> Claimed:
        """Lease due tasks. Where the last such claim found nothing, this one looks before it locks the file."""
        slots = (frozenset(claim.slots), claim.suspects)
        if slots in self._without_work:
            seen = await self._read(lambda tx: claiming.look(tx, claim))
            if seen is not None:
                return seen
        claimed = await self._lock(lambda tx: claiming.claim(tx, claim))
        if claimed.tasks:
            self._without_work.discard(slots)
        else:
            self._without_work.add(slots)
        return claimed

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        """Write each atom whose guards hold."""
        return await self._write(lambda tx: applying.apply(tx, atoms)) if atoms else ()

    async def renew(self, leases: Mapping[str, timedelta | None]) -> Renewed:
        """Extend what the named leases hold, on a connection of its own."""
        lane = self._connections().renewer
        submit = lane.write if any(duration is not None for duration in leases.values()) else lane.read
        return await asyncio.wrap_future(submit(self._bound(lambda tx: renewing.renew(tx, leases))))

    async def delete(self, guards: Sequence[Guard]) -> Sequence[Verdict]:
        """Remove each task whose guard holds."""
        return await self._write(lambda tx: applying.delete(tx, guards)) if guards else ()

    async def read_control(self, prefix: str = "") -> Mapping[str, ControlRecord]:
        """Return the control records whose names begin with `prefix`, by name."""
        return await self._read(lambda tx: controlling.read_control(tx, prefix))

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        """Write (or with None remove) a control record; return whether it was done."""
        return await self._lock(lambda tx: controlling.write_control(tx, name, value, if_revision=if_revision))

    async def changed(self) -> None:
        """Return once another connection, of this process or of another, has written to the file.

        Raises:
            StoreUnavailableError: The file cannot be read now.
        """
        while True:
            version = await asyncio.wrap_future(self._connections().writer.read(_version))
            if version != self._version:
                self._version = version
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _read(self, operation: Callable[[Transaction], T]) -> T:
        return await asyncio.wrap_future(self._connections().reader.read(self._bound(operation)))

    async def _lock(self, operation: Callable[[Transaction], T]) -> T:
        """Run an operation that decides by itself whether it writes."""
        return await asyncio.wrap_future(self._connections().writer.write(self._bound(operation)))

    async def _write(self, operation: Callable[[Transaction], T]) -> T:
        """Run an operation that dates what it writes."""

        def dated(tx: Transaction) -> T:
            tx.tick()
            return operation(tx)

        return await self._lock(dated)

    def _bound(self, operation: Callable[[Transaction], T]) -> Callable[[sqlite3.Connection], T]:
        """Return the work of a lane: the operation, then the seats of the keys that it touched."""

        def work(connection: sqlite3.Connection) -> T:
            tx = Transaction(connection, env=self._env, time=self._time)
            result = operation(tx)
            if tx.touched:
                seat(tx)
            return result

        return work

    def _connections(self) -> _Lanes:
        """Return the connections of this process; those that a parent process had when it forked stay untouched."""
        self._check_open()
        lanes = self._lanes.get(os.getpid())
        if lanes is not None:
            return lanes
        lanes = self._lanes.setdefault(os.getpid(), _Lanes(self._location))
        if not self._is_open:  # closed meanwhile by another thread, which may not have seen these
            self._lanes.pop(os.getpid(), None)
        self._check_open()
        return lanes

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreError("the store is not open: await its open() first")


def _version(connection: sqlite3.Connection) -> int:
    """Return a number that changes with every commit of another connection.

    Source: https://www.sqlite.org/pragma.html#pragma_data_version
    """
    (version,) = connection.execute("PRAGMA data_version").fetchone()
    return int(version)


def _now(tx: Transaction) -> datetime:
    tx.look()
    return tx.now


def open_sqlite(url: str, *, env: str = DEFAULT_ENV, clock: Clock | None = None) -> SqliteStore:
    """Return the store of a URL such as `sqlite:///tasks.db`; nothing is opened or created yet.

    Options follow a question mark: `synchronous` (full, extra, normal) and `busy_timeout` (seconds).

    Raises:
        ConfigurationError: The URL is malformed or has an option that is unknown or out of bounds.
        InvalidTaskError: No store could keep the name of the environment.
    """
    return SqliteStore(located(url), env=env, clock=clock)
