"""Starting, stopping, pausing, hooks, retention."""

import asyncio
import logging

import pytest

from oncetask import (
    ConfigurationError,
    DuplicateHandlerError,
    MemoryStore,
    OnceTask,
    Outcome,
    TaskContext,
    TaskFilter,
    TaskManager,
    TaskStatus,
    UnknownKindError,
)
from tests.asynchronous import asynchronous
from tests.worker.world import Job, Keyed, World


@asynchronous
async def test_stopping_lets_handlers_finish() -> None:
    """A stop claims nothing more and waits for what runs."""
    world = World()

    @world.manager.task_handler(Job, concurrency=1)
    async def handle(task: OnceTask[Job]) -> str:
        await world.clock.sleep(5)
        return "done"

    await world.manager.create_tasks([Job("a"), Job("b")])
    running = asyncio.create_task(world.manager.run(handle_signals=False))
    await world.clock.run_for(1)
    world.manager.stop()
    await world.clock.run_for(6)
    await running

    assert (await world.task("a")).outcome is Outcome.COMPLETED
    assert (await world.task("b")).claims == 0


@asynchronous
async def test_what_does_not_finish_in_time_is_given_back_uncharged() -> None:
    """After the shutdown timeout handlers are cancelled and their tasks can be claimed at once."""
    world = World()
    running = await world.begin_asleep()
    world.manager.stop()
    await world.clock.run_for(26)
    await running

    task = await world.task("a")
    assert task.status(world.clock.now()) is TaskStatus.PENDING
    assert task.attempts == 0
    assert task.errors == ()


@asynchronous
async def test_a_second_stop_does_not_wait() -> None:
    """Stopping twice cancels what runs at once."""
    world = World()
    running = await world.begin_asleep()
    world.manager.stop()
    world.manager.stop()
    await world.clock.run_for(0)
    await running

    assert (await world.task("a")).lease_uid is None


@asynchronous
async def test_a_coroutine_that_ignores_its_cancellation_is_given_back_and_counts_once() -> None:
    """A handler that suppresses its cancellation cannot hold up the shutdown, nor settle afterwards."""
    world = World()

    @world.manager.task_handler(Job)
    async def handle(task: OnceTask[Job]) -> str:
        for _ in range(3):
            try:
                await world.clock.sleep(3600)
            except asyncio.CancelledError:
                continue
        return "too late"

    await world.manager.create_task(Job("a"))
    running = asyncio.create_task(world.manager.run(handle_signals=False))
    await world.clock.run_for(1)
    world.manager.stop()
    world.manager.stop()
    await world.clock.run_for(20)
    await running

    assert (await world.task("a")).is_live
    assert "completed" not in world.names("a")
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await world.clock.run_for(0)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await world.clock.run_for(0)


@asynchronous
async def test_a_paused_kind_is_not_started_until_it_is_resumed() -> None:
    """Pausing works for every worker of the store; other kinds go on."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: None)
    world.manager.register_task_handler(Keyed, lambda task: None)
    await world.another().pause("job")
    await world.manager.create_tasks([Job("a"), Keyed("b")])
    await world.manager.drain()
    assert (await world.task("a")).is_live
    assert not (await world.task("b")).is_live
    assert await world.manager.paused_kinds() == {"job"}

    await world.manager.resume("job")
    await world.manager.drain()

    assert (await world.task("a")).outcome is Outcome.COMPLETED


@asynchronous
async def test_a_task_created_in_the_same_process_starts_at_once() -> None:
    """Creating wakes the worker: no poll is waited for."""
    world = World()
    started: list[float] = []

    @world.manager.task_handler(Job)
    async def handle(task: OnceTask[Job]) -> None:
        started.append(world.clock.monotonic())

    async with world.manager.running():
        await world.clock.run_for(0.1)
        await world.manager.create_task(Job("a"))
        await world.clock.run_for(0)
        at = world.clock.monotonic()

    assert started == [at]


@asynchronous
async def test_a_scheduled_task_starts_when_it_is_due() -> None:
    """The worker sleeps until the next due time and is neither early nor a poll late."""
    world = World()
    started: list[float] = []

    @world.manager.task_handler(Job)
    async def handle(task: OnceTask[Job]) -> None:
        started.append(world.clock.monotonic())

    await world.manager.create_task(Job("a"), delay=7.25)
    async with world.manager.running():
        await world.clock.run_for(10)

    assert started == [pytest.approx(7.25, abs=0.01)]


@asynchronous
async def test_priorities_decide_among_due_tasks() -> None:
    """A higher priority is claimed first; equal ones in the order of creation."""
    world = World()
    order: list[str] = []

    @world.manager.task_handler(Job, concurrency=1)
    async def handle(task: OnceTask[Job]) -> None:
        order.append(task.id)

    await world.manager.create_task(Job("first"))
    await world.manager.create_task(Job("second"))
    await world.manager.create_task(Job("urgent"), priority=5)
    await world.manager.drain()

    assert order == ["urgent", "first", "second"]


@asynchronous
async def test_hooks_and_resources() -> None:
    """Start hooks run before the first claim, stop hooks after the drain; handlers share what they set up."""
    world = World()
    calls: list[str] = []

    @world.manager.on_start
    async def start() -> None:
        world.manager.resources["database"] = "pool"
        calls.append("start")

    @world.manager.on_stop
    def stop() -> None:
        calls.append("stop")

    @world.manager.task_handler(Job)
    async def handle(task: OnceTask[Job], context: TaskContext[Job]) -> None:
        calls.append(str(context.resources["database"]))

    await world.manager.create_task(Job("a"))
    await world.manager.drain()

    assert calls == ["start", "pool", "stop"]


@asynchronous
async def test_an_event_hook_that_fails_harms_no_task() -> None:
    """A broken hook is logged; the task completes."""
    world = World()

    @world.manager.on_event
    def broken(event: object) -> None:
        raise RuntimeError("hook")

    world.manager.register_task_handler(Job, lambda task: None)
    await world.manager.create_task(Job("a"))
    await world.manager.drain()

    assert (await world.task("a")).outcome is Outcome.COMPLETED


@asynchronous
async def test_a_manager_runs_once_at_a_time() -> None:
    """A second run of a running manager is refused."""
    world = World()
    async with world.manager.running():
        with pytest.raises(ConfigurationError, match="cannot be run a second time"):
            await world.manager.drain()
        with (
            pytest.raises(ConfigurationError, match="cannot override the store"),
            world.manager.override(MemoryStore()),
        ):
            pass


@asynchronous
async def test_override_swaps_the_store_for_a_block() -> None:
    """Tests can run an application's manager on a store of their own."""
    world = World()
    other = MemoryStore(clock=world.clock)
    with world.manager.override(other):
        await world.manager.create_task(Job("a"))

    assert (await other.get(["a"])).tasks
    assert await world.manager.count_tasks() == 0


@asynchronous
async def test_handlers_can_be_registered_once_and_unregistered() -> None:
    """A second handler of a kind is refused until the first is unregistered."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: None)
    with pytest.raises(DuplicateHandlerError, match="'job'"):
        world.manager.register_resource_key_handler(Job, lambda tasks: None)
    world.manager.unregister("job")
    with pytest.raises(UnknownKindError, match="'job'"):
        world.manager.unregister("job")
    await world.manager.create_task(Job("a"))
    await world.manager.drain()

    assert (await world.task("a")).claims == 0


@asynchronous
async def test_finished_tasks_are_deleted_after_their_time() -> None:
    """keep_finished_for deletes old history; delete_finished does so on demand; live tasks stay."""
    world = World()
    manager = world.another(keep_finished_for=600)
    manager.register_task_handler(Job, lambda task: None)
    await manager.create_tasks([Job("old")])
    await manager.drain()
    await manager.create_task(Job("live"), delay=10_000)
    async with manager.running():
        await world.clock.run_for(500)
        assert await manager.count_tasks(TaskFilter(live=False)) == 1
        await world.clock.run_for(200)
        assert await manager.count_tasks(TaskFilter(live=False)) == 0

    assert await manager.count_tasks() == 1
    assert await manager.delete_finished(0) == 0


@asynchronous
async def test_reset_reschedule_and_delete() -> None:
    """Finished tasks can be run again, waiting ones moved, all deleted."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: None)
    await world.manager.create_task(Job("a"))
    assert not await world.manager.reset_task("a")
    await world.manager.drain()
    first = await world.task("a")
    assert await world.manager.reset_task("a")
    second = await world.task("a")
    assert second.is_live
    assert second.run_uid != first.run_uid
    assert second.claims == 0

    assert await world.manager.reschedule_task("a", delay=60)
    await world.manager.drain()
    assert (await world.task("a")).is_live
    assert await world.manager.reschedule_task("a")
    await world.manager.drain()
    assert not await world.manager.reschedule_task("a")
    assert await world.manager.delete_task("a")
    assert not await world.manager.delete_task("a")


def test_the_start_banner_names_kinds_and_masks_passwords(caplog: pytest.LogCaptureFixture) -> None:
    """What a worker serves is logged at its start."""
    manager = TaskManager("postgresql://worker:topsecret@db/shop")
    manager.register_task_handler(Job, lambda task: None)
    with caplog.at_level(logging.INFO, logger="oncetask.manager"), manager.override(MemoryStore()):
        asyncio.run(manager.drain())

    (banner,) = [record.getMessage() for record in caplog.records if record.name == "oncetask.manager"]
    assert "env DEFAULT, store postgresql://worker:***@db/shop, kinds job" in banner
    assert "topsecret" not in caplog.text


@asynchronous
async def test_a_manager_whose_start_hook_failed_can_be_run_again() -> None:
    """It is not running."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: None)
    failures = [ValueError("not yet")]

    @world.manager.on_start
    def start() -> None:
        if failures:
            raise failures.pop()

    await world.manager.create_task(Job("a"))
    with pytest.raises(ValueError, match="not yet"):
        await world.manager.drain()
    await world.manager.drain()

    assert not (await world.task("a")).is_live
