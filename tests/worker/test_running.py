"""Running tasks: success, failure, signals, time limits."""

import asyncio
import threading
from datetime import timedelta

import pytest

from oncetask import (
    ExponentialBackoffPolicy,
    FixedDelayPolicy,
    GiveUp,
    NoRetryPolicy,
    OnceTask,
    Outcome,
    RetryAfter,
    Snooze,
    TaskContext,
    TaskFailedError,
    TaskNotFoundError,
    TaskStatus,
    get_current_task_id,
)
from tests.asynchronous import asynchronous
from tests.worker.world import Job, World


@asynchronous
async def test_a_task_runs_once_and_keeps_its_result() -> None:
    """A created task is run by a drain, and its value can be waited for."""
    world = World()
    runs: list[str] = []

    @world.manager.task_handler(Job)
    async def handle(task: OnceTask[Job]) -> object:
        runs.append(task.data.name)
        return {"seen": task.data.value}

    created = await world.manager.create_task(Job("a", 1))
    await world.manager.drain()

    assert created
    assert runs == ["a"]
    assert await created.wait() == {"seen": 1}
    assert (await world.task("a")).outcome is Outcome.COMPLETED
    assert world.names("a") == ["started", "completed"]


@asynchronous
async def test_an_existing_id_is_a_skip_that_says_so() -> None:
    """Creating an id again changes nothing, whatever the task's state."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: task.data.value)
    await world.manager.create_task(Job("a", 1))
    await world.manager.drain()

    again = await world.manager.create_task(Job("a", 2))

    assert not again
    assert again.existed
    assert await again.wait() == 1


@asynchronous
async def test_a_plain_function_runs_on_a_thread_of_its_own() -> None:
    """Plain handlers do not run on the event loop's thread and know their task."""
    world = World()
    seen: list[tuple[int, str | None]] = []

    @world.manager.task_handler(Job)
    def handle(task: OnceTask[Job]) -> None:
        seen.append((threading.get_ident(), get_current_task_id()))

    await world.manager.create_task(Job("a"))
    await world.manager.drain()

    assert len(seen) == 1
    assert seen[0][0] != threading.get_ident()
    assert seen[0][1] == "a"


@asynchronous
async def test_failures_are_retried_when_their_delay_is_over() -> None:
    """Each failure is recorded and the next attempt waits for the policy's delay."""
    world = World()
    attempts: list[int] = []

    @world.manager.task_handler(Job, retry_policy=ExponentialBackoffPolicy(max_attempts=3, base_delay=10))
    async def handle(task: OnceTask[Job]) -> str:
        attempts.append(task.attempts)
        if task.attempts < 3:
            raise ValueError(f"no. {task.attempts}")
        return "done"

    await world.manager.create_task(Job("a"))
    await world.manager.drain()
    assert (await world.task("a")).status(world.clock.now()) is TaskStatus.WAITING
    world.clock.advance(9.999)
    await world.manager.drain()
    assert attempts == [1]
    world.clock.advance(0.001)
    await world.manager.drain()
    world.clock.advance(20)
    await world.manager.drain()

    task = await world.task("a")
    assert attempts == [1, 2, 3]
    assert task.outcome is Outcome.COMPLETED
    assert [error.error for error in task.errors] == ["ValueError: no. 1", "ValueError: no. 2"]
    assert task.failures == 2
    assert task.claims == 3


@asynchronous
async def test_exhausted_attempts_end_the_task_as_failed() -> None:
    """After the last attempt the task is failed and waiting for it raises."""
    world = World()

    @world.manager.task_handler(Job, retry_policy=NoRetryPolicy())
    async def handle(task: OnceTask[Job]) -> None:
        raise ValueError("boom")

    created = await world.manager.create_task(Job("a"))
    await world.manager.drain()

    with pytest.raises(TaskFailedError, match="'a' ended as failed: ValueError: boom"):
        await created.wait()


@pytest.mark.parametrize(
    ("signal", "status", "failures", "wait"),
    [
        (RetryAfter(30, "busy"), TaskStatus.WAITING, 1, 30),
        (Snooze(timedelta(minutes=2)), TaskStatus.WAITING, 0, 120),
        (GiveUp("hopeless"), TaskStatus.FAILED, 1, None),
    ],
)
def test_signals_steer_the_task(signal: Exception, *, status: TaskStatus, failures: int, wait: float | None) -> None:
    """A handler chooses its delay, waits uncharged, or ends its task."""

    @asynchronous
    async def check() -> None:
        world = World()

        @world.manager.task_handler(Job)
        async def handle(task: OnceTask[Job]) -> None:
            raise signal

        await world.manager.create_task(Job("a"))
        await world.manager.drain()

        task = await world.task("a")
        assert task.status(world.clock.now()) is status
        assert task.failures == failures
        if wait is not None:
            assert task.wait_until == world.clock.now() + timedelta(seconds=wait)

    check()


@asynchronous
async def test_a_snoozed_task_may_run_forever_without_being_charged() -> None:
    """Snoozing uses up no attempts."""
    world = World()
    runs = 0

    @world.manager.task_handler(Job, retry_policy=NoRetryPolicy())
    async def handle(task: OnceTask[Job]) -> None:
        nonlocal runs
        runs += 1
        if runs < 20:
            raise Snooze(1)

    await world.manager.create_task(Job("a"))
    for _ in range(20):
        await world.manager.drain()
        world.clock.advance(1)

    task = await world.task("a")
    assert runs == 20
    assert task.outcome is Outcome.COMPLETED
    assert task.claims == 20


@asynchronous
async def test_a_handler_over_its_time_limit_is_cancelled_and_fails() -> None:
    """The time limit cancels a coroutine; the attempt is a failure."""
    world = World()

    @world.manager.task_handler(Job, timeout=5, retry_policy=NoRetryPolicy())
    async def handle(task: OnceTask[Job]) -> None:
        await world.clock.sleep(3600)

    await world.manager.create_task(Job("a"))
    async with world.manager.running():
        await world.clock.run_for(4.9)
        assert (await world.task("a")).is_live
        await world.clock.run_for(0.2)

    task = await world.task("a")
    assert task.outcome is Outcome.FAILED
    assert task.errors[0].error == "HandlerTimeoutError: the handler ran longer than its timeout of 5 s"


@asynchronous
async def test_a_handler_that_outlives_many_leases_keeps_its_task() -> None:
    """Renewals keep the lease for as long as the handler runs."""
    world = World()
    runs = 0

    @world.manager.task_handler(Job, timeout=None, lease_duration=10)
    async def handle(task: OnceTask[Job]) -> str:
        nonlocal runs
        runs += 1
        await world.clock.sleep(100)
        return "done"

    await world.manager.create_task(Job("a"))
    async with world.manager.running():
        await world.clock.run_for(101)

    task = await world.task("a")
    assert runs == 1
    assert task.outcome is Outcome.COMPLETED
    assert task.crashes == 0


@asynchronous
async def test_without_renewal_the_lease_bounds_the_handler() -> None:
    """With renew_lease=False the handler is stopped, and charged, before its lease can run out."""
    world = World()

    @world.manager.task_handler(Job, renew_lease=False, lease_duration=12, retry_policy=NoRetryPolicy())
    async def handle(task: OnceTask[Job]) -> None:
        await world.clock.sleep(100)

    await world.manager.create_task(Job("a"))
    async with world.manager.running():
        await world.clock.run_for(8.9)
        assert (await world.task("a")).is_live
        await world.clock.run_for(0.2)

    task = await world.task("a")
    assert task.outcome is Outcome.FAILED
    assert task.crashes == 0
    assert "timeout of 9 s" in task.errors[0].error


@asynchronous
async def test_progress_is_stored_while_the_handler_runs() -> None:
    """The latest progress can be read from outside during the run."""
    world = World()

    @world.manager.task_handler(Job)
    async def handle(task: OnceTask[Job], context: TaskContext[Job]) -> None:
        context.progress({"done": 1})
        context.progress({"done": 2})
        await world.clock.sleep(10)

    await world.manager.create_task(Job("a"))
    async with world.manager.running():
        await world.clock.run_for(1)
        assert (await world.task("a")).progress == '{"done":2}'
        await world.clock.run_for(10)

    assert (await world.task("a")).outcome is Outcome.COMPLETED


@asynchronous
async def test_a_result_that_cannot_be_stored_fails_the_task_at_once() -> None:
    """An unserialisable result is a recorded, final failure, not an endless re-run."""
    world = World()
    runs = 0

    @world.manager.task_handler(Job, retry_policy=FixedDelayPolicy(max_attempts=0))
    async def handle(task: OnceTask[Job]) -> object:
        nonlocal runs
        runs += 1
        return lambda: None

    await world.manager.create_task(Job("a"))
    await world.manager.drain()

    task = await world.task("a")
    assert runs == 1
    assert task.outcome is Outcome.FAILED
    assert "the result cannot be stored" in task.errors[0].error


@asynchronous
async def test_system_exit_fails_the_task_and_not_the_worker() -> None:
    """A library that calls sys.exit() in a handler does not end the worker."""
    world = World()

    @world.manager.task_handler(Job, retry_policy=NoRetryPolicy())
    async def handle(task: OnceTask[Job]) -> None:
        if task.data.name == "bad":
            raise SystemExit(3)

    await world.manager.create_tasks([Job("bad"), Job("good")])
    await world.manager.drain()

    assert (await world.task("bad")).outcome is Outcome.FAILED
    assert (await world.task("good")).outcome is Outcome.COMPLETED


@asynchronous
async def test_a_handler_that_cancels_itself_has_failed() -> None:
    """A CancelledError that nobody asked for is an ordinary failure."""
    world = World()

    @world.manager.task_handler(Job, retry_policy=NoRetryPolicy())
    async def handle(task: OnceTask[Job]) -> None:
        raise asyncio.CancelledError

    await world.manager.create_task(Job("a"))
    await world.manager.drain()

    assert (await world.task("a")).errors[0].error.startswith("CancelledError")


@asynchronous
async def test_waiting_gives_up_in_time_and_names_missing_tasks() -> None:
    """Waiting ends with TimeoutError or TaskNotFoundError."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: None)
    created = await world.manager.create_task(Job("a"))

    waiting = asyncio.create_task(created.wait(timeout=5))
    await world.clock.run_for(6)
    with pytest.raises(TimeoutError, match="did not end within 5 s"):
        await waiting
    with pytest.raises(TaskNotFoundError, match="'nobody'"):
        await world.manager.wait("nobody")


@asynchronous
async def test_the_idempotency_key_is_stable_across_attempts() -> None:
    """Every attempt of a run has the same key; a reset run has another; the fence rises with each claim."""
    world = World()
    keys: list[str] = []
    fences: list[int] = []

    @world.manager.task_handler(Job, retry_policy=FixedDelayPolicy(max_attempts=2))
    async def handle(task: OnceTask[Job], context: TaskContext[Job]) -> None:
        keys.append(context.idempotency_key)
        fences.append(context.fence)
        if task.attempts == 1:
            raise ValueError("again")

    await world.manager.create_task(Job("a"))
    await world.manager.drain()
    await world.manager.reset_task("a")
    await world.manager.drain()

    assert keys[0] == keys[1]
    assert keys[2] == keys[3] != keys[0]
    assert fences == sorted(set(fences))


@pytest.mark.parametrize("raised", [StopIteration, GeneratorExit, KeyboardInterrupt])
def test_what_ends_loops_fails_a_task_on_a_thread(raised: type[BaseException]) -> None:
    """An exception that means something to an event loop means a failed attempt where a plain function raises it."""

    @asynchronous
    async def check() -> None:
        world = World()

        @world.manager.task_handler(Job, retry_policy=NoRetryPolicy())
        def handle(_: OnceTask[Job]) -> None:
            raise raised

        await world.manager.create_task(Job("a"))
        await world.manager.drain()

        ended = await world.task("a")
        assert ended.outcome is Outcome.FAILED
        assert ended.errors[-1].error == f"RuntimeError: the handler raised {raised.__name__}"

    check()
