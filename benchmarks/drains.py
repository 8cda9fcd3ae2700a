"""How fast tasks that are there already are run: by one process, by several, and beside a key that everybody waits for.

python -m benchmarks.drains URL     one of several processes: says when it is ready, waits for a line, drains
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import IO, Any

from benchmarks.workload import SLOTS, Keyed, Nothing, make_manager
from oncetask import OnceTask, TaskFilter, TaskManager, TaskStore

DRAIN_SECONDS = 300


async def drain_rate(url: TaskStore | str, tasks: int) -> float:
    """Return tasks per second from the first claim until no task is left."""
    manager = make_manager(url)
    await manager.count_tasks()
    began = time.perf_counter()
    await manager.drain()
    seconds = time.perf_counter() - began
    await _check_empty(manager)
    return tasks / seconds


def drain_rate_of_processes(url: str, tasks: int, *, processes: int) -> float:
    """Return tasks per second from the first claim of any until no process finds any more."""
    spans = replies_of_processes([sys.executable, "-m", "benchmarks.drains", url], processes)
    asyncio.run(_check_empty(make_manager(url)))
    seconds: float = max(ended for _, ended in spans) - min(began for began, _ in spans)
    return tasks / seconds


def replies_of_processes(command: Sequence[str], processes: int) -> list[Any]:
    """Start as many processes, let them go when all are ready, and return what they write in the end, read as JSON."""
    with ExitStack() as stack:
        drainers = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(processes)
        ]
        for drainer in drainers:
            if _stream(drainer.stdout).readline() != "ready\n":
                raise AssertionError("a process did not start")
        for drainer in drainers:
            _stream(drainer.stdin).write("go\n")
            _stream(drainer.stdin).flush()
        return [json.loads(drainer.communicate(timeout=DRAIN_SECONDS)[0]) for drainer in drainers]


async def wait_for_the_others() -> None:
    """Say that this process is ready, and wait until all are."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)


def _stream(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise AssertionError("the process was started with pipes")
    return pipe


async def rate_beside_hot_key(url: TaskStore | str, tasks: int) -> float:
    """Return keyless tasks per second while as many older tasks of one key are run one after the other."""
    manager = TaskManager(url)
    left, done = tasks, asyncio.Event()

    @manager.task_handler(Keyed, concurrency=SLOTS)
    async def handle_keyed(task: OnceTask[Keyed]) -> None:
        return None

    @manager.task_handler(Nothing, concurrency=SLOTS)
    async def handle(task: OnceTask[Nothing]) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    await manager.count_tasks()
    began = time.perf_counter()
    async with manager.running():
        await done.wait()
        seconds = time.perf_counter() - began
    waiting = await manager.count_tasks(TaskFilter(live=True))
    await manager.close()
    if not 0 < waiting < tasks:
        raise AssertionError(f"{waiting} of {tasks} tasks of the hot key are left: it was not run beside the others")
    return tasks / seconds


async def _check_empty(manager: TaskManager) -> None:
    left = await manager.count_tasks(TaskFilter(live=True))
    await manager.close()
    if left:
        raise AssertionError(f"{left} tasks were left")


async def _drain(url: str) -> tuple[float, float]:
    manager = make_manager(url)
    await manager.count_tasks()
    await wait_for_the_others()
    began = time.perf_counter()
    await manager.drain()
    ended = time.perf_counter()
    await manager.close()
    return began, ended


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_drain(sys.argv[1]))))
