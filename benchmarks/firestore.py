"""Drains on Google's Firestore emulator: how fast, and what they read and write, by one process and by several.

python -m benchmarks.firestore URL KEYS SLOTS MILLISECONDS     one of several processes; see `drains`
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from os import environ
from typing import Any

from google.cloud.firestore_v1 import AsyncClient

from benchmarks.drains import replies_of_processes, wait_for_the_others
from benchmarks.workload import SLOTS, Keyed, Nothing, fill, median
from oncetask import OnceTask, TaskFilter, TaskManager
from oncetask_firestore import open_store
from oncetask_firestore.database import TASKS, Database, Write
from oncetask_firestore.messages import Query
from oncetask_firestore.place import new_mark
from oncetask_firestore.store_time import StoreTime
from oncetask_firestore.texts import rounded_down
from oncetask_firestore.usage import Usage
from tools.servers import running_firestore

BATCH = 100
WARM_UP = 1000
IDLE_SECONDS = 20.0
_numbers = count(1)


@dataclass(frozen=True)
class Work:
    """What is drained.

    Attributes:
        tasks: How many tasks.
        keys: Over how many keys; 0 means without any.
        slots: How many handlers run at once in each process.
        milliseconds: How long each runs.
        shared_with_go: Whether Go's workers might claim, too.
        processes: How many processes drain.
    """

    tasks: int
    keys: int = 0
    slots: int = SLOTS
    milliseconds: int = 0
    shared_with_go: bool = False
    processes: int = 1


@dataclass(frozen=True)
class Drained:
    """How it went; reads and so on are per task."""

    rate: float
    reads: float
    writes: float
    refused: float


@dataclass(frozen=True)
class Part:
    """What one process did of it."""

    began: float
    ended: float
    runs: int
    usage: Mapping[str, int]


WORKS: Mapping[str, Work] = {
    "8,000 tasks": Work(8000),
    "2,000 over 50 keys": Work(2000, keys=50),
    "the same, shared_with_go": Work(2000, keys=50, shared_with_go=True),
    "8,000 tasks, 2 processes": Work(8000, processes=2),
    "8,000 tasks, 4 processes": Work(8000, processes=4),
    "8,000 tasks, 8 processes": Work(8000, processes=8),
    "2,000 over 50 keys, 2 processes": Work(2000, keys=50, processes=2),
    "50-ms handlers, 10 slots": Work(1500, slots=10, milliseconds=50),
    "50-ms handlers, 10 slots, 2 processes": Work(3000, slots=10, milliseconds=50, processes=2),
    "50-ms handlers, 10 slots, 4 processes": Work(6000, slots=10, milliseconds=50, processes=4),
}


def measure_firestore(runs: int, only: Sequence[str] = ()) -> None:
    """Print medians of runs; each has an emulator of its own, which never frees what it held.

    Args:
        runs: How many.
        only: Parts of the names of what is measured; everything when there are none.
    """
    works = {name: work for name, work in WORKS.items() if not only or any(part in name for part in only)}
    raw: list[float] = []
    found: dict[str, list[Drained]] = {name: [] for name in works}
    for _ in range(runs):
        with _emulator():
            asyncio.run(_drain(_filled(Work(WARM_UP)), Work(WARM_UP)))
            raw.append(asyncio.run(_raw_rate(WARM_UP)))
            for name, work in works.items():
                found[name].append(_drained(work))
    limit = median(raw)
    print(f"  {'raw limit':<44}{limit:>10,.0f} /s")
    for name, several in found.items():
        rate = median([one.rate for one in several])
        counts = " + ".join(
            f"{median([getattr(one, what) for one in several]):.2f} {what}" for what in ("reads", "writes")
        )
        refused = median([one.refused for one in several])
        print(f"  {name:<44}{rate:>10,.0f} /s   ratio {rate / limit:.2f}   {counts}, {refused:.2f} refused", flush=True)
    with _emulator():
        print(f"  {'an idle worker':<44}{asyncio.run(_idle_reads()):>10,.0f} reads a minute", flush=True)


@contextmanager
def _emulator() -> Iterator[None]:
    with running_firestore(own=True) as server:
        environ["FIRESTORE_EMULATOR_HOST"] = server.url
        yield


def _filled(work: Work) -> str:
    project = f"bench-{next(_numbers)}"
    asyncio.run(fill(open_store(f"firestore://{project}", env="DEFAULT"), work.tasks, keys=work.keys))
    return f"firestore://{project}" + ("?shared_with_go=true" if work.shared_with_go else "")


def _drained(work: Work) -> Drained:
    """Return how fast tasks were drained and at what cost, having seen that each ran once."""
    url = _filled(work)
    if work.processes == 1:
        parts = [asyncio.run(_drain(url, work))]
    else:
        command = [sys.executable, "-m", "benchmarks.firestore", url]
        command += [str(number) for number in (work.keys, work.slots, work.milliseconds)]
        parts = [Part(**reply) for reply in replies_of_processes(command, work.processes)]
    runs = sum(part.runs for part in parts)
    if runs != work.tasks:
        raise AssertionError(f"{work.tasks} tasks ran {runs} times")
    seconds = max(part.ended for part in parts) - min(part.began for part in parts)
    return Drained(work.tasks / seconds, *(_per_task(parts, what, runs) for what in ("reads", "writes", "refused")))


def _per_task(parts: Iterable[Part], what: str, tasks: int) -> float:
    return sum(part.usage[what] for part in parts) / tasks


async def _drain(url: str, work: Work, *, together: bool = False) -> Part:
    store = open_store(url, env="DEFAULT")
    manager, runs = TaskManager(store), 0

    @manager.task_handler((Keyed if work.keys else Nothing).kind, concurrency=work.slots)
    async def handle(_: OnceTask[object]) -> None:
        nonlocal runs
        runs += 1
        await asyncio.sleep(work.milliseconds / 1000)

    await manager.count_tasks()
    if together:
        await wait_for_the_others()
    before, began = Usage(**asdict(store.usage)), time.perf_counter()
    await manager.drain()
    ended = time.perf_counter()
    usage = {what: number - getattr(before, what) for what, number in asdict(store.usage).items()}
    left = await manager.count_tasks(TaskFilter(live=True))
    await manager.close()
    if left and not together:
        raise AssertionError(f"{left} tasks were left")
    return Part(began, ended, runs, usage)


async def _idle_reads() -> float:
    store = open_store("firestore://idle", env="DEFAULT")
    manager = TaskManager(store)

    @manager.task_handler(Nothing)
    async def handle(_: OnceTask[Nothing]) -> None: ...

    async with manager.running():
        await asyncio.sleep(2)
        before = store.usage.reads
        await asyncio.sleep(IDLE_SECONDS)
        reads = store.usage.reads - before
    await manager.close()
    return reads * 60 / IDLE_SECONDS


async def _raw_rate(tasks: int) -> float:
    """Return tasks per second with two bare commits for each hundred, by the channel of the store."""
    project = f"bench-{next(_numbers)}"
    await fill(open_store(f"firestore://{project}", env="DEFAULT"), tasks, keys=0)
    time_of, usage = StoreTime(None), Usage()
    database = Database(AsyncClient(project=project), time_of, usage)
    raws = await database.find(Query(TASKS).where(("env", "==", "DEFAULT")))
    began = time.perf_counter()
    for start in range(0, len(raws), BATCH):
        part = raws[start : start + BATCH]
        times: Sequence[Any] = [raw.updated for raw in part]
        for text in (rounded_down(time_of.now()), ""):
            writes = [
                Write(TASKS, raw.name, {"leasedUntil": text, "oncetask": raw.fields["oncetask"]}, updated)
                for raw, updated in zip(part, times, strict=True)
            ]
            times = await database.commit(writes, mark=new_mark()) or ()
    seconds = time.perf_counter() - began
    await database.close()
    if usage.writes != 2 * tasks:
        raise AssertionError(f"{usage.writes} writes of {tasks} tasks")
    return tasks / seconds


if __name__ == "__main__":
    url, keys, slots, milliseconds = sys.argv[1:]
    mine = Work(0, keys=int(keys), slots=int(slots), milliseconds=int(milliseconds))
    sys.stdout.write(json.dumps(asdict(asyncio.run(_drain(url, mine, together=True)))))
