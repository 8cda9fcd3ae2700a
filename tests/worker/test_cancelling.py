"""Cancellation: before, during and after a run, with and without clean-up."""

import asyncio

import pytest

from oncetask import FixedDelayPolicy, OnceTask, Outcome, TaskStatus
from tests.asynchronous import asynchronous
from tests.worker.world import Job, Keyed, World


@asynchronous
async def test_without_clean_up_a_waiting_task_ends_at_once() -> None:
    """A task that nobody holds, of a kind known to need no clean-up, is cancelled immediately."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: None)
    await world.manager.create_task(Job("a"), delay=3600)

    assert await world.manager.cancel_task("a")
    assert not await world.manager.cancel_task("a")

    assert (await world.task("a")).outcome is Outcome.CANCELLED


@asynchronous
async def test_a_kind_that_nobody_published_is_ended_by_the_next_worker() -> None:
    """A client that knows no handler only marks the task; the worker ends it without running the handler."""
    world = World()
    runs: list[str] = []
    await world.manager.create_task(Job("a"))
    assert await world.manager.cancel_task("a")
    assert (await world.task("a")).status(world.clock.now()) is TaskStatus.CANCELLATION_PENDING

    world.manager.register_task_handler(Job, lambda task: runs.append(task.id))
    await world.manager.drain()

    assert (await world.task("a")).outcome is Outcome.CANCELLED
    assert runs == []


@asynchronous
async def test_what_workers_publish_is_known_to_clients_without_handlers() -> None:
    """After a worker has run, a client knows that the kind needs no clean-up."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: None)
    await world.manager.drain()
    client = world.another(name="client")
    await client.create_task(Job("a"), delay=10)

    await client.cancel_task("a")

    assert (await world.task("a")).outcome is Outcome.CANCELLED


@asynchronous
async def test_what_a_worker_published_and_nobody_can_read_counts_as_unknown(caplog: pytest.LogCaptureFixture) -> None:
    """Cancellations of all kinds go on, the record is named, and the next worker of the kind writes it anew."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: None)
    client = world.another(name="client")
    await world.store.real.write_control("kind/job", '{"has_cleanup": "perhaps"}')
    await client.create_tasks([Job("a"), Keyed("b")])

    assert await client.cancel_task("a")
    assert (await world.task("a")).status(world.clock.now()) is TaskStatus.CANCELLATION_PENDING
    assert "'kind/job' cannot be read" in caplog.text
    assert await client.cancel_task("b")

    await world.manager.drain()
    caplog.clear()
    await client.create_task(Job("c"), delay=10)
    await client.cancel_task("c")
    assert (await world.task("a")).outcome is (await world.task("c")).outcome is Outcome.CANCELLED
    assert caplog.text == ""


@asynchronous
async def test_the_clean_up_runs_instead_of_the_handler() -> None:
    """A cancelled task with a clean-up handler runs that, at once, and then ends as cancelled."""
    world = World()
    calls: list[str] = []

    async def clean_up(task: OnceTask[Job]) -> str:
        calls.append("clean-up")
        return "cleaned"

    @world.manager.task_handler(Job, cancellation_handler=clean_up)
    async def handle(task: OnceTask[Job]) -> None:
        calls.append("handler")

    await world.manager.create_task(Job("a"), delay=3600)
    await world.manager.cancel_task("a")
    await world.manager.drain()

    task = await world.task("a")
    assert calls == ["clean-up"]
    assert task.outcome is Outcome.CANCELLED
    assert task.result == '"cleaned"'


@asynchronous
async def test_what_is_cancelled_elsewhere_is_seen_within_a_poll() -> None:
    """Nobody wakes the worker, and the task would be due in an hour."""
    world = World()
    begun: list[float] = []

    async def clean_up(_: OnceTask[Job]) -> None:
        begun.append(world.clock.monotonic())

    worker, client = world.another(poll_interval=2), world.another()
    worker.register_task_handler(Job, lambda task: None, cancellation_handler=clean_up)
    await client.create_task(Job("a"), delay=3600)
    async with worker.running():
        await world.clock.run_for(10.25)
        cancelled = world.clock.monotonic()
        await client.cancel_task("a")
        await world.clock.run_for(10)

    assert len(begun) == 1
    assert cancelled <= begun[0] <= cancelled + 2


@asynchronous
async def test_the_clean_up_has_a_budget_of_its_own() -> None:
    """Failures of the handler use up none of the clean-up's attempts; when those are used up the task is cancelled."""
    world = World()
    cleanups = 0

    async def clean_up(task: OnceTask[Job]) -> None:
        nonlocal cleanups
        cleanups += 1
        raise ValueError("stuck")

    @world.manager.task_handler(
        Job,
        retry_policy=FixedDelayPolicy(delay=1, max_attempts=0),
        cancellation_handler=clean_up,
        cancellation_retry_policy=FixedDelayPolicy(delay=1, max_attempts=3),
    )
    async def handle(task: OnceTask[Job]) -> None:
        raise ValueError("boom")

    await world.manager.create_task(Job("a"))
    for _ in range(10):
        await world.manager.drain()
        world.clock.advance(1)
    await world.manager.cancel_task("a")
    for _ in range(5):
        await world.manager.drain()
        world.clock.advance(1)

    task = await world.task("a")
    assert cleanups == 3
    assert task.outcome is Outcome.CANCELLED
    assert task.failures == 10
    assert task.cleanup_attempts == 3


@asynchronous
async def test_a_running_coroutine_is_told_at_the_next_renewal() -> None:
    """Cancelling a running task cancels its coroutine within a third of the lease; nothing is charged."""
    world = World()
    ended: list[str] = []

    @world.manager.task_handler(Job, lease_duration=30)
    async def handle(task: OnceTask[Job]) -> None:
        try:
            await world.clock.sleep(3600)
        finally:
            ended.append(task.id)

    await world.manager.create_task(Job("a"))
    async with world.manager.running():
        await world.clock.run_for(1)
        await world.manager.cancel_task("a")
        await world.clock.run_for(10)

    task = await world.task("a")
    assert ended == ["a"]
    assert task.outcome is Outcome.CANCELLED
    assert task.failures == 0


@asynchronous
async def test_a_run_that_finishes_anyway_keeps_its_result_and_is_cleaned_up() -> None:
    """Cancelled while running: the result is kept, the clean-up follows, the task ends as cancelled."""
    world = World()
    calls: list[str] = []

    async def clean_up(task: OnceTask[Job]) -> str:
        calls.append(f"clean-up after {task.result}")
        return "ignored"

    @world.manager.task_handler(Job, cancellation_handler=clean_up)
    async def handle(task: OnceTask[Job]) -> str:
        await world.manager.cancel_task("a")
        return "kept"

    await world.manager.create_task(Job("a"))
    await world.manager.drain()

    task = await world.task("a")
    assert calls == ['clean-up after "kept"']
    assert task.outcome is Outcome.CANCELLED
    assert task.result == '"kept"'


@asynchronous
async def test_without_renewal_a_running_handler_is_told_all_the_same() -> None:
    """renew_lease=False does not keep the request to cancel from arriving."""
    world = World()
    world.manager.register_task_handler(Job, world.sleep, lease_duration=30, renew_lease=False)
    await world.manager.create_task(Job("a"))
    async with world.manager.running():
        await world.clock.run_for(1)
        await world.manager.cancel_task("a")
        await world.clock.run_for(10.5)

    assert (await world.task("a")).outcome is Outcome.CANCELLED


@asynchronous
async def test_bulk_cancellation_takes_each_id_once_and_says_what_happened() -> None:
    """Repeated, unknown, finished and cancelled ids are skipped with a reason."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: None)
    await world.manager.create_tasks([Job("done")])
    await world.manager.drain()
    await world.manager.create_tasks([Job("a"), Job("b")])
    await world.manager.cancel_task("b")

    bulk = await world.manager.cancel_tasks_by_ids(["a", "a", "b", "done", "nobody"])

    assert bulk.changed == ("a",)
    assert bulk.skipped == {"b": "already cancelled", "done": "already finished", "nobody": "no such task"}


@asynchronous
async def test_a_run_that_was_timed_out_and_then_cancelled_has_timed_out() -> None:
    """Why it was stopped first is what its history says."""
    world = World()
    world.manager.register_task_handler(Job, world.sleep_on, timeout=10)
    await world.manager.create_task(Job("a"))
    running = world.begin()
    await world.clock.run_for(11)
    await world.manager.cancel_task("a")
    await world.clock.run_for(30)
    await world.end(running)

    (recorded,) = (await world.task("a")).errors
    assert recorded.error.startswith("HandlerTimeoutError")


@asynchronous
async def test_a_handler_is_cancelled_once_for_one_cancellation() -> None:
    """What it does about it may take longer than it takes to renew."""
    world = World()

    @world.manager.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> str:
        try:
            await world.clock.sleep(3600)
        except asyncio.CancelledError:
            await world.clock.sleep(100)
        return "put away"

    await world.manager.create_task(Job("a"))
    async with world.manager.running():
        await world.clock.run_for(1)
        await world.manager.cancel_task("a")
        await world.clock.run_for(130)

    assert (await world.task("a")).result == '"put away"'


@asynchronous
async def test_a_clean_up_is_not_cancelled_for_the_cancellation_it_follows() -> None:
    """It may take longer than it takes to renew."""
    world = World()
    ended: list[str] = []

    async def clean(task: OnceTask[Job]) -> None:
        await world.clock.sleep(100)
        ended.append(task.id)

    world.manager.register_task_handler(Job, lambda task: None, cancellation_handler=clean)
    await world.manager.create_task(Job("a"))
    await world.manager.cancel_task("a")
    async with world.manager.running():
        await world.clock.run_for(101)

    assert ended == ["a"]
    assert (await world.task("a")).outcome is Outcome.CANCELLED
    assert (await world.task("a")).cleanup_attempts == 0
