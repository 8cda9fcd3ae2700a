"""Instances that claim at once share what is due, and none waits for one that has died."""

import asyncio
from datetime import UTC, datetime, timedelta

from oncetask_core.claims import Claim, Slots
from oncetask_core.task import NewTask
from oncetask_firestore import FirestoreStore
from oncetask_firestore.database import WORKERS, Write
from oncetask_firestore.texts import to_micros
from tests.asynchronous import asynchronous
from tests.firestore.test_claiming import project_of
from tests.firestore.world import documents, needs_server, new_project, opened

pytestmark = needs_server


def new(number: int) -> NewTask:
    """Return a task to insert, due at once."""
    return NewTask(id=f"{number:04}", kind="kind", payload="{}", run_uid="run", created_by="me")


async def taken(store: FirestoreStore, lease_uid: str, limit: int) -> set[str]:
    """Claim tasks, and return their ids."""
    claim = Claim(lease_uid=lease_uid, leased_by="w", lease_for=timedelta(hours=1), slots={"kind": Slots(limit)})
    return {task.id for task in (await store.claim(claim)).tasks}


@asynchronous
async def test_two_that_know_each_other_take_disjoint_shares() -> None:
    """Of the same page, without a single refusal; nothing is left out."""
    async with opened(new_project()) as one, opened(project_of(one)) as other:
        await one.insert([new(number) for number in range(400)])
        await taken(one, "greeting of one", 1)
        await taken(other, "greeting of the other", 1)
        one._fleet._since = other._fleet._since = float("-inf")
        first, second = await asyncio.gather(taken(one, "one", 60), taken(other, "other", 60))
        workers = await documents(project_of(one), "onceTaskWorkers")

        assert first.isdisjoint(second)
        assert min(len(first), len(second)) > 30
        assert len(workers) == 2


@asynchronous
async def test_what_is_left_by_the_dead_is_taken() -> None:
    """An instance that said an hour ago that it claims has no share, and its document goes."""
    async with opened(new_project()) as one:
        await one.insert([new(number) for number in range(300)])
        dead = Write(WORKERS, "dead", {"env": one.env, "seen": to_micros(datetime.now(UTC) - timedelta(hours=2))})
        await one._loops.here().commit([dead], mark="dead")
        ids: set[str] = set()
        for turn in range(6):
            ids |= await taken(one, f"{turn}", 50)
        workers = await documents(project_of(one), "onceTaskWorkers")

        assert len(ids) == 300
        assert set(workers) == {one._fleet._name}
