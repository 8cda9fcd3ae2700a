"""Health: what a probe is told about a manager and the worker that runs here."""

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
