"""`python -m benchmarks [--tasks N] [--probes N] [--runs N]`: drains and latencies beside the raw limit."""

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Protocol

from benchmarks.places import MemoryPlaces, Places, PostgresqlPlaces, SqlitePlaces
from benchmarks.workload import create_rate, drain_rate, median, percentile, pickup_latencies
from tools.servers import ServerMissingError, running_postgresql

KEYS = 1000


class Size(Protocol):
    """How much is measured."""

    tasks: int
    probes: int
    runs: int


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--probes", type=int, default=500)
    parser.add_argument("--runs", type=int, default=3)
    size = parser.parse_args()
    measure("memory", MemoryPlaces(), size)
    with tempfile.TemporaryDirectory(prefix="oncetask-benchmarks-") as folder:
        measure("sqlite (FULL)", SqlitePlaces(Path(folder)), size)
    try:
        with running_postgresql(durable=True, own=True) as server:
            measure("postgresql (fsync)", PostgresqlPlaces(server.url), size)
    except ServerMissingError as error:
        print(f"postgresql left out: {error}")


def measure(name: str, places: Places, size: Size) -> None:
    """Print the figures of one store; medians of the runs."""
    drained, keyed, raw = [], [], []
    for _ in range(size.runs):
        drained.append(asyncio.run(drain_rate(places.filled(size.tasks), size.tasks)))
        raw.append(places.raw_rate(size.tasks))
        keyed.append(asyncio.run(drain_rate(places.filled(size.tasks, keys=KEYS), size.tasks)))
    created = median([asyncio.run(create_rate(places.fresh(), max(size.tasks // 10, 1))) for _ in range(size.runs)])
    latencies = [latency * 1000 for latency in asyncio.run(pickup_latencies(places.fresh(), size.probes))]
    limit = median(raw)
    print(f"{name}: raw {limit:,.0f} /s")
    for what, rate in ((f"drain of {size.tasks}, 1 process", median(drained)), (f"over {KEYS} keys", median(keyed))):
        print(f"  {what:<30}{rate:>10,.0f} /s   ratio {rate / limit:.2f}")
    print(f"  {'create one by one':<30}{created:>10,.0f} /s")
    print(f"  {'pickup latency p50 / p99':<30}{median(latencies):>10.2f} ms / {percentile(latencies, 0.99):.2f} ms")


if __name__ == "__main__":
    main()
