"""Several workers of one store: each gets its part of the work, however busy the others are."""

import itertools

from oncetask import OnceTask, TaskManager
from tests.asynchronous import asynchronous
from tests.worker.world import Job, World

POLL = 1.0
RUNS_FOR = 0.5


class Fleet(World):
    """A world of workers, and the times at which each of them began to run tasks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.begun: dict[str, list[float]] = {}

    def worker(self, name: str, *, concurrency: int) -> TaskManager:
        """Return a worker whose tasks take half a second."""
        manager = self.another(name=name, poll_interval=POLL)
        times = self.begun.setdefault(name, [])

        @manager.task_handler(Job, concurrency=concurrency)
        async def handle(_: OnceTask[Job]) -> None:
            times.append(self.clock.monotonic())
            await self.clock.sleep(RUNS_FOR)

        return manager


@asynchronous
async def test_no_worker_with_free_slots_is_left_without_work() -> None:
    """One creates more than it can run and claims all the time; two that nobody wakes take their part poll by poll."""
    fleet = Fleet()
    busy = fleet.worker("busy", concurrency=8)
    workers = [busy, *(fleet.worker(name, concurrency=2) for name in ("one", "other"))]
    running = [fleet.begin(worker) for worker in workers]
    await fleet.clock.run_for(3)
    start = fleet.clock.monotonic()
    for number in range(100):
        await busy.create_tasks([Job(f"{number} {part}") for part in range(4)])
        await fleet.clock.run_for(0.1)
    end = fleet.clock.monotonic()
    for run, worker in zip(running, workers, strict=True):
        await fleet.end(run, worker)

    for times in fleet.begun.values():
        during = [start, *(time for time in times if time <= end), end]
        assert max(after - before for before, after in itertools.pairwise(during)) <= POLL + RUNS_FOR
