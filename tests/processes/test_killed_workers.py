"""Worker processes that are killed, and some that are stopped for longer than their lease and then go on.

The ledger says what the handlers did, whatever the store and the library believe.
"""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from examples.index_files.ledger import Entry, Ledger
from examples.index_files.verdict import Expected, judge
from oncetask import OnceTask, TaskFilter, TaskManager
from oncetask_core.transition import Verdict
from tests.processes.hunting import ENOUGH, Workers, overlaps, workers_on
from tests.processes.worker import manager_on
from tests.worker.world import Job, Keyed, until_all_have_ended

pytestmark = [pytest.mark.alone, pytest.mark.timeout(600)]

ROUNDS = int(os.environ.get("ONCETASK_KILLS", "1"))
"""How often a process is killed and another one stopped."""
TASKS = 25
"""How many tasks with a key, and as many without one, are created at once before each signal, so that handlers run."""
KEYS = 4


def test_nothing_is_lost_or_doubled_whatever_happens_to_processes(url: str, tmp_path: Path) -> None:
    """Three workers, of which one is killed and one stopped past its lease, again and again."""
    ledger = tmp_path / "ledger.db"

    async def scenario(workers: Workers) -> Sequence[OnceTask[object]]:
        manager, batches = TaskManager(url), itertools.count(1)

        async def create(*, again: bool) -> None:
            if again and await manager.count_tasks(TaskFilter(live=True)):
                return  # workers that begin slowly have these before them, and get no more for it
            batch = next(batches)
            await manager.create_tasks([Job(f"job {batch} {number}") for number in range(TASKS)])
            await manager.create_tasks([Keyed(f"{batch} {number}", f"key {number % KEYS}") for number in range(TASKS)])

        for _ in range(ROUNDS):
            await workers.kill_one(create)
            await workers.stop_one(create)
        await until_all_have_ended(manager, seconds=ENOUGH)
        await asyncio.to_thread(workers.end)
        tasks = await everything(manager)
        await manager.close()
        assert len(tasks) == 2 * TASKS * (next(batches) - 1)
        return tasks

    with workers_on(url, ledger, count=3) as workers:
        tasks = asyncio.run(scenario(workers))
        entries = Ledger(ledger).entries()

        assert (len(workers.ended), len(workers.stopped)) == (ROUNDS, ROUNDS)
        check_ledger(tasks, entries, killed_pids=workers.ended)
        assert overlaps(tasks, entries, workers) == []


async def everything(manager: TaskManager) -> Sequence[OnceTask[object]]:
    """Return all tasks."""
    tasks: list[OnceTask[object]] = []
    cursor: str | None = None
    while True:
        page = await manager.list_tasks(limit=1000, cursor=cursor)
        tasks += page.tasks
        cursor = page.cursor
        if cursor is None:
            return tasks


def check_ledger(
    tasks: Sequence[OnceTask[object]], entries: Sequence[Entry], *, killed_pids: Collection[int] = ()
) -> None:
    """Fail unless each task ended once, with the result of a handler that the ledger saw end under that lease."""
    expected = Expected(
        created=[task.id for task in tasks],
        earlier=(),
        cancelled=(),
        flaky=(),
        recurring=(),
        killed_pids=killed_pids,
        leased_at_kill=(),
    )
    verdict = judge(tasks, entries, expected)
    assert verdict.violations == []
    ended = {(entry.task, entry.lease) for entry in entries if entry.event == "end"}
    assert [task.id for task in tasks if (task.id, str(task.result).strip('"')) not in ended] == []
    assert [task.id for task in tasks if task.settled_by[-1:] != (str(task.result).strip('"'),)] == []
    assert sum(task.crashes for task in tasks) > 0, "nothing was taken from a worker"


HOLDER = """
import asyncio, sys
from datetime import timedelta
from oncetask_core.claims import Claim, Slots
from oncetask_core.composition import store_from_url
from oncetask_core.decisions import KindRules, Success, conclude
from oncetask_core.env import DEFAULT_ENV
from oncetask_core.transition import Atom

async def main():
    store = store_from_url(sys.argv[1], env=DEFAULT_ENV, clock=None)
    await store.open()
    claim = Claim(lease_uid="stopped", leased_by="stopped", lease_for=timedelta(seconds=1), slots={"keyed": Slots(1)})
    (task,) = (await store.claim(claim)).tasks
    print(task.id, flush=True)
    sys.stdin.readline()
    (answer,) = await store.apply([Atom((conclude(task, Success('"stopped"'), KindRules(), chance=0.0),))])
    renewed = await store.renew({"stopped": timedelta(seconds=60)})
    print(f"{answer.verdict}, holds {len(renewed.held)}", flush=True)
    await store.close()

asyncio.run(main())
"""


@asynccontextmanager
async def holding(url: str) -> AsyncIterator[Process]:
    """Yield a process that has claimed a task; it is not left behind."""
    command = [sys.executable, "-c", HOLDER, url]
    holder = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert await said_by(holder) == "a"
        yield holder
    finally:
        if holder.returncode is None:
            holder.kill()
            await holder.wait()


async def said_by(process: Process) -> str:
    """Return the next line of a process."""
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


def test_the_outcome_of_a_process_that_was_stopped_past_its_lease_is_refused(url: str, tmp_path: Path) -> None:
    """Its task and the next of its key were run by another meanwhile; it writes nothing, and holds nothing."""
    ledger = Ledger(tmp_path / "ledger.db")

    async def scenario() -> Sequence[OnceTask[object]]:
        manager = manager_on(url, ledger, lease_seconds=ENOUGH)
        await manager.create_tasks([Keyed("a"), Keyed("b")])
        async with holding(url) as holder:
            assert holder.stdin is not None
            holder.send_signal(signal.SIGSTOP)
            async with manager.running():
                for task_id in ("a", "b"):  # in either order: a is tried again, and b was claimed by nobody yet
                    await manager.wait(task_id, timeout=ENOUGH)
            holder.send_signal(signal.SIGCONT)
            holder.stdin.write(b"go on\n")
            assert await said_by(holder) == f"{Verdict.LEASE_LOST}, holds 0"
            assert await holder.wait() == 0
        tasks = await everything(manager)
        await manager.close()
        return tasks

    tasks = asyncio.run(scenario())

    check_ledger(tasks, ledger.entries())
    assert [(task.id, task.crashes, task.claims) for task in tasks] == [("a", 1, 2), ("b", 0, 1)]
