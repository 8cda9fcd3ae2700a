"""The work that is measured: tasks that do nothing."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from oncetask import OnceTask, TaskData, TaskManager, TaskStore

SLOTS = 200


@dataclass(frozen=True, slots=True)
class Nothing(TaskData[None]):
    """A task whose handler does nothing."""

    kind: ClassVar[str] = "nothing"
    number: str

    def idempotent_id(self) -> str:
        return self.number


@dataclass(frozen=True, slots=True)
class Keyed(TaskData[None]):
    """The same, with a resource key."""

    kind: ClassVar[str] = "keyed"
    number: int
    keys: int

    def idempotent_id(self) -> str:
        return f"k{self.number}"

    def resource_key(self) -> str:
        return f"key {self.number % self.keys}"


def make_manager(url: TaskStore | str) -> TaskManager:
    """Return a manager whose handlers return at once."""
    manager = TaskManager(url)

    @manager.task_handler(Nothing, concurrency=SLOTS)
    async def handle(task: OnceTask[Nothing]) -> None:
        return None

    @manager.task_handler(Keyed, concurrency=SLOTS)
    async def handle_keyed(task: OnceTask[Keyed]) -> None:
        return None

    return manager


async def fill(url: TaskStore | str, tasks: int, *, keys: int) -> None:
    """Create tasks, over so many keys, or with 0 without any."""
    manager = make_manager(url)
    payloads = [Keyed(number, keys) if keys else Nothing(f"n{number}") for number in range(tasks)]
    for start in range(0, tasks, 1000):
        await manager.create_tasks(payloads[start : start + 1000])
    await manager.close()


async def create_rate(url: TaskStore | str, tasks: int) -> float:
    """Return tasks created per second, one by one."""
    manager = make_manager(url)
    began = time.perf_counter()
    for number in range(tasks):
        await manager.create_task(Nothing(f"n{number}"))
    seconds = time.perf_counter() - began
    await manager.close()
    return tasks / seconds


async def pickup_latencies(url: TaskStore | str, probes: int) -> Sequence[float]:
    """Return the seconds from before a create call until its handler starts, on an idle worker of this process."""
    manager = TaskManager(url)
    started: asyncio.Queue[float] = asyncio.Queue()

    @manager.task_handler(Nothing)
    async def handle(task: OnceTask[Nothing]) -> None:
        started.put_nowait(time.perf_counter())

    latencies = []
    async with manager.running():
        for number in range(probes):
            await asyncio.sleep(0.005)
            began = time.perf_counter()
            await manager.create_task(Nothing(f"n{number}"))
            latencies.append(await started.get() - began)
    await manager.close()
    return latencies


def median(figures: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(figures)


def percentile(figures: Sequence[float], share: float) -> float:
    """Return the figure below which `share` of the figures lie."""
    return sorted(figures)[min(int(len(figures) * share), len(figures) - 1)]
