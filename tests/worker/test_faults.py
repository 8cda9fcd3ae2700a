"""Faults of the worker, of a store or of whoever runs the worker: nothing is held for ever, and somebody is told."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from oncetask import ConfigurationError, MemoryStore, NoRetryPolicy, OnceTask, TaskEvent, TaskManager
from oncetask_core.errors import StoreError
from oncetask_core.query import Page, TaskQuery
from oncetask_core.worker.quiet import QUIET_SECONDS, Quiet
from tests.asynchronous import asynchronous
from tests.worker.world import LEASE, Job, Keyed, World

SOON = 10.0


async def until(holds: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(SOON):
        while not holds():  # noqa: ASYNC110 - nobody tells when a thread has ended
            await asyncio.sleep(0.01)


def threads(name: str) -> list[str]:
    """Return the names of the threads that begin so."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(name)]


@asynchronous
async def test_a_run_that_is_cancelled_twice_renews_nothing_any_more() -> None:
    """The second cancellation ends the shutdown in its middle; the lease is left to run out."""
    manager = TaskManager(MemoryStore())
    begun = asyncio.Event()

    @manager.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> None:
        begun.set()
        await asyncio.sleep(3600)

    await manager.create_task(Job("a"))
    running = asyncio.create_task(manager.run(handle_signals=False))
    await begun.wait()
    running.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await until(lambda: not threads("oncetask-renewals"))
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})


class FaultyStore(MemoryStore):
    """A store with a bug that shows when an outcome is written."""

    async def apply(self, atoms: Sequence[Any]) -> Any:
        if any("outcome" in transition.patch for atom in atoms for transition in atom.transitions):
            raise TypeError("a bug in the store")
        return await super().apply(atoms)


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
async def test_a_block_that_is_cancelled_stays_cancelled() -> None:
    """Only the failure of the worker is turned into its error."""
    manager = TaskManager(MemoryStore())
    begun = asyncio.Event()

    async def block() -> None:
        async with manager.running():
            begun.set()
            await asyncio.sleep(3600)

    running = asyncio.create_task(block())
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


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
    running = asyncio.create_task(world.manager.run(handle_signals=False))
    await world.clock.run_for(1)
    world.manager.stop()
    world.manager.stop()
    await world.clock.run_for(20)
    await running

    assert [(await world.task(task_id)).lease_uid for task_id in "abc"] == [None, None, None]
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await world.clock.run_for(0)


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


def test_a_worker_that_cannot_make_room_yet_rests() -> None:
    """Once the time to be quiet is over, time alone changes nothing: it does not look again and again."""
    quiet = Quiet()
    quiet.notice(100.0, waiting=True)

    assert quiet.next_change(101.0) == QUIET_SECONDS - 1
    assert quiet.next_change(100.0 + QUIET_SECONDS) is None


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
        running = asyncio.create_task(world.manager.run(handle_signals=False))
        await begun.wait()
        await world.clock.run_for(11)
        world.manager.stop()
        world.manager.stop()
        await world.clock.run_for(20)
        await running

        ended = await world.task("a")
        assert ended.is_live is not asked
        assert ended.lease_uid is None

    check()


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

    world.store.real.find = unregister  # type: ignore[method-assign]  # the test's own
    await world.manager.create_task(Keyed("b"))
    await world.manager.drain()

    assert (await world.task("a")).lease_uid is not None
    assert not (await world.task("b")).is_live
