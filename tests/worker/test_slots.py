"""Slots: a call that has ended leaves its slot to the next one, while the store is told how it ended."""

import asyncio
from collections.abc import Sequence

from oncetask import OnceTask
from oncetask_core.claims import Claim
from oncetask_core.store import Claimed
from oncetask_core.transition import Answer, Atom
from tests.asynchronous import asynchronous
from tests.worker.world import LEASE, Job, Keyed, World


class SlowWrites:
    """Holds back what a world's worker writes until it is let go."""

    def __init__(self, world: World) -> None:
        self._apply = world.store.real.apply
        self.let_go = asyncio.Event()
        world.store.plant(apply=self._held)

    async def _held(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        await self.let_go.wait()
        return await self._apply(atoms)


@asynchronous
async def test_the_next_call_begins_while_the_store_is_told_how_the_last_one_ended() -> None:
    """But no more calls wait for its answer than may run: a store that does not keep up is asked for nothing."""
    world = World()

    @world.manager.task_handler(Job, concurrency=2)
    async def handle(_: OnceTask[Job]) -> None:
        pass

    await world.manager.create_tasks([Job(name) for name in "abcdef"])
    writes = SlowWrites(world)
    async with world.manager.running():
        await world.clock.run_for(30)
        assert [name for name in "abcdef" if world.names(name)] == ["a", "b", "c", "d"]
        worker = (await world.manager.health()).worker
        assert worker is not None
        assert (worker.running, worker.unsettled) == (4, 4)
        writes.let_go.set()
        await world.clock.run_for(1)
        assert [name for name in "abcdef" if (await world.task(name)).is_live] == []


@asynchronous
async def test_the_next_task_of_a_key_waits_for_the_answer() -> None:
    """Until then the key is taken."""
    world = World()

    @world.manager.task_handler(Keyed, concurrency=5)
    async def handle(_: OnceTask[Keyed]) -> None:
        pass

    await world.manager.create_tasks([Keyed("a"), Keyed("b")])
    writes = SlowWrites(world)
    async with world.manager.running():
        await world.clock.run_for(30)
        assert world.names("b") == []
        writes.let_go.set()
        await world.clock.run_for(0.5)
        assert world.names("b") == ["started", "completed"]


@asynchronous
async def test_a_suspect_does_not_begin_before_the_store_knows_how_the_others_ended() -> None:
    """It could take down with it what they have done."""
    world, done = World(), asyncio.Event()

    @world.manager.task_handler(Job)
    async def handle(task: OnceTask[Job]) -> None:
        if task.id == "other":
            await done.wait()

    await world.manager.create_task(Job("suspect"))
    await world.vanish_with("job")
    await world.manager.create_task(Job("other"))
    async with world.manager.running():
        await world.clock.run_for(LEASE + 1)
        writes = SlowWrites(world)
        done.set()
        await world.clock.run_for(1)
        assert (world.names("other"), world.names("suspect")) == (["started"], ["expired"])
        writes.let_go.set()
        await world.clock.run_for(1)
        assert world.names("suspect") == ["expired", "started", "completed"]


@asynchronous
async def test_only_kinds_that_may_have_more_are_asked_for_again() -> None:
    """What had nothing to do is looked at when somebody wakes the worker, or at the next poll."""
    world = World()

    @world.manager.task_handler(Job, concurrency=2)
    async def handle(_: OnceTask[Job]) -> None:
        await world.clock.sleep(0.01)

    @world.manager.task_handler(Keyed)
    async def handle_keyed(_: OnceTask[Keyed]) -> None:
        pass

    await world.manager.create_tasks([Job(f"t{number}") for number in range(8)])
    claims = noted_claims(world)
    async with world.manager.running():
        await world.clock.run_for(0.1)
        assert [set(claim) for claim in claims] == [{"job", "keyed"}, {"job"}, {"job"}, {"job"}, {"job"}]
        await world.manager.create_task(Keyed("a"))
        await world.clock.run_for(0.1)
        assert world.names("a") == ["started", "completed"]


def noted_claims(world: World) -> list[dict[str, int]]:
    """Return a list that grows with every claim of a world's worker: how many of which kind are asked for."""
    claims: list[dict[str, int]] = []
    claim = world.store.real.claim

    async def note(asked: Claim) -> Claimed:
        claims.append({kind: slots.limit for kind, slots in asked.slots.items()})
        return await claim(asked)

    world.store.plant(claim=note)
    return claims
