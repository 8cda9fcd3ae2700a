"""Instances that claim at once share what is due, and none waits for one that has died."""

import asyncio
from datetime import UTC, datetime, timedelta

from oncetask_core.claims import Claim, Slots
from oncetask_core.clock import VirtualClock
from oncetask_core.task import NewTask
from oncetask_firestore import FirestoreStore
from oncetask_firestore.database import WORKERS, Raw, Write
from oncetask_firestore.fleet import PATIENCE_SECONDS, Fleet
from oncetask_firestore.place import Place
from oncetask_firestore.store_time import StoreTime
from oncetask_firestore.texts import to_micros
from tests.asynchronous import asynchronous
from tests.firestore.test_claiming import project_of
from tests.firestore.world import documents, needs_server, new_project, opened


def fleets(clock: VirtualClock, count: int) -> list[Fleet]:
    """Return instances that know each other."""
    made = [Fleet(Place("DEFAULT", "scoped", StoreTime(None, host=clock))) for _ in range(count)]
    names = sorted(one._name for one in made)
    for one in made:
        one._members, one._since = names, clock.monotonic()
    return made


def raws(count: int, keys: int = 0) -> list[Raw]:
    """Return due tasks."""
    return [
        Raw(f"{number}", {"resourceKey": f"key {number % keys}" if keys else ""}, 0, None) for number in range(count)
    ]


def test_every_task_is_in_one_share_and_all_of_a_key_in_the_same() -> None:
    """However many instances there are."""
    for count in (1, 2, 3, 8):
        shares = [one.split(raws(400, keys=40)).ours for one in fleets(VirtualClock(), count)]
        owners = [{raw.fields["resourceKey"] for raw in share} for share in shares]

        assert sorted(raw.name for share in shares for raw in share) == sorted(raw.name for raw in raws(400))
        assert sum(len(keys) for keys in owners) == 40


def test_what_the_others_leave_alone_for_a_moment_is_split_anew() -> None:
    """Nobody takes what is another's at once; then those that look take different parts of it."""
    clock = VirtualClock()
    one, other, _ = fleets(clock, 3)
    at_once = [fleet.split(raws(300, keys=100)) for fleet in (one, other)]
    left = [raw for raw in raws(300, keys=100) if all(raw not in share.ours for share in at_once)]
    clock.advance(PATIENCE_SECONDS)
    later = [fleet.split(left) for fleet in (one, other)]
    clock.advance(3600)

    assert all(not share.late and share.leaves_some for share in at_once)
    assert all(share.late and share.leaves_some for share in later)
    first, second = ({raw.fields["resourceKey"] for raw in share.late} for share in later)
    assert not first & second, "all of a key go to one, or its order is lost"
    assert one.split(left).ours == left, "who has not been seen for long has no share"


def new(number: int) -> NewTask:
    """Return a task to insert, due at once."""
    return NewTask(id=f"{number:04}", kind="kind", payload="{}", run_uid="run", created_by="me")


async def taken(store: FirestoreStore, lease_uid: str, limit: int) -> set[str]:
    """Claim tasks, and return their ids."""
    claim = Claim(lease_uid=lease_uid, leased_by="w", lease_for=timedelta(hours=1), slots={"kind": Slots(limit)})
    return {task.id for task in (await store.claim(claim)).tasks}


@needs_server
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


@needs_server
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


@needs_server
@asynchronous
async def test_what_a_silent_one_leaves_alone_is_taken() -> None:
    """An instance that is there and claims nothing keeps its share for a moment only."""
    async with opened(new_project()) as one, opened(project_of(one)) as other:
        await one.insert([new(number) for number in range(500)])
        ids = await taken(one, "greeting of one", 1) | await taken(other, "greeting of the other", 1)
        one._fleet._since = float("-inf")
        for turn in range(60):
            ids |= await taken(one, f"{turn}", 60)

        assert one._fleet.size == 2
        assert len(ids) == 500
