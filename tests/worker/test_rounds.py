"""The rounds of the upkeep: no claim waits for them, nothing is missed by them, and a slow store is spared."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from oncetask import OnceTask, StoreUnavailableError
from oncetask_core.query import Page, TaskQuery
from tests.asynchronous import asynchronous
from tests.worker.world import LEASE, SELDOM, Job, World


def slow(world: World, wait: Callable[[], Awaitable[object]]) -> None:
    """Let each round wait for something before it hears of the leases that ran out."""
    find = world.store.real.find

    async def find_later(query: TaskQuery) -> Page:
        if query.where.run_out:
            await wait()
        return await find(query)

    world.store.plant(find=find_later)


async def nothing(_: OnceTask[Job]) -> None:
    """Handle a task."""


@asynchronous
async def test_claims_do_not_wait_for_a_round() -> None:
    """Whatever is due begins while the store still thinks about the leases that ran out."""
    world = World()
    world.manager.register_task_handler(Job, nothing)
    async with world.manager.running():
        await world.clock.run_for(5)
        go_on = asyncio.Event()
        slow(world, go_on.wait)
        await world.clock.run_for(5)
        for name in "abc":
            await world.manager.create_task(Job(name))
            await world.clock.run_for(5)
            assert not (await world.task(name)).is_live
        go_on.set()


@asynchronous
async def test_the_first_round_comes_before_the_first_claim() -> None:
    """A kind that is paused is not begun by a worker that begins, however long it takes to hear of it."""
    world = World()
    await world.another().pause("job")
    await world.manager.create_task(Job("a"))
    world.manager.register_task_handler(Job, nothing)
    go_on = asyncio.Event()
    slow(world, go_on.wait)
    async with world.manager.running():
        await world.clock.run_for(5)
        go_on.set()
        await world.clock.run_for(5)
    assert world.store.calls["claim"] == 0
    assert world.names("a") == []


@pytest.mark.parametrize("what", ["an expired lease", "a resumed kind"])
@asynchronous
async def test_what_a_round_finds_is_claimed_when_it_ends(what: str) -> None:
    """And not only by the next one, though the claim of its own pass came too early for it."""
    world = World()
    manager = world.another(poll_interval=2 * SELDOM)
    manager.register_task_handler(Job, nothing)
    await manager.create_task(Job("a"))
    if what == "a resumed kind":
        await world.manager.pause("job")
    else:
        await world.vanish_with("job")
    async with manager.running():
        await world.clock.run_for(LEASE - 1)  # the next round is after SELDOM, the half of the interval
        await world.manager.resume("job")
        assert (await world.task("a")).is_live
        await world.clock.run_for(2)
        assert not (await world.task("a")).is_live


@asynchronous
async def test_rounds_are_put_off_while_the_store_is_slow() -> None:
    """After one that took ten seconds there is none for twenty; then they come each second again."""
    world = World()
    rounds: list[float] = []
    seconds = 0.0

    async def take_seconds() -> None:
        rounds.append(world.clock.monotonic())
        await world.clock.sleep(seconds)

    slow(world, take_seconds)
    world.manager.register_task_handler(Job, nothing)
    async with world.manager.running():
        await world.clock.run_for(3)
        rounds.clear()
        seconds = 10.0
        await world.clock.run_for(1)
        seconds = 0.0
        await world.clock.run_for(40)
    first, second, third, *_ = rounds
    assert second - first == pytest.approx(30.0, abs=0.1)
    assert third - second <= 1.0


@asynchronous
async def test_a_round_that_fails_is_an_outage_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    """It is told, and tried again with pauses until the store answers."""
    world = World()
    world.manager.register_task_handler(Job, nothing)
    async with world.manager.running():
        await world.clock.run_for(5)
        world.store.down("read_control")
        await world.clock.run_for(30)
        tried = world.store.calls["read_control"]
        assert "does not answer" in caplog.text
        assert tried < 30
        world.store.up()
        await world.manager.create_task(Job("a"))
        await world.clock.run_for(60)
        assert not (await world.task("a")).is_live
    assert caplog.text.count("does not answer") == 1


@asynchronous
async def test_a_worker_that_ends_breaks_off_its_round() -> None:
    """Nothing of it is left behind, and nobody waits for it."""
    world = World()
    world.manager.register_task_handler(Job, nothing)
    async with world.manager.running():
        await world.clock.run_for(5)
        slow(world, asyncio.Event().wait)
        await world.clock.run_for(5)


@asynchronous
async def test_the_error_of_the_last_round_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """The worker stops before it has heard of it."""
    world = World()
    world.manager.register_task_handler(Job, nothing)

    async def fail(_: TaskQuery) -> Page:
        world.manager.stop()
        raise StoreUnavailableError("failed on purpose")

    running = world.begin()
    await world.clock.run_for(5)
    world.store.plant(find=fail)
    await world.clock.run_for(5)
    await running
    assert "the last round of the upkeep failed" in caplog.text
