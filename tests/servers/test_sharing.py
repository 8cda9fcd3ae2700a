"""Event loops, forks, sessions and other processes that share one place."""

import asyncio
import time
from typing import Final

import pytest

from tests.asynchronous import SOON, asynchronous
from tests.forked import in_child
from tests.servers.places import on_mariadb, on_postgresql
from tests.servers.world import Place, drained
from tests.sql.world import a_claim, new_task, settlement

PREFERENCES: Final = [
    on_postgresql("default_transaction_isolation = 'read committed'"),
    on_postgresql("default_transaction_isolation = 'repeatable read'"),
    on_postgresql("default_transaction_isolation = 'serializable'"),
    on_mariadb("SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"),
    on_mariadb("SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
    on_mariadb("SESSION sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'"),
    on_mariadb("SESSION autocommit = 0, SESSION time_zone = '-11:00'"),
]
MOST_TRIPS: Final = {"postgresql": 2, "mariadb": 5}
"""How often the server is waited for: a claim is one and a settle another, or a claim two and a settle three."""
MOST_TRIPS_OF_CREATES: Final = {"postgresql": 6, "mariadb": 8}


def test_a_store_outlives_the_loop_that_opened_it(place: Place) -> None:
    """Each loop has connections of its own, and they end with it."""
    store = place.store()

    async def first() -> None:
        await store.open()
        await store.insert([new_task("a")])

    async def second() -> list[str]:
        return [task.id for task in (await store.claim(a_claim("lease"))).tasks]

    asyncio.run(first())
    assert asyncio.run(second()) == ["a"]
    deadline = time.monotonic() + SOON
    while left := place.connections():  # the server notices a moment later, also that whoever has just asked is gone
        assert time.monotonic() < deadline, f"{left} connections are left"
        time.sleep(0.01)


@asynchronous
async def test_connections_are_counted(place: Place) -> None:
    """A store that is open has some; the test before would notice those that stay."""
    async with place.opened() as store:
        await store.now()

        assert place.connections() > 0


def test_a_child_and_its_parent_go_on_independently(place: Place) -> None:
    """A fork uses none of its parent's connections, and closes none of them."""
    store = place.store()

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
async def test_whoever_is_cancelled_leaves_no_transaction_in_the_middle(place: Place) -> None:
    """What was begun is finished, and the connection goes on."""
    async with place.opened() as store:
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


@pytest.mark.alone  # what MariaDB prefers it prefers for everybody
@pytest.mark.parametrize(("place", "setting"), PREFERENCES, indirect=["place"])
@asynchronous
async def test_two_workers_share_tasks_whatever_the_server_prefers(setting: str, place: Place) -> None:
    """Our sessions say what they need; who connects has the least rights that work."""
    with place.preferring(setting) as url:
        async with place.opened(url) as one, place.opened(url) as two:
            await one.insert([new_task(f"t{n}\\'", key=f"k{n % 5}\\" if n % 2 else None) for n in range(60)])
            done = await asyncio.gather(drained(one, "one"), drained(two, "two"))
            assert await one.write_control("pause", "1")

    assert sorted(done[0] + done[1]) == sorted(f"t{n}\\'" for n in range(60))


@pytest.mark.usefixtures("slow_motion")
@asynchronous
async def test_claims_of_one_lease_at_once_are_granted_the_same_tasks(place: Place) -> None:
    """A request that is repeated while the first one still runs takes nothing more."""
    async with place.opened() as one, place.opened() as two, place.opened() as three:
        await one.insert([new_task(f"t{n:02}") for n in range(40)])
        for number in range(10):
            lease = a_claim(f"lease {number}", limit=2)
            replies = await asyncio.gather(*(store.claim(lease) for store in (one, two, three)))
            granted = [[(task.id, task.epoch) for task in reply.tasks] for reply in replies]

            assert len(granted[0]) == 2
            assert granted[0] == granted[1] == granted[2]


@pytest.mark.usefixtures("no_upkeep")
@asynchronous
async def test_a_hundred_claims_and_settles_take_few_round_trips(place: Place) -> None:
    """Keyed ones, too, with the seats of all keys."""
    async with place.opened() as store:
        await store.insert([new_task(f"t{n}", key=f"k{n % 10}" if n % 2 else None) for n in range(300)])
        await store.claim(a_claim("first", limit=1))
        lanes = store._loops.here()
        before = [lanes[purpose].round_trips for purpose in ("claims", "writes")]
        claimed = await store.claim(a_claim("lease", limit=100))
        answers = await store.apply([settlement(task) for task in claimed.tasks])
        trips = sum(lanes[purpose].round_trips for purpose in ("claims", "writes")) - sum(before)

    assert len(answers) == len(claimed.tasks) == 100
    assert {str(answer.verdict) for answer in answers} == {"applied"}
    assert trips <= MOST_TRIPS[place.kind]


@pytest.mark.usefixtures("no_upkeep")
@asynchronous
async def test_what_many_callers_create_at_once_shares_statements(place: Place) -> None:
    """A hundred creations take a few round trips; each caller gets its own answer."""
    async with place.opened() as store:
        await store.insert([new_task("t7")])
        counted = store._loops.here()
        before = counted.round_trips
        replies = await asyncio.gather(*(store.insert([new_task(f"t{number}", run="2")]) for number in range(100)))
        trips = counted.round_trips - before

    assert [reply[0].id for reply in replies] == [f"t{number}" for number in range(100)]
    assert [number for number, reply in enumerate(replies) if not reply[0].created] == [7]
    assert trips <= MOST_TRIPS_OF_CREATES[place.kind]
