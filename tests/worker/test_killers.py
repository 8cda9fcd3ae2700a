"""Tasks that take down the process that runs them, with others beside them."""

import asyncio

from oncetask import FixedDelayPolicy, OnceTask, Outcome, TaskManager
from tests.asynchronous import asynchronous
from tests.worker.failing import FailingStore
from tests.worker.world import LEASE, Job, World

KILLS_AFTER = 1.0


class Prison(World):
    """A world of processes that are killed: nothing of theirs reaches the store any more."""

    async def lives(self, *, runs_for: float) -> bool:
        """Run a process in which "killer" kills after a second and others take some; return whether it outlives all.

        A lease after it was killed its leases have run out, and another process may take over.
        """
        reach = FailingStore(self.store.real)
        process = TaskManager(reach, name="process", seams=self.seams)
        killed = asyncio.Event()

        @process.task_handler(Job, concurrency=10, retry_policy=FixedDelayPolicy(max_attempts=0))
        async def handle(task: OnceTask[Job]) -> None:
            if task.id != "killer":
                await self.clock.sleep(runs_for)
                return
            await self.clock.sleep(KILLS_AFTER)
            reach.down("apply", "claim", "find", "get", "now", "read_control", "renew", "write_control")
            killed.set()
            await self.sleep(task)

        running = self.begin(process)
        await self.clock.run_for(2 * LEASE)
        await self.end(running, process)
        return not killed.is_set()


@asynchronous
async def test_what_runs_beside_a_killer_loses_one_attempt() -> None:
    """Its neighbours run alone after the first crash, end, and are no longer there when it kills again."""
    prison = Prison()
    names = ["killer", "fresh 0", "fresh 1", "fresh 2"]
    await prison.manager.create_tasks([Job(name) for name in (*names[2:], *names[:2])])

    processes = 1
    while not await prison.lives(runs_for=8):
        processes += 1
    killer, *others = [await prison.task(name) for name in names]

    assert processes == 4
    assert (killer.outcome, killer.crashes) == (Outcome.FAILED, 3)
    assert [(task.outcome, task.crashes) for task in others] == [(Outcome.COMPLETED, 1)] * 3
