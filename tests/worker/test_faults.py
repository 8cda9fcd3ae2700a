"""Faults of the worker, a store, a handler, or whoever runs a worker: nothing is held for ever, and somebody learns."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from oncetask import ConfigurationError, FixedDelayPolicy, MemoryStore, NoRetryPolicy, OnceTask, TaskEvent, TaskManager
from oncetask_core.errors import StoreError
from oncetask_core.worker.execution import Executor
from oncetask_core.worker.execution import Reports as ReportsOfRun
from oncetask_core.worker.run import Run
from tests.asynchronous import SOON, asynchronous
from tests.worker.failing import FaultyStore
from tests.worker.world import Job, Keyed, World, check_a_slot_is_free_again


@asynchronous
async def test_a_bug_in_the_store_ends_the_worker_and_the_block_around_it() -> None:
    """No worker goes on that could write no outcome, and nobody waits for it."""
    manager = TaskManager(FaultyStore())
    manager.register_task_handler(Job, lambda task: task.id)
    created = await manager.create_task(Job("a"))

    with pytest.raises(TypeError, match="a bug in the store"):
        async with asyncio.timeout(3 * SOON), manager.running():
            await created.wait()
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


@asynchronous
async def test_a_store_that_fails_for_good_ends_the_block_around_the_worker() -> None:
    """Whoever runs a worker for the length of a block does not wait in it for a worker that has ended."""
    store = MemoryStore()
    manager = TaskManager(store)
    manager.register_task_handler(Job, lambda task: task.id)

    async def fail(_: object) -> None:
        raise StoreError("disk I/O error")

    async def block() -> None:
        async with asyncio.timeout(SOON), manager.running():
            store.claim = fail  # type: ignore[method-assign,assignment]  # the test's own
            await (await manager.create_task(Job("a"))).wait()

    with pytest.raises(StoreError, match="disk I/O error"):
        await block()


@asynchronous
async def test_a_hook_that_raises_a_cancellation_harms_nobody() -> None:
    """It is logged as every other failure of a hook."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: task.id)

    @world.manager.on_event
    def cancel(event: TaskEvent) -> None:
        raise asyncio.CancelledError(event.name)

    await world.manager.create_tasks([Job("a"), Job("b")])
    await world.manager.drain()

    assert [(await world.task(task_id)).is_live for task_id in "ab"] == [False, False]


@asynchronous
async def test_of_two_runs_at_once_one_is_refused() -> None:
    """Also while the first is still in its start hooks."""
    manager = TaskManager(MemoryStore())
    begun, goes_on = asyncio.Event(), asyncio.Event()

    @manager.on_start
    async def start() -> None:
        begun.set()
        await goes_on.wait()

    first = asyncio.create_task(manager.run(handle_signals=False))
    await begun.wait()
    with pytest.raises(ConfigurationError, match="second time"):
        await manager.run(handle_signals=False)

    manager.stop()
    goes_on.set()
    async with asyncio.timeout(SOON):
        await first


@asynchronous
async def test_a_shorter_time_limit_counts_beside_a_longer_one_of_the_same_kind() -> None:
    """A kind that is registered anew while its handler runs may have another limit."""
    world = World()

    async def handle(_: OnceTask[Job]) -> None:
        await world.clock.sleep(3600)

    world.manager.register_task_handler(Job, handle, timeout=600)
    running = asyncio.create_task(world.manager.run(handle_signals=False))
    await world.manager.create_task(Job("old"))
    await world.clock.run_for(1)
    world.manager.unregister("job")
    world.manager.register_task_handler(Job, handle, timeout=5, retry_policy=NoRetryPolicy())
    await world.manager.create_task(Job("new"))
    await world.clock.run_for(10)
    assert [(await world.task(name)).is_live for name in ("old", "new")] == [True, False]

    await world.end(running)


async def swallow() -> None:
    """Do nothing about a cancellation."""


async def fail_as_well() -> None:
    """End what was cancelled with an error of its own."""
    raise ValueError("the block's own")


@pytest.mark.parametrize("clean_up", [swallow, fail_as_well])
@asynchronous
async def test_a_block_that_turns_its_cancellation_into_something_else_ends_with_the_failure_of_the_worker(
    clean_up: Callable[[], Awaitable[None]],
) -> None:
    """The error of the worker is not lost over it, and what follows the block was cancelled by nobody."""
    world = World()

    async def fail(_: object) -> None:
        raise StoreError("disk I/O error")

    async def block() -> None:
        async with world.manager.running():
            world.store.plant(claim=fail)
            world.manager.register_task_handler(Job, lambda task: task.id)
            try:
                await world.clock.sleep(3600)
            except asyncio.CancelledError:
                await clean_up()

    async def owner() -> int:
        with pytest.raises(StoreError, match="disk I/O error"):
            await block()
        return current_task().cancelling()

    owning = asyncio.create_task(owner())
    await world.clock.run_for(30)

    assert await owning == 0


def faulty_on(task_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant a bug of the worker's own in the runs of a task."""
    execute = Executor.execute

    async def fail(self: Executor, run: Run) -> ReportsOfRun:
        if task_id in run.tasks:
            raise RuntimeError("a bug of the worker")
        return await execute(self, run)

    monkeypatch.setattr(Executor, "execute", fail)


@asynchronous
async def test_a_fault_of_the_worker_in_a_run_costs_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for the slot runs, while the lease of the faulty run is left to run out."""
    faulty_on("bad", monkeypatch)

    await check_a_slot_is_free_again(World())


@asynchronous
async def test_a_run_that_a_fault_ended_is_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be claimed and fail again with every renewal of the lease that it shares, for ever and uncharged."""
    faulty_on("bad", monkeypatch)
    world = World()
    world.manager.register_task_handler(Job, world.sleep)
    await world.manager.create_tasks([Job("bad"), Job("long")])
    running = world.begin()
    await world.clock.run_for(50)
    assert (await world.task("bad")).lease_uid == (await world.task("long")).lease_uid
    assert world.names("bad") == ["started"]

    await world.end(running)


def current_task() -> "asyncio.Task[Any]":
    """Return the asyncio task that a handler runs in, as a handler may."""
    current = asyncio.current_task()
    assert current is not None
    return current


@asynchronous
async def test_a_handler_that_cancels_the_asyncio_task_it_runs_in_has_failed() -> None:
    """Nobody else asked for it: the attempt is charged, and not repeated for ever."""
    world = World()

    @world.manager.task_handler(Job, retry_policy=FixedDelayPolicy(delay=1, max_attempts=2))
    async def handle(_: OnceTask[Job]) -> None:
        current_task().cancel()
        await world.clock.sleep(3600)

    await world.manager.create_task(Job("a"))
    running = world.begin()
    await world.clock.run_for(2)
    await world.end(running)

    assert world.names("a") == ["started", "retried", "started", "failed"]
    assert [error.error for error in (await world.task("a")).errors] == ["CancelledError"] * 2


@asynchronous
async def test_a_clean_up_that_cancels_itself_does_not_hit_the_one_that_follows() -> None:
    """What follows in the same group ends as ever, and finds that nobody has asked it to end."""
    world = World()
    seen: list[tuple[str, int]] = []

    async def clean(task: OnceTask[Keyed]) -> None:
        if task.id == "a":
            current_task().cancel()
        await world.clock.sleep(1)
        seen.append((task.id, current_task().cancelling()))

    await world.cancel_two(clean, cancellation_retry_policy=NoRetryPolicy())
    running = world.begin()
    await world.clock.run_for(2)
    await world.end(running)

    assert seen == [("b", 0)]
    assert [len((await world.task(task_id)).errors) for task_id in "ab"] == [1, 0]


@asynchronous
async def test_a_clean_up_that_cancels_itself_and_returns_does_not_hit_the_one_that_follows() -> None:
    """The cancellation was still on its way when the handler had ended."""
    world = World()

    async def clean(task: OnceTask[Keyed]) -> None:
        if task.id == "a":
            current_task().cancel()
            return
        await world.clock.sleep(1)

    await world.cancel_two(clean, cancellation_retry_policy=NoRetryPolicy())
    running = world.begin()
    await world.clock.run_for(2)
    await world.end(running)

    assert [len((await world.task(task_id)).errors) for task_id in "ab"] == [0, 0]


@asynchronous
async def test_a_bug_in_the_renewals_of_a_store_ends_the_worker() -> None:
    """It ends with that error, its handlers are stopped, and their leases are left to run out."""
    world = World()
    stopped: list[str] = []

    async def fail(_: object) -> None:
        raise TypeError("a bug in the store")

    @world.manager.task_handler(Job)
    async def handle(task: OnceTask[Job]) -> None:
        try:
            await world.clock.sleep(3600)
        finally:
            stopped.append(task.id)

    world.store.plant(renew=fail)
    await world.manager.create_task(Job("a"))
    running = world.begin()
    await world.clock.run_for(21)
    assert running.done()
    with pytest.raises(TypeError, match="a bug in the store"):
        await running

    assert stopped == ["a"]
    assert (await world.task("a")).lease_uid is not None
