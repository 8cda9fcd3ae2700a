"""Suspects: tasks that a worker vanished with run alone, and hold up others for a while only."""

import asyncio

import pytest

from oncetask import OnceTask, Outcome
from oncetask_core.query import Page, TaskQuery
from oncetask_core.worker.quiet import QUIET_SECONDS, Quiet
from tests.asynchronous import asynchronous
from tests.worker.world import LEASE, SELDOM, Job, Keyed, World


def test_a_worker_that_cannot_make_room_yet_rests() -> None:
    """Once the time to be quiet is over, time alone changes nothing: it does not look again and again."""
    quiet = Quiet()
    quiet.notice(100.0, waiting=True)

    assert quiet.next_change(101.0) == QUIET_SECONDS - 1
    assert quiet.next_change(100.0 + QUIET_SECONDS) is None


def test_a_worker_rests_for_as_long_as_a_suspect_is_alone_although_another_waits() -> None:
    """Nothing may be claimed before, and there is something to claim then."""
    quiet = Quiet()
    quiet.begin("a", until=110.0)
    quiet.notice(101.0, waiting=True)

    assert quiet.next_change(102.0) == 8.0


@asynchronous
async def test_while_a_suspect_waits_for_the_worker_to_be_empty_nothing_else_begins() -> None:
    """It waits five seconds at most; then it runs beside what there is, but beside as little as possible."""
    world = World()
    world.manager.register_task_handler(Job, world.sleep)
    await world.manager.create_task(Job("long"))
    running = world.begin()
    await world.clock.run_for(1)
    await world.manager.create_task(Job("suspect"))
    await world.vanish_with("job")
    await world.clock.run_for(LEASE)
    assert world.names("suspect") == ["expired"]
    await world.manager.create_task(Job("other"))
    await world.clock.run_for(4)
    assert (world.names("suspect"), world.names("other")) == (["expired"], [])
    await world.clock.run_for(2)
    assert (world.names("suspect"), world.names("other")) == (["expired", "started"], [])

    await world.end(running)


@asynchronous
async def test_a_suspect_runs_five_seconds_after_it_was_found_beside_what_runs_long() -> None:
    """Nobody wakes the worker then; it knows the time itself."""
    world = World()
    manager = world.another(poll_interval=SELDOM)

    @manager.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> None:
        await world.clock.sleep(3600)

    await world.manager.create_task(Job("long"))
    running = world.begin(manager)
    await world.clock.run_for(1)
    await world.manager.create_task(Job("suspect"))
    await world.vanish_with("job")
    await world.clock.run_for(LEASE + 30)
    expired = world.names("suspect")
    await world.clock.run_for(6)
    assert (expired, world.names("suspect")) == (["expired"], ["expired", "started"])

    await world.end(running, manager)


@asynchronous
async def test_a_suspect_that_runs_long_is_alone_for_ten_seconds_only() -> None:
    """Then the worker takes others again."""
    world = World()
    world.manager.register_task_handler(Job, world.sleep)
    await world.manager.create_task(Job("suspect"))
    await world.vanish_with("job")
    await world.clock.run_for(LEASE)
    running = world.begin()
    await world.clock.run_for(1)
    await world.manager.create_task(Job("other"))
    await world.clock.run_for(7)
    assert (world.names("suspect"), world.names("other")) == (["expired", "started"], [])
    await world.clock.run_for(4)
    assert world.names("other") == ["started"]

    await world.end(running)


@asynchronous
async def test_of_two_suspects_the_second_waits_for_the_first() -> None:
    """Otherwise nobody could tell which of them kills."""
    world = World()

    @world.manager.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> None:
        await world.clock.sleep(8)

    await world.manager.create_tasks([Job("a"), Job("b")])
    await world.vanish_with("job", count=2)
    await world.clock.run_for(LEASE)
    running = world.begin()
    await world.clock.run_for(7)
    begun = sorted(name for name in "ab" if "started" in world.names(name))
    await world.clock.run_for(15)
    await world.end(running)

    assert len(begun) == 1
    assert [(await world.task(name)).outcome for name in "ab"] == [Outcome.COMPLETED] * 2


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("runs_for", "others", "apart"), [(1, 0, 1), (30, 0, 10), (1, 1, 10), (30, 1, 10)])
@asynchronous
async def test_of_several_suspects_each_worker_begins_one_every_ten_seconds(
    workers: int, *, runs_for: float, others: int, apart: float
) -> None:
    """The first within lease + poll + 1 s, and 5 s later where others run; the next ones sooner if they are short."""
    world = World()
    begun: list[float] = []

    async def handle(task: OnceTask[Job]) -> None:
        if task.id.startswith("other"):
            await world.sleep(task)
        begun.append(world.clock.monotonic())
        await world.clock.sleep(runs_for)

    await world.manager.create_tasks([Job(f"suspect {number}") for number in range(8)])
    await world.vanish_with("job", count=8)
    running = {}
    for number in range(workers):
        worker = world.another()
        worker.register_task_handler(Job, handle, concurrency=50)
        await worker.create_tasks([Job(f"other {number}")] * others)
        running[worker] = world.begin(worker)
        await world.clock.run_for(0.1)
    await world.clock.run_for(LEASE + 8 / workers * 10 + 10)
    restarted = list(begun)
    for worker, run in running.items():
        await world.end(run, worker)

    first = LEASE + 1 + 1 + 5 * others
    late = [at for place, at in enumerate(restarted) if at > first + place // workers * apart]
    assert (len(restarted), late) == (8, [])


@asynchronous
async def test_a_suspect_that_another_worker_took_keeps_nobody_waiting() -> None:
    """There is no more reason to be quiet."""
    world = World()
    manager = world.another(poll_interval=SELDOM)
    manager.register_task_handler(Job, lambda task: None)
    manager.register_task_handler(Keyed, lambda task: None)
    await world.manager.create_task(Job("suspect"))
    await world.vanish_with("job")
    await world.clock.run_for(LEASE)
    await world.manager.create_task(Keyed("b"))
    find, taken = world.store.real.find, []

    async def take(query: TaskQuery) -> Page:
        page = await find(query)
        if page.tasks and query.where.suspects:
            taken.extend(await world.vanish_with("job"))
        return page

    world.store.plant(find=take)
    async with manager.running():
        await world.clock.run_for(1)
        assert world.names("b")[:1] == ["started"]
    assert [task.id for task in taken] == ["suspect"]


@asynchronous
async def test_a_suspect_whose_kind_is_busy_slows_down_no_other_kind() -> None:
    """It cannot run before a slot of its kind is free; nobody makes room for it until then."""
    world = World()
    world.manager.register_task_handler(Job, world.sleep, concurrency=1)

    @world.manager.task_handler(Keyed)
    async def quick(_: OnceTask[Keyed]) -> None:
        pass

    await world.manager.create_task(Job("long"))
    running = world.begin()
    await world.clock.run_for(1)
    await world.manager.create_task(Job("suspect"))
    await world.vanish_with("job")
    await world.clock.run_for(2 * LEASE)
    for number in range(20):
        created = await world.manager.create_task(Keyed(f"k{number}", f"k{number}"))
        await world.clock.run_for(0.5)
        assert not (await world.task(created.id)).is_live, number

    await world.end(running)


@pytest.mark.parametrize("slots", [1, 5])
@asynchronous
async def test_a_suspect_is_not_overtaken_by_an_endless_stream_of_others(slots: int) -> None:
    """Where they keep all slots of its kind busy, one that becomes free is not given to the next of them."""
    world = World()
    begun: dict[str, float] = {}

    @world.manager.task_handler(Job, concurrency=slots)
    async def handle(task: OnceTask[Job]) -> None:
        begun[task.id] = world.clock.monotonic()
        await world.clock.sleep(3)

    await world.manager.create_task(Job("suspect"))
    await world.vanish_with("job")
    world.clock.advance(LEASE - 10)
    await world.manager.create_tasks([Job(f"other {number}") for number in range(20 * slots)])
    running = world.begin()
    await world.clock.run_for(40)
    await world.end(running)

    assert LEASE <= begun["suspect"] <= LEASE + 1 + 1 + 3 + 5
    assert len(begun) >= 9 * slots


@asynchronous
async def test_a_slot_that_was_kept_for_a_suspect_is_used_when_another_worker_took_that() -> None:
    """The next round finds out."""
    world = World()
    worker, goes_on = world.another(poll_interval=SELDOM), asyncio.Event()

    @worker.task_handler(Job, concurrency=1)
    async def handle(task: OnceTask[Job]) -> None:
        if task.id == "long":
            await goes_on.wait()

    await worker.create_task(Job("suspect"))
    await world.vanish_with("job")
    await worker.create_task(Job("long"))
    running = world.begin(worker)
    await world.clock.run_for(LEASE + 1)
    assert len(await world.vanish_with("job")) == 1
    goes_on.set()
    await worker.create_task(Job("other"))
    await world.clock.run_for(SELDOM / 2)
    assert world.names("other") == ["started", "completed"]

    await world.end(running, worker)


@asynchronous
async def test_a_suspect_whose_key_is_busy_slows_down_nobody() -> None:
    """It cannot run before its key is free; nobody makes room for it until then."""
    world = World()
    world.manager.register_task_handler(Keyed, lambda task: None)

    @world.manager.task_handler(Job)
    async def handle(task: OnceTask[Job]) -> None:
        await world.clock.sleep(3600 if task.id == "long" else 0)

    await world.manager.create_tasks([Keyed("first"), Keyed("second")])
    await world.vanish_with("keyed", group=2)
    await world.clock.run_for(LEASE)
    await world.manager.pause("keyed")
    await world.manager.drain()
    (held,) = await world.vanish_with("keyed")
    assert held.id == "first"
    await world.manager.resume("keyed")
    await world.manager.create_task(Job("long"))
    running = world.begin()
    await world.clock.run_for(1)
    for number in range(10):
        await world.manager.create_task(Job(f"j{number}"))
        await world.clock.run_for(0.5)
        assert not (await world.task(f"j{number}")).is_live

    await world.end(running)
