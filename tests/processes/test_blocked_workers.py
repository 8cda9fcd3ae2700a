"""Handlers that block what the worker needs: the event loop, or the whole interpreter."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from oncetask import OnceTask, Outcome, TaskManager
from tests.firestore.world import needs_server
from tests.processes.stores import long_only
from tests.worker.world import Job

pytestmark = pytest.mark.alone

LEASES = (0.4, 1.0, 2.5, 6.0)
"""Seconds. A lease that a machine cannot keep, as it stands still for so long, says nothing; the next one may."""
TICK_SECONDS = 0.01
ENOUGH = 60.0
on_two_stores = pytest.mark.parametrize(
    "url", ["sqlite", pytest.param("firestore", marks=[long_only, needs_server])], indirect=True
)


class Standstill:
    """How long this process has stood still at most, all of its threads.

    Attributes:
        longest: In seconds.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._over = threading.Event()

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure for the length of a block."""
        thread = threading.Thread(target=self._tick)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _tick(self) -> None:
        before = time.monotonic()
        while not self._over.wait(TICK_SECONDS):
            now = time.monotonic()
            self.longest, before = max(self.longest, now - before), now


@on_two_stores
def test_a_handler_that_blocks_the_loop_for_three_leases_completes_once(url: str) -> None:
    """Renewals run on a thread of their own: a second worker that waits for the task never gets it."""
    *shorter, longest = LEASES
    runs, task = next((done for lease in shorter if (done := counts(url, lease))), None) or block(url, longest)

    assert runs == ["first"]
    assert task.outcome is Outcome.COMPLETED
    assert (task.claims, task.crashes) == (1, 0)


def counts(url: str, lease: float) -> "tuple[list[str], OnceTask[object]] | None":
    """Return what `block` does, unless the machine has stood still for so long that it says nothing."""
    standstill = Standstill()
    with standstill.measured():
        runs, task = block(url, lease)
    return (runs, task) if runs == ["first"] or standstill.longest < lease / 4 else None


def block(url: str, lease: float) -> tuple[list[str], OnceTask[object]]:
    """Run a task whose handler blocks for three leases; return who ran it, and what became of it."""
    name, runs = f"lease of {lease} s", list[str]()
    first, second = TaskManager(url, name="first"), TaskManager(url, name="second", poll_interval=0.05)

    @first.task_handler(Job, lease_duration=lease)
    async def block(task: OnceTask[Job]) -> str:
        runs.append("first")
        time.sleep(3 * lease)  # noqa: ASYNC251 - blocking the loop is the point
        return "first"

    @second.task_handler(Job, lease_duration=lease)
    async def steal(task: OnceTask[Job]) -> str:
        runs.append("second")
        return "second"

    async def scenario() -> OnceTask[object]:
        await first.create_task(Job(name))
        watching = asyncio.create_task(asyncio.to_thread(asyncio.run, watch()))
        await first.drain()
        await watching
        return (await first.get_tasks_by_ids([name])).tasks[0]

    async def watch() -> None:
        while not runs:  # noqa: ASYNC110 - the loop of the handler is blocked, and tells nobody
            await asyncio.sleep(TICK_SECONDS)
        async with second.running():
            await asyncio.sleep(3 * lease)
        await second.close()

    task = asyncio.run(scenario())
    asyncio.run(first.close())
    return runs, task


HOLDER = """
import asyncio, ctypes, sys
from oncetask import TaskManager
from tests.worker.world import Job

manager = TaskManager(sys.argv[1], name="holder")
ended = asyncio.Event()

@manager.on_event
def tell(event):
    print(event.name.value, flush=True)
    if event.name.value != "started":
        ended.set()

@manager.task_handler(Job, lease_duration=1)
async def hold(task):
    ctypes.PyDLL(None).read(0, ctypes.create_string_buffer(1), 1)  # a call that keeps the interpreter lock
    return "holder"

async def main():
    async with manager.running():
        await ended.wait()
    await manager.close()

asyncio.run(main())
"""


@on_two_stores
def test_a_handler_that_holds_the_interpreter_is_fenced_and_not_doubled(url: str) -> None:
    """No renewal can run while the lock is held; the task is taken over and the late report changes nothing."""
    manager = TaskManager(url, name="successor", poll_interval=0.05)

    @manager.task_handler(Job, lease_duration=ENOUGH)
    async def succeed(task: OnceTask[Job]) -> str:
        return "successor"

    async def scenario() -> tuple[str, OnceTask[object]]:
        await manager.create_task(Job("a"))
        command = [sys.executable, "-c", HOLDER, url]
        holder = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"started\n"
        async with manager.running():
            result = await manager.wait("a", timeout=ENOUGH)
        said, _ = await asyncio.wait_for(holder.communicate(b"."), ENOUGH)
        assert holder.returncode == 0
        assert said.decode().split() == ["lease_lost"]
        return result, (await manager.get_tasks_by_ids(["a"])).tasks[0]

    result, task = asyncio.run(scenario())
    asyncio.run(manager.close())

    assert result == "successor"
    assert task.result == '"successor"'
    assert task.crashes == 1
    assert len(task.settled_by) == 1
