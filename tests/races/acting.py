"""What workers and administrators do in a race, however often somebody is in their way."""

import asyncio
import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from oncetask_core import decisions
from oncetask_core.decisions import KindRules, Report, cancel, conclude, deletion, reschedule, reset
from oncetask_core.errors import StoreError, StoreUnavailableError
from oncetask_core.query import MAX_PAGE, TaskFilter, TaskOrder, TaskQuery
from oncetask_core.store import TaskStore
from oncetask_core.task import OnceTask
from oncetask_core.transition import Answer, Atom, Transition, Verdict
from oncetask_sql.keys import Key
from tests.sql.keys import faults_of_keys

Task = OnceTask[object]

MOMENT = 0.001
"""Seconds after which somebody who found another one in the way comes back."""
DONE = {Verdict.APPLIED, Verdict.ALREADY, Verdict.CHANGED}
"""What a report is answered that was written, or that is decided again."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the end of a run was not written.

    Attributes:
        task_id: The task.
        verdict: What was answered.
        error: What is wrong, where that was told.
        is_repeated: Whether an earlier reply was lost; then the end may have been written, and more happened since.
    """

    task_id: str
    verdict: Verdict
    error: StoreError | None
    is_repeated: bool

    def __str__(self) -> str:
        return f"{self.task_id}: {self.verdict} {self.error or ''}".rstrip()


async def report(store: TaskStore, reports: Iterable[tuple[Task, Report]], rules: KindRules) -> list[Refusal]:
    """Report the ends of runs, deciding again where a task has changed; return what was refused.

    Args:
        store: The store.
        reports: Tasks as they are known, and what became of their runs.
        rules: Those of the kind.
    """
    refused: list[Refusal] = []
    left = list(reports)
    while left:
        atoms = [Atom((conclude(task, one, rules, chance=0.0),)) for task, one in left]
        answers, is_repeated = await _applied(store, atoms)
        told = list(zip(answers, left, strict=True))
        refused += [
            Refusal(task.id, answer.verdict, answer.error, is_repeated)
            for answer, (task, _) in told
            if answer.verdict not in DONE
        ]
        left = [
            (answer.task, one)
            for answer, (_, one) in told
            if answer.verdict is Verdict.CHANGED and answer.task is not None
        ]
    return refused


async def _applied(store: TaskStore, atoms: Sequence[Atom]) -> tuple[Sequence[Answer], bool]:
    """Return the answers, and whether it was asked again for them."""
    is_repeated = False
    while True:
        try:
            return await store.apply(atoms), is_repeated
        except StoreUnavailableError:
            is_repeated = True
            await asyncio.sleep(MOMENT)


async def expire(store: TaskStore, rules: KindRules) -> None:
    """End leases that have run out.

    Raises:
        StoreUnavailableError: Somebody was in the way.
    """
    page = await store.find(TaskQuery(where=TaskFilter(run_out=True)))
    at = await store.now()
    await store.apply([Atom((decisions.expire(task, rules, at=at, chance=0.0),)) for task in page.tasks])


async def administer(store: TaskStore, chance: random.Random, deleted: set[str]) -> None:
    """Cancel, reset, move or delete a few tasks.

    Args:
        store: The store.
        chance: What is done to which.
        deleted: The ids of what is deleted are added, also where somebody is in the way of the next task.

    Raises:
        StoreUnavailableError: Somebody was in the way.
    """
    where = TaskFilter(live=chance.random() < 0.8)
    page = await store.find(TaskQuery(where=where, order=chance.choice(list(TaskOrder)), limit=20))
    for task in chance.sample(list(page.tasks), min(len(page), 3)):
        if task.lease_uid is None and chance.random() < 0.3:
            (verdict,) = await store.delete([deletion(task)])
            deleted.update([task.id] if verdict is Verdict.APPLIED else [])
        elif (decided := _decided(task, chance)) is not None:
            await store.apply([Atom((decided,))])


def _decided(task: Task, chance: random.Random) -> Transition | None:
    """Return what an administrator decides about a task; about one that is held only a cancellation."""
    if not task.is_live:
        return reset(task, run_uid=uuid4().hex)
    if task.lease_uid is not None or task.is_cancelled or chance.random() < 0.5:
        return cancel(task, has_cleanup=chance.random() < 0.5)
    return reschedule(task, datetime.now(UTC) - timedelta(seconds=chance.uniform(0, 60)))


async def everything(store: TaskStore) -> list[Task]:
    """Return all tasks."""
    tasks: list[Task] = []
    cursor: str | None = None
    while True:
        page = await store.find(TaskQuery(limit=MAX_PAGE, cursor=cursor))
        tasks += page.tasks
        cursor = page.cursor
        if cursor is None:
            return tasks


async def held_at_rest(store: TaskStore) -> list[str]:
    """Return what is held while nobody acts."""
    tasks = [task for task in await everything(store) if task.lease_uid is not None]
    return [f"{task.id} is held by nobody who acts" for task in tasks]


async def faults_at_rest(store: TaskStore, *, noted: Collection[Key]) -> list[str]:
    """Return what is wrong with the keys while nobody acts: nothing is held, and each seat is noted or right."""
    tasks = [task for task in await everything(store) if task.is_live or task.head_key is not None]
    return [*await held_at_rest(store), *faults_of_keys(tasks, noted=noted)]
