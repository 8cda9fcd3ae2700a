"""Health: what a probe is told about a manager and the worker that runs here."""

import asyncio
from typing import Any

from oncetask import MemoryStore, TaskManager
from oncetask_core.store import Renewed
from tests.asynchronous import asynchronous
from tests.worker.world import Job, World


@asynchronous
async def test_health_names_what_is_wrong() -> None:
    """A probe is fine while the store answers, and says why not otherwise."""
    world = World()
    assert (await world.manager.health()).ok
    async with world.manager.running():
        await world.clock.run_for(2)
        health = await world.manager.health()
        assert health.ok
        assert health.worker is not None
        world.store.down("find", "read_control", "claim")
        await world.clock.run_for(60)
        stale = await world.manager.health()
        world.store.down("now")
        down = await world.manager.health()
        world.store.up()

    assert not stale.ok
    assert "no answer from the store" in str(stale.reason)
    assert not down.ok
    assert "on purpose" in str(down.reason)


@asynchronous
async def test_a_worker_that_is_idle_for_long_is_healthy() -> None:
    """The store answers it all the time."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: None)
    async with world.manager.running():
        await world.clock.run_for(120)
        health = await world.manager.health()

    assert health.ok
    assert health.worker is not None
    assert health.worker.last_contact <= 1.0


@asynchronous
async def test_a_manager_whose_worker_has_ended_is_healthy_as_a_client() -> None:
    """Nothing is said about a worker that is no more."""
    world = World()
    await world.manager.drain()
    world.clock.advance(3600)
    health = await world.manager.health()

    assert health.ok
    assert health.worker is None


@asynchronous
async def test_a_worker_whose_renewal_never_returns_is_not_healthy_and_claims_nothing() -> None:
    """From the time on at which it stops believing in its lease, until the store has answered the renewal."""
    world = World()
    answers = asyncio.Event()
    renew = world.store.real.renew

    async def renew_late(leases: Any) -> Renewed:
        await answers.wait()
        return await renew(leases)

    world.manager.register_task_handler(Job, world.sleep)
    world.store.plant(renew=renew_late)
    await world.manager.create_task(Job("a"))
    running = world.begin()
    await world.clock.run_for(49)
    before = await world.manager.health()
    await world.clock.run_for(2)
    await world.manager.create_task(Job("b"))
    await world.clock.run_for(60)
    during, claimed = await world.manager.health(), world.names("b")
    answers.set()
    await world.clock.run_for(2)
    after = await world.manager.health()
    await world.end(running)

    assert (before.ok, during.ok, after.ok) == (True, False, True)
    assert "leases cannot be renewed" in str(during.reason)
    assert claimed == []
    assert world.names("a")[:2] == ["started", "released"]
    assert world.names("b")[:1] == ["started"]


class EndsBetweenTwoLooks(TaskManager):
    """A manager whose run ends, in another thread, after this one has looked whether it runs."""

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name == "_worker":
            self._worker = None
        return found


@asynchronous
async def test_a_run_that_ends_while_somebody_looks_at_it_harms_nobody() -> None:
    """A probe is told what there was, and what was created is created."""
    world, manager = World(), EndsBetweenTwoLooks(MemoryStore())
    async with world.manager.running():
        manager._worker = world.manager._worker
        created = await manager.create_task(Job("a"))
        manager._worker = world.manager._worker
        health = await manager.health()

    assert created
    assert health.worker is not None
