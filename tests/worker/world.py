"""A manager on the memory store in virtual time, and payloads to run on it."""

import asyncio
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

from oncetask import MemoryStore, OnceTask, Seams, TaskData, TaskEvent, TaskManager, VirtualClock
from oncetask_core.claims import Claim, Slots
from tests.worker.failing import FailingStore

LEASE = 60.0

SELDOM = 60.0
"""A poll interval so long that whatever happens before has another cause."""


@dataclass(frozen=True)
class Job(TaskData[object]):
    """A payload with an id of the test's choosing."""

    kind: ClassVar[str] = "job"
    name: str
    value: object = None

    def idempotent_id(self) -> str:
        return self.name


@dataclass(frozen=True)
class Keyed(TaskData[object]):
    """A payload with a resource key."""

    kind: ClassVar[str] = "keyed"
    name: str
    key: str = "k"

    def idempotent_id(self) -> str:
        return self.name

    def resource_key(self) -> str:
        return self.key


@dataclass
class World:
    """Everything a test needs: the clock, the store, the manager, and the events it saw."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    make_store: Callable[..., Any] = MemoryStore
    events: list[TaskEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        counter = itertools.count(1)
        self.seams = Seams(clock=self.clock, chance=lambda: 0.0, new_uid=lambda: f"uid-{next(counter)}")
        self.store = FailingStore(self.make_store(clock=self.clock))
        self.manager = self.another()

    @classmethod
    def on(cls, make_store: Callable[..., Any]) -> "World":
        """Return a world on another store."""
        return cls(make_store=make_store)

    def another(
        self, *, name: str = "worker", keep_finished_for: float | None = None, poll_interval: float = 1.0
    ) -> TaskManager:
        """Return another manager on the same store."""
        manager = TaskManager(
            self.store,
            name=name,
            seams=self.seams,
            keep_finished_for=keep_finished_for,
            poll_interval=poll_interval,
        )
        manager.on_event(self.events.append)
        return manager

    async def task(self, task_id: str) -> OnceTask[object]:
        """Return a task as stored."""
        return (await self.store.real.get([task_id])).tasks[task_id]

    async def vanish_with(self, kind: str, *, count: int = 1, group: int = 1) -> list[OnceTask[object]]:
        """Claim tasks as a worker that is never heard of again would."""
        slots = {kind: Slots(limit=count, group=group)}
        for suspects in (False, True):
            claim = Claim(
                lease_uid=self.seams.new_uid(),
                leased_by="vanished",
                lease_for=timedelta(seconds=LEASE),
                slots=slots,
                suspects=suspects,
            )
            claimed = await self.store.real.claim(claim)
            if claimed.tasks:
                return list(claimed.tasks)
        return []

    def names(self, task_id: str) -> list[str]:
        """Return the names of the events of a task."""
        return [event.name.value for event in self.events if event.task_id == task_id]

    def begin(self, manager: TaskManager | None = None) -> "asyncio.Task[None]":
        """Begin to run a manager, by default the world's own."""
        return asyncio.create_task((manager or self.manager).run(handle_signals=False))

    async def end(self, running: "asyncio.Task[None]", manager: TaskManager | None = None) -> None:
        """Stop a worker twice, so that what runs is given back, and wait for its end in virtual time."""
        ended = manager or self.manager
        ended.stop()
        ended.stop()
        await self.clock.run_for(20)
        await running


def threads(name: str) -> list[str]:
    """Return the names of the threads that begin so."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(name)]
