"""Transactions of others that stay open: they hold up what they hold, and nothing else."""

import asyncio
import time

import pytest

from oncetask_core.decisions import KindRules, deletion, expire
from oncetask_core.errors import StoreUnavailableError
from oncetask_core.store import Claimed
from oncetask_core.transition import Atom, Verdict
from oncetask_sql.mariadb import MariadbStore
from tests.asynchronous import SOON, asynchronous
from tests.mariadb.world import Databases, a_transaction, needs_server, opened, run
from tests.sql.world import HOUR, a_claim, new_task, settlement

pytestmark = needs_server

A_MOMENT = 0.5
"""Seconds; nothing here may wait for as long as a transaction stays open."""
LOCK = "SELECT 1 FROM oncetask_task WHERE env = 'DEFAULT' AND id = '{}' FOR UPDATE"

CREATE = (
    "INSERT INTO oncetask_task (env, id, kind, payload, run_uid, created_by, created_at, wait_until, order_at, queue) "
    "VALUES ('DEFAULT', 'b', 'parcel', '{}', 'r', 'c', 0, 0, 0, 'q')"
)


async def take(store: MariadbStore, *names: str) -> Claimed:
    """Create tasks and claim them."""
    await store.insert([new_task(name) for name in names])
    return await store.claim(a_claim("lease"))


@asynchronous
async def test_a_locked_task_keeps_no_other_lease_from_being_extended(databases: Databases) -> None:
    """The worker learns which lease is held but ends when it did before."""
    url = databases.new()
    async with opened(url) as store:
        await take(store, "a", "b")
        with a_transaction(url, LOCK.format("a")):
            began = time.monotonic()
            renewed = await store.renew({"lease": HOUR * 2})
            took = time.monotonic() - began
        again = await store.renew({"lease": HOUR * 2})

    assert {lease.id: lease.is_extended for lease in renewed.held} == {"a": False, "b": True}
    assert took < A_MOMENT
    assert all(lease.is_extended for lease in again.held)


@asynchronous
async def test_a_locked_task_is_not_claimed_and_all_others_are(databases: Databases) -> None:
    """Claims wait for nobody."""
    url = databases.new()
    async with opened(url) as store:
        await store.insert([new_task(name) for name in "abc"])
        with a_transaction(url, LOCK.format("b")):
            began = time.monotonic()
            claimed = await store.claim(a_claim("lease"))
            took = time.monotonic() - began
        later = await store.claim(a_claim("lease 2"))

    assert [task.id for task in claimed.tasks] == ["a", "c"]
    assert took < A_MOMENT
    assert [task.id for task in later.tasks] == ["b"]


@asynchronous
async def test_a_locked_task_keeps_no_other_from_being_settled(databases: Databases) -> None:
    """Its own settlement reads as changed, with the record as it is: the worker decides again until the lock goes."""
    url = databases.new()
    async with opened(url) as store:
        claimed = await take(store, "a", "b", "c")
        atoms = [settlement(task) for task in claimed.tasks]
        with a_transaction(url, LOCK.format("b")):
            began = time.monotonic()
            answers = await store.apply(atoms)
            took = time.monotonic() - began
        (again,) = await store.apply([atoms[1]])

    assert [answer.verdict for answer in answers] == [Verdict.APPLIED, Verdict.CHANGED, Verdict.APPLIED]
    assert answers[1].task is not None
    assert answers[1].task.lease_uid == "lease"
    assert took < A_MOMENT
    assert again.verdict is Verdict.APPLIED


@asynchronous
async def test_two_batches_that_lock_each_others_tasks_both_end(databases: Databases) -> None:
    """Nobody waits for a row while it holds another, so there is no deadlock; nothing is lost."""
    url = databases.new()
    async with opened(url) as one, opened(url) as two:
        claimed = await take(one, *(f"t{number:03}" for number in range(10)))
        atoms = [settlement(task) for task in claimed.tasks]
        with a_transaction(url, LOCK.format("t005")):
            first = asyncio.create_task(one.apply(atoms))
            second = asyncio.create_task(two.apply(list(reversed(atoms))))
            async with asyncio.timeout(SOON):
                replies = await asyncio.gather(first, second)

    verdicts = [{answer.verdict for answer in reply} for reply in replies]
    assert Verdict.BROKEN not in verdicts[0] | verdicts[1]
    assert {Verdict.APPLIED, Verdict.CHANGED} <= verdicts[0] | verdicts[1]


@asynchronous
async def test_an_id_that_an_open_transaction_creates_holds_up_no_other_create(databases: Databases) -> None:
    """Whoever asked for that id is told to try again; everybody else's tasks are there."""
    url = databases.new()
    async with opened(url) as store:
        with a_transaction(url, CREATE):
            began = time.monotonic()
            replies = await asyncio.gather(*(store.insert([new_task(name)]) for name in "abc"), return_exceptions=True)
            took = time.monotonic() - began
        created = await store.insert([new_task("b")])

    assert isinstance(replies[1], StoreUnavailableError)
    assert "'b'" in str(replies[1])
    assert [not isinstance(reply, BaseException) for reply in replies] == [True, False, True]
    assert took < A_MOMENT
    assert created[0].created


@asynchronous
async def test_a_key_whose_next_task_is_locked_is_seated_with_a_later_claim(databases: Databases) -> None:
    """The settle of its head does not wait for it; the key is noted, and nobody has to come by chance."""
    url = databases.new()
    async with opened(url) as store:
        await store.insert([new_task("a", key="k"), new_task("b", key="k")])
        claimed = await store.claim(a_claim("lease"))
        with a_transaction(url, LOCK.format("b")):
            (answer,) = await store.apply([settlement(claimed.tasks[0])])
        noted = run(url, "SELECT env, kind, resource_key FROM oncetask_later")
        async with opened(url) as another:
            later = await another.claim(a_claim("lease 2"))

    assert answer.verdict is Verdict.APPLIED
    assert noted == (("DEFAULT", "parcel", "k"),)
    assert [task.id for task in later.tasks] == ["b"]


@pytest.mark.parametrize("count", [1, 3, 9])
@asynchronous
async def test_keys_that_an_open_transaction_has_noted_hold_up_no_claim(count: int, databases: Databases) -> None:
    """Keys that others have noted are seated meanwhile, however few notes there are."""
    url = databases.new()
    note = "INSERT INTO oncetask_later (env, kind, resource_key) VALUES ('DEFAULT', 'parcel', '{}')"
    async with opened(url) as store:
        await store.insert([new_task(f"t{number}", key=f"k{number}") for number in range(count)])
        run(url, *(note.format(f"k{number}") for number in range(count)))
        with a_transaction(url, note.format("another")):
            async with asyncio.timeout(A_MOMENT):
                claimed = await store.claim(a_claim("lease"))
        left = run(url, "SELECT resource_key FROM oncetask_later")

    assert len(claimed.tasks) == count
    assert left == ()


@pytest.mark.parametrize("count", [1, 2, 3, 9])
@asynchronous
async def test_a_locked_task_keeps_no_other_from_being_deleted(count: int, databases: Databases) -> None:
    """However few tasks there are: nothing else is read, let alone waited for."""
    url = databases.new()
    async with opened(url) as store:
        await store.insert([new_task(name) for name in ("locked", *(f"t{number}" for number in range(count)))])
        tasks = (await store.get([f"t{number}" for number in range(count)])).tasks
        with a_transaction(url, LOCK.format("locked")):
            async with asyncio.timeout(A_MOMENT):
                verdicts = await store.delete([deletion(task) for task in tasks.values()])
        left = run(url, "SELECT id FROM oncetask_task")

    assert verdicts == [Verdict.APPLIED] * count
    assert left == (("locked",),)


@asynchronous
async def test_an_expiry_waits_for_no_lock(databases: Databases) -> None:
    """A lease that ran out while somebody has the row locked is expired by a later poll."""
    url = databases.new()
    async with opened(url) as store:
        await store.insert([new_task("a")])
        (task,) = (await store.claim(a_claim("lease"))).tasks
        run(url, "UPDATE oncetask_task SET leased_until = 0")
        found = (await store.get(["a"])).tasks["a"]
        atom = Atom((expire(found, KindRules(), at=await store.now(), chance=0.0),))
        with a_transaction(url, LOCK.format("a")):
            began = time.monotonic()
            (answer,) = await store.apply([atom])
            took = time.monotonic() - began
        (again,) = await store.apply([atom])

    assert task.id == "a"
    assert answer.verdict is Verdict.CHANGED
    assert took < A_MOMENT
    assert again.verdict is Verdict.APPLIED
