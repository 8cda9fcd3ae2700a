"""Handlers that block what the worker needs: the event loop, or the whole interpreter."""

import asyncio
import subprocess
import sys
import time

import pytest

from oncetask import OnceTask, Outcome, TaskManager
from tests.firestore.world import needs_server
from tests.processes.stores import long_only
from tests.worker.world import Job

pytestmark = pytest.mark.alone

LEASE = 0.4
on_two_stores = pytest.mark.parametrize(
    "url", ["sqlite", pytest.param("firestore", marks=[long_only, needs_server])], indirect=True
)


@on_two_stores
def test_a_handler_that_blocks_the_loop_for_three_leases_completes_once(url: str) -> None:
    """Renewals run on a thread of their own: a second worker that waits for the task never gets it."""
    runs: list[str] = []
    first, second = TaskManager(url, name="first"), TaskManager(url, name="second", poll_interval=0.05)

    @first.task_handler(Job, lease_duration=LEASE)
    async def block(task: OnceTask[Job]) -> str:
        runs.append("first")
        time.sleep(3 * LEASE)  # noqa: ASYNC251 - blocking the loop is the point
        return "first"

    @second.task_handler(Job, lease_duration=LEASE)
    async def steal(task: OnceTask[Job]) -> str:
        runs.append("second")
        return "second"

    async def scenario() -> OnceTask[object]:
        await first.create_task(Job("a"))
        watching = asyncio.create_task(asyncio.to_thread(asyncio.run, watch()))
        await first.drain()
        await watching
        return (await first.get_tasks_by_ids(["a"])).tasks[0]

    async def watch() -> None:
        await asyncio.sleep(LEASE / 2)
        async with second.running():
            await asyncio.sleep(3 * LEASE)
        await second.close()

    task = asyncio.run(scenario())
    asyncio.run(first.close())

    assert runs == ["first"]
    assert task.outcome is Outcome.COMPLETED
    assert (task.claims, task.crashes) == (1, 0)


HOLDER = """
import asyncio, ctypes, sys
from oncetask import TaskManager
from tests.worker.world import Job

manager = TaskManager(sys.argv[1], name="holder")
manager.on_event(lambda event: print(event.name.value, flush=True))

@manager.task_handler(Job, lease_duration=%s)
async def hold(task):
    ctypes.PyDLL(None).usleep(1_600_000)  # a call that keeps the interpreter lock
    return "holder"

async def main():
    async with manager.running():
        await asyncio.sleep(3)

asyncio.run(main())
"""


@on_two_stores
def test_a_handler_that_holds_the_interpreter_is_fenced_and_not_doubled(url: str) -> None:
    """No renewal can run while the lock is held; the task is taken over and the late report changes nothing."""
    manager = TaskManager(url, name="successor", poll_interval=0.05)

    @manager.task_handler(Job, lease_duration=LEASE)
    async def succeed(task: OnceTask[Job]) -> str:
        return "successor"

    async def scenario() -> tuple[str, OnceTask[object]]:
        await manager.create_task(Job("a"))
        command = [sys.executable, "-c", HOLDER % LEASE, url]
        holder = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"started\n"
        async with manager.running():
            result = await manager.wait("a", timeout=20)
        events = (await holder.stdout.read()).decode().split()
        assert await holder.wait() == 0
        assert events == ["lease_lost"]
        return result, (await manager.get_tasks_by_ids(["a"])).tasks[0]

    result, task = asyncio.run(scenario())
    asyncio.run(manager.close())

    assert result == "successor"
    assert task.result == '"successor"'
    assert task.crashes == 1
    assert len(task.settled_by) == 1
