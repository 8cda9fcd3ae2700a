"""Stores that fail: lost requests, lost replies, long outages. Every task still completes exactly once."""

import asyncio
from collections.abc import Sequence

import pytest

from oncetask import MemoryStore, OnceTask, Outcome, Seams, StoreUnavailableError, VirtualClock
from oncetask_core.worker.listening import listen
from tests.asynchronous import asynchronous
from tests.worker.world import Job, Keyed, World


@pytest.mark.parametrize("method", ["claim", "apply", "find", "now", "read_control", "write_control"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_one_failing_call_costs_nothing(method: str, when: str) -> None:
    """Whichever call of the worker fails, before or after it took effect, each task completes in one attempt."""

    @asynchronous
    async def check() -> None:
        world = World()
        runs: list[str] = []

        @world.manager.task_handler(Keyed)
        async def handle(task: OnceTask[Keyed]) -> str:
            runs.append(task.id)
            return task.id

        await world.manager.create_tasks([Keyed("a"), Keyed("b"), Keyed("c", "x")])
        world.store.fail(method, when, "pass", when)
        async with world.manager.running():
            await world.clock.run_for(30)

        tasks = [await world.task(name) for name in "abc"]
        assert sorted(runs) == ["a", "b", "c"]
        assert {task.outcome for task in tasks} == {Outcome.COMPLETED}
        assert {task.claims for task in tasks} == {1}
        assert {task.error_count for task in tasks} == {0}

    check()


@asynchronous
async def test_a_create_whose_reply_was_lost_is_recognised_as_new() -> None:
    """The creation nonce resolves the unknown outcome: the caller learns that the task is its own."""
    world = World()
    world.store.fail("insert", "after")

    creating = asyncio.create_task(world.manager.create_task(Job("a")))
    await world.clock.run_for(1)

    assert (await creating).existed is False
    assert world.store.calls["insert"] == 2


@asynchronous
async def test_a_create_on_a_store_that_stays_down_raises() -> None:
    """After a few tries the caller gets the error."""
    world = World()
    world.store.down("insert")

    creating = asyncio.create_task(world.manager.create_task(Job("a")))
    await world.clock.run_for(10)

    with pytest.raises(StoreUnavailableError):
        await creating


@asynchronous
async def test_work_goes_on_soon_after_an_outage() -> None:
    """When the store returns, results that waited are written and new tasks are claimed within ten seconds."""
    world = World()
    ran: list[str] = []

    @world.manager.task_handler(Job)
    async def handle(task: OnceTask[Job]) -> None:
        ran.append(task.id)
        await world.clock.sleep(1)

    await world.manager.create_task(Job("a"))
    async with world.manager.running():
        await world.clock.run_for(0.5)
        world.store.down("claim", "apply", "find", "renew", "read_control")
        await world.clock.run_for(40)
        world.store.up()
        await world.manager.create_task(Job("b"))
        await world.clock.run_for(11)

    assert ran == ["a", "b"]
    assert (await world.task("a")).outcome is Outcome.COMPLETED
    assert (await world.task("b")).outcome is Outcome.COMPLETED


@asynchronous
async def test_a_worker_starts_when_the_store_comes_up() -> None:
    """A store that is down at the start is waited for."""
    world = World()

    @world.manager.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> str:
        return "late"

    await world.manager.create_task(Job("a"))
    world.store.down("now", "open", times=4)

    async with world.manager.running():
        await world.clock.run_for(60)

    assert (await world.task("a")).result == '"late"'


@asynchronous
async def test_nothing_is_claimed_while_leases_cannot_be_renewed() -> None:
    """A worker that cannot renew starts nothing new."""
    world = World()
    started: list[str] = []

    @world.manager.task_handler(Job, lease_duration=60, concurrency=5)
    async def handle(task: OnceTask[Job]) -> None:
        started.append(task.id)
        await world.clock.sleep(45)

    await world.manager.create_task(Job("a"))
    async with world.manager.running():
        await world.clock.run_for(1)
        world.store.down("renew")
        await world.clock.run_for(20)
        await world.manager.create_task(Job("b"))
        await world.clock.run_for(10)
        during = list(started)
        world.store.up()
        await world.clock.run_for(60)

    assert during == ["a"]
    assert started == ["a", "b"]


@asynchronous
async def test_a_renewal_that_fails_while_the_last_task_ends_holds_up_nobody() -> None:
    """The store is asked again though nothing is left to renew: the worker goes on claiming."""
    world = World()
    started: list[str] = []

    @world.manager.task_handler(Job, lease_duration=60)
    async def handle(task: OnceTask[Job]) -> None:
        started.append(task.id)
        await world.clock.sleep(20.5)

    await world.manager.create_task(Job("a"))
    async with world.manager.running():
        await world.clock.run_for(1)
        world.store.fail("renew", "before")
        await world.clock.run_for(30)
        await world.manager.create_task(Job("b"))
        await world.clock.run_for(30)

    assert world.store.calls["renew"] > 1
    assert started == ["a", "b"]


@asynchronous
async def test_a_drain_goes_on_after_a_renewal_that_failed() -> None:
    """While nothing is claimed because leases cannot be renewed, a store with due tasks does not count as drained."""
    world = World()
    started: list[str] = []

    @world.manager.task_handler(Job, lease_duration=60, concurrency=1)
    async def handle(task: OnceTask[Job]) -> None:
        started.append(task.id)
        await world.clock.sleep(20.5)

    await world.manager.create_tasks([Job("a"), Job("b")])
    world.store.fail("renew", "before")
    draining = asyncio.create_task(world.manager.drain())
    await world.clock.run_for(60)
    await draining

    assert started == ["a", "b"]


@asynchronous
async def test_a_request_that_was_given_up_and_arrives_late_is_given_back() -> None:
    """A claim that reaches the store after its repeat came back empty charges nobody."""
    world = World()
    runs: list[str] = []

    @world.manager.task_handler(Job)
    async def handle(task: OnceTask[Job]) -> None:
        runs.append(task.id)

    world.store.fail("claim", "before")
    async with world.manager.running():
        await world.clock.run_for(5)
        lost = world.store.lost[0]
        await world.manager.pause("job")
        await world.clock.run_for(2)
        await world.manager.create_task(Job("a"))
        await world.store.real.claim(lost)
        assert (await world.task("a")).lease_uid is not None
        await world.clock.run_for(5)
        given_back = await world.task("a")
        await world.manager.resume("job")
        await world.clock.run_for(5)

    assert given_back.lease_uid is None
    assert given_back.attempts == 0
    assert runs == ["a"]


@asynchronous
async def test_a_short_outage_after_a_long_one_is_short() -> None:
    """The pauses between the tries begin anew."""
    world = World()
    client = world.another()
    world.manager.register_task_handler(Job, lambda task: None)
    async with world.manager.running():
        await world.clock.run_for(1)
        world.store.down("find", "claim", "read_control")
        await world.clock.run_for(60)
        world.store.up()
        await world.clock.run_for(15)
        world.store.fail("read_control", "before")
        await world.clock.run_for(1)
        await client.create_task(Job("a"))
        await world.clock.run_for(2)
        assert world.names("a")[:1] == ["started"]


@asynchronous
async def test_a_store_that_is_slow_to_come_up_is_asked_with_pauses_although_something_woke_the_worker() -> None:
    """It is asked once more at once, and then as seldom as before."""
    world = World()
    await world.store.open()
    world.store.down("now")
    running = world.begin()
    await world.clock.run_for(5)
    asked = world.store.calls["now"]
    world.manager.register_task_handler(Job, lambda task: None)
    await world.clock.run_for(5)
    assert world.store.calls["now"] == asked + 1

    world.store.up()
    await world.end(running)


@asynchronous
async def test_a_worker_that_waits_for_the_store_to_come_up_can_be_stopped() -> None:
    """It ends without having begun."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: None)
    await world.store.open()
    world.store.down("now")
    running = world.begin()
    await world.clock.run_for(5)
    asked = world.store.calls["now"]
    world.manager.stop()
    await world.clock.run_for(30)

    assert running.done()
    assert world.store.calls["now"] <= asked + 1
    await running


class NoticingStore(MemoryStore):
    """A store that notices what others write, or fails to, as the test says."""

    def __init__(self, clock: VirtualClock, replies: Sequence[bool]) -> None:
        super().__init__(clock=clock)
        self.capabilities = self.capabilities | {"wake_ups"}
        self.asked_at: list[float] = []
        self._clock_of_test = clock
        self._began = clock.monotonic()
        self._replies = list(replies)

    async def changed(self) -> None:
        """Return or raise what comes next; at the end wait for ever."""
        self.asked_at.append(round(self._clock_of_test.monotonic() - self._began, 3))
        if not self._replies:
            await asyncio.Event().wait()
        if not self._replies.pop(0):
            raise StoreUnavailableError("down on purpose")


@asynchronous
async def test_a_worker_listens_again_after_an_outage() -> None:
    """It asks again with growing pauses, which begin anew once the store has answered."""
    clock = VirtualClock()
    store = NoticingStore(clock, [False, False, True, False, True])
    woken: list[None] = []
    listening = asyncio.create_task(
        listen(store, lambda: woken.append(None), seams=Seams(clock=clock, chance=lambda: 0.0))
    )
    await clock.run_for(10)
    assert not listening.done()
    listening.cancel()

    assert store.asked_at == [0.0, 0.1, 0.3, 0.3, 0.4, 0.4]
    assert len(woken) == 2
