"""The store on MariaDB, for any number of processes and machines."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from oncetask_core.claims import Claim
from oncetask_core.clock import Clock, SystemClock
from oncetask_core.env import DEFAULT_ENV
from oncetask_core.errors import StoreError
from oncetask_core.limits import check_env
from oncetask_core.query import Page, TaskFilter, TaskQuery
from oncetask_core.store import Claimed, ControlRecord, Decide, Found, Renewed
from oncetask_core.task import NewTask, OnceTask
from oncetask_core.transition import Answer, Atom, Guard, Inserted, Verdict
from oncetask_sql.callers import Callers
from oncetask_sql.loops import Loops
from oncetask_sql.mariadb import caller, controlling, listing, opening, renewing
from oncetask_sql.mariadb.applying import Writer
from oncetask_sql.mariadb.lanes import Lanes
from oncetask_sql.mariadb.location import Location, located
from oncetask_sql.mariadb.polling import Polling
from oncetask_sql.mariadb.session import Session
from oncetask_sql.mariadb.statements import SERVER_NOW
from oncetask_sql.store_time import StoreTime
from oncetask_sql.wording import Wording

T = TypeVar("T")


class MariadbStore:
    """Tasks in a MariaDB database; implements `TaskStore`.

    Usable from any thread and event loop, and after a fork: each loop of each process has connections of its own.

    Args:
        location: The server, as a URL or as `located` reads it.
        env: The environment whose tasks are read and written.
        clock: Where the store's time comes from; the server's clock when not given.

    Raises:
        ConfigurationError: The URL is malformed or has an option that is unknown or out of bounds.
        InvalidTaskError: No store could keep the name of the environment.
    """

    def __init__(self, location: Location | str, *, env: str = DEFAULT_ENV, clock: Clock | None = None) -> None:
        self._location = location if isinstance(location, Location) else located(location)
        own_time = StoreTime(None if clock is None or isinstance(clock, SystemClock) else clock, server=SERVER_NOW)
        self._wording = Wording(self._location.names, own_time, check_env(env))
        self._loops = Loops(partial(Lanes, self._location, self._wording))
        self._callers = Callers(caller, Wording(self._location.qualified_names, own_time, env))
        self._polling = Polling(always_seats=own_time.is_injected)
        self._is_open = False

    @property
    def env(self) -> str:
        """The environment whose tasks this instance reads and writes."""
        return self._wording.env

    @property
    def capabilities(self) -> frozenset[str]:
        """The clock can be injected; of others' tasks the store hears by asking alone."""
        return frozenset({"caller_transaction", "injected_clock"})

    async def open(self) -> None:
        """Connect and check the server and the schema.

        Raises:
            StoreUnavailableError: The server cannot be reached now.
            SchemaError: The schema is missing, older or newer than this library, or was changed.
            ConfigurationError: The server is too old, or another product.
        """
        if not self._is_open:
            await self._loops.here()["reads"].run(lambda session: opening.check(session, self._location))
            self._is_open = True

    async def close(self) -> None:
        """Finish what was asked for so far and close the connections of this event loop."""
        self._is_open = False
        await self._loops.close()

    async def migrate(self) -> None:
        """Bring the schema to this version; several may do so at once.

        Raises:
            StoreUnavailableError: The server cannot be reached now.
            SchemaError: The schema is newer than this library.
        """
        await self._loops.here()["reads"].run(lambda session: opening.migrate(session, self._location))

    async def now(self) -> datetime:
        """Return the store's time, aware UTC."""
        return self._wording.time.seen(await self._run("reads", listing.now))

    async def insert(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        """Add the tasks whose ids are unknown.

        Raises:
            StoreError: A value cannot be stored; then no task of the call was added.
            StoreUnavailableError: An id is being created by a transaction that is still open.
        """
        if not tasks:
            return ()
        return await self._here().creates.add(tasks)

    async def get(self, ids: Collection[str]) -> Found:
        """Return the tasks with these ids."""
        return await self._run("reads", lambda s, w: listing.get(s, w, ids))

    async def find(self, query: TaskQuery) -> Page:
        """Return one page of the tasks that match.

        Raises:
            ConfigurationError: The page size or cursor is invalid, or the filter names too many ids.
        """
        return await self._run("reads", lambda s, w: listing.find(s, w, query))

    async def count(self, where: TaskFilter) -> int:
        """Return how many tasks match.

        Raises:
            ConfigurationError: The filter names too many ids.
        """
        return await self._run("reads", lambda s, w: listing.count(s, w, where))

    async def claim(self, claim: Claim) -> Claimed:
        """Lease due tasks; never waits for rows that somebody else has locked."""
        return await self._run("claims", lambda s, w: self._polling.claim(s, w, claim))

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        """Write each atom whose guards hold; an atom whose task stays locked reads as changed."""
        if not atoms:
            return ()
        return await self._run("writes", lambda s, w: Writer(s, w).apply(atoms))

    async def renew(self, leases: Mapping[str, timedelta | None]) -> Renewed:
        """Extend what the named leases hold, on a connection of its own."""
        return await self._run("renewals", lambda s, w: renewing.renew(s, w, leases))

    async def delete(self, guards: Sequence[Guard]) -> Sequence[Verdict]:
        """Remove each task whose guard holds."""
        return await self._run("writes", lambda s, w: Writer(s, w).delete(guards)) if guards else ()

    async def read_control(self, prefix: str = "") -> Mapping[str, ControlRecord]:
        """Return the control records whose names begin with `prefix`, by name."""
        return await self._run("reads", lambda s, w: controlling.read_control(s, w, prefix))

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        """Write (or with None remove) a control record; return whether it was done."""
        return await self._run(
            "writes", lambda s, w: controlling.write_control(s, w, name=name, value=value, if_revision=if_revision)
        )

    def awaits(self, session: object) -> bool:
        """Return whether statements on a session of the caller are awaited.

        Raises:
            ConfigurationError: It is no session, not on a MariaDB database, or in no transaction.
        """
        return self._callers.awaits(session)

    async def insert_in(self, session: object, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        """Add tasks in a transaction of the caller."""
        return await self._callers.insert(session, tasks)

    def insert_in_now(self, session: object, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        """Add tasks in a transaction of the caller, in the calling thread."""
        return self._callers.insert_now(session, tasks)

    async def settle_in(self, session: object, task: OnceTask[object], decide: Decide) -> None:
        """Write a holder's decision in a transaction of the caller.

        Raises:
            LeaseLostError: The lease is no longer the task's; the connection is ended, so that nothing can commit.
        """
        await self._callers.settle(session, task, decide)

    def settle_in_now(self, session: object, task: OnceTask[object], decide: Decide) -> None:
        """Do the same in the calling thread.

        Raises:
            LeaseLostError: As for `settle_in`.
        """
        self._callers.settle_now(session, task, decide)

    def _here(self) -> Lanes:
        if not self._is_open:
            raise StoreError("the store is not open: await its open() first")
        return self._loops.here()

    async def _run(self, purpose: str, operation: Callable[[Session, Wording], Awaitable[T]]) -> T:
        return await self._here()[purpose].run(lambda session: operation(session, self._wording))


def open_mariadb(url: str, *, env: str = DEFAULT_ENV, clock: Clock | None = None) -> MariadbStore:
    """Return the store of a URL such as `mysql://user@host/database`; nothing is connected yet.

    Raises:
        ConfigurationError: The URL is malformed or has an option that is unknown or out of bounds.
        InvalidTaskError: No store could keep the name of the environment.
    """
    return MariadbStore(located(url), env=env, clock=clock)
