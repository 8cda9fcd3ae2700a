"""Asking a run to end, at whatever point of its life."""

import asyncio
import os
import signal

import pytest

from oncetask import ConfigurationError, MemoryStore, NoRetryPolicy, OnceTask, Outcome, TaskManager
from oncetask_core.errors import StoreUnavailableError
from oncetask_core.stopping import SIGNALS, Stopping
from tests.asynchronous import SOON, asynchronous, until
from tests.worker.world import Job, World


class AbsentStore(MemoryStore):
    """A store that is not up yet."""

    async def open(self) -> None:
        raise StoreUnavailableError("the server does not answer")


@pytest.mark.parametrize("number", SIGNALS)
@asynchronous
async def test_a_signal_ends_the_waiting_for_a_store(number: signal.Signals) -> None:
    """The process ends although its store never came up; no hook was called."""
    calls: list[str] = []
    manager = TaskManager(AbsentStore())
    manager.on_start(lambda: calls.append("start"))
    manager.on_stop(lambda: calls.append("stop"))
    before = signal.getsignal(number)
    running = asyncio.create_task(manager.run())
    await until(lambda: signal.getsignal(number) != before)
    os.kill(os.getpid(), number)
    async with asyncio.timeout(SOON):
        await running

    assert calls == []
    assert signal.getsignal(number) == before


@asynchronous
async def test_an_end_that_is_asked_for_during_a_start_hook_comes_after_it() -> None:
    """What the hook began is completed and undone by the stop hook; nothing is claimed."""
    calls: list[str] = []
    world = World()

    @world.manager.on_start
    async def start() -> None:
        world.manager.stop()
        await world.clock.sleep(1)
        calls.append("start")

    world.manager.on_stop(lambda: calls.append("stop"))
    world.manager.register_task_handler(Job, lambda task: None)
    await world.manager.create_task(Job("a"))
    running = asyncio.create_task(world.manager.run(handle_signals=False))
    await world.clock.run_for(2)
    await running

    assert calls == ["start", "stop"]
    assert (await world.task("a")).claims == 0


@asynchronous
async def test_a_start_hook_that_hangs_is_cancelled_when_the_end_is_asked_for_again() -> None:
    """The run returns without an error and without having claimed anything."""
    manager, hangs = TaskManager(MemoryStore()), asyncio.Event()

    @manager.on_start
    async def start() -> None:
        hangs.set()
        await asyncio.Event().wait()

    manager.register_task_handler(Job, lambda task: None)
    await manager.create_task(Job("a"))
    running = asyncio.create_task(manager.run())
    await hangs.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    async with asyncio.timeout(SOON):
        await running

    assert (await manager.get_tasks_by_ids(["a"])).tasks[0].claims == 0


@asynchronous
async def test_a_stop_hook_that_hangs_is_cancelled_when_the_end_is_asked_for_again() -> None:
    """The other stop hooks are called; the process is not killed by the signal."""
    calls: list[str] = []
    manager, hangs = TaskManager(MemoryStore()), asyncio.Event()
    manager.on_stop(lambda: calls.append("last"))

    @manager.on_stop
    async def stop() -> None:
        calls.append("hangs")
        hangs.set()
        await asyncio.Event().wait()

    before = signal.getsignal(signal.SIGTERM)
    running = asyncio.create_task(manager.run())
    await until(lambda: signal.getsignal(signal.SIGTERM) != before)
    os.kill(os.getpid(), signal.SIGTERM)
    await hangs.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(SOON):
        await running

    assert calls == ["hangs", "last"]


@asynchronous
async def test_the_stop_hooks_of_a_hurried_run_are_not_hurried() -> None:
    """What was asked for before a stop hook was called does not cancel it."""
    calls: list[str] = []
    world = World()

    @world.manager.on_stop
    async def stop() -> None:
        await world.clock.sleep(1)
        calls.append("stop")

    running = asyncio.create_task(world.manager.run(handle_signals=False))
    await world.clock.run_for(1)
    world.manager.stop()
    world.manager.stop()
    await world.clock.run_for(2)
    await running

    assert calls == ["stop"]


@asynchronous
async def test_a_block_whose_run_was_ended_early_is_run_all_the_same() -> None:
    """`running()` has no worker then, as after any other stop."""
    manager = TaskManager(AbsentStore())
    asyncio.get_running_loop().call_soon(manager.stop)
    async with asyncio.timeout(SOON), manager.running():
        manager.stop()
    asyncio.get_running_loop().call_soon(manager.stop)
    async with asyncio.timeout(SOON):
        await manager.drain()


@asynchronous
async def test_the_signal_handlers_of_an_application_are_its_own_again() -> None:
    """A worker borrows SIGTERM and SIGINT for as long as it runs."""
    before = [signal.getsignal(number) for number in SIGNALS]
    manager = TaskManager(MemoryStore())
    running = asyncio.create_task(manager.run())
    await until(lambda: [signal.getsignal(number) for number in SIGNALS] != before)
    manager.stop()
    await running

    assert [signal.getsignal(number) for number in SIGNALS] == before


@asynchronous
async def test_a_time_limit_around_a_run_is_its_owners() -> None:
    """A TimeoutError or a cancellation that is not the manager's own comes through."""
    manager = TaskManager(AbsentStore())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await manager.run(handle_signals=False)

    @manager.on_start
    def start() -> None:
        raise TimeoutError("the hook's own")

    with manager.override(MemoryStore()), pytest.raises(TimeoutError, match="the hook's own"):
        await manager.run(handle_signals=False)


@asynchronous
async def test_a_manager_that_runs_cannot_be_closed() -> None:
    """Its worker would lose the store under its hands; afterwards it can."""
    world = World()
    async with world.manager.running():
        with pytest.raises(ConfigurationError, match="cannot be closed"):
            await world.manager.close()
    await world.manager.close()


@asynchronous
async def test_a_retry_policy_that_exits_is_replaced_by_the_default() -> None:
    """It ends neither the worker nor the process."""
    world = World()

    class Exiting:
        def delay_after(self, attempts: int, error: BaseException, *, chance: float) -> None:
            raise SystemExit(1)

    @world.manager.task_handler(Job, retry_policy=Exiting())
    async def handle(_: OnceTask[Job]) -> None:
        raise ValueError("no")

    world.manager.register_task_handler("other", lambda task: None, retry_policy=NoRetryPolicy())
    await world.manager.create_task(Job("a"))
    await world.manager.drain()
    task = await world.task("a")

    assert task.is_live
    assert task.failures == 1
    assert task.outcome is not Outcome.FAILED


@asynchronous
async def test_a_stop_while_nothing_runs_stops_no_later_run() -> None:
    """It counts for the run that has begun, and for no other."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: None)
    await world.manager.create_task(Job("a"))
    world.manager.stop()
    await world.manager.drain()

    assert not (await world.task("a")).is_live


@asynchronous
async def test_signal_handlers_that_were_not_installed_from_python_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They cannot be put back; the run ends all the same."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    monkeypatch.setattr(signal, "getsignal", lambda _: None)
    world = World()
    running = asyncio.create_task(world.manager.run())
    await world.clock.run_for(1)
    world.manager.stop()
    await world.clock.run_for(1)
    try:
        await running
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_asking_after_the_run_and_its_loop_have_ended_is_no_error() -> None:
    """As by a thread that was held up between its look for a run and its question."""

    async def begin() -> Stopping:
        return Stopping()

    stopping = asyncio.run(begin())
    stopping.ask()

    assert stopping.asked == 1
