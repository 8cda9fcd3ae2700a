"""`python -m benchmarks [--tasks N] [--probes N] [--runs N]`: drains and latencies beside the raw limit."""

import argparse
import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.raw import asyncio_rate, sqlite_rate
from benchmarks.workload import create_rate, drain_rate, median, percentile, pickup_latencies


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--probes", type=int, default=500)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="oncetask-benchmarks-") as folder:
        measure(Path(folder), tasks=options.tasks, probes=options.probes, runs=options.runs)


def measure(folder: Path, *, tasks: int, probes: int, runs: int) -> None:
    """Measure every store; medians of `runs`."""
    counter = iter(range(1_000_000))

    def fresh() -> str:
        return f"sqlite:///{folder / f'{next(counter)}.db'}"

    def raw_sqlite() -> float:
        place = folder / str(next(counter))
        place.mkdir()
        return sqlite_rate(place, tasks)

    show("memory", lambda: "memory://", lambda: asyncio.run(asyncio_rate(tasks)), tasks=tasks, probes=probes, runs=runs)
    show("sqlite (FULL)", fresh, raw_sqlite, tasks=tasks, probes=probes, runs=runs)


def show(name: str, url: Callable[[], str], raw: Callable[[], float], *, tasks: int, probes: int, runs: int) -> None:
    """Print the figures of one store."""
    pairs = [(asyncio.run(drain_rate(url(), tasks)), raw()) for _ in range(runs)]
    drained, limit = median([pair[0] for pair in pairs]), median([pair[1] for pair in pairs])
    created = median([asyncio.run(create_rate(url(), max(tasks // 10, 1))) for _ in range(runs)])
    latencies = [latency * 1000 for latency in asyncio.run(pickup_latencies(url(), probes))]
    ratio = drained / limit
    print(f"{name}")
    print(f"  drain of {tasks} tasks, 1 process {drained:>10,.0f} /s   raw {limit:,.0f} /s, ratio {ratio:.2f}")
    print(f"  create one by one             {created:>10,.0f} /s")
    print(f"  pickup latency p50 / p99      {median(latencies):>10.2f} ms / {percentile(latencies, 0.99):.2f} ms")


if __name__ == "__main__":
    main()
