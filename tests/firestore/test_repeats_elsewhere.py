"""A claim whose repeat goes to another instance than its first request: the lease may then hold what both took.

An instance that sees a lease for the first time, and has read what is due a moment ago, does not ask what the lease
holds already. Whoever claims learns it from the next renewal.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from oncetask import OnceTask, Outcome, TaskManager
from oncetask_core.claims import Claim
from oncetask_core.store import Claimed, TaskStore
from oncetask_core.task import NewTask
from oncetask_firestore import FirestoreStore
from tests.asynchronous import asynchronous
from tests.firestore.test_claiming import new, project_of, settled, taken
from tests.firestore.world import needs_server, new_project, opened
from tests.worker.failing import FailingStore
from tests.worker.world import until_all_have_ended

pytestmark = needs_server

LEASE = 900.0
ENOUGH = 240.0
"""Seconds: less than a lease, so that what ends sooner has not waited for its end."""
ASKED = 120.0
"""Seconds: less than a third of a lease. After a repeated claim it is asked at once what its lease holds."""
SLOTS = 5
EARLIER = datetime(2020, 1, 1, tzinfo=UTC)
KEYS: dict[str, Callable[[str], str | None]] = {"keyless": lambda _: None, "keyed": lambda task_id: f"key of {task_id}"}


class Elsewhere(FailingStore):
    """Sends the first claim to another instance and loses the reply."""

    def __init__(self, store: TaskStore, other: TaskStore) -> None:
        super().__init__(store)
        self.granted: list[list[OnceTask[object]]] = []
        """What the first claims were granted, that of the other instance before all others."""
        here = store.claim

        async def claim(wanted: Claim) -> Claimed:
            claimed = await (here if self.granted else other.claim)(wanted)
            self.granted.append(list(claimed.tasks))
            return claimed

        self.plant(claim=claim)
        self.fail("claim", "after")


async def with_window(project: str, store: FirestoreStore, key_of: Callable[[str], str | None]) -> None:
    """Let an instance read a page of due tasks; then create some that are to be claimed before those."""
    await store.insert([new(f"late {number:03}", key_of(f"late {number}")) for number in range(110)])
    (first,) = await taken(store, "first", 1)
    await store.apply([settled(first)])
    early: Sequence[NewTask] = [
        new(f"early {number:02}", key_of(f"early {number}"), wait_until=EARLIER) for number in range(40)
    ]
    async with opened(project) as another:
        await another.insert(early)


@pytest.mark.parametrize("keys", KEYS)
@asynchronous
async def test_what_the_first_request_took_is_given_back_by_the_next_renewal(
    keys: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the lease's other tasks go on; nothing is charged, and everything runs once."""
    monkeypatch.setattr("oncetask_firestore.memory.WINDOW_SECONDS", ENOUGH)  # however slow the machine is
    project, runs, gate = new_project(), Counter[str](), asyncio.Event()
    async with opened(project) as other:
        store = FirestoreStore(project=project)
        await with_window(project, store, KEYS[keys])
        both = Elsewhere(store, other)
        manager = TaskManager(both, poll_interval=0.1)

        @manager.task_handler("kind", concurrency=SLOTS, lease_duration=LEASE)
        async def handle(task: OnceTask[object]) -> None:
            runs[task.id] += 1
            await gate.wait()

        async with asyncio.timeout(ENOUGH), manager.running():
            try:
                while len(runs) < SLOTS:  # noqa: ASYNC110 - handlers tell nobody
                    await asyncio.sleep(0.01)
                lost, held = ([task.id for task in granted] for granted in both.granted[:2])
                (lease,) = {task.lease_uid for granted in both.granted[:2] for task in granted}
                async with asyncio.timeout(ASKED):
                    while await held_of(store, lost):  # noqa: ASYNC110 - the store alone knows
                        await asyncio.sleep(0.05)
                still_held = {task.lease_uid for task in await held_of(store, held)}
            finally:
                gate.set()
            await until_all_have_ended(manager, seconds=ENOUGH)
        tasks = (await other.get(runs)).tasks
        await manager.close()

    assert len(lost) == len(held) == SLOTS, "the case did not arise: the lease holds one claim's tasks"
    assert set(lost).isdisjoint(held)
    assert still_held == {lease}
    assert runs == dict.fromkeys(tasks, 1)
    assert len(runs) == 149
    assert {task.id: task.claims for task in tasks.values()} == {name: 1 + (name in lost) for name in runs}
    assert {(task.outcome, task.failures, task.crashes) for task in tasks.values()} == {(Outcome.COMPLETED, 0, 0)}


@asynchronous
async def test_a_renewal_names_all_that_requests_of_one_claim_leased_at_once() -> None:
    """At two instances each may have leased its own, or one has seen what the other was granted."""
    async with opened(new_project()) as one, opened(project_of(one)) as other:
        await one.insert([new(f"{number:02}") for number in range(20)])
        granted = await asyncio.gather(*(taken(store, "lease", SLOTS) for store in (one, other)))
        held = (await one.renew({"lease": None})).held

    assert {lease.id for lease in held} == {task.id for tasks in granted for task in tasks}
    assert len(held) >= SLOTS


async def held_of(store: TaskStore, ids: Sequence[str]) -> list[OnceTask[object]]:
    """Return those of the tasks that are leased."""
    return [task for task in (await store.get(ids)).tasks.values() if task.lease_uid is not None]
