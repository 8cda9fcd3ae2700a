"""Transactions of others that stay open: they hold up what they hold, and nothing else."""

import asyncio

import pytest

from oncetask_core.decisions import KindRules, deletion, expire
from oncetask_core.errors import StoreUnavailableError
from oncetask_core.store import Claimed
from oncetask_core.transition import Atom, Verdict
from tests.asynchronous import SOON, asynchronous
from tests.servers.slow_motion import A_MOMENT
from tests.servers.world import Place, ServerStore, locking
from tests.sql.world import HOUR, a_claim, new_task, settlement

pytestmark = pytest.mark.usefixtures("slow_motion")


async def take(store: ServerStore, *names: str) -> Claimed:
    """Create tasks and claim them."""
    await store.insert([new_task(name) for name in names])
    return await store.claim(a_claim("lease"))


@asynchronous
async def test_a_locked_task_keeps_no_other_lease_from_being_extended(place: Place) -> None:
    """The worker learns which lease is held but ends when it did before."""
    async with place.opened() as store:
        await take(store, "a", "b")
        with locking(place, "a"):
            async with asyncio.timeout(A_MOMENT):
                renewed = await store.renew({"lease": HOUR * 2})
        again = await store.renew({"lease": HOUR * 2})

    assert {lease.id: lease.is_extended for lease in renewed.held} == {"a": False, "b": True}
    assert {lease.id: lease.is_extended for lease in again.held} == {"a": True, "b": True}


@asynchronous
async def test_a_locked_task_is_not_claimed_and_all_others_are(place: Place) -> None:
    """Claims wait for nobody."""
    async with place.opened() as store:
        await store.insert([new_task(name) for name in "abc"])
        with locking(place, "b"):
            async with asyncio.timeout(A_MOMENT):
                claimed = await store.claim(a_claim("lease"))
        later = await store.claim(a_claim("lease 2"))

    assert [task.id for task in claimed.tasks] == ["a", "c"]
    assert [task.id for task in later.tasks] == ["b"]


@asynchronous
async def test_a_locked_task_keeps_no_other_from_being_settled(place: Place) -> None:
    """Its own settlement reads as changed, with the record as it is: the worker decides again until the lock goes."""
    async with place.opened() as store:
        claimed = await take(store, "a", "b", "c")
        atoms = [settlement(task) for task in claimed.tasks]
        with locking(place, "b"):
            async with asyncio.timeout(A_MOMENT):
                answers = await store.apply(atoms)
        (again,) = await store.apply([atoms[1]])

    assert [answer.verdict for answer in answers] == [Verdict.APPLIED, Verdict.CHANGED, Verdict.APPLIED]
    assert answers[1].task is not None
    assert answers[1].task.lease_uid == "lease"
    assert again.verdict is Verdict.APPLIED


@pytest.mark.parametrize("count", [1, 2, 3, 9])
@asynchronous
async def test_a_locked_task_keeps_no_other_from_being_deleted(count: int, place: Place) -> None:
    """However few tasks there are: nothing else is read, let alone waited for."""
    async with place.opened() as store:
        await store.insert([new_task(name) for name in ("locked", *(f"t{number}" for number in range(count)))])
        tasks = (await store.get([f"t{number}" for number in range(count)])).tasks
        with locking(place, "locked"):
            async with asyncio.timeout(A_MOMENT):
                verdicts = await store.delete([deletion(task) for task in tasks.values()])

    assert verdicts == [Verdict.APPLIED] * count
    assert list(place.run("SELECT id FROM oncetask_task")) == [("locked",)]


@asynchronous
async def test_two_batches_that_lock_each_others_tasks_both_end(place: Place) -> None:
    """There is no deadlock that lasts, nothing is lost, and nobody waits for long."""
    async with place.opened() as one, place.opened() as two:
        claimed = await take(one, *(f"t{number:03}" for number in range(10)))
        atoms = [settlement(task) for task in claimed.tasks]
        with locking(place, "t005"):
            first = asyncio.create_task(one.apply(atoms))
            second = asyncio.create_task(two.apply(list(reversed(atoms))))
            async with asyncio.timeout(SOON):
                replies = await asyncio.gather(first, second)

    verdicts = [{answer.verdict for answer in reply} for reply in replies]
    assert Verdict.BROKEN not in verdicts[0] | verdicts[1]
    assert {Verdict.APPLIED, Verdict.CHANGED} <= verdicts[0] | verdicts[1]


@asynchronous
async def test_an_id_that_an_open_transaction_creates_holds_up_no_other_create(place: Place) -> None:
    """Whoever asked for that id is told to try again; everybody else's tasks are there."""
    creating = (
        "INSERT INTO oncetask_task (env, id, kind, payload, run_uid, created_by, created_at, wait_until, order_at, "
        "queue) VALUES ('DEFAULT', 'b', 'parcel', '{}', 'r', 'c', 0, 0, 0, 'q')"
    )
    async with place.opened() as store:
        with place.transaction(creating):
            inserting = [store.insert([new_task(name)]) for name in "abc"]
            async with asyncio.timeout(A_MOMENT):
                replies = await asyncio.gather(*inserting, return_exceptions=True)
        created = await store.insert([new_task("b")])

    assert isinstance(replies[1], StoreUnavailableError)
    assert "'b'" in str(replies[1])
    assert [not isinstance(reply, BaseException) for reply in replies] == [True, False, True]
    assert created[0].created


@asynchronous
async def test_a_key_whose_next_task_is_locked_is_seated_with_a_later_claim(place: Place) -> None:
    """The settle of its head does not wait for it; the key is noted, and nobody has to come by chance."""
    async with place.opened() as store:
        await store.insert([new_task("a", key="k"), new_task("b", key="k")])
        claimed = await store.claim(a_claim("lease"))
        with locking(place, "b"):
            async with asyncio.timeout(A_MOMENT):
                (answer,) = await store.apply([settlement(claimed.tasks[0])])
        noted = place.run("SELECT env, kind, resource_key FROM oncetask_later")
        async with place.opened() as another:
            later = await another.claim(a_claim("lease 2"))

    assert answer.verdict is Verdict.APPLIED
    assert list(noted) == [("DEFAULT", "parcel", "k")]
    assert [task.id for task in later.tasks] == ["b"]


@pytest.mark.parametrize("count", [1, 3, 9])
@asynchronous
async def test_keys_that_an_open_transaction_has_noted_hold_up_no_claim(count: int, place: Place) -> None:
    """Keys that others have noted are seated meanwhile, however few notes there are."""
    note = "INSERT INTO oncetask_later (env, kind, resource_key) VALUES ('DEFAULT', 'parcel', '{}')"
    async with place.opened() as store:
        await store.insert([new_task(f"t{number}", key=f"k{number}") for number in range(count)])
        place.run(*(note.format(f"k{number}") for number in range(count)))
        with place.transaction(note.format("another")):
            async with asyncio.timeout(A_MOMENT):
                claimed = await store.claim(a_claim("lease"))

    assert len(claimed.tasks) == count
    assert list(place.run("SELECT resource_key FROM oncetask_later")) == []


@asynchronous
async def test_an_expiry_waits_for_no_lock(place: Place) -> None:
    """A lease that ran out while somebody has the row locked is expired by a later poll."""
    async with place.opened() as store:
        await take(store, "a")
        place.run("UPDATE oncetask_task SET leased_until = 0")
        found = (await store.get(["a"])).tasks["a"]
        atom = Atom((expire(found, KindRules(), at=await store.now(), chance=0.0),))
        with locking(place, "a"):
            async with asyncio.timeout(A_MOMENT):
                (answer,) = await store.apply([atom])
        (again,) = await store.apply([atom])

    assert answer.verdict is Verdict.CHANGED
    assert again.verdict is Verdict.APPLIED
