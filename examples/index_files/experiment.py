"""The experiment: create the tasks, run two worker processes, kill one while it holds tasks, replace it, wait."""

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from examples.index_files.scan import Found
from examples.index_files.tasks import CallFlakyService, IndexFile, NoteTime, SendReminder, SummarizeFolder
from oncetask import Created, TaskFilter, TaskManager, TaskStatus

LEAST_LEASED = 3
LOOK_EVERY = 0.02
LINGER = 1.0
"""By how much longer the worker that is to be killed takes for a group of files: a small tree is done in no time."""
GIVE_UP_AFTER = 170.0
PAGE = 1000


@dataclass(slots=True)
class Plan:
    """What was asked for, and how much of it was new."""

    files: int = 0
    new_files: int = 0
    folders: int = 0
    new_folders: int = 0
    ids: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    flaky: set[str] = field(default_factory=set)
    recurring: set[str] = field(default_factory=set)
    summaries: set[str] = field(default_factory=set)
    """The ids of the folder tasks that are new."""


async def create(manager: TaskManager, found: Sequence[Found], folder: Path) -> Plan:
    """Create one task per file and folder, and the special ones of this run; cancel one."""
    files = [IndexFile(file.root, file.path, file.folder, file.digest) for file in found]
    summaries = [_summary(name, found, folder) for name in sorted({file.folder for file in found})]
    plan = Plan(files=len(files), folders=len(summaries))
    for start in range(0, len(files), PAGE):
        plan.new_files += len(_note(plan, await manager.create_tasks(files[start : start + PAGE])))
    plan.summaries = _note(plan, await manager.create_tasks(summaries))
    plan.new_folders = len(plan.summaries)
    now = datetime.now(UTC)
    run = f"{now:%Y%m%dT%H%M%S.%f}"
    flaky, clock, reminder = CallFlakyService(run), NoteTime(run, now.replace(microsecond=0)), SendReminder(run)
    _note(plan, await manager.create_tasks([flaky, clock, reminder]))
    await manager.cancel_task(reminder.idempotent_id())
    plan.cancelled.add(reminder.idempotent_id())
    plan.flaky.add(flaky.idempotent_id())
    plan.recurring.add(clock.idempotent_id())
    return plan


def _note(plan: Plan, created: Iterable[Created[object]]) -> set[str]:
    """Note the ids; return those that are new."""
    answers = list(created)
    plan.ids |= {answer.id for answer in answers}
    return {answer.id for answer in answers if answer}


def _summary(name: str, found: Sequence[Found], folder: Path) -> SummarizeFolder:
    digests = "".join(file.digest for file in found if file.folder == name)
    digest = hashlib.sha256(digests.encode()).hexdigest()[:16]
    return SummarizeFolder(name, digest, str(folder / f"{name.replace('/', '__')}.json"))


@dataclass(frozen=True, slots=True)
class Killed:
    """The process that was killed and the tasks that it held."""

    pid: int
    leased: frozenset[str]


class Workers:
    """Worker processes of this run; they are stopped with it."""

    def __init__(self, store: str, ledger: Path) -> None:
        self._command = [
            sys.executable,
            "-m",
            "examples.index_files.worker",
            "--store",
            store,
            "--ledger",
            str(ledger),
        ]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *, linger: float = 0.0) -> None:
        """Start a worker process under this name, which may take longer for its files than it needs."""
        self._processes[name] = subprocess.Popen([*self._command, "--name", name, "--linger", str(linger)])

    async def kill_one_that_holds_tasks(self, name: str, manager: TaskManager) -> Killed | None:
        """Kill the worker with SIGKILL at a moment when it holds at least three tasks; None if there is no such moment.

        It is frozen first, so that what it holds can be read while it cannot settle anything, but not before it holds
        something: on a busy machine it would not get as far as that.
        """
        process = self._processes[name]
        while await has_work(manager):
            await asyncio.sleep(LOOK_EVERY)
            if len(await _leased_by(manager, name)) < LEAST_LEASED:
                continue
            _freeze(process)
            await asyncio.sleep(LOOK_EVERY)  # what it had sent already reaches the store
            leased = await _leased_by(manager, name)
            if len(leased) >= LEAST_LEASED:
                process.kill()
                process.wait()
                del self._processes[name]
                return Killed(process.pid, frozenset(leased))
            process.send_signal(signal.SIGCONT)
        return None

    def stop(self) -> None:
        """Drain every worker; kill those that do not end."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()


def _freeze(process: "subprocess.Popen[bytes]") -> None:
    """Stop the process; when this returns, none of its threads runs any more."""
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)


async def until_it_holds_tasks(name: str, manager: TaskManager) -> None:
    """Wait until the worker holds at least three tasks, or until there is no more work."""
    while await has_work(manager):
        if len(await _leased_by(manager, name)) >= LEAST_LEASED:
            return
        await asyncio.sleep(LOOK_EVERY)


async def _leased_by(manager: TaskManager, name: str) -> set[str]:
    page = await manager.list_tasks(TaskFilter(statuses=frozenset({TaskStatus.LEASED})), limit=PAGE)
    return {task.id for task in page.tasks if task.leased_by == name}


async def has_work(manager: TaskManager) -> bool:
    """Return whether any task has not ended."""
    return await manager.count_tasks(TaskFilter(live=True)) > 0


async def finish(manager: TaskManager, show: Callable[[str], None]) -> bool:
    """Wait until every task has ended, showing how far things are; return False if that takes too long."""
    start = time.monotonic()
    total = await manager.count_tasks()
    while (left := await manager.count_tasks(TaskFilter(live=True))) > 0:
        if time.monotonic() - start > GIVE_UP_AFTER:
            return False
        total = max(total, await manager.count_tasks())
        show(f"{total - left} of {total} tasks ended")
        await asyncio.sleep(0.25)
    return True
