"""Resource keys and groups: one at a time, together, each member with an outcome of its own."""

import pytest

from oncetask import Failed, FixedDelayPolicy, GiveUp, NoRetryPolicy, OnceTask, Outcome, PerTask, Snooze
from tests.asynchronous import asynchronous
from tests.worker.world import LEASE, Job, Keyed, World


@asynchronous
async def test_tasks_of_one_key_run_one_at_a_time_and_others_do_not_wait() -> None:
    """A busy key holds up only its own tasks."""
    world = World()
    running: list[str] = []
    most: dict[str, int] = {}

    @world.manager.task_handler(Keyed, concurrency=10)
    async def handle(task: OnceTask[Keyed]) -> None:
        running.append(task.data.key)
        most[task.data.key] = max(most.get(task.data.key, 0), running.count(task.data.key))
        await world.clock.sleep(1)
        running.remove(task.data.key)

    await world.manager.create_tasks([Keyed(f"{key}{n}", key) for n in range(3) for key in "ab"])
    async with world.manager.running():
        await world.clock.run_for(0.5)
        assert sorted(running) == ["a", "b"]
        await world.clock.run_for(5)

    assert most == {"a": 1, "b": 1}
    assert await world.manager.get_pending_count("keyed") == 0


@asynchronous
async def test_a_group_handler_gets_the_due_tasks_of_a_key_in_order() -> None:
    """The members of a group come in the order of the key, at most max_group of them."""
    world = World()
    calls: list[list[str]] = []

    @world.manager.resource_key_handler(Keyed, max_group=3, concurrency=1)
    async def handle(tasks: list[OnceTask[Keyed]]) -> str:
        calls.append([task.id for task in tasks])
        return "shared"

    for n in range(4):
        await world.manager.create_task(Keyed(f"t{n}"))
    await world.manager.create_task(Keyed("later"), delay=60)
    await world.manager.drain()

    assert calls == [["t0", "t1", "t2"], ["t3"]]
    assert (await world.task("t1")).result == '"shared"'
    assert (await world.task("later")).is_live


@asynchronous
async def test_each_member_of_a_group_can_have_an_outcome_of_its_own() -> None:
    """PerTask completes, fails, snoozes and gives up members independently."""
    world = World()

    @world.manager.resource_key_handler(Keyed, retry_policy=FixedDelayPolicy(delay=10))
    async def handle(tasks: list[OnceTask[Keyed]]) -> PerTask:
        return PerTask(
            {
                "good": {"n": 1},
                "bad": Failed(ValueError("broken")),
                "later": Failed(Snooze(60)),
                "hopeless": Failed(GiveUp("never")),
                "stranger": 1,
            }
        )

    names = ["good", "bad", "later", "hopeless", "forgotten"]
    await world.manager.create_tasks([Keyed(name) for name in names])
    await world.manager.drain()

    tasks = {name: await world.task(name) for name in names}
    assert tasks["good"].result == '{"n":1}'
    assert tasks["bad"].failures == 1
    assert tasks["bad"].is_live
    assert tasks["later"].failures == 0
    assert tasks["later"].is_live
    assert tasks["hopeless"].outcome is Outcome.FAILED
    assert "no outcome for task forgotten" in tasks["forgotten"].errors[0].error


@asynchronous
async def test_an_exception_fails_every_member() -> None:
    """What a group handler raises is the failure of each member, under its own attempts."""
    world = World()

    @world.manager.resource_key_handler(Keyed, retry_policy=NoRetryPolicy())
    async def handle(tasks: list[OnceTask[Keyed]]) -> None:
        raise ValueError("all of you")

    await world.manager.create_tasks([Keyed("a"), Keyed("b")])
    await world.manager.drain()

    assert [(await world.task(name)).outcome for name in "ab"] == [Outcome.FAILED] * 2


@pytest.mark.parametrize("how", ["delete", "cancel"])
def test_a_member_that_goes_neither_loses_nor_repeats_the_others(how: str) -> None:
    """A member that is deleted or cancelled while its group runs leaves the others as they are."""

    @asynchronous
    async def check() -> None:
        world = World()
        calls = 0

        @world.manager.resource_key_handler(Keyed)
        async def handle(tasks: list[OnceTask[Keyed]]) -> str:
            nonlocal calls
            calls += 1
            await world.clock.sleep(100)
            return "done"

        await world.manager.create_tasks([Keyed("a"), Keyed("b"), Keyed("c")])
        async with world.manager.running():
            await world.clock.run_for(1)
            await (world.manager.delete_task("b") if how == "delete" else world.manager.cancel_task("b"))
            await world.clock.run_for(100)

        assert calls == 1
        assert [(await world.task(name)).outcome for name in "ac"] == [Outcome.COMPLETED] * 2
        if how == "cancel":
            assert (await world.task("b")).outcome is Outcome.CANCELLED
            assert (await world.task("b")).result == '"done"'

    check()


@asynchronous
async def test_cancelled_members_are_cleaned_up_one_by_one_before_the_others() -> None:
    """Clean-up handlers always get a single task, also where the kind runs in groups."""
    world = World()
    calls: list[str] = []

    async def clean_up(task: OnceTask[Keyed]) -> None:
        calls.append(f"clean {task.id}")

    @world.manager.resource_key_handler(Keyed, cancellation_handler=clean_up)
    async def handle(tasks: list[OnceTask[Keyed]]) -> None:
        calls.append("run " + " ".join(task.id for task in tasks))

    await world.manager.create_tasks([Keyed("a"), Keyed("b"), Keyed("c")])
    await world.manager.cancel_tasks_by_ids(["b", "c"])
    await world.manager.drain()

    assert calls == ["clean b", "clean c", "run a"]


@asynchronous
async def test_a_task_without_a_key_comes_alone_to_a_group_handler() -> None:
    """Keyless tasks of a group kind are groups of one."""
    world = World()
    sizes: list[int] = []

    @world.manager.resource_key_handler(Job)
    async def handle(tasks: list[OnceTask[Job]]) -> None:
        sizes.append(len(tasks))

    await world.manager.create_tasks([Job("a"), Job("b")])
    await world.manager.drain()

    assert sizes == [1, 1]


@asynchronous
async def test_a_key_stays_with_a_vanished_group_until_its_leases_have_run_out() -> None:
    """Nobody starts a task of the key while a member of the old group may still run."""
    world = World()
    runs: list[str] = []
    world.manager.register_task_handler(Keyed, lambda task: runs.append(task.id))
    for name in ("a", "b", "c"):
        await world.manager.create_task(Keyed(name))
    await world.vanish_with("keyed", group=2)

    await world.manager.drain()
    assert runs == []
    world.clock.advance(LEASE)
    await world.manager.drain()

    assert sorted(runs) == ["a", "b", "c"]


@asynchronous
async def test_cancelling_by_key_takes_unfinished_tasks_of_that_kind_only() -> None:
    """cancel_tasks_by_resource_key does not touch other kinds or finished tasks."""
    world = World()
    world.manager.register_task_handler(Keyed, lambda task: None)
    await world.manager.create_task(Keyed("done"))
    await world.manager.drain()
    await world.manager.create_tasks([Keyed("a"), Keyed("b"), Keyed("other", "x")])

    bulk = await world.manager.cancel_tasks_by_resource_key("keyed", "k")

    assert sorted(bulk.changed) == ["a", "b"]
    assert (await world.task("other")).is_live
    assert (await world.task("done")).outcome is Outcome.COMPLETED
    assert [task.id for task in await world.manager.get_tasks_by_resource_key("k")] == ["done", "a", "b"]
