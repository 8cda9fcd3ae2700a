"""Racing: several instances at once, each as another process would have it."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from oncetask_conformance.factories import HOUR, RETRIED, a_claim, a_generator, a_new_task
from oncetask_conformance.harness import REPEATS_AT_ONCE
from oncetask_conformance.running import needs, on_both_clocks
from oncetask_conformance.suite.deciding import a_cancel
from oncetask_conformance.suite.ticking import daily
from oncetask_conformance.world import World
from oncetask_core.decisions import Success, conclude, deletion, expire
from oncetask_core.query import TaskFilter
from oncetask_core.status import Outcome
from oncetask_core.store import TaskStore
from oncetask_core.task import OnceTask
from oncetask_core.transition import Answer, Atom, Transition, Verdict

RACERS = 4
_MOST_ROUNDS = 300


async def racers(world: World) -> Sequence[TaskStore]:
    """Return several instances, the world's own among them."""
    return [world.store, *[await world.another() for _ in range(RACERS - 1)]]


async def race(world: World, *atoms: Atom) -> list[Answer]:
    """Apply one atom by each of several instances at once; the last atom by all that are left."""
    stores = await racers(world)
    lanes = [*atoms, *([atoms[-1]] * (len(stores) - len(atoms)))]
    replies = await asyncio.gather(*(store.apply([atom]) for store, atom in zip(stores, lanes, strict=True)))
    return [answer for (answer,) in replies]


def verdicts(answers: Sequence[Answer]) -> Counter[Verdict]:
    """Return how often each verdict was given."""
    return Counter(answer.verdict for answer in answers)


def an_atom(transition: Transition) -> Atom:
    """Return an atom of one transition."""
    return Atom((transition,))


class Referee:
    """Watches from outside who holds a key, and counts how often a task was settled."""

    def __init__(self) -> None:
        self.holders: dict[str, str] = {}
        self.settled: Counter[str] = Counter()
        self.fouls: list[str] = []

    def granted(self, tasks: Sequence[OnceTask[object]], lease_uid: str) -> None:
        """Note the keys that a lease got."""
        for key in {task.resource_key for task in tasks if task.resource_key is not None}:
            if key in self.holders:
                self.fouls.append(f"{lease_uid} got {key}, which {self.holders[key]} holds")
            self.holders[key] = lease_uid

    def ends(self, tasks: Sequence[OnceTask[object]]) -> None:
        """Note that the keys are given back; called before the store knows."""
        for task in tasks:
            self.holders.pop(task.resource_key or "", None)


class RacingTests:
    """What holds however the calls of several instances fall together."""

    @on_both_clocks
    async def test_one_of_many_settles_is_written(self, world: World) -> None:
        """The same settle, sent many times at once, is applied once and recognised by the others."""
        task = await world.take()

        answers = await race(world, an_atom(world.conclusion(task)))

        assert verdicts(answers) == {Verdict.APPLIED: 1, Verdict.ALREADY: RACERS - 1}
        assert (await world.raw("a")).revision == task.revision + 1

    @on_both_clocks
    async def test_one_of_many_expiries_is_written(self, world: World) -> None:
        """A crash that many workers see is charged once."""
        task = await world.take(lease_for=world.short)
        await world.pass_time(world.short)
        now = await world.store.now()

        answers = await race(world, an_atom(expire(task, RETRIED, at=now, chance=0.0)))

        assert verdicts(answers) == {Verdict.APPLIED: 1, Verdict.LEASE_LOST: RACERS - 1}
        assert (await world.raw("a")).crashes == 1

    async def test_one_of_many_decisions_is_written(self, world: World) -> None:
        """Of many that decided on the same record one is applied."""
        await world.add()
        task = await world.record("a")

        answers = await race(world, an_atom(a_cancel(task)))

        assert verdicts(answers) == {Verdict.APPLIED: 1, Verdict.CHANGED: RACERS - 1}

    async def test_one_of_many_ticks_is_written(self, world: World) -> None:
        """A slot fires once, by whoever was first."""
        await world.add(a_generator("a"))
        generator = await world.record("a")

        answers = await race(world, *(daily(world, generator, by=f"worker {n}") for n in range(RACERS)))

        assert verdicts(answers) == {Verdict.APPLIED: 1, Verdict.CHANGED: RACERS - 1}
        (winner,) = [n for n, answer in enumerate(answers) if answer.verdict is Verdict.APPLIED]
        creators = {task.created_by for task in (await world.everything()).values() if task.id != "a"}
        assert creators == {f"worker {winner}"}

    async def test_one_of_many_deletions_is_done(self, world: World) -> None:
        """A task that many delete is deleted once."""
        await world.add()
        guard = deletion(await world.record("a"))

        replies = await asyncio.gather(*(store.delete([guard]) for store in await racers(world)))

        assert Counter(verdict for (verdict,) in replies) == {Verdict.APPLIED: 1, Verdict.MISSING: RACERS - 1}

    @on_both_clocks
    async def test_a_claim_and_a_cancel_exclude_each_other(self, world: World) -> None:
        """Either the task is claimed, and the cancel finds it changed, or it is cancelled, and not claimed."""
        await world.add()
        decided = a_cancel(await world.record("a"))
        other = await world.another()

        claimed, (answer,) = await asyncio.gather(world.store.claim(a_claim()), other.apply([an_atom(decided)]))

        outcome = (len(claimed.tasks), answer.verdict)
        assert outcome in ((1, Verdict.CHANGED), (0, Verdict.APPLIED))

    @on_both_clocks
    async def test_a_renewal_and_an_expiry_exclude_each_other(self, world: World) -> None:
        """Either the lease is renewed, and the expiry finds it running, or it is expired, and not renewed."""
        task = await world.take(lease_for=world.short)
        await world.pass_time(world.short)
        end = an_atom(expire(task, RETRIED, at=await world.store.now(), chance=0.0))
        other = await world.another()

        renewed, (answer,) = await asyncio.gather(world.store.renew({"lease 1": HOUR}), other.apply([end]))

        outcome = (len(renewed.held), answer.verdict)
        assert outcome in ((1, Verdict.CHANGED), (0, Verdict.APPLIED))
        assert ((await world.raw("a")).lease_uid is None) == (answer.verdict is Verdict.APPLIED)

    @needs(REPEATS_AT_ONCE)
    async def test_one_of_many_repeated_claims_takes_the_tasks(self, world: World) -> None:
        """The same claim, sent many times at once, holds one set of tasks."""
        await world.add(*(a_new_task(f"task {number}") for number in range(20)))

        replies = await asyncio.gather(*(store.claim(a_claim(limit=5)) for store in await racers(world)))

        assert {tuple(task.id for task in reply.tasks) for reply in replies} == {
            tuple(f"task {number}" for number in range(5))
        }

    @on_both_clocks
    async def test_many_workers_drain_all_tasks_once(self, world: World) -> None:
        """Every task is settled once, and no two leases hold a key at one time."""
        keys = ("north", "south", None)
        await world.add(*(a_new_task(f"task {n}", resource_key=keys[n % 3]) for n in range(60)))
        referee = Referee()

        await asyncio.gather(*(_drain(store, referee, n) for n, store in enumerate(await racers(world))))

        assert referee.fouls == []
        assert referee.settled == Counter({f"task {n}": 1 for n in range(60)})
        assert {task.outcome for task in (await world.everything()).values()} == {Outcome.COMPLETED}


async def _drain(store: TaskStore, referee: Referee, number: int) -> None:
    for round_ in range(_MOST_ROUNDS):
        if await store.count(TaskFilter(live=True)) == 0:
            return
        lease_uid = f"lease {number}.{round_}"
        tasks = (await store.claim(a_claim(lease_uid, limit=3, group=2))).tasks
        referee.granted(tasks, lease_uid)
        await asyncio.sleep(0)
        referee.ends(tasks)
        answers = await store.apply([an_atom(conclude(task, Success(), RETRIED, chance=0.0)) for task in tasks])
        referee.settled.update(
            task.id for task, answer in zip(tasks, answers, strict=True) if answer.verdict is Verdict.APPLIED
        )
