"""A worker process: `python -m tests.processes.worker URL LEDGER`. What its handlers do stands in the ledger.

A result is the lease under which it was made, so that what the store holds can be compared with the ledger.
"""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

from examples.index_files.ledger import Ledger
from oncetask import EventName, TaskEvent, TaskManager
from tests.worker.world import Job, Keyed

LEASE_SECONDS = 1.5
HANDLER_SECONDS = 0.05
STARTED = "started"
"""What a worker says when a signal ends it in order."""
CUT = "cut"
"""What a handler notes in place of its end that is stopped before: its worker could not renew the lease in time."""


def manager_on(url: str, ledger: Ledger, *, lease_seconds: float = LEASE_SECONDS) -> TaskManager:
    """Return a manager whose handlers note when they begin and end, and which notes what the store accepted."""
    manager = TaskManager(url, poll_interval=0.2)

    async def handle(task: Any) -> str:
        ledger.note("start", task)
        try:
            await asyncio.sleep(HANDLER_SECONDS)
        except asyncio.CancelledError:
            ledger.note(CUT, task)
            raise
        ledger.note("end", task)
        return str(task.lease_uid)

    def note(event: TaskEvent) -> None:
        if event.task is not None:
            ledger.note("accepted" if event.name is EventName.COMPLETED else event.name.value, event.task)

    for kind in (Job, Keyed):
        manager.register_task_handler(kind, handle, concurrency=4, lease_duration=lease_seconds, max_crashes=0)
    manager.on_event(note)
    manager.on_start(_say_started)
    return manager


def _say_started() -> None:
    sys.stdout.write(f"{STARTED}\n")
    sys.stdout.flush()


def main() -> None:
    """Run tasks until SIGTERM."""
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(manager_on(sys.argv[1], Ledger(Path(sys.argv[2]))).run())


if __name__ == "__main__":
    main()
