"""Settling: how the ends of attempts are written, told, and what happens where they cannot be."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from oncetask import (
    Failed,
    FixedDelayPolicy,
    MemoryStore,
    NoRetryPolicy,
    OnceTask,
    Outcome,
    PerTask,
    RetryAfter,
    StoreUnavailableError,
    TaskContext,
    VirtualClock,
)
from oncetask_core.transition import Answer, Atom
from tests.asynchronous import asynchronous
from tests.worker.world import Job, Keyed, World, check_a_slot_is_free_again


@asynchronous
async def test_what_ends_together_is_written_together() -> None:
    """A call for each outcome would be slow."""
    world = World()
    goes_on = asyncio.Event()

    @world.manager.task_handler(Job, concurrency=50)
    async def handle(_: OnceTask[Job]) -> None:
        await goes_on.wait()

    await world.manager.create_tasks([Job(f"t{number}") for number in range(50)])
    async with world.manager.running():
        await world.clock.run_for(1)
        written = world.store.calls["apply"]
        goes_on.set()
        await world.clock.run_for(0)
        assert world.store.calls["apply"] <= written + 2
    assert not (await world.task("t49")).is_live


@asynchronous
async def test_an_outcome_whose_reply_was_lost_is_told_as_what_it_was() -> None:
    """It was written; nobody took the lease away."""
    world = World()

    @world.manager.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> None:
        pass

    await world.manager.create_task(Job("a"))
    world.store.fail("apply", "after")
    async with world.manager.running():
        await world.clock.run_for(2)

    assert world.names("a") == ["started", "completed"]


@asynchronous
async def test_the_event_of_a_failure_has_its_error() -> None:
    """Error trackers get the exception itself."""
    world, error = World(), ValueError("broken")

    @world.manager.task_handler(Job, retry_policy=NoRetryPolicy())
    async def handle(_: OnceTask[Job]) -> None:
        raise error

    await world.manager.create_task(Job("a"))
    await world.manager.drain()

    assert [(event.name.value, event.error) for event in world.events] == [("started", None), ("failed", error)]


@asynchronous
async def test_times_are_the_times_of_the_store_as_it_told_last() -> None:
    """Also when its clock was set while the worker ran."""
    clock_of_store = VirtualClock()
    world = World.on(lambda clock: MemoryStore(clock=clock_of_store))

    @world.manager.task_handler(Job, retry_policy=NoRetryPolicy())
    async def handle(_: OnceTask[Job]) -> None:
        raise ValueError("broken")

    async with world.manager.running():
        await world.clock.run_for(1)
        clock_of_store.advance(3600)
        await world.manager.create_task(Job("a"))
        await world.clock.run_for(1)

    (error,) = (await world.task("a")).errors
    assert abs((error.at - clock_of_store.now()).total_seconds()) <= 2


@asynchronous
async def test_progress_outlives_a_write_that_failed_and_the_latest_counts() -> None:
    """It goes out with the next write; what came while the write was on its way replaces it."""
    world = World()
    apply, failures = world.store.real.apply, [2.0]

    async def fail_late(atoms: Sequence[Atom]) -> Sequence[Answer]:
        if failures:
            await world.clock.sleep(failures.pop())
            raise StoreUnavailableError("down on purpose")
        return await apply(atoms)

    @world.manager.task_handler(Job)
    async def handle(task: OnceTask[Job], context: TaskContext[Job]) -> None:
        context.progress(1)
        await world.clock.sleep(1)
        if task.id == "b":
            context.progress(2)
        await world.clock.sleep(3600)

    await world.manager.create_tasks([Job("a"), Job("b")])
    world.store.plant(apply=fail_late)
    running = world.begin()
    await world.clock.run_for(10)
    assert [(await world.task(name)).progress for name in "ab"] == ["1", "2"]

    await world.end(running)


@asynchronous
async def test_outcomes_are_written_soon_after_a_short_outage_that_follows_a_long_one() -> None:
    """The pauses between the tries begin anew."""
    world = World()

    @world.manager.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> None:
        pass

    async with world.manager.running():
        await world.manager.create_task(Job("a"))
        world.store.down("apply")
        await world.clock.run_for(60)
        world.store.up()
        await world.clock.run_for(15)
        assert not (await world.task("a")).is_live
        world.store.fail("apply", "before")
        await world.manager.create_task(Job("b"))
        await world.clock.run_for(1)
        assert not (await world.task("b")).is_live


@asynchronous
async def test_a_result_that_the_store_refuses_fails_the_task_at_once() -> None:
    """It ran, and would be refused again; its handler is not called a second time."""
    world = World()
    world.store.refuse(lambda transition: transition.patch.get("result") is not None)

    @world.manager.task_handler(Job, retry_policy=FixedDelayPolicy(delay=1))
    async def handle(_: OnceTask[Job]) -> str:
        return "too much"

    await world.manager.create_task(Job("a"))
    async with world.manager.running():
        await world.clock.run_for(10)

    task = await world.task("a")
    assert world.names("a") == ["started", "failed"]
    assert task.errors[0].error.startswith("the outcome could not be stored")


@asynchronous
async def test_a_failure_that_the_store_refuses_is_retried_all_the_same() -> None:
    """Its text could not be written; another one is."""
    world = World()
    world.store.refuse(
        lambda transition: "evil" in "".join(error.error for error in transition.patch.get("errors", ()))
    )

    @world.manager.task_handler(Job, retry_policy=FixedDelayPolicy(delay=1))
    async def handle(task: OnceTask[Job], context: TaskContext[Job]) -> None:
        if context.attempt == 1:
            raise ValueError("evil")

    await world.manager.create_task(Job("a"))
    async with world.manager.running():
        await world.clock.run_for(10)

    assert world.names("a") == ["started", "retried", "started", "completed"]


@asynchronous
async def test_a_task_that_cannot_be_settled_costs_no_slot() -> None:
    """What waits for the slot runs."""
    world = World()
    world.store.refuse(lambda transition: transition.guard.id == "bad")

    await check_a_slot_is_free_again(world)


@asynchronous
async def test_a_task_that_cannot_be_settled_is_not_given_back() -> None:
    """Its lease is left to run out, although the same lease holds a task that goes on."""
    world = World()
    world.store.refuse(lambda transition: transition.guard.id == "bad")

    @world.manager.task_handler(Job)
    async def handle(task: OnceTask[Job]) -> None:
        await world.clock.sleep(3600 if task.id == "long" else 1)

    await world.manager.create_tasks([Job("bad"), Job("long")])
    running = world.begin()
    apply = world.store.real.apply
    asked: list[str] = []

    async def note(atoms: Sequence[Atom]) -> Sequence[Answer]:
        asked.extend(transition.event.value for atom in atoms for transition in atom.transitions)
        return await apply(atoms)

    await world.clock.run_for(5)
    world.store.plant(apply=note)
    await world.clock.run_for(45)
    assert asked == []

    await world.end(running)


class Hasty(RetryAfter):
    """A signal whose author forgot to initialise what it is made from."""

    def __init__(self) -> None:
        pass


class Unreadable(dict[str, object]):
    """Outcomes whose author overrode too much."""

    def __contains__(self, key: object) -> bool:
        raise LookupError(key)


@pytest.mark.parametrize(
    "outcomes",
    [None, [("a", 1)], Unreadable(), {"a": Failed(Hasty())}],
    ids=["none", "pairs", "unreadable", "a signal that was made wrongly"],
)
@asynchronous
async def test_an_outcome_that_was_put_together_wrongly_is_a_failed_attempt(outcomes: Any) -> None:
    """The slot and the lease are not lost over it."""
    world = World()
    world.manager.register_resource_key_handler(Keyed, lambda tasks: PerTask(outcomes), retry_policy=NoRetryPolicy())
    await world.manager.create_task(Keyed("a"))
    await world.manager.drain()

    assert (await world.task("a")).outcome is Outcome.FAILED
    assert (await world.task("a")).crashes == 0


@asynchronous
async def test_a_signal_that_was_made_wrongly_is_a_failed_attempt() -> None:
    """Also where the handler raises it itself; slot and lease are not lost over it."""
    world = World()

    @world.manager.task_handler(Job, retry_policy=NoRetryPolicy())
    async def handle(_: OnceTask[Job]) -> None:
        raise Hasty

    await world.manager.create_task(Job("a"))
    await world.manager.drain()

    assert world.names("a") == ["started", "failed"]
