"""Shutting down: what runs may finish, what does not is given back, and nothing keeps a worker from ending."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from oncetask import MemoryStore, OnceTask, Outcome, TaskManager
from oncetask_core.store import Found
from tests.asynchronous import SOON, asynchronous
from tests.worker.failing import FaultyStore
from tests.worker.world import Job, Keyed, World


@asynchronous
async def test_a_second_stop_later_ends_the_waiting_of_the_first() -> None:
    """Whoever is in a hurry need not be so from the beginning."""
    world = World()
    running = await world.begin_asleep()
    world.manager.stop()
    await world.clock.run_for(3)
    assert world.names("a") == ["started"]
    world.manager.stop()
    await world.clock.run_for(0)
    assert world.names("a") == ["started", "released"]

    await running


@asynchronous
async def test_a_handler_that_is_cancelled_by_a_stop_has_seconds_to_finish() -> None:
    """What it returns then is its result."""
    world = World()

    @world.manager.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> str:
        try:
            await world.clock.sleep(3600)
        except asyncio.CancelledError:
            await world.clock.sleep(4)
        return "put away"

    await world.manager.create_task(Job("a"))
    running = world.begin()
    await world.clock.run_for(1)
    await world.end(running)

    assert (await world.task("a")).result == '"put away"'


@asynchronous
async def test_a_run_that_a_stop_ends_is_not_charged_for_its_time_limit() -> None:
    """It might have ended by itself, had the worker gone on."""
    world = World()
    world.manager.register_task_handler(Job, world.sleep_on, timeout=10)
    await world.manager.create_task(Job("a"))
    running = world.begin()
    await world.clock.run_for(11)
    await world.end(running)

    assert world.names("a") == ["started", "released"]
    assert (await world.task("a")).failures == 0


@asynchronous
async def test_a_handler_that_ends_after_its_task_was_given_back_is_not_told_of_a_lost_lease() -> None:
    """Nobody took the task away; the worker itself gave it back, and only the reply was late."""
    world = World()

    @world.manager.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> None:
        for _attempt in range(2):
            try:
                await world.clock.sleep(8)
            except asyncio.CancelledError:
                continue

    await world.manager.create_task(Job("a"))
    running = world.begin()
    await world.clock.run_for(1)
    world.manager.stop()
    world.manager.stop()
    await world.clock.run_for(4)
    world.store.down("apply")
    await world.clock.run_for(6)
    world.store.up()
    await world.clock.run_for(20)
    await running

    assert world.names("a") == ["started", "released"]
    assert (await world.task("a")).lease_uid is None


@asynchronous
async def test_a_stop_starts_none_of_the_clean_ups_that_wait_for_each_other() -> None:
    """Only the first of a group has begun; the others are given back without a call."""
    world = World()
    begun: list[str] = []

    async def clean(task: OnceTask[Keyed]) -> None:
        begun.append(task.id)
        await world.clock.sleep(3600)

    await world.cancel_two(clean)
    await world.manager.create_task(Keyed("c"))
    running = world.begin()
    await world.clock.run_for(1)
    await world.end(running)

    assert begun == ["a"]
    assert [(await world.task(task_id)).lease_uid for task_id in "abc"] == [None, None, None]


@asynchronous
async def test_what_waits_behind_a_clean_up_that_does_not_stop_is_given_back() -> None:
    """The other members of the group have not begun: nothing keeps them from running elsewhere."""
    world = World()

    async def clean(_: OnceTask[Keyed]) -> None:
        for _attempt in range(2):
            try:
                await world.clock.sleep(3600)
            except asyncio.CancelledError:
                continue

    world.manager.register_resource_key_handler(Keyed, lambda tasks: None, cancellation_handler=clean)
    await world.manager.create_tasks([Keyed("a"), Keyed("b"), Keyed("c")])
    await world.manager.cancel_task("a")
    running = world.begin()
    await world.clock.run_for(1)
    await world.end(running)

    assert [(await world.task(task_id)).lease_uid for task_id in "abc"] == [None, None, None]
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await world.clock.run_for(0)


@asynchronous
async def test_a_stop_gives_back_what_a_claim_without_a_reply_took() -> None:
    """The claim is asked for once more instead of leaving its tasks to the end of their leases."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: None)
    await world.manager.create_task(Job("a"))
    world.store.fail("claim", "after")
    running = world.begin()
    await world.clock.run_for(0)
    assert (await world.task("a")).lease_uid is not None
    world.manager.stop()
    await world.clock.run_for(0)
    await running

    assert (await world.task("a")).lease_uid is None
    assert (await world.task("a")).attempts == 0
    assert world.names("a") == []


@asynchronous
async def test_a_claim_that_stays_without_a_reply_does_not_end_a_drain() -> None:
    """The handlers still have their time."""
    world = World()

    @world.manager.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> None:
        await world.clock.sleep(10)

    await world.manager.create_task(Job("a"))
    running = world.begin()
    await world.clock.run_for(0)
    world.store.down("claim")
    await world.clock.run_for(3)
    world.manager.stop()
    await world.clock.run_for(10)
    await running

    assert (await world.task("a")).outcome is Outcome.COMPLETED


@asynchronous
async def test_what_is_being_given_back_at_a_stop_is_given_back() -> None:
    """The worker waits for it."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: None)
    get = world.store.real.get

    async def get_late(ids: Sequence[str]) -> Found:
        found = await get(ids)
        await world.clock.sleep(2)
        return found

    world.store.fail("claim", "before")
    running = world.begin()
    await world.clock.run_for(5)
    await world.manager.pause("job")
    await world.clock.run_for(2)
    await world.manager.create_task(Job("a"))
    world.store.plant(get=get_late)
    await world.store.real.claim(world.store.lost[0])
    await world.clock.run_for(1.5)
    world.manager.stop()
    await world.clock.run_for(5)
    await running
    world.store.plant(get=get)

    assert (await world.task("a")).lease_uid is None


@asynchronous
async def test_a_cancelled_task_of_a_kind_that_is_served_no_more_keeps_its_clean_up() -> None:
    """Whoever gives it back does not know whether its kind has one."""
    world = World()

    async def clean(_: OnceTask[Job]) -> None:
        pass

    world.manager.register_task_handler(Job, lambda task: None, cancellation_handler=clean)
    await world.manager.create_task(Job("a"))
    world.store.fail("claim", "after")
    running = world.begin()
    await world.clock.run_for(0)
    await world.another().cancel_task("a")
    world.manager.unregister("job")
    world.manager.stop()
    await world.clock.run_for(0)
    await running

    given_back = await world.task("a")
    assert given_back.lease_uid is None
    assert given_back.is_live


@asynchronous
async def test_a_store_that_does_not_come_back_does_not_keep_a_worker_from_ending() -> None:
    """After some seconds the outcomes that wait for it are given up; their tasks run again."""
    world = World()

    @world.manager.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> None:
        pass

    await world.manager.create_task(Job("a"))
    world.store.down("apply")
    running = world.begin()
    await world.clock.run_for(1)
    world.manager.stop()
    await world.clock.run_for(60)

    assert running.done()
    await running


@asynchronous
async def test_a_fault_in_the_middle_of_a_drain_does_not_wait_for_the_handlers() -> None:
    """What they do can be written no more."""
    world = World.on(FaultyStore)
    stopped: list[float] = []
    start = world.clock.monotonic()

    @world.manager.task_handler(Job)
    async def handle(task: OnceTask[Job]) -> None:
        try:
            await world.clock.sleep(3600 if task.id == "long" else 5)
        except asyncio.CancelledError:
            stopped.append(world.clock.monotonic() - start)
            raise

    await world.manager.create_tasks([Job("short"), Job("long")])
    running = world.begin()
    await world.clock.run_for(1)
    world.manager.stop()
    await world.clock.run_for(60)

    with pytest.raises(TypeError, match="a bug in the store"):
        await running
    assert stopped == [5.0]


@asynchronous
async def test_a_stop_does_not_wait_for_what_handlers_left_in_the_executor() -> None:
    """Nothing of the shutdown queues behind it."""
    executor, released = ThreadPoolExecutor(1), threading.Event()
    asyncio.get_running_loop().set_default_executor(executor)
    manager = TaskManager(MemoryStore(), shutdown_timeout=0.01)
    begun = asyncio.Event()

    @manager.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> None:
        begun.set()
        await asyncio.to_thread(released.wait)

    await manager.create_task(Job("a"))
    running = asyncio.create_task(manager.run(handle_signals=False))
    await begun.wait()
    manager.stop()
    manager.stop()
    try:
        async with asyncio.timeout(SOON):
            await running
    finally:
        released.set()
