"""Claiming: when the worker asks for tasks, how many it takes, and what it does with them."""

import asyncio
from typing import Any

import msgspec
import pytest

from oncetask import MemoryStore, OnceTask, TaskManager
from oncetask_core.claims import Claim
from oncetask_core.handlers import Handler
from oncetask_core.registry import Registry
from oncetask_core.store import Claimed
from tests.asynchronous import SOON, asynchronous
from tests.worker.world import SELDOM, Job, Keyed, World


@pytest.mark.parametrize("is_group", [False, True])
def test_a_kind_that_is_registered_late_is_served_at_once(is_group: bool) -> None:  # noqa: FBT001 - a case
    """And not at the next poll."""

    @asynchronous
    async def check() -> None:
        world = World()
        manager = world.another(poll_interval=SELDOM)
        register = manager.register_resource_key_handler if is_group else manager.register_task_handler

        async def handle(_: Any) -> None:
            pass

        await manager.create_task(Keyed("a"))
        async with manager.running():
            await world.clock.run_for(1)
            register(Keyed, handle)
            await world.clock.run_for(0)
            assert world.names("a") == ["started", "completed"]

    check()


@asynchronous
async def test_of_two_kinds_the_one_that_is_due_first_wakes_the_worker() -> None:
    """Their leases differ, so that two claims tell it what is due."""
    world = World()
    manager = world.another(poll_interval=SELDOM)
    manager.register_task_handler(Job, lambda task: None, lease_duration=30)
    manager.register_task_handler(Keyed, lambda task: None, lease_duration=40)
    client = world.another()
    await client.create_task(Job("a"), delay=5)
    await client.create_task(Keyed("b"), delay=25)
    async with manager.running():
        await world.clock.run_for(6)
        assert world.names("a")[:1] == ["started"]


@pytest.mark.parametrize("tasks", [[Keyed("a"), Keyed("b"), Keyed("c")], [Job("a"), Job("b"), Job("c")]])
@asynchronous
async def test_what_waits_for_a_key_or_a_slot_starts_as_soon_as_it_is_free(tasks: list[Job | Keyed]) -> None:
    """And not at the next poll."""
    world = World()

    @world.manager.task_handler(Keyed)
    async def keyed(_: OnceTask[Keyed]) -> None:
        pass

    @world.manager.task_handler(Job, concurrency=1)
    async def single(_: OnceTask[Job]) -> None:
        pass

    await world.manager.create_tasks(tasks)
    async with world.manager.running():
        await world.clock.run_for(0)
        assert [world.names(name) for name in "abc"] == [["started", "completed"]] * 3


@asynchronous
async def test_the_last_slots_are_used_at_once_while_nothing_waits_for_one() -> None:
    """And not at the next poll."""
    world = World()
    manager = world.another(poll_interval=SELDOM)

    @manager.task_handler(Job, concurrency=10)
    async def handle(_: OnceTask[Job]) -> None:
        await world.clock.sleep(3600)

    running = world.begin(manager)
    await world.clock.run_for(1)
    for name in "abcdefghij":
        await manager.create_task(Job(name))
        await world.clock.run_for(0)
    assert [world.names(name) for name in "abcdefghij"] == [["started"]] * 10

    await world.end(running, manager)


@asynchronous
async def test_a_backlog_is_claimed_when_a_quarter_of_the_slots_is_free_and_not_for_each() -> None:
    """Claims stay large, and none of the slots is forgotten over it."""
    world = World()
    manager = world.another(poll_interval=SELDOM)
    goes_on = {f"t{number}": asyncio.Event() for number in range(3)}

    @manager.task_handler(Job, concurrency=10)
    async def handle(task: OnceTask[Job]) -> None:
        await goes_on.get(task.id, asyncio.Event()).wait()

    await manager.create_tasks([Job(f"t{number}") for number in range(20)])
    running = world.begin(manager)
    await world.clock.run_for(1)
    started, claims = [], world.store.calls["claim"]
    for event in goes_on.values():
        event.set()
        await world.clock.run_for(0)
        started.append([world.names(f"t{number}") for number in range(10, 14)])
    assert started == [[[]] * 4, [[]] * 4, [["started"]] * 3 + [[]]]
    assert world.store.calls["claim"] == claims + 1

    await world.end(running, manager)


@asynchronous
async def test_slots_that_free_one_by_one_are_used_within_a_poll() -> None:
    """There is a backlog, and never a quarter of the slots free at once."""
    world = World()
    goes_on = {f"t{number}": asyncio.Event() for number in range(10)}

    @world.manager.task_handler(Job, concurrency=10)
    async def handle(task: OnceTask[Job]) -> None:
        await goes_on.get(task.id, asyncio.Event()).wait()

    await world.manager.create_tasks([Job(f"t{number}") for number in range(20)])
    running = world.begin()
    await world.clock.run_for(1)
    goes_on["t0"].set()
    await world.clock.run_for(2)
    assert world.names("t10") == ["started"]

    await world.end(running)


@asynchronous
async def test_a_task_whose_claim_was_answered_too_late_is_not_started() -> None:
    """So little of the lease is left that nothing could be finished under it."""
    world = World()
    claim, waits = world.store.real.claim, [55.0]

    async def answer_late(asking: Claim) -> Claimed:
        claimed = await claim(asking)
        if claimed.tasks and waits:
            await world.clock.sleep(waits.pop())
        return claimed

    @world.manager.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> None:
        pass

    world.store.plant(claim=answer_late)
    await world.manager.create_task(Job("a"))
    async with world.manager.running():
        await world.clock.run_for(58)

    assert world.names("a") == ["released", "started", "completed"]
    assert (await world.task("a")).crashes == 0


@asynchronous
async def test_a_drain_runs_what_is_created_while_an_empty_claim_is_on_its_way() -> None:
    """Its last look was taken before the child existed, and its handler has ended when the reply comes."""
    store = MemoryStore()
    manager = TaskManager(store)
    claim, asked = store.claim, asyncio.Event()

    async def claim_late(asking: Claim) -> Claimed:
        reply = await claim(asking)
        if not reply.tasks and not asked.is_set():
            asked.set()
            await manager.wait("parent")
        return reply

    @manager.task_handler(Job)
    async def handle(task: OnceTask[Job]) -> None:
        if task.id == "parent":
            await asked.wait()
            await manager.create_task(Job("child"))

    store.claim = claim_late  # type: ignore[method-assign,assignment]  # the test's own
    await manager.create_task(Job("parent"))
    async with asyncio.timeout(SOON):
        await manager.drain()

    assert not (await store.get(["child"])).tasks["child"].is_live


@asynchronous
async def test_a_kind_that_is_unregistered_while_it_is_claimed_harms_no_other() -> None:
    """What was granted is left to the end of its lease."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: None)
    world.manager.register_task_handler(Keyed, lambda task: None)
    await world.manager.create_tasks([Job("a"), Keyed("b")])
    claim = world.store.real.claim

    async def unregister(asking: Claim) -> Claimed:
        claimed = await claim(asking)
        if any(task.kind == "job" for task in claimed.tasks):
            world.manager.unregister("job")
        return claimed

    world.store.plant(claim=unregister)
    await world.manager.drain()

    assert world.names("a") == []
    assert not (await world.task("b")).is_live


@asynchronous
async def test_a_kind_that_is_unregistered_while_it_is_started_is_run_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As by another thread, between the question whether the kind is served and the start."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: None)
    await world.manager.create_task(Job("a"))
    get = Registry.get

    def unregister(registry: Registry, kind: str) -> Handler | None:
        handler = get(registry, kind)
        if handler is not None:
            registry.remove(kind)
        return handler

    monkeypatch.setattr(Registry, "get", unregister)
    await world.manager.drain()

    assert world.names("a") == ["started", "completed"]


@asynchronous
async def test_what_a_claim_could_not_read_is_told() -> None:
    """It was set aside, and somebody has to look at it."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: None)
    claim = world.store.real.claim

    async def set_aside(asking: Claim) -> Claimed:
        return msgspec.structs.replace(await claim(asking), unreadable={"x": "no such status"})

    world.store.plant(claim=set_aside)
    await world.manager.drain()

    assert world.names("x") == ["unreadable"]
