"""Drains and latencies beside the raw limit: `python -m benchmarks [STORE ...]`; `--help` names the options."""

import argparse
import asyncio
import gc
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from benchmarks.drains import drain_rate, drain_rate_of_processes, rate_beside_hot_key
from benchmarks.firestore import measure_firestore
from benchmarks.places import MariadbPlaces, MemoryPlaces, Places, PostgresqlPlaces, SqlitePlaces
from benchmarks.workload import create_rate, median, percentile, pickup_latencies
from tools.servers import ServerMissingError, running_mariadb, running_postgresql

KEYS = 1000
STORES = {
    "memory": "memory",
    "sqlite": "SQLite (synchronous=FULL)",
    "postgresql": "PostgreSQL (fsync)",
    "mariadb": "MariaDB (fsync)",
    "firestore": "Firestore (Google's emulator)",
}


class Size(Protocol):
    """How much is measured."""

    tasks: int
    probes: int
    runs: int


def main() -> None:
    """Print a table for each store."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("stores", nargs="*", default=list(STORES), metavar="STORE", help=", ".join(STORES))
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--probes", type=int, default=500)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], metavar="TEXT", help="what to measure of firestore")
    parser.add_argument("--frozen", action="store_true", help="with a garbage collector that seldom runs")
    size = parser.parse_args()
    if size.frozen:
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
    for store in size.stores:
        try:
            if store == "firestore":
                print(STORES[store], flush=True)
                measure_firestore(size.runs, size.only)
                continue
            with opened(store) as places:
                print(STORES[store], flush=True)
                measure(places, size)
        except ServerMissingError as error:
            print(f"  left out: {error}")


@contextmanager
def opened(store: str) -> Iterator[Places]:
    """Yield where tasks of a store are kept; its server is a new one that writes durably."""
    match store:
        case "memory":
            yield MemoryPlaces()
        case "sqlite":
            with tempfile.TemporaryDirectory(prefix="oncetask-benchmarks-") as folder:
                yield SqlitePlaces(Path(folder))
        case "postgresql":
            with running_postgresql(durable=True, own=True) as server:
                yield PostgresqlPlaces(server.url)
        case _:
            with running_mariadb(durable=True, own=True) as server:
                yield MariadbPlaces(server)


def measure(places: Places, size: Size) -> None:
    """Print the figures of one store; medians of runs that take turns, so that a change of the machine meets all."""
    tasks = size.tasks
    drains = _drains(places, tasks)
    raw: list[float] = []
    rates: dict[str, list[float]] = {what: [] for what in drains}
    for _ in range(size.runs):
        raw.append(places.raw_rate(tasks))
        for what, drain in drains.items():
            rates[what].append(drain())
    limit = median(raw)
    print(f"  {'raw limit':<44}{limit:>10,.0f} /s")
    for what, found in rates.items():
        print(f"  {what:<44}{median(found):>10,.0f} /s   ratio {median(found) / limit:.2f}")
    created = median([asyncio.run(create_rate(places.fresh(), max(tasks // 10, 1))) for _ in range(size.runs)])
    print(f"  {'create one by one':<44}{created:>10,.0f} /s")
    latencies = [latency * 1000 for latency in asyncio.run(pickup_latencies(places.fresh(), size.probes))]
    figures = f"{median(latencies):>10.2f} ms / {percentile(latencies, 0.99):.2f} ms"
    print(f"  {'pickup latency p50 / p99':<44}{figures}", flush=True)


def _drains(places: Places, tasks: int) -> dict[str, Callable[[], float]]:
    """Return what is measured beside the raw limit."""

    def processes(*keys: int) -> float:
        return drain_rate_of_processes(str(places.filled(tasks, *keys)), tasks, processes=2)

    drains: dict[str, Callable[[], float]] = {
        f"drain of {tasks}": lambda: asyncio.run(drain_rate(places.filled(tasks, 0), tasks)),
        f"over {KEYS} keys": lambda: asyncio.run(drain_rate(places.filled(tasks, KEYS), tasks)),
        f"beside {tasks} older ones of one key": lambda: asyncio.run(
            rate_beside_hot_key(places.filled(tasks, 1, 0), tasks)
        ),
    }
    if places.shared:
        drains["2 processes"] = lambda: processes(0)
        drains[f"2 processes, over {KEYS} keys"] = lambda: processes(KEYS)
    return drains


if __name__ == "__main__":
    main()
