"""Instances that claim at once share what is due, and none waits for one that has died."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from oncetask_core.clock import VirtualClock
from oncetask_firestore import FirestoreStore
from oncetask_firestore.database import WORKERS, Database, Raw, Write
from oncetask_firestore.fleet import JOINING_SECONDS, LONG, PATIENCE_SECONDS, Fleet, Shares
from oncetask_firestore.messages import Query
from oncetask_firestore.place import Place
from oncetask_firestore.reading import Document, Moments, read
from oncetask_firestore.store_time import StoreTime
from oncetask_firestore.texts import to_micros
from tests.asynchronous import asynchronous
from tests.firestore.test_claiming import EARLIER, new, project_of, taken
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


def test_what_is_met_here_and_there_has_a_time_of_its_own() -> None:
    """Another part of it is read each time, and yet what was seen before is known."""
    clock = VirtualClock()
    one, other = fleets(clock, 2)
    theirs = other.split(raws(100)).ours
    parts = [theirs[start::3] for start in range(3)]
    at_once = [one.split(part).late for part in parts]
    clock.advance(LONG * PATIENCE_SECONDS)

    assert at_once == [[], [], []]
    assert [one.split(part).late for part in parts] == parts


def page_of(fleet: Fleet, tasks: Sequence[Raw], kind: str = "kind") -> Shares:
    """Split the first due tasks of a kind as one that would take ten at once."""
    return fleet.split_page(kind, tasks, next_ones=10)


def test_one_that_goes_on_is_helped_with_what_it_comes_to_last_only() -> None:
    """Those who help take different parts of that, and whatever it is about to take is left to it."""
    clock = VirtualClock()
    one, other, third = fleets(clock, 3)
    theirs = page_of(third, raws(300)).ours
    for gone in range(0, 60, 10):  # the third takes ten and ten more
        left = [raw for raw in raws(300) if raw not in theirs[:gone]]
        shares = [page_of(fleet, left) for fleet in (one, other)]
        spare = [{raw.name for raw in share.spare if raw in theirs} for share in shares]
        assert not any(raw in theirs for share in shares for raw in share.late)
        assert all(spare)
        assert not spare[0] & spare[1]
        assert not (spare[0] | spare[1]) & {raw.name for raw in theirs[gone : gone + 10]}
        clock.advance(PATIENCE_SECONDS)


def test_all_of_a_key_that_is_about_to_be_taken_are_left_alone() -> None:
    """Who helped with its later tasks would take them for its first."""
    one, other = fleets(VirtualClock(), 2)
    mixed = raws(300, keys=40)
    about_to_be_taken = {raw.fields["resourceKey"] for raw in page_of(other, mixed).ours[:10]}
    assert not about_to_be_taken & {raw.fields["resourceKey"] for raw in page_of(one, mixed).spare}


def test_one_that_does_not_go_on_loses_its_share_kind_by_kind() -> None:
    """Its first task has been the same for a moment; that it takes tasks of another kind says nothing."""
    clock = VirtualClock()
    one, other, third = fleets(clock, 3)
    theirs = page_of(third, raws(300)).ours
    for gone in range(2):
        assert [page_of(fleet, theirs).late for fleet in (one, other)] == [[], []]
        assert page_of(one, theirs[gone:], "another kind").late == []
        clock.advance(PATIENCE_SECONDS / 2)
    later = [page_of(fleet, theirs) for fleet in (one, other)]
    assert page_of(one, theirs[2:], "another kind").late == []
    clock.advance(3600)
    one._since = other._since = clock.monotonic()

    first, second = ({raw.name for raw in share.late} for share in later)
    assert first
    assert second
    assert not first & second
    assert page_of(one, theirs).late == theirs, "after a while it is anybody's"


class Documents:
    """As much of a database as instances need that look for each other."""

    def __init__(self) -> None:
        self._raws: dict[str, Raw] = {}

    async def commit(self, writes: Sequence[Write], *, mark: str) -> Sequence[object]:
        """Write a document."""
        (write,) = writes
        assert write.fields is not None
        self._raws[write.name] = Raw(write.name, write.fields, 0, mark)
        return [mark]

    async def find(self, query: Query) -> Sequence[Raw]:
        """Return all of them."""
        assert query.collection == WORKERS
        return list(self._raws.values())


@asynchronous
async def test_one_that_begins_sees_who_begins_while_it_reads_what_is_due() -> None:
    """So long it waits before it looks: the other is not there before it has read as much."""
    clock, documents = VirtualClock(), cast("Database", Documents())
    one, other = (Fleet(Place("DEFAULT", "scoped", StoreTime(None, host=clock))) for _ in range(2))
    seconds = 20 * JOINING_SECONDS
    one.note_pace(seconds)
    begun = asyncio.create_task(one.look(documents))
    await clock.run_for(0.9 * seconds)
    assert not begun.done()
    await asyncio.gather(clock.run_for(0.2 * seconds), other.look(documents))
    await begun

    assert one.size == other.size == 2


async def ids_taken(store: FirestoreStore, lease_uid: str, limit: int) -> set[str]:
    """Claim tasks, and return their ids."""
    return {task.id for task in await taken(store, lease_uid, limit)}


async def meet(*stores: FirestoreStore) -> None:
    """Let instances hear of each other, before any of them has read what is due."""
    for store in (*stores, *stores):
        store._fleet._since = float("-inf")
        await store._fleet.look(store._loops.here())


@needs_server
@asynchronous
async def test_two_that_know_each_other_take_disjoint_shares() -> None:
    """Of the same page, without a single refusal; nothing is left out."""
    async with opened(new_project()) as one, opened(project_of(one)) as other:
        await one.insert([new(f"{number:04}", wait_until=EARLIER) for number in range(400)])
        await meet(one, other)
        first, second = await asyncio.gather(ids_taken(one, "one", 60), ids_taken(other, "other", 60))
        workers = await documents(project_of(one), "onceTaskWorkers")

        assert first.isdisjoint(second)
        assert min(len(first), len(second)) > 30
        assert len(workers) == 2


@needs_server
@asynchronous
async def test_what_is_in_the_share_of_another_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read to be split, but to make a record of it takes most of a claim's time."""
    decoded: list[str] = []

    def note(fields: Mapping[str, Any], moments: Moments) -> Document:
        decoded.append(fields["id"])
        return read(fields, moments)

    async with opened(new_project()) as one, opened(project_of(one)) as other:
        await one.insert([new(f"{number:04}", wait_until=EARLIER) for number in range(400)])
        await meet(one, other)
        monkeypatch.setattr("oncetask_firestore.place.read", note)
        ids = await ids_taken(one, "one", 30)
        ours = {task_id for task_id in decoded if one._fleet.is_ours(Raw(task_id, {}, 0, None))}

        assert one._fleet.size == 2
        assert ids <= ours == set(decoded)


@needs_server
@asynchronous
async def test_what_is_left_by_the_dead_is_taken() -> None:
    """An instance that said an hour ago that it claims has no share, and its document goes."""
    async with opened(new_project()) as one:
        await one.insert([new(f"{number:04}") for number in range(300)])
        dead = Write(WORKERS, "dead", {"env": one.env, "seen": to_micros(datetime.now(UTC) - timedelta(hours=2))})
        await one._loops.here().commit([dead], mark="dead")
        ids: set[str] = set()
        for turn in range(6):
            ids |= await ids_taken(one, f"{turn}", 50)
        workers = await documents(project_of(one), "onceTaskWorkers")

        assert len(ids) == 300
        assert set(workers) == {one._fleet._name}


@needs_server
@asynchronous
async def test_what_a_silent_one_leaves_alone_is_taken() -> None:
    """An instance that is there and claims nothing keeps its share for a moment only."""
    async with opened(new_project()) as one, opened(project_of(one)) as other:
        await one.insert([new(f"{number:04}", wait_until=EARLIER) for number in range(500)])
        await meet(one, other)
        ids: set[str] = set()
        for turn in range(60):
            for store in (one, other):  # they know each other for as long as this takes
                await store._fleet.look(store._loops.here())
            ids |= await ids_taken(one, f"{turn}", 60)

        assert one._fleet.size == 2
        assert len(ids) == 500
