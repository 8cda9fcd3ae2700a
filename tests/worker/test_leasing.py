"""Leases: what keeps one, what a handler learns when it may be lost, and who may give it back."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec

from oncetask import NoRetryPolicy, OnceTask, Outcome, RetryAfter, StoreUnavailableError, TaskContext
from oncetask_core.store import Renewed
from tests.asynchronous import asynchronous
from tests.worker.world import Job, Keyed, World


@asynchronous
async def test_a_handler_whose_lease_cannot_be_renewed_is_told_once_that_it_may_be_lost() -> None:
    """It has the rest of the lease to put things away, and knows that somebody else may soon hold its task."""
    world = World()
    seen: list[object] = []

    @world.manager.task_handler(Job)
    async def handle(_: OnceTask[Job], context: TaskContext[Job]) -> None:
        try:
            await world.clock.sleep(3600)
        except asyncio.CancelledError:
            await world.clock.sleep(8)
            seen.append(context.lease_lost)

    await world.manager.create_task(Job("a"))
    running = world.begin()
    await world.clock.run_for(1)
    world.store.down("renew")
    await world.clock.run_for(59)
    world.store.up()
    await world.end(running)

    assert seen == [True]


@asynchronous
async def test_a_handler_whose_task_was_deleted_is_stopped_once() -> None:
    """At the next renewal, and what it does about it may take longer than the one after that."""
    world = World()
    seen: list[object] = []
    start = world.clock.monotonic()

    @world.manager.task_handler(Job)
    async def handle(_: OnceTask[Job], context: TaskContext[Job]) -> None:
        try:
            await world.clock.sleep(3600)
        except asyncio.CancelledError:
            seen.append(world.clock.monotonic() - start)
            await world.clock.sleep(100)
            seen.append(context.lease_lost)

    @world.manager.task_handler(Keyed)
    async def go_on(_: OnceTask[Keyed]) -> None:
        await world.clock.sleep(3600)

    await world.manager.create_tasks([Job("a"), Keyed("b")])
    running = world.begin()
    await world.clock.run_for(1)
    await world.manager.delete_task("a")
    await world.clock.run_for(130)
    assert seen == [20.0, True]

    await world.end(running)


@asynchronous
async def test_a_store_that_cannot_renew_is_asked_once_a_second_at_most() -> None:
    """And not again and again without a pause."""
    world = World()
    world.manager.register_task_handler(Job, world.sleep)
    await world.manager.create_task(Job("a"))
    running = world.begin()
    world.store.down("renew")
    await world.clock.run_for(22)
    assert 1 <= world.store.calls["renew"] <= 4

    world.store.up()
    await world.end(running)


@asynchronous
async def test_a_slow_renewal_is_not_sent_again_meanwhile() -> None:
    """And the end of the worker does not wait for it."""
    world = World()

    async def renew(_: object) -> Renewed:
        await world.clock.sleep(3600)
        raise StoreUnavailableError("too late")

    world.manager.register_task_handler(Job, world.sleep)
    world.store.plant(renew=renew)
    await world.manager.create_task(Job("a"))
    running = world.begin()
    await world.clock.run_for(22)
    assert world.store.calls["renew"] == 1
    world.manager.stop()
    world.manager.stop()
    await world.clock.run_for(20)
    assert running.done()

    await running


@asynchronous
async def test_a_lease_that_is_not_to_be_renewed_is_not() -> None:
    """It bounds the handler, in the store and in the worker: neither extends it."""
    world = World()
    told: list[tuple[float, bool]] = []
    start = world.clock.monotonic()

    @world.manager.task_handler(Job, renew_lease=False, retry_policy=NoRetryPolicy())
    async def handle(_: OnceTask[Job], context: TaskContext[Job]) -> None:
        for _attempt in range(2):
            try:
                await world.clock.sleep(3600)
            except asyncio.CancelledError:
                told.append((world.clock.monotonic() - start, context.lease_lost))

    await world.manager.create_task(Job("a"))
    running = world.begin()
    await world.clock.run_for(1)
    first = (await world.task("a")).leased_until
    await world.clock.run_for(40)
    assert (await world.task("a")).leased_until == first
    await world.clock.run_for(18)
    await world.end(running)

    assert told == [(45.0, False), (50.0, True)]


@asynchronous
async def test_a_lease_that_somebody_else_holds_meanwhile_is_not_given_back() -> None:
    """The reply to a renewal is late: the task was settled, and is now run by another worker."""
    world = World()
    renew = world.store.real.renew

    async def renew_late(leases: Any) -> Renewed:
        renewed = await renew(leases)
        await world.clock.sleep(5)
        return renewed

    @world.manager.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> None:
        await world.clock.sleep(21)
        raise RetryAfter(1)

    world.store.plant(renew=renew_late)
    await world.manager.create_task(Job("a"))
    running = world.begin()
    await world.clock.run_for(1)
    await world.manager.pause("job")
    await world.clock.run_for(22)
    (held,) = await world.vanish_with("job")
    await world.clock.run_for(5)
    assert (await world.task("a")).lease_uid == held.lease_uid

    await world.end(running)


@asynchronous
async def test_a_claim_that_got_lost_is_asked_about_for_no_longer_than_its_lease() -> None:
    """After that nothing can be held by it."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: None)
    world.store.fail("claim", "before")
    async with world.manager.running():
        await world.clock.run_for(70)
        asked = world.store.calls["renew"]
        await world.clock.run_for(20)
        assert world.store.calls["renew"] == asked > 0


@asynchronous
async def test_a_lease_that_cannot_be_extended_ends_alone() -> None:
    """Somebody keeps the record of one task locked: its handler is stopped in time, those of the same claim go on."""
    world = World()
    renew = world.store.real.renew
    stopped: list[tuple[str, float]] = []
    start = world.clock.monotonic()

    async def renew_but_one(leases: Mapping[str, timedelta | None]) -> Renewed:
        renewed = await renew(leases)
        held = [msgspec.structs.replace(lease, is_extended=lease.id != "locked") for lease in renewed.held]
        return msgspec.structs.replace(renewed, held=held)

    @world.manager.task_handler(Job, concurrency=3)
    async def handle(task: OnceTask[Job], context: TaskContext[Job]) -> None:
        try:
            await world.clock.sleep(200)
        except asyncio.CancelledError:
            stopped.append((task.id, world.clock.monotonic() - start))
            raise

    world.store.plant(renew=renew_but_one)
    await world.manager.create_tasks([Job("a"), Job("locked"), Job("z")])
    running = world.begin()
    await world.clock.run_for(59)
    first = list(stopped)
    await world.clock.run_for(150)
    tasks = [await world.task("a"), await world.task("z")]
    await world.end(running)

    assert first == [("locked", 50.0)]
    assert {task_id for task_id, _ in stopped} == {"locked"}
    assert [(task.outcome, task.claims) for task in tasks] == [(Outcome.COMPLETED, 1)] * 2


@asynchronous
async def test_a_lease_that_could_not_be_extended_is_asked_for_once_a_second() -> None:
    """And is trusted again as soon as it is extended."""
    world = World()
    renew = world.store.real.renew
    asked: list[float] = []
    start = world.clock.monotonic()

    async def renew_later(leases: Mapping[str, timedelta | None]) -> Renewed:
        asked.append(world.clock.monotonic() - start)
        renewed = await renew(leases)
        held = [msgspec.structs.replace(lease, is_extended=asked[-1] >= 23) for lease in renewed.held]
        return msgspec.structs.replace(renewed, held=held)

    @world.manager.task_handler(Job)
    async def handle(task: OnceTask[Job]) -> None:
        await world.clock.sleep(60)

    world.store.plant(renew=renew_later)
    await world.manager.create_task(Job("a"))
    running = world.begin()
    await world.clock.run_for(70)
    task = await world.task("a")
    await world.end(running)

    assert asked == [20.0, 21.0, 22.0, 23.0, 43.0]
    assert (task.outcome, task.claims) == (Outcome.COMPLETED, 1)
