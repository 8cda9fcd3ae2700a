"""Workers that vanish, leases that run out, tasks that kill."""

from oncetask import FixedDelayPolicy, NoRetryPolicy, OnceTask, Outcome
from oncetask_core.decisions import KindRules, Success, conclude
from oncetask_core.transition import Atom, Verdict
from tests.asynchronous import asynchronous
from tests.worker.world import LEASE, Job, Keyed, World


@asynchronous
async def test_the_task_of_a_vanished_worker_runs_again_and_the_crash_is_recorded() -> None:
    """After the lease has run out another worker runs the task; the crash is an error of that attempt."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: "done")
    await world.manager.create_task(Job("a"))
    await world.vanish_with("job")

    await world.manager.drain()
    assert (await world.task("a")).is_live
    world.clock.advance(LEASE)
    await world.manager.drain()

    task = await world.task("a")
    assert task.outcome is Outcome.COMPLETED
    assert task.crashes == 1
    assert task.attempts == 1
    assert [error.error for error in task.errors] == ["lease expired: worker vanished stopped renewing it"]
    assert world.names("a") == ["expired", "started", "completed"]


@asynchronous
async def test_recovery_takes_no_longer_than_lease_and_poll() -> None:
    """A running worker takes over within lease + poll + 1 s of the last sign of life."""
    world = World()
    started: list[float] = []

    @world.manager.task_handler(Job)
    async def handle(task: OnceTask[Job]) -> None:
        started.append(world.clock.monotonic())

    await world.manager.create_task(Job("a"))
    await world.vanish_with("job")
    async with world.manager.running():
        await world.clock.run_for(LEASE + 2)

    assert len(started) == 1
    assert LEASE <= started[0] <= LEASE + 1 + 1


@asynchronous
async def test_a_vanished_worker_that_comes_back_changes_nothing() -> None:
    """Settling under a lease that was expired is refused, and the task completes exactly once."""
    world = World()
    world.manager.register_task_handler(Keyed, lambda task: "second")
    await world.manager.create_task(Keyed("a"))
    (held,) = await world.vanish_with("keyed")
    world.clock.advance(LEASE)
    await world.manager.drain()

    late = conclude(held, Success('"first"'), KindRules(), chance=0.0)
    (answer,) = await world.store.apply([Atom((late,))])

    assert answer.verdict is Verdict.LEASE_LOST
    assert (await world.task("a")).result == '"second"'


@asynchronous
async def test_a_task_that_kills_its_workers_is_quarantined_after_three_crashes() -> None:
    """The crash limit ends a task that no retry policy was ever asked about."""
    world = World()
    world.manager.register_task_handler(
        Job, lambda task: None, retry_policy=FixedDelayPolicy(max_attempts=0), concurrency=1
    )
    await world.manager.pause("job")
    await world.manager.create_task(Job("killer"))
    for _ in range(3):
        assert await world.vanish_with("job")
        world.clock.advance(LEASE)
        await world.manager.drain()

    task = await world.task("killer")
    assert task.outcome is Outcome.FAILED
    assert task.crashes == 3
    assert len(task.errors) == 3


@asynchronous
async def test_one_attempt_means_one_even_if_the_worker_vanished() -> None:
    """NoRetryPolicy: a crash uses up the only attempt."""
    world = World()
    runs: list[str] = []
    world.manager.register_task_handler(Job, lambda task: runs.append(task.id), retry_policy=NoRetryPolicy())
    await world.manager.create_task(Job("a"))
    await world.vanish_with("job")
    world.clock.advance(LEASE)

    await world.manager.drain()

    assert (await world.task("a")).outcome is Outcome.FAILED
    assert runs == []


@asynchronous
async def test_a_suspect_runs_when_nothing_else_does() -> None:
    """A task that crashed a worker waits until the worker is empty, and nothing is started beside it."""
    world = World()
    running: set[str] = set()
    beside: dict[str, set[str]] = {}

    @world.manager.task_handler(Job, concurrency=5)
    async def handle(task: OnceTask[Job]) -> None:
        beside[task.id] = set(running)
        running.add(task.id)
        for other in running - {task.id}:
            beside[other].add(task.id)
        await world.clock.sleep(2)
        running.discard(task.id)

    await world.manager.create_task(Job("suspect"))
    await world.vanish_with("job")
    world.clock.advance(LEASE)
    await world.manager.create_tasks([Job(f"job-{n}") for n in range(12)])
    async with world.manager.running():
        await world.clock.run_for(30)

    assert beside["suspect"] == set()
    assert (await world.task("suspect")).outcome is Outcome.COMPLETED
    assert len(beside) == 13


@asynchronous
async def test_a_handler_whose_lease_cannot_be_renewed_is_stopped_before_it_runs_out() -> None:
    """Self-fencing: without renewals the handler is cancelled by the deadline less a sixth of the lease."""
    world = World()
    stopped: list[float] = []
    start = world.clock.monotonic()

    @world.manager.task_handler(Job, lease_duration=60)
    async def handle(task: OnceTask[Job]) -> None:
        try:
            await world.clock.sleep(3600)
        finally:
            stopped.append(world.clock.monotonic() - start)

    await world.manager.create_task(Job("a"))
    async with world.manager.running():
        await world.clock.run_for(0)
        world.store.down("renew")
        await world.clock.run_for(59)
        runs_after = len(stopped)
        world.manager.stop()
        world.manager.stop()

    assert runs_after == 1
    assert stopped[0] <= 50
