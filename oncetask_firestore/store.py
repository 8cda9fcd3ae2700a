"""The store on Cloud Firestore, for any number of processes and machines, and beside workers of the Go library."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

from google.cloud.firestore_v1 import AsyncClient

from oncetask_core.claims import Claim
from oncetask_core.clock import Clock, SystemClock
from oncetask_core.env import DEFAULT_ENV
from oncetask_core.limits import check_env
from oncetask_core.query import Page, TaskFilter, TaskQuery
from oncetask_core.store import Claimed, ControlRecord, Found, Renewed
from oncetask_core.task import NewTask
from oncetask_core.transition import Answer, Atom, Guard, Inserted, Verdict, makes_work
from oncetask_firestore import applying, claiming, listing, renewing
from oncetask_firestore.clients import check_database, check_project
from oncetask_firestore.controlling import Controls, probe
from oncetask_firestore.fleet import Fleet
from oncetask_firestore.loops import Loops
from oncetask_firestore.memory import Memory
from oncetask_firestore.names import check_ids
from oncetask_firestore.place import Place, new_mark
from oncetask_firestore.store_time import StoreTime
from oncetask_firestore.usage import Usage
from oncetask_firestore.waking import Bell, Wakes


class FirestoreStore:
    """Tasks in a Firestore database; implements `TaskStore`.

    Usable from any thread and event loop, each of which has a client of its own, and after a fork if the parent had not
    called Firestore. With `FIRESTORE_EMULATOR_HOST` set, it is the emulator that is talked to.

    Args:
        client: A client of Firestore; its project, database and credentials are used.
        project: The project, where no client is given; None for that of the environment.
        database: The database, where no client is given.
        credentials: Of `google.auth`, where no client is given; None for those of the environment.
        env: The environment whose tasks are read and written.
        ids: How documents are named: `scoped`, or `verbatim` where Go workers share an environment that is not the
            default one.
        shared_with_go: Whether workers of the Go library take tasks of the same kinds: claims of keys then look for
            Go's leases once more before a handler starts, and a holder of a key stops when its lease ends in Go's eyes.
        clock: Where the store's time comes from; Firestore's own time when not given.

    Raises:
        ConfigurationError: `ids` is something else, or no project or database could be called so.
        InvalidTaskError: No store could keep the name of the environment.
    """

    def __init__(
        self,
        client: AsyncClient | None = None,
        *,
        project: str | None = None,
        database: str | None = None,
        credentials: object = None,
        env: str = DEFAULT_ENV,
        ids: str = "scoped",
        shared_with_go: bool = False,
        clock: Clock | None = None,
    ) -> None:
        project, database = project and check_project(project), database and check_database(database)
        injected = None if isinstance(clock, SystemClock) else clock
        self._place = Place(check_env(env), check_ids(ids), StoreTime(injected), shared_with_go)
        self._memory = Memory(self._place.time.monotonic)
        self._fleet = Fleet(self._place)
        self._controls = Controls(self.env)
        self._has_clock = injected is not None
        self._teller = new_mark()
        self._wakes = Wakes(self._place, self._teller)
        self._bells: WeakKeyDictionary[asyncio.AbstractEventLoop, Bell] = WeakKeyDictionary()
        self._usage = Usage()
        self._loops = Loops(
            client,
            project=project,
            database=database,
            credentials=credentials,
            time=self._place.time,
            usage=self._usage,
        )

    @property
    def usage(self) -> Usage:
        """What this instance has asked of Firestore so far, as Firestore bills it."""
        return self._usage

    @property
    def env(self) -> str:
        """The environment whose tasks this instance reads and writes."""
        return self._place.env

    @property
    def capabilities(self) -> frozenset[str]:
        """The clock can be injected; on Firestore's own time the store hears of others' tasks."""
        return frozenset({"injected_clock"} if self._has_clock else {"injected_clock", "wake_ups"})

    async def open(self) -> None:
        """Read one document, to see that the database is there and may be read.

        Raises:
            ConfigurationError: Project or credentials are missing or malformed.
            StoreUnavailableError: Firestore does not answer.
            StoreError: It refuses.
        """
        await probe(self._loops.here(), self.env)

    async def close(self) -> None:
        """Close the connection of this event loop."""
        bell = self._bells.pop(asyncio.get_running_loop(), None)
        if bell is not None:
            await bell.close()
        await self._loops.close()

    async def migrate(self) -> None:
        """Do nothing: documents need no schema. Indexes are deployed by an administrator."""

    async def now(self) -> datetime:
        """Return the store's time, aware UTC."""
        return self._place.time.now()

    async def insert(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        """Add the tasks whose ids are unknown.

        Raises:
            StoreError: A value cannot be stored; of many tasks, others may have been added.
        """
        answers = await applying.insert(self._loops.here(), self._place, tasks)
        if any(answer.created for answer in answers):
            self._tell()
        return answers

    async def get(self, ids: Collection[str]) -> Found:
        """Return the tasks with these ids."""
        return await listing.get(self._loops.here(), self._place, ids)

    async def find(self, query: TaskQuery) -> Page:
        """Return one page of the tasks that match.

        Raises:
            ConfigurationError: The page size or cursor is invalid.
        """
        return await listing.find(self._loops.here(), self._place, query)

    async def count(self, where: TaskFilter) -> int:
        """Return how many tasks match."""
        return await listing.count(self._loops.here(), self._place, where)

    async def claim(self, claim: Claim) -> Claimed:
        """Lease due tasks.

        Raises:
            StoreError: The leases would end at a time out of range; nothing was leased.
        """
        claimed = await claiming.claim(self._loops.here(), self._place, self._memory, fleet=self._fleet, wanted=claim)
        if claimed.tasks:
            self._wakes.note_granted()
        return claimed

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        """Write each atom whose guards hold."""
        answers = await applying.apply(self._loops.here(), self._place, self._memory, atoms=atoms)
        if makes_work(atoms):
            self._tell()
        return answers

    async def renew(self, leases: Mapping[str, timedelta | None]) -> Renewed:
        """Extend what the named leases hold.

        Raises:
            StoreError: A lease would end at a time out of range; nothing was extended.
        """
        return await renewing.renew(self._loops.here(), self._place, leases)

    async def delete(self, guards: Sequence[Guard]) -> Sequence[Verdict]:
        """Remove each task whose guard holds."""
        return await applying.delete(self._loops.here(), self._place, guards)

    async def changed(self) -> None:
        """Return once somebody else may have created a task, or made one due.

        Raises:
            StoreUnavailableError: Nothing can be heard now.
            StoreError: Firestore refuses.
        """
        await self._wakes.changed(self._loops.here())

    async def read_control(self, prefix: str = "") -> Mapping[str, ControlRecord]:
        """Return the control records whose names begin with `prefix`."""
        return await self._controls.read(self._loops.here(), prefix)

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        """Write or remove a control record."""
        return await self._controls.write(self._loops.here(), name, value, if_revision=if_revision)

    def _tell(self) -> None:
        if "wake_ups" not in self.capabilities:
            return
        loop = asyncio.get_running_loop()
        if loop not in self._bells:
            self._bells[loop] = Bell(self._place, self._loops.here(), self._teller)
        self._bells[loop].ring()
