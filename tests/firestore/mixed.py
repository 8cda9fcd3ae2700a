"""A mixed fleet: our stores and stand-ins of the Go worker on one collection, and what neither may do to the other."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from google.api_core.exceptions import Aborted

from oncetask_core.claims import Claim, Slots
from oncetask_core.clock import VirtualClock
from oncetask_core.decisions import (
    Failure,
    KindRules,
    Released,
    Report,
    Snoozed,
    Success,
    Uids,
    call_off,
    cancel,
    conclude,
    expire,
    reset,
    tick,
)
from oncetask_core.query import TaskFilter, TaskQuery
from oncetask_core.recurrence import Cursor, due
from oncetask_core.retry import FixedDelayPolicy
from oncetask_core.task import NewTask, OnceTask
from oncetask_core.transition import Atom, Transition, Verdict
from oncetask_firestore import FirestoreStore
from tests.firestore.go_calls import GoManager
from tests.firestore.go_worker import GoWorker, Kind, Policy
from tests.firestore.golang import Fields, text
from tests.firestore.stepping import Steps

Task = OnceTask[object]
Look = Callable[[Collection[str]], Awaitable[Mapping[str, Fields]]]
"""Returns documents by name, whoever's turn it is."""

KIND = "mixed"
LEASE = timedelta(seconds=20)
FENCE = LEASE * 5 / 6
"""After which a worker that has not renewed its lease starts nothing."""
GO_LEASE = timedelta(seconds=30)
RULES = KindRules(
    retry_policy=FixedDelayPolicy(max_attempts=3, delay=timedelta(seconds=1.5)), has_cleanup=True, max_crashes=0
)
TURNS = 6
"""How often a worker polls, and how often somebody asks for something."""


@dataclass
class Run:
    """A handler that runs.

    Attributes:
        side: Who runs it.
        leases: For each of its tasks, by name, what marks the lease in the document.
    """

    side: str
    leases: Mapping[str, object]


@dataclass
class Watch:
    """Who runs what, by resource key.

    Attributes:
        look: Reads documents.
        clock: The time of all.
        overlaps: Handlers that began while the other side held an unexpired lease on their key.
    """

    look: Look
    clock: VirtualClock
    overlaps: list[str] = field(default_factory=list)
    _running: dict[str, list[Run]] = field(default_factory=dict)

    async def begin(self, run: Run, key: str) -> None:
        """Note that a handler begins: nobody of the other side may hold a lease of its key.

        Go workers among themselves are not judged, nor a Go handler that begins when its lease is over: a batch with
        cancelled tasks does.
        """
        if not key:
            return
        others = self._running.setdefault(key, [])
        documents = await self.look([name for one in (run, *others) for name in one.leases])
        now = text(self.clock.now())

        def held(one: Run) -> list[str]:
            found = {name: documents[name] for name in one.leases if name in documents}
            return [
                name for name in found if found[name]["leasedUntil"] > now and lease_of(found[name]) == one.leases[name]
            ]

        judged = [one for one in others if "Go" not in (one.side, run.side) or (one.side != run.side and held(run))]
        self.overlaps += [
            f"{run.side} began {list(run.leases)} of {key} beside {one.side} with {held(one)}"
            for one in judged
            if held(one)
        ]
        others.append(run)

    def end(self, run: Run, key: str) -> None:
        """Note that a handler has ended."""
        if key:
            self._running[key].remove(run)


def lease_of(fields: Fields) -> object:
    """Return what tells apart the leases of a document, whoever's they are; renewals do not change it."""
    ours: Fields = fields.get("oncetask") or {}
    is_ours = "lease" in ours and ours["stamp"] == [fields["doneAt"], fields["leasedUntil"], fields["attempts"]]
    return ours["lease"] if is_ours else (fields["leasedUntil"], fields["attempts"])


class Ours:
    """A worker on one of our stores, as small as can be.

    Args:
        name: Its name.
        store: Its store.
        steps: When it goes on.
        watch: Who else runs.
    """

    def __init__(self, name: str, store: FirestoreStore, *, steps: Steps, watch: Watch) -> None:
        self._name = name
        self._store = store
        self._steps = steps
        self._watch = watch
        self._polls = 0
        self.done: Counter[tuple[str, str, bool]] = Counter()
        """How often a success was accepted, by task, run and phase."""

    async def work(self) -> None:
        """Poll some times."""
        for _ in range(TURNS):
            await self._steps.stop("poll")
            await self.poll()

    async def poll(self) -> int:
        """Expire what has run out, claim, run and settle; return how much was claimed."""
        await self.expire()
        await self.tick()
        self._polls += 1
        chance = self._steps.chance
        slots = Slots(limit=chance.choice((1, 3)), group=chance.choice((1, 2)))
        lease_uid, asked = f"{self._name}.{self._polls}", self._watch.clock.now()
        claimed = await self._store.claim(
            Claim(
                lease_uid=lease_uid,
                leased_by=self._name,
                lease_for=LEASE,
                slots={KIND: slots},
                suspects=self._polls % 3 == 0,
            )
        )
        if self._watch.clock.now() - asked >= FENCE:
            return len(claimed.tasks)  # nothing is started that late, and the leases run out
        groups: dict[str, list[Task]] = {}
        for task in claimed.tasks:
            groups.setdefault(task.resource_key or f"without a key: {task.id}", []).append(task)
        runs = [(tasks, Run("we", {task.id: lease_uid for task in tasks})) for tasks in groups.values()]
        for tasks, run in runs:
            await self._watch.begin(run, tasks[0].resource_key or "")
        for tasks, run in runs:
            await self._handle(tasks, lease_uid)
            self._watch.end(run, tasks[0].resource_key or "")
        return len(claimed.tasks)

    async def _handle(self, tasks: Sequence[Task], lease_uid: str) -> None:
        chance = self._steps.chance
        for _ in range(chance.choice((1, 4, 9))):
            await self._steps.stop("work")
        if chance.random() < 0.3:
            await self._store.renew({lease_uid: LEASE})
            await self._steps.stop("work")
        if chance.random() < 0.1:
            return  # it vanishes
        for task in tasks:
            await self._settle(task, self._report())

    def _report(self) -> Report:
        number = self._steps.chance.random()
        if number < 0.6:
            return Success('{"b":1, "a":2.0}')
        if number < 0.8:
            return Failure(error=RuntimeError("ours"), text="ours", at=self._watch.clock.now(), final=number < 0.65)
        return Released() if number < 0.9 else Snoozed(timedelta(seconds=2.5))

    async def _settle(self, task: Task, report: Report) -> None:
        (answer,) = await self._store.apply([Atom((conclude(task, report, RULES, chance=0.5),))])
        if answer.verdict is Verdict.CHANGED and answer.task is not None:
            await self._settle(answer.task, report)
        elif answer.verdict is Verdict.APPLIED and isinstance(report, Success):
            self.done[task.id, task.run_uid, task.in_cleanup] += 1

    async def expire(self) -> None:
        """End the leases that have run out."""
        page = await self._store.find(TaskQuery(where=TaskFilter(kinds=frozenset({KIND}), run_out=True)))
        now = await self._store.now()
        await self._store.apply([Atom((expire(task, RULES, at=now, chance=0.5),)) for task in page.tasks])

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()

    async def tick(self) -> None:
        """Move the generators that are due."""
        where = TaskFilter(kinds=frozenset({KIND}), live=True, due=True, generators=True)
        for generator in (await self._store.find(TaskQuery(where=where))).tasks:
            if generator.lease_uid is None:
                await self._store.apply([self._ticked(generator)])

    def _ticked(self, generator: Task) -> Atom:
        if generator.is_cancelled:
            return call_off(generator)
        assert generator.recurrence is not None
        cursor = Cursor(generator.wait_until, generator.slots_used)
        fired = due(generator.recurrence, cursor, now=max(self._watch.clock.now(), generator.wait_until))
        runs = tuple(f"run of {slot}" for slot in fired.fire)
        return tick(generator, fired, Uids(created_by=self._name, run_uids=runs))

    async def administer(self, ids: Sequence[str]) -> None:
        """Cancel, reset, create, and create anew what was deleted."""
        for number in range(TURNS):
            await self._steps.stop("administer")
            task_id = self._steps.chance.choice(ids)
            deed = self._steps.chance.choice(("cancel", "reset", "create"))
            if deed == "create":
                await self._store.insert([new_task(f"{self._name} {number}", self._steps.chance.choice(("", "k1")))])
                continue
            task = (await self._store.get([task_id])).tasks.get(task_id)
            if task is None:
                key = self._steps.chance.choice(("", "k1"))
                await self._store.insert([new_task(task_id, key, run_uid=f"run {task_id} {number}")])
                continue
            asked = self._asked(task, f"{self._name} run {number}", is_reset=deed == "reset")
            await self._store.apply([] if asked is None else [Atom((asked,))])

    @staticmethod
    def _asked(task: Task, run_uid: str, *, is_reset: bool) -> Transition | None:
        if is_reset:
            return None if task.is_live or task.is_generator else reset(task, run_uid=run_uid)
        return cancel(task, has_cleanup=True)


def new_task(task_id: str, key: str, run_uid: str = "run") -> NewTask:
    """Return a task of ours."""
    return NewTask(
        id=task_id,
        kind=KIND,
        payload='{"b":1, "a":2}',
        run_uid=run_uid,
        created_by="us",
        resource_key=key or None,
    )


class Theirs:
    """A loop of a Go worker, and its handler.

    Args:
        worker: The stand-in.
        steps: When it goes on.
        watch: Who else runs.
        by_key: Whether it takes all tasks of a key at once.
    """

    def __init__(self, worker: GoWorker, steps: Steps, watch: Watch, *, by_key: bool) -> None:
        self._worker = worker
        self._steps = steps
        self._watch = watch
        policy = Policy(base=timedelta(seconds=steps.chance.choice((0, 1))))
        self._kind = Kind(KIND, self._handle, by_key, policy, self._handle, lease=GO_LEASE)

    async def work(self) -> None:
        """Poll some times."""
        for _ in range(TURNS):
            await self._steps.stop("poll")
            await self.poll()

    async def poll(self) -> bool:
        """Claim, run and settle; return whether there was anything."""
        return await self._worker.turn(self._kind)

    async def _handle(self, tasks: list[Fields]) -> object:
        key = tasks[0]["resourceKey"]
        run = Run("Go", {task["id"]: (task["leasedUntil"], task["attempts"]) for task in tasks})
        await self._watch.begin(run, key)
        try:
            for _ in range(self._steps.chance.choice((1, 4, 9))):
                await self._steps.stop("work")
        finally:
            self._watch.end(run, key)
        if self._steps.chance.random() < 0.3:
            raise RuntimeError("theirs")
        return {"by": "Go", "n": 7}


async def ask(manager: GoManager, steps: Steps, ids: Sequence[str]) -> None:
    """Cancel, reset, create and delete as a Go program does."""
    for number in range(TURNS):
        await steps.stop("administer")
        task_id = steps.chance.choice(ids)
        match steps.chance.choice(("cancel", "cancel by key", "reset", "reset", "create", "delete")):
            case "delete":
                await manager.delete([task_id])
            case "cancel":
                await manager.cancel([task_id])
            case "cancel by key":
                await manager.cancel_by_key(KIND, "k2")
            case "reset":
                await manager.reset([task_id])
            case _:
                with suppress(Aborted):  # where a transaction is in the way, a Go program is told so
                    await manager.create(f"go {number}", KIND, {"n": 1}, key=steps.chance.choice(("", "k1")))
