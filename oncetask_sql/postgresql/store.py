"""The store on PostgreSQL, for any number of processes and machines."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from oncetask_core.claims import Claim
from oncetask_core.clock import Clock, SystemClock
from oncetask_core.env import DEFAULT_ENV
from oncetask_core.limits import check_env
from oncetask_core.loops import PerLoop
from oncetask_core.store import Claimed
from oncetask_core.task import NewTask
from oncetask_core.transition import Answer, Atom, Inserted, makes_work
from oncetask_sql import sessions
from oncetask_sql.callers import Callers
from oncetask_sql.postgresql import caller, claiming, operations, seating
from oncetask_sql.postgresql.lanes import Lanes
from oncetask_sql.postgresql.location import Location, located
from oncetask_sql.postgresql.session import Session
from oncetask_sql.server_store import ServerStore
from oncetask_sql.store_time import StoreTime
from oncetask_sql.wording import Wording

SERVER_NOW: Final = "(SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint)"
"""Stands as a subquery of its own, so that it is computed once and can be looked up in an index."""
SEAT_SECONDS: Final = 1.0
"""How often keys are looked at that were noted for later."""


class PostgresqlStore(ServerStore[Session, Location]):
    """Tasks in a PostgreSQL database; implements `TaskStore`.

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
        place = location if isinstance(location, Location) else located(location)
        own_time = StoreTime(None if clock is None or isinstance(clock, SystemClock) else clock, server=SERVER_NOW)
        wording = Wording(place.names, own_time, check_env(env))
        self._hearing = PerLoop(partial(Lanes, place, wording))
        super().__init__(place, operations, wording=wording, loops=self._hearing, callers=Callers(caller, wording))
        self._has_clock = own_time.is_injected
        self._seated_at = 0.0

    @property
    def capabilities(self) -> frozenset[str]:
        """The clock can be injected; on the server's clock, and without a pooler, the store hears of others' tasks."""
        always = {"caller_transaction", "injected_clock"}
        hears = not (self._has_clock or self._location.pooler)
        return frozenset(always | {"wake_ups"} if hears else always)

    async def insert(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        """Add the tasks whose ids are unknown, and tell other processes of them.

        Raises:
            StoreError: A value cannot be stored; then no task of the call was added.
            StoreUnavailableError: An id is being created by a transaction that is still open.
        """
        answers = await super().insert(tasks)
        if any(answer.created for answer in answers):
            self._tell()
        return answers

    async def claim(self, claim: Claim) -> Claimed:
        """Lease due tasks; never waits for rows that somebody else has locked."""
        if self._has_clock or time.monotonic() - self._seated_at >= SEAT_SECONDS:
            self._seated_at = time.monotonic()
            await self._run("claims", seating.seat_noted)
        return await self._run("claims", lambda s, w: claiming.claim(s, w, claim))

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        """Write each atom whose guards hold; an atom whose task stays locked reads as changed."""
        answers = await super().apply(atoms)
        if makes_work(atoms):
            self._tell()
        return answers

    async def changed(self) -> None:
        """Return once another process has created a task, or moved one forward.

        Raises:
            StoreUnavailableError: The server cannot be reached now.
        """
        self._check_is_open()
        await self._hearing.here().wakes.changed()

    async def insert_in(self, session: object, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        """Add tasks in a transaction of the caller; others hear of them after its commit, or with their next poll."""
        answers = await super().insert_in(session, tasks)
        sessions.after_commit(session, self._tell)
        return answers

    def _tell(self) -> None:
        if "wake_ups" in self.capabilities:
            self._check_is_open()
            self._hearing.here().wakes.tell()


def open_postgresql(url: str, *, env: str = DEFAULT_ENV, clock: Clock | None = None) -> PostgresqlStore:
    """Return the store of a URL such as `postgresql://user@host/database`; nothing is connected yet.

    Raises:
        ConfigurationError: The URL is malformed or has an option that is unknown or out of bounds.
        InvalidTaskError: No store could keep the name of the environment.
    """
    return PostgresqlStore(located(url), env=env, clock=clock)
