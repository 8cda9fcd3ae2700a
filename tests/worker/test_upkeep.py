"""Upkeep: what a worker looks for now and then, and what it does about what it finds."""

import msgspec
import pytest

from oncetask import OnceTask, TaskFilter
from oncetask_core.query import Page, TaskQuery
from tests.asynchronous import asynchronous
from tests.worker.world import LEASE, Job, Keyed, World


@asynchronous
async def test_a_kind_that_is_unregistered_while_its_leases_are_looked_at_ends_nothing() -> None:
    """Whoever serves the kind expires them."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: task.id)
    world.manager.register_task_handler(Keyed, lambda task: task.id)
    await world.manager.create_task(Job("a"))
    await world.vanish_with("job")
    await world.clock.run_for(2 * LEASE)
    find = world.store.real.find

    async def unregister(query: TaskQuery) -> Page:
        page = await find(query)
        if page.tasks and query.where.run_out:
            world.manager.unregister("job")
        return page

    world.store.plant(find=unregister)
    await world.manager.create_task(Keyed("b"))
    await world.manager.drain()

    assert (await world.task("a")).lease_uid is not None
    assert not (await world.task("b")).is_live


@asynchronous
async def test_what_the_upkeep_could_not_read_is_told() -> None:
    """Each time that it is found."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: None)
    find = world.store.real.find

    async def unreadable(query: TaskQuery) -> Page:
        page = await find(query)
        return msgspec.structs.replace(page, unreadable={"x": "no such status"}) if query.where.run_out else page

    world.store.plant(find=unreadable)
    await world.manager.drain()

    assert world.names("x") == ["unreadable"]


@asynchronous
async def test_old_tasks_are_looked_for_once_a_minute() -> None:
    """And not with every poll."""
    world = World()
    manager = world.another(keep_finished_for=10.0)
    manager.register_task_handler(Job, lambda task: None)
    async with manager.running():
        await world.clock.run_for(1)
        asked = world.store.calls["now"]
        await world.clock.run_for(50)
        assert world.store.calls["now"] == asked


@pytest.mark.parametrize(("pages", "left"), [(20, 0), (2, 1)])
def test_old_tasks_are_deleted_page_by_page(pages: int, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pages they are, up to a limit: the worker has other things to do."""

    @asynchronous
    async def check() -> None:
        world = World()
        manager = world.another(keep_finished_for=10.0)

        @manager.task_handler(Job)
        async def handle(_: OnceTask[Job]) -> None:
            pass

        await manager.create_tasks([Job(name) for name in "abcde"])
        await manager.drain()
        await world.clock.run_for(100)
        await manager.drain()

        assert await world.store.real.count(TaskFilter()) == left

    monkeypatch.setattr("oncetask_core.worker.upkeep.PAGE", 2)
    monkeypatch.setattr("oncetask_core.worker.upkeep.PURGE_PAGES", pages)
    check()
