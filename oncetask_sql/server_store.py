"""What the stores on servers have in common: all but how tasks are claimed, and how others hear of them."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from oncetask_core.errors import StoreError
from oncetask_core.loops import PerLoop
from oncetask_core.query import Page, TaskFilter, TaskQuery
from oncetask_core.store import ControlRecord, Decide, Found, Renewed
from oncetask_core.task import NewTask, OnceTask
from oncetask_core.transition import Answer, Atom, Guard, Inserted, Verdict
from oncetask_sql import waves
from oncetask_sql.callers import Callers
from oncetask_sql.lane import Counted
from oncetask_sql.lanes import Lanes
from oncetask_sql.operations import Operations
from oncetask_sql.wording import Wording

S = TypeVar("S", bound=Counted)
P = TypeVar("P")
T = TypeVar("T")


class ServerStore(Generic[S, P]):
    """Tasks on a server, over sessions of type `S`, at a location of type `P`.

    Usable from any thread and event loop, and after a fork: each loop of each process has connections of its own.

    Args:
        location: The server.
        operations: What is said to it.
        wording: How statements are worded.
        loops: The connections.
        callers: What is said in transactions of callers.
    """

    def __init__(
        self, location: P, operations: Operations[S, P], *, wording: Wording, loops: PerLoop[Lanes[S]], callers: Callers
    ) -> None:
        self._location = location
        self._operations = operations
        self._wording = wording
        self._loops = loops
        self._callers = callers
        self._is_open = False

    @property
    def env(self) -> str:
        """The environment whose tasks this instance reads and writes."""
        return self._wording.env

    async def open(self) -> None:
        """Connect and check the server and the schema.

        Raises:
            StoreUnavailableError: The server cannot be reached now.
            SchemaError: The schema is missing, older or newer than this library, or was changed.
            ConfigurationError: The server is too old or another product, or its database is not in UTF-8.
        """
        if not self._is_open:
            check = self._operations.check
            await self._loops.here()["reads"].run(lambda session: check(session, self._location))
            self._is_open = True

    async def close(self) -> None:
        """Finish what was asked for so far and close the connections of this event loop."""
        self._is_open = False
        await self._loops.close()

    async def migrate(self) -> None:
        """Bring the schema to this version; several may do so at once.

        Raises:
            StoreUnavailableError: The server cannot be reached now, or another migration has been running for long.
            SchemaError: The schema is newer than this library.
            ConfigurationError: The server is too old or another product, or its database is not in UTF-8.
        """
        migrate = self._operations.migrate
        await self._loops.here()["reads"].run(lambda session: migrate(session, self._location))

    async def now(self) -> datetime:
        """Return the store's time, aware UTC."""
        return self._wording.time.seen(await self._run("reads", self._operations.now))

    async def insert(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        """Add the tasks whose ids are unknown.

        Raises:
            StoreError: A value cannot be stored; then no task of the call was added.
            StoreUnavailableError: An id is being created by a transaction that is still open.
        """
        return await self._here().creates.add(tasks) if tasks else ()

    async def get(self, ids: Collection[str]) -> Found:
        """Return the tasks with these ids."""
        return await self._run("reads", lambda s, w: self._operations.get(s, w, ids))

    async def find(self, query: TaskQuery) -> Page:
        """Return one page of the tasks that match.

        Raises:
            ConfigurationError: The page size or cursor is invalid, or the filter names too many ids.
        """
        return await self._run("reads", lambda s, w: self._operations.find(s, w, query))

    async def count(self, where: TaskFilter) -> int:
        """Return how many tasks match.

        Raises:
            ConfigurationError: The filter names too many ids.
        """
        return await self._run("reads", lambda s, w: self._operations.count(s, w, where))

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        """Write each atom whose guards hold; an atom whose task stays locked reads as changed."""
        writer = self._operations.Writer
        return await self._run("writes", lambda s, w: waves.apply(writer(s, w), atoms)) if atoms else ()

    async def renew(self, leases: Mapping[str, timedelta | None]) -> Renewed:
        """Extend what the named leases hold, on a connection of its own."""
        return await self._run("renewals", lambda s, w: self._operations.renew(s, w, leases))

    async def delete(self, guards: Sequence[Guard]) -> Sequence[Verdict]:
        """Remove each task whose guard holds."""
        writer = self._operations.Writer
        return await self._run("writes", lambda s, w: waves.delete(writer(s, w), guards)) if guards else ()

    async def read_control(self, prefix: str = "") -> Mapping[str, ControlRecord]:
        """Return the control records whose names begin with `prefix`, by name."""
        return await self._run("reads", lambda s, w: self._operations.read_control(s, w, prefix))

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        """Write (or with None remove) a control record; return whether it was done."""
        write = self._operations.write_control
        return await self._run("writes", lambda s, w: write(s, w, name=name, value=value, if_revision=if_revision))

    def awaits(self, session: object) -> bool:
        """Return whether statements on a session of the caller are awaited.

        Raises:
            ConfigurationError: It is no session, not on a database of this kind, or in no transaction.
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
            LeaseLostError: The lease is no longer the task's; nothing of the transaction can be committed any more.
        """
        await self._callers.settle(session, task, decide)

    def settle_in_now(self, session: object, task: OnceTask[object], decide: Decide) -> None:
        """Do the same in the calling thread.

        Raises:
            LeaseLostError: As for `settle_in`.
        """
        self._callers.settle_now(session, task, decide)

    def _check_is_open(self) -> None:
        if not self._is_open:
            raise StoreError("the store is not open: await its open() first")

    def _here(self) -> Lanes[S]:
        self._check_is_open()
        return self._loops.here()

    async def _run(self, purpose: str, operation: Callable[[S, Wording], Awaitable[T]]) -> T:
        return await self._here()[purpose].run(lambda session: operation(session, self._wording))
