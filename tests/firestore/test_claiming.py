"""Claims among many: what they read, what they leave alone, and what they remember."""

import asyncio
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from oncetask import TaskManager
from oncetask_core.claims import Claim, Slots
from oncetask_core.clock import VirtualClock
from oncetask_core.decisions import KindRules, Success, conclude, deletion
from oncetask_core.query import TaskOrder, TaskQuery
from oncetask_core.task import NewTask, OnceTask
from oncetask_core.transition import Atom, Verdict
from oncetask_firestore import FirestoreStore
from tests.asynchronous import SOON, asynchronous
from tests.firestore.world import Faults, documents, freeze, looking, needs_server, new_project, opened
from tests.worker.world import until_all_have_ended

pytestmark = needs_server

BUSY = int(os.environ.get("ONCETASK_BUSY", "600"))
"""How many due tasks of one busy key lie ahead of all others."""
MOST_TURNS = 5000
"""How often an instance claims at most in a race; where nothing is left to it, most claims find nothing."""
EARLIER = datetime(2020, 1, 1, tzinfo=UTC)
RULES = KindRules()


def new(task_id: str, key: str | None = None, **fields: Any) -> NewTask:
    """Return a task to insert, due at once."""
    return NewTask(
        id=task_id, kind="kind", payload="{}", run_uid=f"run {task_id}", created_by="me", resource_key=key, **fields
    )


def a_claim(lease_uid: str, limit: int) -> Claim:
    """Return a claim of a few tasks."""
    return Claim(lease_uid=lease_uid, leased_by="w", lease_for=timedelta(hours=1), slots={"kind": Slots(limit)})


async def taken(store: FirestoreStore, lease_uid: str, limit: int) -> list[OnceTask[object]]:
    """Claim a few tasks."""
    return list((await store.claim(a_claim(lease_uid, limit))).tasks)


def settled(task: OnceTask[object]) -> Atom:
    """Return the success of a task that is held."""
    return Atom((conclude(task, Success(), RULES, chance=0.0),))


@pytest.mark.timeout(600)
@asynchronous
async def test_many_tasks_of_a_busy_key_delay_nobody(faults: Faults) -> None:
    """Twenty other keys and ten tasks without one are claimed, at few calls, by whoever asks."""
    async with opened(new_project()) as store, opened(project_of(store)) as other:
        await store.insert([new(f"busy {number:05}", "busy", wait_until=EARLIER) for number in range(BUSY)])
        (holder,) = await taken(store, "holder", 1)
        await store.insert([new(f"free {number}") for number in range(10)])
        await store.insert([new(f"keyed {number}", f"key {number:02}") for number in range(20)])
        for one in (store, other):
            found: list[OnceTask[object]] = []
            while len(found) < 15:  # the other one leaves some to the first at first, which has gone
                faults.calls.clear()
                faults.reads = 0
                found += await taken(one, f"{len(found)} of {id(one)}", min(10, 15 - len(found)))

                assert sum(name == "RunQuery" for name, _ in faults.calls) < 250
                assert 0 < faults.reads < 3000  # far below the number of busy tasks of the long test

            assert holder.resource_key == "busy"
            assert "busy" not in {task.resource_key for task in found}


@asynchronous
async def test_what_comes_while_many_wait_for_their_key_is_claimed_at_once() -> None:
    """They were read a moment ago, and are not read again."""
    async with opened(new_project()) as store:
        freeze(store)
        await store.insert([new(f"busy {number:04}", "busy", wait_until=EARLIER) for number in range(150)])
        assert len(await taken(store, "holder", 200)) == 1
        await store.insert([new("free"), new("keyed", "key")])
        before = store.usage.reads
        found = await taken(store, "second", 200)

    assert sorted(task.id for task in found) == ["free", "keyed"]
    assert store.usage.reads - before < 20


@asynchronous
async def test_tasks_without_a_key_cost_one_read_and_two_writes(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Amortised, when many are due: what was read is claimed, and what was claimed is settled without another look."""
    monkeypatch.setattr("oncetask_firestore.fleet.REFRESH_SECONDS", 3 * SOON)  # however slow the machine is
    async with opened(new_project()) as store:
        await store.insert([new(f"{number:04}") for number in range(400)])
        faults.calls.clear()
        done = 0
        while tasks := await taken(store, f"lease {done}", 50):
            answers = await store.apply([settled(task) for task in tasks])
            done += sum(answer.verdict is Verdict.APPLIED for answer in answers)

        calls = Counter(name for name, _ in faults.calls)
        names = [write.update.name for name, request in faults.calls if name == "Commit" for write in request.writes]
        assert done == 400
        assert sum("/onceTasks/" in name for name in names) == 2 * done
        assert sum("/onceTaskWorkers/" in name for name in names) == 1, "who claims is written once in a while"
        assert calls["BatchGetDocuments"] == 0
        assert calls["Commit"] <= 2 * done / 50 + 2


@asynchronous
async def test_a_key_goes_from_one_task_to_the_next_without_another_look(faults: Faults) -> None:
    """When many are due, and this instance held the key before: a read is spared, and the lock still guards it."""
    async with opened(new_project()) as store, opened(project_of(store)) as other:
        await store.insert([new(f"{number:04}", f"key {number % 10}") for number in range(300)])
        first = await taken(store, "first", 10)
        await store.apply([settled(task) for task in first])
        faults.calls.clear()
        second = await taken(store, "second", 10)

        assert [task.resource_key for task in second] == [task.resource_key for task in first]
        assert [task.epoch for task in second] == [2] * 10
        assert "BatchGetDocuments" not in {name for name, _ in faults.calls}

        await store.apply([settled(task) for task in second])
        third = await taken(other, "third", 10)
        fourth = await taken(store, "fourth", 10)
        assert 0 < len(third) < 10, "the other one takes its share"
        assert {task.resource_key for task in third} <= {task.resource_key for task in first}
        assert {task.resource_key for task in third}.isdisjoint(task.resource_key for task in fourth)


@pytest.mark.parametrize("how", ["settle", "delete"])
@asynchronous
async def test_what_others_do_to_a_key_of_ours_is_noticed(how: str) -> None:
    """A memory that is wrong is refused, and forgotten."""
    async with opened(new_project()) as store, opened(project_of(store)) as other:
        await store.insert([new(f"{number:04}", "key") for number in range(150)])
        (first,) = await taken(store, "first", 1)
        if how == "settle":
            await other.apply([settled(first)])
        else:
            await other.delete([deletion(first)])
        (second,) = await taken(other, "second", 1)

        assert second.epoch > first.epoch
        (late,) = await store.apply([settled(first)])
        assert late.verdict in {Verdict.ALREADY, Verdict.LEASE_LOST, Verdict.MISSING}
        assert await taken(store, "third", 1) == []


@pytest.mark.parametrize("epoch", ["three", None, 3.5])
@asynchronous
async def test_a_lock_that_somebody_wrote_over_blocks_nobody(epoch: object) -> None:
    """Fence numbers go on rising, from above any number that there was."""
    project, epochs = new_project(), list[int]()
    async with opened(project) as store, looking(project) as client:
        await store.insert([new(f"{number}", "key") for number in range(3)])
        for turn in range(3):
            async with opened(project) as another:  # which remembers nothing
                (task,) = await taken(another, f"lease {turn}", 1)
                epochs.append(task.epoch)
                await another.apply([settled(task)])
            if turn == 0:
                (lock,) = [one async for one in client.collection("onceTaskKeys").stream()]
                await lock.reference.update({"epoch": epoch})

    assert epochs[0] == 1
    assert epochs[1] > 1_000_000
    assert epochs[2] == epochs[1] + 1


@asynchronous
async def test_racing_instances_never_share_a_key() -> None:
    """Four instances drain three keys at once: no two leases of a key overlap, each task is completed once."""
    project, overlaps, running, done = new_project(), [], set[str](), Counter[str]()
    async with opened(project) as store:
        await store.insert([new(f"{number}", f"key {number % 3}") for number in range(120)])

    async def drain(name: int) -> None:
        async with opened(project) as one:
            for turn in range(MOST_TURNS):
                tasks = await taken(one, f"{name}.{turn}", 2)
                for task in tasks:
                    overlaps.extend([task.id] if task.resource_key in running else [])
                    running.add(str(task.resource_key))
                await asyncio.sleep(0)
                for task in tasks:
                    running.discard(str(task.resource_key))
                    (answer,) = await one.apply([settled(task)])
                    done[task.id] += answer.verdict is Verdict.APPLIED
                if sum(done.values()) == 120:
                    return

    await asyncio.gather(*(drain(name) for name in range(4)))

    assert overlaps == []
    assert set(done.values()) == {1}
    assert len(done) == 120
    locks = await documents(project, "onceTaskKeys")
    assert sorted(lock["epoch"] for lock in locks.values()) == [40, 40, 40]


def project_of(store: FirestoreStore) -> str:
    """Return the project of a store."""
    return str(store._loops._options["project"])


@pytest.mark.parametrize("order", TaskOrder)
@asynchronous
async def test_a_page_of_a_long_listing_reads_little_more_than_itself(order: TaskOrder, faults: Faults) -> None:
    """Whatever lies before and behind it; tasks of one second are read together, and shown in their order."""
    clock = VirtualClock()
    async with opened(new_project(), clock=clock) as store:
        for second in range(30):
            await store.insert([new(f"{second:02}.{9 - number}") for number in range(10)])
            clock.advance(1)
        await store.insert([new(f"last.{number:03}") for number in range(250)])
        ids: list[str] = []
        cursor, reads = None, []
        while not ids or cursor is not None:
            faults.calls.clear()
            page = await store.find(TaskQuery(limit=40, order=order, cursor=cursor))
            ids += [task.id for task in page.tasks]
            cursor = page.cursor
            reads.append(sum(name == "RunQuery" for name, _ in faults.calls))

    expected = [f"{second:02}.{9 - number}" for second in range(30) for number in range(10)]
    expected += [f"last.{number:03}" for number in range(250)]
    assert ids == (expected if order is TaskOrder.OLDEST else expected[::-1])
    assert sorted(reads)[len(reads) // 2] <= 3


@asynchronous
async def test_suspects_of_a_key_run_again_one_by_one() -> None:
    """A worker vanished with a group: its tasks are at the head of their key, and a worker makes room for each."""
    store = FirestoreStore(project=new_project())
    await store.open()
    await store.insert([new(f"{number}", "key") for number in range(8)])
    slots = {"kind": Slots(limit=1, group=5)}
    vanished = Claim(lease_uid="dead", leased_by="dead", lease_for=timedelta(milliseconds=1), slots=slots)
    assert len((await store.claim(vanished)).tasks) == 5
    manager = TaskManager(store, poll_interval=0.05)
    runs: list[str] = []

    @manager.task_handler("kind", concurrency=5)
    async def handle(task: OnceTask[object]) -> None:
        runs.append(task.id)

    async with manager.running():
        await until_all_have_ended(manager, seconds=30)
    await manager.close()

    assert sorted(runs) == sorted(f"{number}" for number in range(8))
