"""A worker while every few calls fail, each in another way: every task completes once, and every outcome is known."""

import asyncio
import itertools
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from oncetask import EventName, FixedDelayPolicy, OnceTask, Outcome, TaskManager
from tests.asynchronous import asynchronous
from tests.firestore.test_faults import PASSING, UNKNOWN
from tests.firestore.world import Faults, needs_server, new_project
from tests.worker.test_recurring import Report
from tests.worker.world import Job, Keyed, until_all_have_ended

pytestmark = [needs_server, pytest.mark.timeout(300)]

TASKS = int(os.environ.get("ONCETASK_STORM", "30"))
"""How many tasks without a key, and as many with one."""
FAILING = range(0, TASKS, 10)
AMID = 10 * TASKS + 1
"""How many documents are read between two queries that break off: more than any query finds, so its repeat succeeds."""
ENOUGH = 240.0
HOUR = timedelta(hours=1)


class Every:
    """A fault that strikes every so many calls of some names, each time with the next code."""

    def __init__(self, names: set[str], every: int, codes: tuple[grpc.StatusCode, ...]) -> None:
        self._names = names
        self._numbers = itertools.count(1)
        self._every = every
        self._codes = itertools.cycle(codes)
        self.struck = 0

    def __call__(self, name: str, _: Any) -> grpc.StatusCode | None:
        if name not in self._names or next(self._numbers) % self._every:
            return None
        self.struck += 1
        return next(self._codes)


@asynchronous
async def test_every_task_completes_once_while_calls_fail(faults: Faults) -> None:
    """Two workers; commits that are refused or whose replies are lost, reads that break off or never arrive."""
    url = f"firestore://{new_project()}"
    manager, other = (TaskManager(url, name=name, poll_interval=0.1) for name in ("one", "other"))
    runs, completed = Counter[str](), Counter[str]()
    for one in (manager, other):
        register(one, runs)
        one.on_event(lambda event: completed.update([event.task_id] if event.name is EventName.COMPLETED else []))
    kinds = (
        Every({"Commit"}, 7, PASSING),
        Every({"Commit"}, 5, UNKNOWN),
        Every({"RunQuery", "BatchGetDocuments"}, AMID, PASSING),
        Every({"RunQuery", "BatchGetDocuments", "RunAggregationQuery"}, 11, PASSING),
    )
    commits, replies, amid, reads = kinds
    faults.before = lambda name, request: commits(name, request) or reads(name, request)
    faults.after, faults.amid = replies, amid
    start = datetime.now(UTC).replace(microsecond=0) - HOUR
    await manager.create_tasks([Job(f"j{number}", number) for number in range(TASKS)])
    await manager.create_tasks([Keyed(f"k{number}", f"key {number % 4}") for number in range(TASKS)])
    await manager.create_task(Report("g", "FREQ=SECONDLY;COUNT=5", start, {"catch_up": "all"}))
    async with manager.running(), other.running():
        await until_all_have_ended(manager, seconds=ENOUGH)
    faults.amid = lambda _name, _request: None
    tasks = {task.id: task for task in (await manager.list_tasks(limit=1000)).tasks if not task.is_generator}
    await manager.close()
    await other.close()

    assert len(tasks) == 2 * TASKS + 5
    assert {task.outcome for task in tasks.values()} == {Outcome.COMPLETED}
    assert completed == dict.fromkeys(tasks, 1)
    assert runs == {task_id: 1 + task.failures for task_id, task in tasks.items()}
    assert {task.crashes for task in tasks.values()} == {0}
    uneven = {
        task_id: (task.claims, list(task.settled_by)) for task_id, task in tasks.items() if not _is_even(task, runs)
    }
    assert uneven == {}, "(claims, who settled): each claim is one run, and each run one outcome"
    assert sum(task.failures for task in tasks.values()) == TASKS // 10
    assert all(kind.struck for kind in kinds)


def _is_even(task: OnceTask[object], runs: Counter[str]) -> bool:
    return len(task.settled_by) == task.claims == runs[task.id]


def register(manager: TaskManager, runs: Counter[str]) -> None:
    """Register handlers that count their runs; every tenth task fails at first."""

    @manager.task_handler(Job, concurrency=5, retry_policy=FixedDelayPolicy(delay=0.0))
    async def handle(task: OnceTask[Job]) -> None:
        runs[task.id] += 1
        await asyncio.sleep(0.005)  # work, so that several run at once
        if task.data.value in FAILING and runs[task.id] == 1:
            raise ValueError("not at first")

    @manager.task_handler(Keyed, concurrency=3)
    async def handle_keyed(task: OnceTask[Keyed]) -> None:
        runs[task.id] += 1
        await asyncio.sleep(0.005)  # work, so that several run at once

    @manager.task_handler(Report)
    async def handle_report(task: OnceTask[Report]) -> None:
        runs[task.id] += 1
