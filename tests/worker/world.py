"""A manager on the memory store in virtual time, and payloads to run on it."""

import asyncio
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

from oncetask import MemoryStore, OnceTask, Seams, TaskData, TaskEvent, TaskFilter, TaskManager, VirtualClock
from oncetask_core.claims import Claim, Slots
from tests.asynchronous import SOON, until
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

    async def sleep(self, _: object) -> None:
        """Run for an hour: a handler that does not end while anybody looks."""
        await self.clock.sleep(3600)

    async def sleep_on(self, task: object) -> None:
        """Sleep, and sleep again when that is cancelled: a handler that does not stop when it is first told to."""
        try:
            await self.sleep(task)
        except asyncio.CancelledError:
            await self.sleep(task)

    async def cancel_two(self, clean: Callable[..., object], **options: Any) -> None:
        """Create tasks "a" and "b" of one key and cancel them: their clean-ups wait for each other."""
        self.manager.register_resource_key_handler(Keyed, lambda tasks: None, cancellation_handler=clean, **options)
        await self.manager.create_tasks([Keyed("a"), Keyed("b")])
        await self.manager.cancel_tasks_by_ids(["a", "b"])

    async def begin_asleep(self) -> "asyncio.Task[None]":
        """Begin to run a task "a" whose handler sleeps; return when it has begun, a second later."""
        self.manager.register_task_handler(Job, self.sleep)
        await self.manager.create_task(Job("a"))
        running = self.begin()
        await self.clock.run_for(1)
        return running

    async def begin_held(self, handler: "Held") -> "asyncio.Task[None]":
        """Begin to run what there is; return when a plain function is held."""
        running = self.begin()
        await self.clock.run_for(0)
        await until(handler.begun.is_set)
        return running

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


async def check_a_slot_is_free_again(world: World) -> None:
    """Fail unless a task that waits for the only slot runs although another, "bad", keeps its lease."""

    @world.manager.task_handler(Job, concurrency=1)
    async def handle(_: OnceTask[Job]) -> None:
        pass

    await world.manager.create_task(Job("bad"))
    await world.manager.create_task(Job("next"))
    running = world.begin()
    await world.clock.run_for(5)
    assert not (await world.task("next")).is_live
    assert (await world.task("bad")).lease_uid is not None

    await world.end(running)


class Held:
    """A plain function as a handler: it goes on, on its thread, until the test releases it.

    Attributes:
        begun: Set once it was called.
        released: Set it to let it end.
    """

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.released = threading.Event()

    def __call__(self, _: object) -> None:
        self.begun.set()
        self.released.wait(SOON)


async def until_all_have_ended(manager: TaskManager, *, seconds: float, but: int = 0) -> None:
    """Wait in real time until no more than `but` tasks are live; whoever runs them is elsewhere, or in the background.

    Raises:
        TimeoutError: More of them were live all the time.
    """
    async with asyncio.timeout(seconds):
        while await manager.count_tasks(TaskFilter(live=True)) > but:  # noqa: ASYNC110 - the store alone knows
            await asyncio.sleep(0.05)


def threads(name: str) -> list[str]:
    """Return the names of the threads that begin so."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(name)]
