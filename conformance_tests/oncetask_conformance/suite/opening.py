"""Opening and closing, the clock, and several users of one store at once."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, timedelta

import pytest

from oncetask_conformance.factories import HOUR, a_claim, a_new_task
from oncetask_conformance.running import on_both_clocks
from oncetask_conformance.states import collection
from oncetask_conformance.world import ENV, World
from oncetask_core.query import TaskFilter
from oncetask_core.store import TaskStore


class OpeningTests:
    """What holds for a store as a whole."""

    async def test_a_store_is_a_task_store(self, world: World) -> None:
        """It has every method of the port, and knows its environment."""
        assert isinstance(world.store, TaskStore)
        assert world.store.env == ENV

    async def test_capabilities_are_names(self, world: World) -> None:
        """What a store can do beyond the port is told by name."""
        assert isinstance(world.store.capabilities, frozenset)
        assert world.store.capabilities <= {"wake_ups", "caller_transaction", "injected_clock"}

    async def test_opening_and_closing_may_be_repeated(self, world: World) -> None:
        """Opening an open store and closing a closed one do nothing."""
        store = world.space.store(ENV)
        await store.open()
        await store.open()
        await store.close()
        await store.close()

        assert await world.everything() == {}

    async def test_a_closed_store_can_be_opened_again(self, world: World) -> None:
        """It serves the same tasks as before."""
        await world.add()
        await world.store.close()
        await world.store.open()

        assert set((await world.store.get(["a"])).tasks) == {"a"}

    async def test_tasks_outlive_the_instance(self, world: World) -> None:
        """What a closed instance wrote is there for the next one."""
        await collection(world)
        before = await world.everything()
        await world.store.close()

        other = await world.another()

        assert {task_id: task.revision for task_id, task in (await other.get(list(before))).tasks.items()} == {
            task.id: task.revision for task in before.values()
        }

    async def test_closing_one_instance_closes_no_other(self, world: World) -> None:
        """Instances are independent of each other."""
        other = await world.another()
        await other.close()

        await world.add()

        assert await world.store.count(TaskFilter()) == 1

    async def test_migrating_again_changes_nothing(self, world: World) -> None:
        """A migration may be repeated at any time, by several at once."""
        await collection(world)
        before = await world.everything()
        stores = [await world.another() for _ in range(3)]

        await asyncio.gather(*(store.migrate() for store in [world.store, *stores]))

        assert await world.everything() == before

    @on_both_clocks
    async def test_time_is_aware_utc(self, world: World) -> None:
        """`now` says in which zone it is."""
        now = await world.store.now()

        assert (now.tzinfo, now.utcoffset()) == (UTC, timedelta(0))

    @on_both_clocks
    async def test_time_never_runs_backwards(self, world: World) -> None:
        """Each answer is at or after the one before, whichever instance is asked."""
        other = await world.another()
        times = []
        for _ in range(20):
            times += [await world.store.now(), await other.now()]
            await world.add(a_new_task(f"{len(times)}"))

        assert times == sorted(times)

    async def test_an_injected_clock_is_followed(self, world: World) -> None:
        """The store's time is the clock's, to the microsecond."""
        before = await world.store.now()
        await world.pass_time(HOUR + timedelta(microseconds=1))

        assert await world.store.now() == before + HOUR + timedelta(microseconds=1) == world.at(3600.000001)

    @pytest.mark.parametrize("verb", ["get", "claim", "renew", "insert"])
    async def test_a_store_serves_another_event_loop(self, world: World, verb: str) -> None:
        """A store that was opened on one loop is used from another thread's loop, as renewals are."""
        await world.add()

        await asyncio.to_thread(_on_a_loop_of_its_own, VERBS[verb], world.store)

        assert await world.store.count(TaskFilter()) >= 1

    async def test_several_loops_share_a_store(self, world: World) -> None:
        """Threads with loops of their own take disjoint shares of the tasks of one store."""
        await world.add(*(a_new_task(f"task {number}") for number in range(60)))
        taken: list[str] = []

        async def drain(number: int) -> None:
            for round_ in range(3):
                claimed = await world.store.claim(a_claim(f"lease {number}.{round_}", limit=5))
                taken.extend(task.id for task in claimed.tasks)

        await asyncio.gather(*(asyncio.to_thread(asyncio.run, drain(number)) for number in range(4)))

        assert sorted(taken) == sorted(f"task {number}" for number in range(60))

    async def test_many_calls_run_at_once(self, world: World) -> None:
        """Concurrent calls of one instance are answered each for itself."""
        answers = await asyncio.gather(*(world.store.insert([a_new_task(f"task {n}")]) for n in range(50)))

        assert [answer.id for (answer,) in answers] == [f"task {n}" for n in range(50)]
        assert await world.store.count(TaskFilter()) == 50


VERBS: dict[str, Callable[[TaskStore], Coroutine[object, object, object]]] = {
    "get": lambda store: store.get(["a"]),
    "claim": lambda store: store.claim(a_claim()),
    "renew": lambda store: store.renew({"lease 1": HOUR}),
    "insert": lambda store: store.insert([a_new_task("b")]),
}


def _on_a_loop_of_its_own(verb: Callable[[TaskStore], Coroutine[object, object, object]], store: TaskStore) -> object:
    return asyncio.run(verb(store))
