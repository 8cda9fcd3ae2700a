"""Taking down: a run is cancelled, or the event loop ends around a worker that nobody asked to stop."""

import asyncio
import contextlib
import time

import pytest

from oncetask import MemoryStore, OnceTask, TaskManager
from oncetask_core.claims import Claim
from oncetask_core.store import Claimed
from oncetask_core.worker import worker
from tests.asynchronous import SOON, asynchronous, until
from tests.worker.world import Held, Job, Keyed, World, threads


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
async def test_a_block_that_is_cancelled_while_it_drains_leaves_no_worker_behind() -> None:
    """The worker does not go on to wait for its handlers when nobody waits for it."""
    world = World()
    world.manager.register_task_handler(Job, world.sleep)

    async def block() -> None:
        async with world.manager.running():
            await world.clock.sleep(1)

    await world.manager.create_task(Job("a"))
    blocked = asyncio.create_task(block())
    await world.clock.run_for(2)
    assert world.names("a") == ["started"]
    blocked.cancel()
    await world.clock.run_for(0)

    assert blocked.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that waits for its last outcomes in vain would do so for an hour."""
    monkeypatch.setattr(worker, "FLUSH_SECONDS", 3600.0)


@pytest.mark.usefixtures("patient")
def test_a_loop_that_is_taken_down_around_a_worker_gives_its_tasks_back() -> None:
    """`asyncio.run` cancels what is left at its end: the worker, its handlers and what writes its outcomes."""
    store = MemoryStore()
    manager = TaskManager(store, shutdown_timeout=3600)

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


async def take_down(world: World) -> None:
    """Cancel everything but the test, as the end of `asyncio.run` does, and let no time pass."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await world.clock.run_for(0)


@asynchronous
async def test_a_worker_around_which_everything_is_cancelled_leaves_nothing_behind() -> None:
    """Also what it began anew to write its last outcomes."""
    world = World()
    running = await world.begin_asleep()
    await take_down(world)

    assert running.cancelled()
    assert (await world.task("a")).lease_uid is None
    assert asyncio.all_tasks() == {asyncio.current_task()}


@asynchronous
async def test_a_thread_that_goes_on_while_its_loop_is_taken_down_keeps_its_task() -> None:
    """Nobody else may begin it while the thread goes on; the worker ends all the same, at once."""
    world, handler = World(), Held()
    world.manager.register_task_handler(Job, handler)
    await world.manager.create_task(Job("a"))
    running = await world.begin_held(handler)
    await take_down(world)
    is_over, held = running.done(), (await world.task("a")).lease_uid
    handler.released.set()
    await world.clock.run_for(60)
    await until(lambda: not threads("oncetask-handler"))

    assert is_over
    assert held is not None
    assert world.names("a") == ["started"]


@asynchronous
async def test_a_loop_that_is_taken_down_begins_no_further_clean_up() -> None:
    """The one that ran is given back, and so is the one that waited for it, without a call."""
    world = World()
    begun: list[str] = []

    async def clean(task: OnceTask[Keyed]) -> None:
        begun.append(task.id)
        await world.clock.sleep(3600)

    await world.cancel_two(clean)
    running = world.begin()
    await world.clock.run_for(1)
    await take_down(world)
    is_over = running.done()
    await world.clock.run_for(60)

    assert begun == ["a"]
    assert is_over
    assert [(await world.task(task_id)).lease_uid for task_id in "ab"] == [None, None]


def test_a_keyboard_interrupt_in_a_coroutine_ends_the_loop() -> None:
    """Somebody at the keyboard means the process, and not the attempt."""
    store = MemoryStore()
    manager = TaskManager(store)

    @manager.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        await manager.create_task(Job("a"))
        await manager.drain()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())

    assert asyncio.run(store.get(["a"])).tasks["a"].failures == 0


@pytest.mark.usefixtures("patient")
def test_a_loop_that_ends_between_a_claim_and_its_handlers_gives_the_tasks_back() -> None:
    """No handler has begun, so nothing is in doubt."""
    store = MemoryStore()
    manager = TaskManager(store, shutdown_timeout=0.01)
    runs: list[str] = []
    manager.register_task_handler(Job, lambda task: runs.append(task.id))
    claim = store.claim

    def end() -> None:
        for task in asyncio.all_tasks():
            task.cancel()

    async def claim_and_end(asked: Claim) -> Claimed:
        claimed = await claim(asked)
        if claimed.tasks:
            asyncio.get_running_loop().call_soon(end)
        return claimed

    async def main() -> None:
        store.claim = claim_and_end  # type: ignore[method-assign,assignment]  # the test's own
        await manager.create_task(Job("a"))
        with contextlib.suppress(asyncio.CancelledError):
            await manager.run(handle_signals=False)

    started = time.monotonic()
    asyncio.run(main())
    task = asyncio.run(store.get(["a"])).tasks["a"]

    assert (runs, task.lease_uid, task.crashes) == ([], None, 0)
    assert time.monotonic() - started < SOON
