"""A fleet of both sides on one collection: a worker of ours and the stand-in of the Go worker drain it together."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from oncetask import OnceTask, Seams, TaskFilter, TaskManager
from oncetask_core.clock import VirtualClock
from oncetask_firestore import FirestoreStore
from tests.asynchronous import asynchronous
from tests.firestore import golang
from tests.firestore.go_calls import GoManager
from tests.firestore.go_statements import ClientStatements
from tests.firestore.go_worker import GoWorker, Kind
from tests.firestore.golang import Fields
from tests.firestore.mixed import KIND, new_task
from tests.firestore.test_interleavings import leases_are_not_mirrored
from tests.firestore.world import documents, looking, needs_server, new_project, new_projects

pytestmark = needs_server

TASKS = 400
KEYS = 20
SLOTS = 20
AT_LEAST = 20
"""How many tasks each side completes."""
AHEAD = 60
"""After how many of ours a task of ours without a key waits until Go has its share."""
ENOUGH = 240.0
"""Seconds, within which no lease ends in virtual time."""
LEASE = timedelta(hours=6)
POLL = timedelta(seconds=20)
WORK_SECONDS = {"we": 0.005, "Go": 0.03}
TICK_SECONDS = 0.01
TICK = 0.5
"""How many virtual seconds pass in each of those."""


@dataclass
class Fleet:
    """What both sides run.

    Attributes:
        clock: The time of both.
        done: How many tasks each side handled.
        overlaps: Tasks that began while another one of their key ran.
        has_share: Set when Go has handled its share.
        caught: Set with the first overlap; unless it is None, our tasks with keys wait for it.
    """

    clock: VirtualClock = field(default_factory=VirtualClock)
    done: Counter[str] = field(default_factory=Counter)
    overlaps: list[str] = field(default_factory=list)
    has_share: asyncio.Event = field(default_factory=asyncio.Event)
    caught: asyncio.Event | None = None
    _running: set[str] = field(default_factory=set)

    async def run(self, side: str, task_id: str, key: str) -> None:
        """Handle a task."""
        if key and key in self._running:
            self.overlaps.append(f"{side} began {task_id} of {key}")
            if self.caught is not None:
                self.caught.set()
        self._running.add(key)
        await asyncio.sleep(WORK_SECONDS[side])  # the others may go on meanwhile
        if side == "we" and not key and self.done["we"] > AHEAD:
            await self.has_share.wait()
        if side == "we" and key and self.caught is not None:
            await self.caught.wait()
        self._running.discard(key)
        self.done[side] += 1
        if self.done["Go"] >= AT_LEAST:
            self.has_share.set()

    async def pass_time(self) -> None:
        """Let the virtual time pass."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.clock.advance(TICK)


async def drain(fleet: Fleet, project: str, *, tasks: int = TASKS) -> None:
    """Create the tasks, half by each side and half of each on shared keys; let both sides work until all are done.

    Where the fleet is to be caught, that ends it, too.
    """
    store = FirestoreStore(project=project, clock=fleet.clock, shared_with_go=True)
    manager = TaskManager(store, poll_interval=POLL, seams=Seams(clock=fleet.clock))

    @manager.task_handler(KIND, concurrency=SLOTS, lease_duration=LEASE, timeout=LEASE)
    async def handle(task: OnceTask[dict[str, object]]) -> None:
        await fleet.run("we", task.id, task.resource_key or "")

    async def handle_in_go(tasks: list[Fields]) -> None:
        await fleet.run("Go", tasks[0]["id"], tasks[0]["resourceKey"])

    async with looking(project) as client:
        statements = ClientStatements(client)
        go = GoManager(statements, fleet.clock)
        named = [f"k{number // 2 % KEYS}" if number % 2 else "" for number in range(tasks // 2)]
        await asyncio.gather(*(go.create(f"g{number}", KIND, key=key) for number, key in enumerate(named)))
        await store.insert([new_task(f"w{number}", key) for number, key in enumerate(named)])
        others = [fleet.pass_time(), GoWorker(statements, fleet.clock).run(Kind(KIND, handle_in_go, lease=LEASE))]
        running = [asyncio.create_task(other) for other in others]
        async with asyncio.timeout(ENOUGH), manager.running():
            while not (fleet.caught and fleet.caught.is_set()) and await manager.count_tasks(TaskFilter(live=True)):
                assert not any(task.done() for task in running)
                await asyncio.sleep(0.05)  # the store alone knows
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    await manager.close()


@asynchronous
async def test_both_sides_drain_one_collection() -> None:
    """Each its share, one task of a key at a time, every task once; all documents keep the rules."""
    project = new_project()
    fleet = Fleet()
    await drain(fleet, project)
    stored = await documents(project)

    assert fleet.overlaps == []
    assert min(fleet.done["we"], fleet.done["Go"]) >= AT_LEAST
    assert fleet.done.total() == len(stored) == TASKS
    assert {golang.status(fields, fleet.clock.now()) for fields in stored.values()} == {"completed"}


@asynchronous
async def test_a_store_that_hides_its_leases_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock documents keep our own workers apart, and no Go worker looks at them."""
    leases_are_not_mirrored(monkeypatch)
    fleet = Fleet(caught=asyncio.Event())
    await drain(fleet, new_project(), tasks=60)
    new_projects()  # what it leaves behind breaks the rules

    assert fleet.overlaps
