"""`python -m benchmarks.profiling [KEYS]`: where the time of a drain on PostgreSQL goes, per task.

The time of this process is that of its profile, by area, scaled to the CPU time of a drain without the profiler. The
server's is the CPU time of the processes that serve the worker's connections, as Linux counts it.
"""

import asyncio
import cProfile
import pstats
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import psycopg

from benchmarks.drains import drain_rate
from benchmarks.places import PostgresqlPlaces
from benchmarks.workload import SLOTS, make_manager
from tools.servers import running_postgresql

TASKS = 20_000
MICROSECONDS = 1e6
TICKS_PER_SECOND = 100
AREAS = (
    ("waiting for the server", ("select.epoll",)),
    ("asyncio", ("/asyncio/", "_asyncio", "_contextvars", "Context")),
    ("psycopg", ("/psycopg/", "psycopg_binary")),
    ("the worker: claiming, slots, leases, events", ("/oncetask_core/worker/",)),
    ("the decisions of the core", ("/oncetask_core/",)),
    ("records, statements, arrays", ("/oncetask_sql/", "msgspec")),
)
REST = "the rest: built-in functions"


def main() -> None:
    """Print a table."""
    keys = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    with running_postgresql(durable=True, own=True) as server:
        places = PostgresqlPlaces(server.url)
        rate, cpu = min_of([_timed(str(places.filled(TASKS, keys))) for _ in range(3)])
        areas = _profiled(str(places.filled(TASKS, keys)))
        served = asyncio.run(_served(server.url, str(places.filled(TASKS, keys))))
    busy = sum(areas.values()) - areas["waiting for the server"]
    print(f"{TASKS} tasks, {keys or 'no'} keys, {SLOTS} slots: {rate:,.0f} /s, {cpu:.1f} us of this process per task")
    for area, seconds in sorted(areas.items(), key=lambda one: -one[1]):
        if area != "waiting for the server":
            print(f"  {area:<48}{seconds / busy * cpu:>6.1f} us")
    for purpose, seconds in sorted(served.items()):
        print(f"  {f'the server for {purpose}':<48}{seconds / TASKS * MICROSECONDS:>6.1f} us")


def min_of(runs: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the run that the machine disturbed least."""
    return min(runs, key=lambda run: run[1])


def _timed(url: str) -> tuple[float, float]:
    began = time.process_time()
    rate = asyncio.run(drain_rate(url, TASKS))
    return rate, (time.process_time() - began) / TASKS * MICROSECONDS


def _profiled(url: str) -> Mapping[str, float]:
    with cProfile.Profile() as profile:
        asyncio.run(drain_rate(url, TASKS))
    areas: defaultdict[str, float] = defaultdict(float)
    for (file, _, function), (_, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]  # not in the stubs
        areas[_area(f"{file} {function}")] += own
    return areas


def _area(place: str) -> str:
    return next((area for area, marks in AREAS if any(mark in place for mark in marks)), REST)


async def _served(server: str, url: str) -> dict[str, float]:
    """Return the seconds of CPU that the server's processes have used for each connection of a worker's."""
    manager = make_manager(url)
    await manager.count_tasks()
    before = _used(server)
    await manager.drain()
    after = _used(server)
    await manager.close()
    return {name: used - before.get(name, 0.0) for name, used in after.items()}


def _used(server: str) -> dict[str, float]:
    used: dict[str, float] = {}
    with psycopg.connect(server) as connection:
        query = "SELECT pid, application_name FROM pg_stat_activity WHERE application_name LIKE 'oncetask %'"
        for pid, name in connection.execute(query):
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            used[name.removeprefix("oncetask ")] = (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
    return used


if __name__ == "__main__":
    main()
