"""Counting: the same filters as finding, without the tasks."""

import pytest

from oncetask_conformance.factories import MINUTE, a_new_task
from oncetask_conformance.states import State, collection
from oncetask_conformance.suite.filters import FILTERS
from oncetask_conformance.world import World
from oncetask_core.decisions import deletion
from oncetask_core.query import TaskFilter


class CountingTests:
    """What `count` returns."""

    @pytest.mark.parametrize("name", FILTERS)
    async def test_a_filter_counts_what_it_names(self, world: World, name: str) -> None:
        """Each field of a filter means exactly these of the tasks in all states."""
        await collection(world)
        where, expected = FILTERS[name]

        assert await world.store.count(where(await world.everything())) == len(expected)

    async def test_an_empty_environment_counts_zero(self, world: World) -> None:
        """Nothing is counted where nothing is."""
        assert await world.store.count(TaskFilter()) == 0

    async def test_a_count_knows_no_pages(self, world: World) -> None:
        """More tasks than fit on a page are all counted."""
        await world.add(*(a_new_task(f"task {number}") for number in range(1200)))

        assert await world.store.count(TaskFilter()) == 1200

    async def test_an_id_that_existed_is_counted_once(self, world: World) -> None:
        """Inserting an id again adds nothing."""
        await world.add(a_new_task("a"))
        await world.add(a_new_task("a"), a_new_task("b"))

        assert await world.store.count(TaskFilter()) == 2

    async def test_deleted_tasks_are_not_counted(self, world: World) -> None:
        """A count is of what exists."""
        await world.add(a_new_task("a"), a_new_task("b"))
        await world.store.delete([deletion(await world.record("a"))])

        assert await world.store.count(TaskFilter()) == 1

    async def test_statuses_follow_the_stores_clock(self, world: World) -> None:
        """What is waiting now is due later, without any write."""
        await world.add(a_new_task("a", wait_until=world.at(60)))
        due = TaskFilter(due=True)

        before = await world.store.count(due)
        await world.pass_time(MINUTE)

        assert (before, await world.store.count(due)) == (0, 1)

    async def test_counting_changes_nothing(self, world: World) -> None:
        """A count leaves every field of every task as it was."""
        await collection(world)
        before = await world.everything()

        await world.store.count(TaskFilter(due=True))

        assert await world.everything() == before

    async def test_every_instance_counts_the_same(self, world: World) -> None:
        """What one instance wrote, every other instance counts."""
        await collection(world)
        other = await world.another()

        assert await other.count(TaskFilter()) == len(State)
