"""Faults of the worker, of a store or of whoever runs the worker: nothing is held for ever, and somebody is told."""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from oncetask import (
    ConfigurationError,
    Failed,
    MemoryStore,
    NoRetryPolicy,
    OnceTask,
    Outcome,
    PerTask,
    RetryAfter,
    TaskEvent,
    TaskManager,
)
from oncetask_core.claims import Claim
from oncetask_core.errors import StoreError
from oncetask_core.query import Page, TaskQuery
from oncetask_core.store import Claimed
from oncetask_core.worker.quiet import QUIET_SECONDS, Quiet
from tests.asynchronous import SOON, asynchronous, until
from tests.worker.world import LEASE, Job, Keyed, World


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
    await world.end(running)

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
        await world.end(running)

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


@asynchronous
async def test_every_free_slot_is_used_while_the_others_run_long() -> None:
    """Also the last quarter of them."""
    world = World()

    @world.manager.task_handler(Job, concurrency=10)
    async def handle(_: OnceTask[Job]) -> None:
        await world.clock.sleep(3600)

    running = asyncio.create_task(world.manager.run(handle_signals=False))
    await world.clock.run_for(0)
    for name in "abcdefghij":
        await world.manager.create_task(Job(name))
        await world.clock.run_for(0.1)
    assert [world.names(name) for name in "abcdefghij"] == [["started"]] * 10

    await world.end(running)


@asynchronous
async def test_slots_that_free_one_by_one_are_used_within_a_poll() -> None:
    """There is a backlog, and never a quarter of the slots free at once."""
    world = World()
    goes_on = {f"t{number}": asyncio.Event() for number in range(10)}

    @world.manager.task_handler(Job, concurrency=10)
    async def handle(task: OnceTask[Job]) -> None:
        await goes_on.get(task.id, asyncio.Event()).wait()

    await world.manager.create_tasks([Job(f"t{number}") for number in range(20)])
    running = asyncio.create_task(world.manager.run(handle_signals=False))
    await world.clock.run_for(1)
    goes_on["t0"].set()
    await world.clock.run_for(2)
    assert world.names("t10") == ["started"]

    await world.end(running)


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


class Hasty(RetryAfter):
    """A signal whose author forgot to initialise what it is made from."""

    def __init__(self) -> None:
        pass


@pytest.mark.parametrize("outcome", [PerTask(None), PerTask([("a", 1)]), Failed(Hasty())])  # type: ignore[arg-type]  # on purpose
@asynchronous
async def test_an_outcome_that_was_put_together_wrongly_is_a_failed_attempt(outcome: object) -> None:
    """The slot and the lease are not lost over it."""
    world = World()
    value = PerTask({"a": outcome}) if isinstance(outcome, Failed) else outcome
    world.manager.register_resource_key_handler(Keyed, lambda tasks: value, retry_policy=NoRetryPolicy())
    await world.manager.create_task(Keyed("a"))
    await world.manager.drain()

    assert (await world.task("a")).outcome is Outcome.FAILED
    assert (await world.task("a")).crashes == 0


def test_a_loop_that_is_taken_down_around_a_worker_gives_its_tasks_back() -> None:
    """`asyncio.run` cancels what is left at its end: the worker, its handlers and what writes its outcomes."""
    store = MemoryStore()
    manager = TaskManager(store)

    @manager.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> None:
        begun.set()
        await asyncio.sleep(3600)

    begun = asyncio.Event()

    async def main() -> "asyncio.Task[None]":
        await manager.create_task(Job("a"))
        background = asyncio.create_task(manager.run(handle_signals=False))
        await begun.wait()
        return background

    started = time.monotonic()
    background = asyncio.run(main())
    task = asyncio.run(store.get(["a"])).tasks["a"]

    assert background.cancelled()
    assert (task.lease_uid, task.failures, task.crashes) == (None, 0, 0)
    assert time.monotonic() - started < SOON


@asynchronous
async def test_a_suspect_whose_kind_is_busy_slows_down_no_other_kind() -> None:
    """It cannot run before a slot of its kind is free; nobody makes room for it until then."""
    world = World()

    @world.manager.task_handler(Job, concurrency=1)
    async def handle(_: OnceTask[Job]) -> None:
        await world.clock.sleep(3600)

    @world.manager.task_handler(Keyed)
    async def quick(_: OnceTask[Keyed]) -> None:
        pass

    await world.manager.create_task(Job("long"))
    running = asyncio.create_task(world.manager.run(handle_signals=False))
    await world.clock.run_for(1)
    await world.manager.create_task(Job("suspect"))
    await world.vanish_with("job")
    await world.clock.run_for(2 * LEASE)
    for number in range(20):
        created = await world.manager.create_task(Keyed(f"k{number}", f"k{number}"))
        await world.clock.run_for(0.5)
        assert not (await world.task(created.id)).is_live, number

    await world.end(running)


@asynchronous
async def test_a_drain_runs_what_is_created_while_an_empty_claim_is_on_its_way() -> None:
    """Its last look was taken before the child existed, and its handler has ended when the reply comes."""
    store = MemoryStore()
    manager = TaskManager(store)
    claim, asked = store.claim, asyncio.Event()

    async def claim_late(asking: Claim) -> Claimed:
        reply = await claim(asking)
        if not reply.tasks and not asked.is_set():
            asked.set()
            await manager.wait("parent")
        return reply

    @manager.task_handler(Job)
    async def handle(task: OnceTask[Job]) -> None:
        if task.id == "parent":
            await asked.wait()
            await manager.create_task(Job("child"))

    store.claim = claim_late  # type: ignore[method-assign,assignment]  # the test's own
    await manager.create_task(Job("parent"))
    async with asyncio.timeout(SOON):
        await manager.drain()

    assert not (await store.get(["child"])).tasks["child"].is_live
