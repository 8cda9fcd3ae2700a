"""Polls that expect nothing: one round trip that locks nothing, and overlooks nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from oncetask_core.claims import Claim, Slots
from oncetask_core.store import Claimed
from oncetask_core.task import NewTask, StoreNow
from oncetask_sql.mariadb import MariadbStore, polling
from tests.asynchronous import asynchronous
from tests.mariadb.world import Databases, needs_server, opened, run
from tests.sql.world import HOUR, KIND, a_claim, new_task

pytestmark = [needs_server, pytest.mark.usefixtures("no_upkeep")]


@asynccontextmanager
async def idle(databases: Databases, *claims: Claim) -> AsyncIterator[tuple[MariadbStore, str]]:
    """Yield a store for which nothing was due, and its database."""
    url = databases.new()
    async with opened(url) as store:
        for claim in claims or [a_claim("idle")]:
            assert not (await store.claim(claim)).tasks
        yield store, url


async def counted(store: MariadbStore, claim: Claim) -> tuple[Claimed, int]:
    """Claim, and return how many round trips that took."""
    lanes = store._loops.here()
    before = lanes.round_trips
    return await store.claim(claim), lanes.round_trips - before


@asynchronous
async def test_a_poll_that_finds_nothing_is_one_round_trip(databases: Databases) -> None:
    """It says when something becomes due; a claim that takes something and the next one are two or three."""
    async with idle(databases) as (store, _):
        await store.insert([new_task("later", wait_until=StoreNow(HOUR))])
        await store.insert([new_task("last", wait_until=StoreNow(2 * HOUR))])
        nothing, trips = await counted(store, a_claim("first"))
        await store.insert([new_task("a"), new_task("b")])
        found, first = await counted(store, a_claim("second", limit=1))
        again, second = await counted(store, a_claim("third", limit=1))
        later = (await store.get(["later"])).tasks["later"]

    assert (nothing.tasks, trips) == ((), 1)
    assert nothing.next_due == later.wait_until
    assert [task.id for task in (*found.tasks, *again.tasks)] == ["a", "b"]
    assert (first, second) == (3, 2)


@asynchronous
async def test_a_poll_that_finds_nothing_gives_no_fence_number_away(databases: Databases) -> None:
    """The sequence is not written for it."""
    async with idle(databases) as (store, url):
        before = run(url, "SELECT NEXTVAL(oncetask_epoch)")[0][0]
        for number in range(5):
            await store.claim(a_claim(f"lease {number}"))
        after = run(url, "SELECT NEXTVAL(oncetask_epoch)")[0][0]

    assert after == before + 1


FOUND = [new_task("a"), new_task("a", key="k"), new_task("a", priority=-5), new_task("a", priority=5)]


@pytest.mark.parametrize("new", FOUND, ids=["keyless", "keyed", "low", "high"])
@asynchronous
async def test_what_became_due_is_taken(new: NewTask, databases: Databases) -> None:
    """In whichever index it stands."""
    async with idle(databases) as (store, _):
        await store.insert([new])
        claimed = await store.claim(a_claim("lease"))

    assert [task.id for task in claimed.tasks] == ["a"]


@asynchronous
async def test_a_suspect_is_taken_by_a_claim_of_suspects_alone(databases: Databases) -> None:
    """Each kind of claim remembers for itself that nothing was due."""
    async with idle(databases, a_claim("idle"), a_claim("idle", suspects=True)) as (store, url):
        await store.insert([new_task("a")])
        run(url, "UPDATE oncetask_task SET crashes = 1")
        others = await store.claim(a_claim("lease"))
        suspects = await store.claim(a_claim("another lease", suspects=True))

    assert (others.tasks, [task.id for task in suspects.tasks]) == ((), ["a"])


@asynchronous
async def test_a_lease_that_holds_tasks_already_gets_those_again(databases: Databases) -> None:
    """Also where another process was granted them, and nothing else is due."""
    async with idle(databases) as (store, url), opened(url) as another:
        await another.insert([new_task("a")])
        (granted,) = (await another.claim(a_claim("lease"))).tasks
        (again,) = (await store.claim(a_claim("lease"))).tasks

    assert again == granted


@asynchronous
async def test_a_kind_without_free_slots_is_not_looked_for(databases: Databases) -> None:
    """What is due of it makes no poll dearer."""
    full = Claim(lease_uid="lease", leased_by="worker", lease_for=HOUR, slots={KIND: Slots(0), "other": Slots(1)})
    async with idle(databases, full) as (store, _):
        await store.insert([new_task("a")])
        nothing, trips = await counted(store, full)

    assert (nothing.tasks, trips) == ((), 1)


@asynchronous
async def test_a_key_that_was_noted_is_seated_by_a_poll(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the first that comes a second after the last."""
    async with idle(databases) as (store, url):
        await store.insert([new_task("a", key="k")])
        run(url, "UPDATE oncetask_task SET head_key = NULL")
        run(url, "INSERT INTO oncetask_later (env, kind, resource_key) VALUES ('DEFAULT', 'parcel', 'k')")
        early = await store.claim(a_claim("early"))
        monkeypatch.setattr(polling, "SEAT_SECONDS", 0.0)
        late = await store.claim(a_claim("late"))

    assert (early.tasks, [task.id for task in late.tasks]) == ((), ["a"])
