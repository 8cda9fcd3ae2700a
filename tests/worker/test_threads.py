"""Plain functions run on threads: they cannot be stopped, and what they do happens nowhere else meanwhile."""

import asyncio
import threading

import pytest

from oncetask import MemoryStore, NoRetryPolicy, OnceTask, Outcome, TaskManager
from tests.asynchronous import SOON, asynchronous, until
from tests.worker.world import Job, Keyed, World, threads


@asynchronous
async def test_plain_functions_that_follow_each_other_share_one_thread() -> None:
    """It is a daemon: a function that never returns must not keep the process from ending."""
    world = World()
    used: list[tuple[list[str], bool]] = []
    others = set(threading.enumerate())

    @world.manager.task_handler(Job, concurrency=1)
    def handle(_: OnceTask[Job]) -> None:
        names = [thread.name for thread in set(threading.enumerate()) - others]
        used.append((names, threading.current_thread().daemon))

    await world.manager.create_tasks([Job(name) for name in "abc"])
    await world.manager.drain()

    assert used == [(["oncetask-handler-1"], True)] * 3


@asynchronous
async def test_a_thread_over_its_time_limit_keeps_task_and_slot_to_its_end() -> None:
    """It cannot be stopped: what it does meanwhile must happen nowhere else."""
    world = World()
    begun, released = threading.Event(), threading.Event()

    @world.manager.task_handler(Job, timeout=10, retry_policy=NoRetryPolicy(), concurrency=1)
    def handle(_: OnceTask[Job]) -> None:
        begun.set()
        released.wait(SOON)

    await world.manager.create_task(Job("a"))
    await world.manager.create_task(Job("next"))
    running = world.begin()
    await world.clock.run_for(0)
    await until(begun.is_set)
    await world.clock.run_for(30)
    during, begun_meanwhile = await world.task("a"), world.names("next")
    released.set()
    await until(lambda: world.names("a") == ["started", "failed"])

    assert during.is_live
    assert during.lease_uid is not None
    assert begun_meanwhile == []
    await world.end(running)


@asynchronous
async def test_a_thread_that_does_not_stop_keeps_its_task() -> None:
    """Nobody else may begin it while the thread goes on: its lease is left to run out."""
    world = World()
    begun, released = threading.Event(), threading.Event()

    @world.manager.task_handler(Job)
    def handle(_: OnceTask[Job]) -> None:
        begun.set()
        released.wait(SOON)

    await world.manager.create_task(Job("a"))
    running = world.begin()
    await world.clock.run_for(0)
    await until(begun.is_set)
    await world.end(running)
    held = (await world.task("a")).lease_uid
    released.set()
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    assert held is not None
    assert world.names("a") == ["started"]


@asynchronous
async def test_a_thread_that_cleans_up_behind_another_keeps_its_task() -> None:
    """The first has ended; nothing runs behind it that could be given back."""
    world = World()
    begun, released = threading.Event(), threading.Event()

    def clean(task: OnceTask[Keyed]) -> None:
        if task.id == "b":
            begun.set()
            released.wait(SOON)

    world.manager.register_resource_key_handler(Keyed, lambda tasks: None, cancellation_handler=clean)
    await world.manager.create_tasks([Keyed("a"), Keyed("b")])
    await world.manager.cancel_tasks_by_ids(["a", "b"])
    running = world.begin()
    await world.clock.run_for(0)
    async with asyncio.timeout(SOON):
        await asyncio.to_thread(begun.wait)
    await world.end(running)
    released.set()
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    assert (await world.task("a")).outcome is Outcome.CANCELLED
    assert (await world.task("b")).lease_uid is not None


@asynchronous
async def test_a_thread_ends_with_the_handler_that_outlived_its_worker() -> None:
    """Workers come and go in one process without leaving threads behind."""
    manager = TaskManager(MemoryStore(), shutdown_timeout=0.01)
    begun, released = threading.Event(), threading.Event()

    @manager.task_handler(Job)
    def handle(_: OnceTask[Job]) -> None:
        begun.set()
        released.wait()

    await manager.create_task(Job("a"))
    running = asyncio.create_task(manager.run(handle_signals=False))
    await asyncio.to_thread(begun.wait)
    manager.stop()
    manager.stop()
    await running
    released.set()

    await until(lambda: not threads("oncetask-handler"))


@asynchronous
async def test_a_run_that_is_cancelled_twice_leaves_no_idle_thread() -> None:
    """The handler ends after its worker, and its thread with it."""
    world = World()
    begun, released = threading.Event(), threading.Event()

    @world.manager.task_handler(Job)
    def handle(_: OnceTask[Job]) -> None:
        begun.set()
        released.wait(SOON)

    await world.manager.create_task(Job("a"))
    running = world.begin()
    await world.clock.run_for(0)
    await until(begun.is_set)
    running.cancel()
    await world.clock.run_for(0)
    running.cancel()
    await asyncio.wait([running])
    released.set()

    assert running.cancelled()
    await until(lambda: not threads("oncetask-handler"))
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})


@pytest.mark.parametrize("asked", [True, False])
def test_a_coroutine_that_a_plain_function_returns_is_interrupted(asked: bool) -> None:  # noqa: FBT001 - a case
    """A decorated or partial coroutine function runs as one, its time limit included."""

    @asynchronous
    async def check() -> None:
        world, begun = World(), asyncio.Event()

        async def sleep() -> None:
            begun.set()
            await world.clock.sleep(3600)

        world.manager.register_task_handler(
            Job, lambda _: sleep(), timeout=10 if asked else None, retry_policy=NoRetryPolicy()
        )
        await world.manager.create_task(Job("a"))
        running = world.begin()
        await begun.wait()
        await world.clock.run_for(11)
        await world.end(running)

        ended = await world.task("a")
        assert ended.is_live is not asked
        assert ended.lease_uid is None

    check()


@asynchronous
async def test_a_coroutine_that_a_plain_function_returns_after_a_stop_is_not_begun() -> None:
    """The function could not be stopped; what it returned can."""
    world = World()
    begun, released, went_on = threading.Event(), threading.Event(), threading.Event()

    async def go_on() -> None:
        went_on.set()

    @world.manager.task_handler(Job)
    def handle(_: OnceTask[Job]) -> object:
        begun.set()
        released.wait(SOON)
        return go_on()

    await world.manager.create_task(Job("a"))
    running = world.begin()
    await world.clock.run_for(0)
    await until(begun.is_set)
    world.manager.stop()
    world.manager.stop()
    await world.clock.run_for(0)
    released.set()
    await until(running.done)

    assert not went_on.is_set()
    assert world.names("a") == ["started", "released"]
