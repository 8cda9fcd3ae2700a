"""Plain functions run on threads: they cannot be stopped, and what they do happens nowhere else meanwhile."""

import asyncio
import threading
import time

import pytest

from oncetask import MemoryStore, NoRetryPolicy, OnceTask, Outcome, TaskContext, TaskManager
from oncetask_core.posting import post
from oncetask_core.worker import heartbeat
from tests.asynchronous import SOON, asynchronous, until
from tests.worker.world import Held, Job, Keyed, World, threads


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
async def test_progress_of_a_plain_function_is_stored_while_nothing_else_happens() -> None:
    """It is handed to the event loop, which nobody else wakes: the next poll is half an hour away."""
    store = MemoryStore()
    manager = TaskManager(store, poll_interval=3600)
    seen: list[str | None] = []

    def stored() -> str | None:
        return asyncio.run(store.get(["a"])).tasks["a"].progress

    @manager.task_handler(Job)
    def handle(_: OnceTask[Job], context: TaskContext[Job]) -> None:
        context.progress(1)
        until = time.monotonic() + SOON
        while stored() is None and time.monotonic() < until:
            time.sleep(0.001)
        seen.append(stored())

    await manager.create_task(Job("a"))
    await manager.drain()

    assert seen == ["1"]


@asynchronous
async def test_a_renewal_thread_that_does_not_end_in_time_leaves_nothing_on_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its end, of which nothing is heard here, is waited for, and then no longer."""
    main = asyncio.get_running_loop()
    monkeypatch.setattr(heartbeat, "STOP_SECONDS", 0.0)
    monkeypatch.setattr(heartbeat, "post", lambda loop, *call: None if loop is main else post(loop, *call))
    await TaskManager(MemoryStore()).drain()

    await until(lambda: not threads("oncetask-renewals"))


@pytest.mark.parametrize("part", ["_make", "_run_in_thread", "_rest"])
@asynchronous
async def test_a_renewal_thread_that_fails_ends_the_worker(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its beginning or later: without renewals every lease would run out, and nobody is waited for in vain."""

    def fail(*_: object) -> None:
        raise OSError("too many open files")

    owner = heartbeat.Renewals if part == "_rest" else heartbeat.Heartbeat
    monkeypatch.setattr(owner, part, fail)
    with pytest.raises(OSError, match="too many open files"):
        await TaskManager(MemoryStore()).run(handle_signals=False)

    await until(lambda: not threads("oncetask-renewals"))


@asynchronous
async def test_a_thread_over_its_time_limit_keeps_task_and_slot_to_its_end() -> None:
    """It cannot be stopped: what it does meanwhile must happen nowhere else."""
    world, handler = World(), Held()
    world.manager.register_task_handler(Job, handler, timeout=10, retry_policy=NoRetryPolicy(), concurrency=1)
    await world.manager.create_task(Job("a"))
    await world.manager.create_task(Job("next"))
    running = await world.begin_held(handler)
    await world.clock.run_for(30)
    during, begun_meanwhile = await world.task("a"), world.names("next")
    handler.released.set()
    await until(lambda: world.names("a") == ["started", "failed"])
    await until(lambda: world.names("next") == ["started", "completed"])

    assert during.is_live
    assert during.lease_uid is not None
    assert begun_meanwhile == []
    await world.end(running)


@asynchronous
async def test_a_thread_that_does_not_stop_keeps_its_task() -> None:
    """Nobody else may begin it while the thread goes on: its lease is left to run out."""
    world, handler = World(), Held()
    world.manager.register_task_handler(Job, handler)
    await world.manager.create_task(Job("a"))
    running = await world.begin_held(handler)
    await world.end(running)
    held = (await world.task("a")).lease_uid
    handler.released.set()
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

    await world.cancel_two(clean)
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
    world, handler = World(), Held()
    world.manager.register_task_handler(Job, handler)
    await world.manager.create_task(Job("a"))
    running = await world.begin_held(handler)
    await world.end(running)
    assert threads("oncetask-handler")
    handler.released.set()

    await until(lambda: not threads("oncetask-handler"))


@asynchronous
async def test_a_run_that_is_cancelled_twice_leaves_no_idle_thread() -> None:
    """The handler ends after its worker, and its thread with it."""
    world, handler = World(), Held()
    world.manager.register_task_handler(Job, handler)
    await world.manager.create_task(Job("a"))
    running = await world.begin_held(handler)
    running.cancel()
    await world.clock.run_for(0)
    running.cancel()
    await asyncio.wait([running])
    handler.released.set()

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
