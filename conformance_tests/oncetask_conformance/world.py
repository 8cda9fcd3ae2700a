"""What a test is given: one empty space, its stores and its clock, and the raw reading of what they wrote."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Self, Unpack

import pytest

from oncetask_conformance.factories import HOUR, KEY, MINUTE, RETRIED, ClaimFields, a_claim, a_new_task
from oncetask_conformance.harness import INJECTED_CLOCK, SEATS, RawTask, Space
from oncetask_core.clock import START, SystemClock, VirtualClock
from oncetask_core.decisions import KindRules, Report, Success, conclude, expire
from oncetask_core.query import TaskFilter, TaskQuery
from oncetask_core.store import Claimed, TaskStore
from oncetask_core.task import NewTask, OnceTask
from oncetask_core.transition import Answer, Atom, Inserted, Transition, Verdict

ENV = "DEFAULT"
_LONGEST_REAL_WAIT = timedelta(milliseconds=50)
_GLANCE = 0.0005
_DONE = Success("1")


class World:
    """One space and what tests do with it; `store` is an open store of `ENV` inside `async with`.

    Args:
        space: The empty space.
        clock: The injected clock, or None when the stores run on their own.
        capabilities: Those of the harness.
        patience: The real seconds after which news that have not come have been missed.
    """

    def __init__(
        self, space: Space, clock: VirtualClock | None, *, capabilities: frozenset[str], patience: float
    ) -> None:
        self.space = space
        self.clock = clock
        self.patience = patience
        self._capabilities = capabilities
        self._open_stores = AsyncExitStack()
        self.store: TaskStore = space.store(ENV)

    async def __aenter__(self) -> Self:
        await self._open(self.store)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open_stores.aclose()

    async def _open(self, store: TaskStore) -> TaskStore:
        await store.migrate()
        await store.open()
        self._open_stores.push_async_callback(store.close)
        return store

    async def another(self, env: str = ENV) -> TaskStore:
        """Return another open store on the same space, as another process would have it."""
        return await self._open(self.space.store(env))

    @property
    def short(self) -> timedelta:
        """A duration that a test waits out: a minute of virtual time, or a moment of real time."""
        return MINUTE if self.clock is not None else timedelta(milliseconds=20)

    @property
    def long(self) -> timedelta:
        """A duration that does not pass during a test, unless the clock is moved."""
        return HOUR

    async def pass_time(self, by: timedelta) -> None:
        """Return when the stores' time is later by this much: exactly, where the clock is injected."""
        if self.clock is not None:
            self.clock.advance(by)
            return
        if by > _LONGEST_REAL_WAIT:
            pytest.skip(f"needs the capability {INJECTED_CLOCK}: {by} have to pass")
        end = await self.store.now() + by
        while await self.store.now() < end:
            await SystemClock().sleep(_GLANCE)

    def at(self, seconds: float) -> datetime:
        """Return the time this many seconds after the injected clock's start."""
        if self.clock is None:
            pytest.skip(f"needs the capability {INJECTED_CLOCK}: the case names absolute times")
        return START + timedelta(seconds=seconds)

    async def everything(self, env: str = ENV) -> Mapping[str, RawTask]:
        """Return every task of the environment by id, read around the store."""
        return {task.id: task for task in await self.space.read(env)}

    async def raw(self, task_id: str = "a", env: str = ENV) -> RawTask:
        """Return one task, read around the store; it has to exist."""
        return (await self.everything(env))[task_id]

    async def seated(self, key: str = KEY) -> set[str]:
        """Return the unleased tasks that hold the seat of a key, read around the store."""
        tasks = (await self.seats()).values()
        return {task.id for task in tasks if task.head_key == key and task.lease_uid is None}

    async def seats(self) -> Mapping[str, RawTask]:
        """Return every task by id, where the storage knows seats at all."""
        if SEATS not in self._capabilities:
            pytest.skip(f"needs the capability {SEATS}")
        return await self.everything()

    async def add(self, *tasks: NewTask) -> Sequence[Inserted]:
        """Insert the tasks in one call; a plain one with the id `a` when none is given."""
        return await self.store.insert(tasks or [a_new_task()])

    async def record(self, task_id: str = "a") -> OnceTask[object]:
        """Return one task as the store reads it; it has to exist."""
        return (await self.store.get([task_id])).tasks[task_id]

    async def claim(self, lease_uid: str = "lease 1", **fields: Unpack[ClaimFields]) -> Claimed:
        """Claim; leases last long unless the test says otherwise."""
        return await self.store.claim(a_claim(lease_uid, **(ClaimFields(lease_for=self.long) | fields)))

    async def claimed_ids(self, lease_uid: str = "lease 1", **fields: Unpack[ClaimFields]) -> list[str]:
        """Claim, and return only the ids, in the order of the reply."""
        return [task.id for task in (await self.claim(lease_uid, **fields)).tasks]

    async def take(
        self, *tasks: NewTask, lease_uid: str = "lease 1", lease_for: timedelta | None = None
    ) -> OnceTask[object]:
        """Insert the tasks (by default one with the id `a`), claim all that is due, and return the first."""
        await self.add(*tasks)
        return (await self.claim(lease_uid, lease_for=lease_for or self.long)).tasks[0]

    async def submit(self, *transitions: Transition) -> Sequence[Answer]:
        """Apply the transitions in one call, each an atom of its own."""
        return await self.store.apply([Atom((transition,)) for transition in transitions])

    async def verdict(self, transition: Transition) -> Verdict:
        """Apply one transition, and return what became of it."""
        return (await self.submit(transition))[0].verdict

    def conclusion(self, task: OnceTask[object], report: Report = _DONE, rules: KindRules = RETRIED) -> Transition:
        """Return what the holder decides about a task that it claimed."""
        return conclude(task, report, rules, chance=0.0)

    async def settle(self, task: OnceTask[object], report: Report = _DONE, rules: KindRules = RETRIED) -> Verdict:
        """Settle a task that was claimed, as its holder."""
        return await self.verdict(self.conclusion(task, report, rules))

    async def expire(self, task: OnceTask[object], rules: KindRules = RETRIED) -> Verdict:
        """Expire the lease of a record, whether or not it has run out."""
        return await self.verdict(expire(task, rules, at=await self.store.now(), chance=0.0))

    async def crash(self, task_id: str = "a", rules: KindRules = RETRIED) -> None:
        """Claim everything for a short time, let it run out unreported, and expire the lease of one task."""
        await self.claim(f"lease that {task_id} crashes", lease_for=self.short)
        await self.pass_time(self.short)
        assert await self.expire(await self.record(task_id), rules) is Verdict.APPLIED

    async def found(self, where: TaskFilter) -> list[str]:
        """Return the ids of the first page that matches, in order."""
        return [task.id for task in (await self.store.find(TaskQuery(where=where, limit=1000))).tasks]
