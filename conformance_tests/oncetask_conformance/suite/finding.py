"""Finding: filters, orders and pages."""

import pytest

from oncetask_conformance.factories import MINUTE, a_new_task
from oncetask_conformance.harness import SPOILED_RECORDS, as_raw
from oncetask_conformance.running import needs
from oncetask_conformance.states import State, collection
from oncetask_conformance.suite.filters import FILTERS
from oncetask_conformance.world import World
from oncetask_core.decisions import deletion
from oncetask_core.errors import ConfigurationError
from oncetask_core.query import Page, TaskFilter, TaskOrder, TaskQuery
from oncetask_core.store import TaskStore


async def pages(store: TaskStore, query: TaskQuery) -> list[Page]:
    """Return every page of a listing, following its cursors to the end."""
    found = [await store.find(query)]
    while found[-1].cursor is not None:
        assert len(found) < 50, "the cursors lead nowhere"
        following = TaskQuery(where=query.where, order=query.order, limit=query.limit, cursor=found[-1].cursor)
        found.append(await store.find(following))
    return found


def ids_of(found: list[Page]) -> list[str]:
    """Return the ids of all pages, one behind the other."""
    return [task.id for page in found for task in page.tasks]


async def add_letters(world: World, letters: str) -> None:
    """Insert one task per letter, in this order."""
    await world.add(*(a_new_task(letter) for letter in letters))


class FindingTests:
    """What `find` returns."""

    @pytest.mark.parametrize("name", FILTERS)
    async def test_a_filter_finds_what_it_names(self, world: World, name: str) -> None:
        """Each field of a filter means exactly these of the tasks in all states."""
        await collection(world)
        where, expected = FILTERS[name]

        found = await world.found(where(await world.everything()))

        assert set(found) == set(expected)
        assert len(found) == len(expected)

    async def test_found_records_are_what_lies_in_the_storage(self, world: World) -> None:
        """A listing shows every field of tasks in all states as it is stored."""
        await collection(world)

        page = await world.store.find(TaskQuery(limit=1000))

        assert {task.id: as_raw(task) for task in page.tasks} == await world.everything()

    async def test_listing_changes_nothing(self, world: World) -> None:
        """A listing leaves every field of every task as it was."""
        await collection(world)
        before = await world.everything()

        await pages(world.store, TaskQuery(limit=3))

        assert await world.everything() == before

    async def test_the_oldest_come_first_by_default(self, world: World) -> None:
        """Without a wish the order is that of creation, whatever the times and priorities are."""
        await world.add(a_new_task("b", wait_until=world.at(60)), a_new_task("c"), a_new_task("a", priority=5))

        assert await world.found(TaskFilter()) == ["b", "c", "a"]

    async def test_the_newest_come_first_on_request(self, world: World) -> None:
        """The order can be turned round."""
        await add_letters(world, "bca")

        page = await world.store.find(TaskQuery(order=TaskOrder.NEWEST))

        assert [task.id for task in page.tasks] == ["a", "c", "b"]

    @pytest.mark.parametrize("order", TaskOrder)
    @pytest.mark.parametrize("limit", [1, 2, 3, 6, 7])
    async def test_pages_follow_each_other_without_gaps(self, world: World, order: TaskOrder, limit: int) -> None:
        """Following the cursors shows each task once, in order, on pages of the size asked for."""
        await add_letters(world, "gfedcba")

        found = await pages(world.store, TaskQuery(order=order, limit=limit))

        expected = "gfedcba" if order is TaskOrder.OLDEST else "abcdefg"
        assert ids_of(found) == list(expected)
        assert all(len(page.tasks) == limit for page in found[:-1])

    async def test_pages_hold_only_what_matches(self, world: World) -> None:
        """A page is filled with matches, however many others lie between."""
        await world.add(*(a_new_task(f"{n}", kind="rare" if n % 5 == 0 else "common") for n in range(30)))

        found = await pages(world.store, TaskQuery(where=TaskFilter(kinds=frozenset({"rare"})), limit=4))

        assert ids_of(found) == ["0", "5", "10", "15", "20", "25"]
        assert len(found[0].tasks) == 4

    async def test_the_last_page_has_no_cursor(self, world: World) -> None:
        """A listing that shows everything on one page ends there."""
        await add_letters(world, "ab")

        page = await world.store.find(TaskQuery(limit=3))

        assert (len(page.tasks), page.cursor) == (2, None)

    async def test_an_empty_environment_has_one_empty_page(self, world: World) -> None:
        """Nothing is found where nothing is."""
        page = await world.store.find(TaskQuery())

        assert (list(page.tasks), page.cursor, dict(page.unreadable)) == ([], None, {})

    async def test_a_task_created_between_pages_appears_at_its_place(self, world: World) -> None:
        """Oldest first, a new task comes at the end of a listing that is under way."""
        await add_letters(world, "abc")
        first = await world.store.find(TaskQuery(limit=2))
        await add_letters(world, "d")

        rest = await world.store.find(TaskQuery(limit=2, cursor=first.cursor))

        assert [task.id for task in rest.tasks] == ["c", "d"]

    async def test_a_task_created_between_pages_shifts_no_page(self, world: World) -> None:
        """Newest first, a new task neither repeats nor hides a task of the next page."""
        await add_letters(world, "abcd")
        first = await world.store.find(TaskQuery(order=TaskOrder.NEWEST, limit=2))
        await add_letters(world, "e")

        rest = await world.store.find(TaskQuery(order=TaskOrder.NEWEST, limit=2, cursor=first.cursor))

        assert [task.id for task in rest.tasks] == ["b", "a"]

    async def test_a_task_deleted_between_pages_shifts_no_page(self, world: World) -> None:
        """When the last task of a page is deleted, the next page begins behind it all the same."""
        await add_letters(world, "abcd")
        first = await world.store.find(TaskQuery(limit=2))
        await world.store.delete([deletion(await world.record("a")), deletion(await world.record("b"))])

        rest = await world.store.find(TaskQuery(limit=2, cursor=first.cursor))

        assert [task.id for task in rest.tasks] == ["c", "d"]

    async def test_a_cursor_serves_every_instance(self, world: World) -> None:
        """A page can be asked for where the one before it was not."""
        await add_letters(world, "abc")
        first = await world.store.find(TaskQuery(limit=1))
        other = await world.another()

        rest = await other.find(TaskQuery(limit=5, cursor=first.cursor))

        assert [task.id for task in rest.tasks] == ["b", "c"]

    @pytest.mark.parametrize("limit", [-1, 0, 1001])
    async def test_a_page_size_out_of_bounds_is_refused(self, world: World, limit: int) -> None:
        """A page holds 1 to 1,000 tasks."""
        with pytest.raises(ConfigurationError, match="page"):
            await world.store.find(TaskQuery(limit=limit))

    @pytest.mark.parametrize("cursor", ["", "next", "b2xkZXN0Og==", "🚚"])
    async def test_a_malformed_cursor_is_refused(self, world: World, cursor: str) -> None:
        """What no page handed out is not taken for a cursor."""
        with pytest.raises(ConfigurationError, match="cursor"):
            await world.store.find(TaskQuery(cursor=cursor))

    async def test_a_cursor_of_another_order_is_refused(self, world: World) -> None:
        """A listing cannot turn round half-way."""
        await add_letters(world, "ab")
        first = await world.store.find(TaskQuery(limit=1))

        with pytest.raises(ConfigurationError, match="cursor"):
            await world.store.find(TaskQuery(order=TaskOrder.NEWEST, cursor=first.cursor))

    async def test_statuses_follow_the_stores_clock(self, world: World) -> None:
        """What is waiting now is due later, without any write."""
        await world.add(a_new_task("a", wait_until=world.at(60)))
        due = TaskFilter(due=True)

        before = await world.found(due)
        await world.pass_time(MINUTE)

        assert (before, await world.found(due)) == ([], ["a"])

    async def test_a_thousand_tasks_fit_on_a_page(self, world: World) -> None:
        """The largest page is served whole."""
        await world.add(*(a_new_task(f"task {number}") for number in range(1001)))

        found = await pages(world.store, TaskQuery(limit=1000))

        assert [len(page.tasks) for page in found] == [1000, 1]

    async def test_many_ids_are_looked_for_at_once(self, world: World) -> None:
        """A filter may name a thousand ids."""
        await add_letters(world, "abc")

        found = await world.found(TaskFilter(ids=frozenset({*(f"task {n}" for n in range(1000)), "b"})))

        assert found == ["b"]

    async def test_deleted_tasks_are_not_listed(self, world: World) -> None:
        """A listing shows what exists."""
        await add_letters(world, "ab")
        await world.store.delete([deletion(await world.record("a"))])

        assert await world.found(TaskFilter()) == ["b"]

    @needs(SPOILED_RECORDS)
    async def test_an_unreadable_record_is_listed_as_such(self, world: World) -> None:
        """A damaged record stands beside the page's tasks with the reason, and holds up no page."""
        await add_letters(world, "abc")
        await world.space.spoil(world.store.env, "b")

        found = await pages(world.store, TaskQuery(limit=2))

        assert ids_of(found) == ["a", "c"]
        assert [task_id for page in found for task_id in page.unreadable] == ["b"]

    async def test_every_state_is_in_the_collection(self, world: World) -> None:
        """The filters are tried on one task in each state."""
        await collection(world)

        assert set(await world.everything()) == {str(state) for state in State}
