"""Claims, writes and seats on SQLite against the executable specification, under random scripts."""

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

import msgspec
import pytest

from oncetask_core.claims import chosen, leased, next_due
from oncetask_core.decisions import (
    Failure,
    Released,
    Report,
    Snoozed,
    cancel,
    conclude,
    deletion,
    expire,
    reschedule,
    reset,
)
from oncetask_core.errors import IllegalTransitionError
from oncetask_core.query import TaskFilter, TaskQuery
from oncetask_core.seats import seat_faults
from oncetask_core.task import NewTask, OnceTask, StoreNow
from oncetask_core.transition import Atom, Transition, Verdict, applied, judge
from oncetask_sql import SqliteStore
from tests.asynchronous import asynchronous
from tests.sql.records import NOW
from tests.sql.world import DONE, RULES, Space, a_claim, everything, new_task

SCRIPTS = int(os.environ.get("ONCETASK_SQL_SCRIPTS", "25"))
STEPS = 60
KINDS = ("letter", "parcel")
KEYS = (None, None, "north", "south", "strict")
SECOND = timedelta(seconds=1)
FAILED = Failure(error=RuntimeError("no"), text="no", at=NOW)
REPORTS: Sequence[Report] = (DONE, Released(), Snoozed(30 * SECOND), FAILED)

Task = OnceTask[object]


class Script:
    """A random sequence of calls, each compared with what the specification says about all records."""

    def __init__(self, space: Space, store: SqliteStore, seed: int) -> None:
        self._space = space
        self._store = store
        self._random = Random(seed)
        self._number = 0

    async def run(self) -> None:
        """Take the steps; after each of them every seat is right."""
        steps = (
            self._insert,
            self._insert,
            self._claim,
            self._claim,
            self._apply,
            self._apply,
            self._pass_time,
            self._delete,
        )
        for _ in range(STEPS):
            self._number += 1
            await self._random.choice(steps)()
            assert self._faults(await everything(self._store)) == []

    def _faults(self, tasks: Sequence[Task]) -> list[str]:
        keys = {(task.kind, task.resource_key) for task in tasks if task.resource_key is not None}
        of = {key: [task for task in tasks if (task.kind, task.resource_key) == key] for key in keys}
        return [fault for tasks in of.values() for fault in seat_faults(tasks)]

    async def _pass_time(self) -> None:
        self._space.clock.advance(self._random.choice((1, 60, 4000)))

    async def _insert(self) -> None:
        before = {task.id: task for task in await everything(self._store)}
        new = [self._new() for _ in range(self._random.randint(1, 5))]

        answers = await self._store.insert(new)

        seen = {task_id: (task.kind, task.created_by) for task_id, task in before.items()}
        for task, answer in zip(new, answers, strict=True):
            assert answer.created == (task.id not in seen)
            seen.setdefault(task.id, (task.kind, task.created_by))
            assert (answer.kind, answer.created_by) == seen[task.id]

    def _new(self) -> NewTask:
        key = self._random.choice(KEYS)
        return new_task(
            f"task {self._random.randrange(25)}",
            kind=self._random.choice(KINDS),
            key=key,
            strict=key == "strict" and self._random.random() < 0.8,
            priority=self._random.choice((-10, -1, 0, 0, 1, 10)),
            wait_until=StoreNow(self._random.choice((-90, 0, 0, 30, 90)) * SECOND),
            run=str(self._number),
        )

    async def _claim(self) -> None:
        before = await everything(self._store)
        kinds = self._random.sample(KINDS, self._random.randint(1, 2))
        claim = a_claim(
            f"lease {self._number}",
            kinds=kinds,
            limit=self._random.randint(0, 4),
            group=self._random.randint(1, 4),
            suspects=self._random.random() < 0.3,
        )

        claimed = await self._store.claim(claim)

        expected = chosen(claim, before, claimed.now)
        epochs = [task.epoch for task in claimed.tasks]
        assert list(claimed.tasks) == [
            leased(task, claim, now=claimed.now, epoch=epoch) for task, epoch in zip(expected, epochs, strict=True)
        ]
        assert epochs == sorted(set(epochs))
        assert all(epoch > task.epoch for task in before for epoch in epochs)
        if claimed.next_due is not None:
            assert claimed.next_due == next_due(before, kinds, claimed.now)
        assert (await self._store.claim(claim)).tasks == claimed.tasks or not claimed.tasks

    async def _apply(self) -> None:
        before = {task.id: task for task in await everything(self._store)}
        now = await self._store.now()
        atoms = [self._atom(list(before.values())) for _ in range(self._random.randint(1, 6)) if before]

        answers = await self._store.apply(atoms)

        for atom, answer in zip(atoms, answers, strict=True):
            expected = self._expected(atom, before, now=now)
            assert answer.verdict is expected
        after = {task.id: task for task in await everything(self._store)}
        assert self._without_seats(after) == self._without_seats(before)

    def _expected(self, atom: Atom, tasks: dict[str, Task], *, now: datetime) -> Verdict:
        """Apply an atom to the records, all or nothing, and return its verdict."""
        changed = dict(tasks)
        verdicts = []
        for transition in atom.transitions:
            task = changed.get(transition.guard.id)
            verdicts.append(judge(transition.guard, task, now))
            if task is not None and verdicts[-1] is Verdict.APPLIED:
                changed[task.id] = applied(task, transition, now)
        refused = [verdict for verdict in verdicts if verdict is not Verdict.APPLIED]
        if not refused:
            tasks |= changed
            return Verdict.APPLIED
        if set(verdicts) == {Verdict.ALREADY}:
            return Verdict.ALREADY
        return next((verdict for verdict in refused if verdict is not Verdict.ALREADY), Verdict.LEASE_LOST)

    def _without_seats(self, tasks: dict[str, Task]) -> dict[str, object]:
        """Return the records without their seats, which follow from the rest."""
        return {task_id: msgspec.structs.replace(task, head_key=None) for task_id, task in tasks.items()}

    def _atom(self, tasks: Sequence[Task]) -> Atom:
        transitions = [self._transition(self._random.choice(tasks)) for _ in range(self._random.choice((1, 1, 1, 2)))]
        return Atom(tuple(transition for transition in transitions if transition is not None))

    def _transition(self, task: Task) -> Transition | None:
        try:
            if task.lease_uid is not None:
                return self._of_holder(task)
            return self._random.choice(
                (
                    lambda: cancel(task, has_cleanup=self._random.random() < 0.5),
                    lambda: reset(task, run_uid=f"reset {self._number}"),
                    lambda: reschedule(task, StoreNow(self._random.choice((-60, 60)) * SECOND)),
                )
            )()
        except IllegalTransitionError:
            return None

    def _of_holder(self, task: Task) -> Transition | None:
        return self._random.choice(
            (
                lambda: conclude(task, self._random.choice(REPORTS), RULES, chance=0.0),
                lambda: conclude(task, DONE, RULES, chance=0.0),
                lambda: expire(task, RULES, at=NOW, chance=0.0),
                lambda: cancel(task, has_cleanup=True),
            )
        )()

    async def _delete(self) -> None:
        page = await self._store.find(TaskQuery(where=TaskFilter(), limit=1000))
        guards = [deletion(self._random.choice(page.tasks)) for _ in range(2) if page.tasks]

        verdicts = await self._store.delete(guards)

        gone: set[str] = set()
        for guard, verdict in zip(guards, verdicts, strict=True):
            assert verdict is (Verdict.MISSING if guard.id in gone else Verdict.APPLIED)
            gone.add(guard.id)


@pytest.mark.parametrize("seed", range(SCRIPTS))
@asynchronous
async def test_a_random_script_goes_as_specified(space: Space, seed: int) -> None:
    """Claims take what `chosen` says and write what `leased` says, atoms what `judge` and `applied` say."""
    async with space.opened() as store:
        await Script(space, store, seed).run()
