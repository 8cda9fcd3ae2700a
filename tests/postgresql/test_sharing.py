"""Event loops, forks, sessions and other processes that share one database."""

import asyncio
import time

import pytest

from oncetask import OnceTask, TaskManager
from oncetask_core.query import TaskFilter
from oncetask_sql.postgresql import PostgresqlStore, open_postgresql
from oncetask_sql.postgresql.location import located
from tests.asynchronous import SOON, asynchronous
from tests.postgresql.world import LEAST, Schemas, a_role, connected, needs_server, opened, schema_of
from tests.sql.test_processes import in_child
from tests.sql.world import a_claim, new_task, settlement
from tests.worker.world import Job

pytestmark = needs_server


@asynchronous
async def test_a_worker_takes_up_what_another_process_creates_long_before_its_next_poll(schemas: Schemas) -> None:
    """It hears of it."""
    url = named(schemas.new())
    worker, creator = TaskManager(url, poll_interval=60), TaskManager(url)
    started = asyncio.Event()

    @worker.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> None:
        started.set()

    async with worker.running():
        while not connections(url, "query LIKE 'LISTEN%%' AND state = 'idle'"):  # noqa: ASYNC110 - the server alone knows when it listens
            await asyncio.sleep(0.01)
        await creator.create_task(Job("a"))
        async with asyncio.timeout(SOON):
            await started.wait()
    await creator.close()
    await worker.close()


@asynchronous
async def test_a_store_does_not_wake_itself(schemas: Schemas) -> None:
    """Its own creations reach its worker without a detour."""
    async with opened(schemas.new()) as ours:
        await ours.changed()
        await ours.insert([new_task("a")])
        waiting = asyncio.ensure_future(ours.changed())
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    assert not done


def test_a_store_outlives_the_loop_that_opened_it(schemas: Schemas) -> None:
    """Each loop has connections of its own, and they end with it."""
    url = named(schemas.new())
    store = open_postgresql(url)

    async def first() -> None:
        await store.open()
        await store.insert([new_task("a")])

    async def second() -> list[str]:
        return [task.id for task in (await store.claim(a_claim("lease"))).tasks]

    asyncio.run(first())
    assert asyncio.run(second()) == ["a"]
    deadline = time.monotonic() + SOON
    while connections(url) and time.monotonic() < deadline:
        time.sleep(0.01)  # the server notices a moment later
    assert connections(url) == 0


def named(url: str) -> str:
    """Return the URL with an application's name that no other test's connections have."""
    return f"{url}&application_name={schema_of(url)}"


def connections(url: str, condition: str = "TRUE") -> int:
    """Return how many connections the stores of such a URL have."""
    query = f"SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE %s AND {condition}"
    with connected() as connection:
        row = connection.execute(query.encode(), (f"{located(url).application_name} %",)).fetchone()
    return int(row[0]) if row else 0


def test_a_child_and_its_parent_go_on_independently(schemas: Schemas) -> None:
    """A fork uses none of its parent's connections, and closes none of them."""
    store = open_postgresql(schemas.new())

    async def child() -> None:
        await store.insert([new_task("child")])
        await store.close()

    async def parent() -> None:
        await store.open()
        await store.insert([new_task("before")])

    with asyncio.Runner() as runner:
        runner.run(parent())
        code = in_child(child)
        assert code == 0
        runner.run(store.insert([new_task("after")]))
        found = runner.run(store.get(["before", "child", "after"]))
        runner.run(store.close())

    assert set(found.tasks) == {"before", "child", "after"}


@asynchronous
async def test_whoever_is_cancelled_leaves_no_transaction_in_the_middle(schemas: Schemas) -> None:
    """What was begun is finished, and the connection goes on."""
    async with opened(schemas.new()) as store:
        await store.insert([new_task(f"t{number}") for number in range(50)])
        for number in range(20):
            claim = asyncio.ensure_future(store.claim(a_claim(f"lease {number}", limit=1)))
            for _ in range(number):
                await asyncio.sleep(0)
            claim.cancel()
            await asyncio.gather(claim, return_exceptions=True)
        rest = await store.claim(a_claim("last", limit=50))
        held = await store.renew({f"lease {number}": None for number in range(20)})

    assert len(rest.tasks) + len(held.held) == 50


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
@asynchronous
async def test_two_workers_share_tasks_whatever_isolation_their_role_prefers(isolation: str, schemas: Schemas) -> None:
    """Our sessions say what they need; the role has the least rights that work."""
    url = schemas.new()
    with a_role(url, LEAST, setting=f"default_transaction_isolation = '{isolation}'") as role:
        assert len(LEAST) == 3
        async with opened(role) as one, opened(role) as two:
            await one.insert([new_task(f"t{n}", key=f"k{n % 5}" if n % 2 else None) for n in range(60)])
            done = await asyncio.gather(drained(one, "one"), drained(two, "two"))

    assert sorted(done[0] + done[1]) == sorted(f"t{n}" for n in range(60))


async def drained(store: PostgresqlStore, name: str) -> list[str]:
    """Claim and settle until nothing is left; return what was settled."""
    settled: list[str] = []
    for number in range(1000):
        tasks = (await store.claim(a_claim(f"{name} {number}", limit=3))).tasks
        answers = await store.apply([settlement(task) for task in tasks])
        settled += [task.id for task, answer in zip(tasks, answers, strict=True) if answer.verdict == "applied"]
        if not tasks and not await store.count(TaskFilter(live=True)):
            return settled
    raise AssertionError("tasks are left")


@asynchronous
async def test_a_hundred_claims_and_settles_take_two_round_trips(schemas: Schemas) -> None:
    """Keyed ones, too: a claim is one, and so is a settle with the seats of all keys."""
    url = schemas.new()
    async with opened(url) as store:
        await store.insert([new_task(f"t{n}", key=f"k{n % 10}" if n % 2 else None) for n in range(300)])
        await store.claim(a_claim("first", limit=1))
        counted = store._loops.here()
        before = counted.round_trips
        claimed = await store.claim(a_claim("lease", limit=100))
        answers = await store.apply([settlement(task) for task in claimed.tasks])
        trips = counted.round_trips - before

    assert len(answers) == len(claimed.tasks) == 100
    assert {str(answer.verdict) for answer in answers} == {"applied"}
    assert trips <= 2


@asynchronous
async def test_what_many_callers_create_at_once_shares_statements(schemas: Schemas) -> None:
    """A hundred creations take a few round trips; each caller gets its own answer."""
    async with opened(schemas.new()) as store:
        await store.insert([new_task("t7")])
        counted = store._loops.here()
        before = counted.round_trips
        replies = await asyncio.gather(*(store.insert([new_task(f"t{number}", run="2")]) for number in range(100)))
        trips = counted.round_trips - before

    assert [reply[0].id for reply in replies] == [f"t{number}" for number in range(100)]
    assert [number for number, reply in enumerate(replies) if not reply[0].created] == [7]
    assert trips <= 6


def test_the_schema_of_a_url_is_the_one_that_is_used(schemas: Schemas) -> None:
    """Rows lie where the URL says."""
    url = schemas.new()

    async def fill() -> None:
        async with opened(url) as store:
            await store.insert([new_task("a")])

    asyncio.run(fill())
    with connected() as connection:
        rows = connection.execute(f"SELECT id FROM {schema_of(url)}.oncetask_task".encode()).fetchall()

    assert rows == [("a",)]
