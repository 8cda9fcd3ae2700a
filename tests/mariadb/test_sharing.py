"""Event loops, forks, sessions and other processes that share one database."""

import asyncio
import time

import pytest

from oncetask_core.query import TaskFilter
from oncetask_sql.mariadb import MariadbStore, open_mariadb
from tests.asynchronous import SOON, asynchronous
from tests.mariadb.world import LEAST, URL, Databases, a_user, needs_server, opened, run
from tests.sql.test_processes import in_child
from tests.sql.world import a_claim, new_task, settlement

pytestmark = needs_server


def test_a_store_outlives_the_loop_that_opened_it(databases: Databases) -> None:
    """Each loop has connections of its own, and they end with it."""
    url = databases.new()
    store = open_mariadb(url)

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


def connections(url: str) -> int:
    """Return how many connections of stores there are."""
    ((count,),) = run(
        url, "SELECT COUNT(*) - 1 FROM information_schema.PROCESSLIST WHERE DB = DATABASE()"
    )  # the one that asks is not counted
    return int(count)


def test_a_child_and_its_parent_go_on_independently(databases: Databases) -> None:
    """A fork uses none of its parent's connections, and closes none of them."""
    store = open_mariadb(databases.new())

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
async def test_whoever_is_cancelled_leaves_no_transaction_in_the_middle(databases: Databases) -> None:
    """What was begun is finished, and the connection goes on."""
    async with opened(databases.new()) as store:
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


@pytest.mark.parametrize(
    "setting",
    [
        "SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SESSION sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'",
        "SESSION autocommit = 0, SESSION time_zone = '-11:00'",
    ],
)
@asynchronous
async def test_two_workers_share_tasks_whatever_the_server_prefers(setting: str, databases: Databases) -> None:
    """Our sessions say what they need; the user has the least rights that work."""
    url = databases.new()
    assert len(LEAST) == 6
    run(URL, f'SET GLOBAL init_connect = "SET {setting}"')
    try:
        with a_user(url, LEAST) as user:
            async with opened(user) as one, opened(user) as two:
                await one.insert([new_task(f"t{n}\\'", key=f"k{n % 5}\\" if n % 2 else None) for n in range(60)])
                done = await asyncio.gather(drained(one, "one"), drained(two, "two"))
                assert await one.write_control("pause", "1")
    finally:
        run(URL, "SET GLOBAL init_connect = ''")

    assert sorted(done[0] + done[1]) == sorted(f"t{n}\\'" for n in range(60))


async def drained(store: MariadbStore, name: str) -> list[str]:
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
async def test_claims_of_one_lease_at_once_are_granted_the_same_tasks(databases: Databases) -> None:
    """A request that is repeated while the first one still runs takes nothing more."""
    url = databases.new()
    async with opened(url) as one, opened(url) as two, opened(url) as three:
        await one.insert([new_task(f"t{n:02}") for n in range(40)])
        for number in range(10):
            lease = a_claim(f"lease {number}", limit=2)
            replies = await asyncio.gather(*(store.claim(lease) for store in (one, two, three)))
            granted = [[(task.id, task.epoch) for task in reply.tasks] for reply in replies]

            assert len(granted[0]) == 2
            assert granted[0] == granted[1] == granted[2]


@asynchronous
async def test_a_hundred_claims_and_settles_take_five_round_trips(databases: Databases) -> None:
    """Keyed ones, too: a claim is two, a settle with the seats of all keys three."""
    url = databases.new()
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
    assert trips <= 5


@asynchronous
async def test_what_many_callers_create_at_once_shares_statements(databases: Databases) -> None:
    """A hundred creations take a few round trips; each caller gets its own answer."""
    async with opened(databases.new()) as store:
        await store.insert([new_task("t7")])
        counted = store._loops.here()
        before = counted.round_trips
        replies = await asyncio.gather(*(store.insert([new_task(f"t{number}", run="2")]) for number in range(100)))
        trips = counted.round_trips - before

    assert [reply[0].id for reply in replies] == [f"t{number}" for number in range(100)]
    assert [number for number, reply in enumerate(replies) if not reply[0].created] == [7]
    assert trips <= 8
