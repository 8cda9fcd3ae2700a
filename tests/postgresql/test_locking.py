"""Transactions of others that stay open: they hold up what they hold, and nothing else."""

import asyncio
import time

from oncetask_core.decisions import KindRules, expire
from oncetask_core.errors import StoreUnavailableError
from oncetask_core.store import Claimed
from oncetask_core.transition import Atom, Verdict
from oncetask_sql.postgresql import PostgresqlStore
from oncetask_sql.postgresql.connecting import LOCK_MILLISECONDS
from oncetask_sql.postgresql.location import located
from tests.asynchronous import SOON, asynchronous
from tests.postgresql.world import Schemas, a_transaction, connected, needs_server, opened, schema_of
from tests.sql.world import HOUR, a_claim, new_task, settlement

pytestmark = needs_server

A_MOMENT = 2.0
"""Seconds; nothing here may wait for as long as a transaction stays open."""
LOCK = "SELECT 1 FROM oncetask_task WHERE id = %s FOR UPDATE"


async def take(store: PostgresqlStore, *names: str) -> Claimed:
    """Create tasks and claim them."""
    await store.insert([new_task(name) for name in names])
    return await store.claim(a_claim("lease"))


@asynchronous
async def test_a_locked_task_keeps_no_other_lease_from_being_extended(schemas: Schemas) -> None:
    """The worker learns which lease is held but ends when it did before."""
    url = schemas.new()
    async with opened(url) as store:
        await take(store, "a", "b")
        with a_transaction(url) as other:
            other.execute(LOCK, ("a",))
            began = time.monotonic()
            renewed = await store.renew({"lease": HOUR * 2})
            took = time.monotonic() - began
        again = await store.renew({"lease": HOUR * 2})

    assert {lease.id: lease.is_extended for lease in renewed.held} == {"a": False, "b": True}
    assert took < A_MOMENT
    assert all(lease.is_extended for lease in again.held)


@asynchronous
async def test_a_locked_task_is_not_claimed_and_all_others_are(schemas: Schemas) -> None:
    """Claims wait for nobody."""
    url = schemas.new()
    async with opened(url) as store:
        await store.insert([new_task(name) for name in "abc"])
        with a_transaction(url) as other:
            other.execute(LOCK, ("b",))
            began = time.monotonic()
            claimed = await store.claim(a_claim("lease"))
            took = time.monotonic() - began
        later = await store.claim(a_claim("lease 2"))

    assert [task.id for task in claimed.tasks] == ["a", "c"]
    assert took < A_MOMENT
    assert [task.id for task in later.tasks] == ["b"]


@asynchronous
async def test_a_locked_task_keeps_no_other_from_being_settled(schemas: Schemas) -> None:
    """Its own settlement reads as changed, with the record as it is: the worker decides again until the lock goes."""
    url = schemas.new()
    async with opened(url) as store:
        claimed = await take(store, "a", "b", "c")
        atoms = [settlement(task) for task in claimed.tasks]
        with a_transaction(url) as other:
            other.execute(LOCK, ("b",))
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
async def test_two_batches_that_lock_each_others_tasks_both_end(schemas: Schemas) -> None:
    """What would be a deadlock ends after the lock timeout of one; nothing is lost and nobody waits for long."""
    url = schemas.new()
    async with opened(url) as one, opened(url) as two:
        claimed = await take(one, *(f"t{number:03}" for number in range(10)))
        atoms = [settlement(task) for task in claimed.tasks]
        with a_transaction(url) as other:
            other.execute(LOCK, ("t005",))
            first = asyncio.create_task(one.apply(atoms))
            second = asyncio.create_task(two.apply(list(reversed(atoms))))
            async with asyncio.timeout(SOON):
                replies = await asyncio.gather(first, second)
            other.rollback()

    verdicts = [{answer.verdict for answer in reply} for reply in replies]
    assert Verdict.BROKEN not in verdicts[0] | verdicts[1]
    assert {Verdict.APPLIED, Verdict.CHANGED} <= verdicts[0] | verdicts[1]


@asynchronous
async def test_an_id_that_an_open_transaction_creates_holds_up_no_other_create(schemas: Schemas) -> None:
    """Whoever asked for that id is told to try again; everybody else's tasks are there."""
    url = schemas.new()
    async with opened(url) as store:
        with a_transaction(url) as other:
            other.execute(
                "INSERT INTO oncetask_task (env, id, kind, payload, run_uid, created_by, created_at, wait_until, "
                "order_at, queue) VALUES ('DEFAULT', 'b', 'parcel', '{}', 'r', 'c', 0, 0, 0, 'q')"
            )
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
async def test_a_key_whose_next_task_is_locked_is_seated_with_a_later_claim(schemas: Schemas) -> None:
    """The settle of its head does not wait for it; the key is noted, and nobody has to come by chance."""
    url = schemas.new()
    async with opened(url) as store:
        await store.insert([new_task("a", key="k"), new_task("b", key="k")])
        claimed = await store.claim(a_claim("lease"))
        with a_transaction(url) as other:
            other.execute(LOCK, ("b",))
            (answer,) = await store.apply([settlement(claimed.tasks[0])])
        with connected() as connection:
            noted = connection.execute(f"SELECT * FROM {schema_of(url)}.oncetask_later").fetchall()
        async with opened(url) as another:
            later = await another.claim(a_claim("lease 2"))

    assert answer.verdict is Verdict.APPLIED
    assert noted == [("DEFAULT", "parcel", "k")]
    assert [task.id for task in later.tasks] == ["b"]


@asynchronous
async def test_keys_that_somebody_is_seating_for_long_make_no_claim_fail(schemas: Schemas) -> None:
    """What was noted stays noted, other tasks are claimed, and a later claim finds the key seated."""
    url = schemas.new()
    async with opened(url) as store:
        await store.insert([new_task("a", key="k"), new_task("b", key="k"), new_task("c")])
        (task, *_) = (await store.claim(a_claim("lease", limit=1))).tasks
        with a_transaction(url) as other:
            other.execute(LOCK, ("b",))
            await store.apply([settlement(task)])
        with a_transaction(url) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s, n) FROM generate_series(0, 255) AS n", (space_of(url),))
            async with opened(url) as another:
                during = await another.claim(a_claim("lease 2"))
        async with opened(url) as another:
            later = await another.claim(a_claim("lease 3"))

    assert [task.id for task in during.tasks] == ["c"]
    assert [task.id for task in later.tasks] == ["b"]


@asynchronous
async def test_keys_are_waited_for_while_somebody_commits_slowly(schemas: Schemas) -> None:
    """A create of the same key waits for longer than for a row, and succeeds."""
    url = schemas.new()
    async with opened(url) as store:
        with a_transaction(url) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s, n) FROM generate_series(0, 255) AS n", (space_of(url),))
            creating = asyncio.create_task(store.insert([new_task("a", key="k")]))
            async with asyncio.timeout(SOON):
                while not (creating.done() or waits_long()):  # noqa: ASYNC110 - the server alone knows who waits
                    await asyncio.sleep(0.01)
            other.rollback()
        answers = await creating

    assert [answer.created for answer in answers] == [True]


def waits_long() -> bool:
    """Return whether somebody has waited for a key four times as long as for a row."""
    query = """SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'
        AND application_name = 'oncetask creates' AND clock_timestamp() - query_start > %s * interval '1 ms'"""
    with connected() as connection:
        row = connection.execute(query, (4 * LOCK_MILLISECONDS,)).fetchone()
    return bool(row and row[0])


def space_of(url: str) -> int:
    """Return the first half of the numbers of the locks on keys."""
    return located(url).names.lock_space


@asynchronous
async def test_an_expiry_waits_for_no_lock(schemas: Schemas) -> None:
    """A lease that ran out while somebody has the row locked is expired by a later poll."""
    url = schemas.new()
    async with opened(url) as store:
        await store.insert([new_task("a")])
        (task,) = (await store.claim(a_claim("lease"))).tasks
        with connected() as connection:
            connection.execute(f"UPDATE {schema_of(url)}.oncetask_task SET leased_until = 0")
        found = (await store.get(["a"])).tasks["a"]
        atom = Atom((expire(found, KindRules(), at=await store.now(), chance=0.0),))
        with a_transaction(url) as other:
            other.execute(LOCK, ("a",))
            began = time.monotonic()
            (answer,) = await store.apply([atom])
            took = time.monotonic() - began
        (again,) = await store.apply([atom])

    assert task.id == "a"
    assert answer.verdict is Verdict.CHANGED
    assert took < A_MOMENT
    assert again.verdict is Verdict.APPLIED
