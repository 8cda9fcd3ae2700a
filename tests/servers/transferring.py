"""A worker process that moves money in its handlers' own transactions.

`python -m tests.servers.transferring STORE_URL ALCHEMY_URL [before|after|never]`: the last lets the process kill
itself, just before its first commit or just behind it, or not at all; then leases outlast a machine that stands still.
"""

import asyncio
import os
import signal
import sys
from dataclasses import dataclass
from typing import ClassVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from oncetask import ExponentialBackoffPolicy, OnceTask, TaskContext, TaskData, TaskManager

LEASE_SECONDS = 2.0
LONGER_SECONDS = 6.0
"""Of leases where it is counted how often a task is claimed."""
ADD = text("UPDATE accounts SET balance = balance + :amount WHERE number = :account")
NOTE = text("INSERT INTO ledger VALUES (:number)")


@dataclass(frozen=True)
class Transfer(TaskData[None]):
    """Money that goes from one account to another."""

    kind: ClassVar[str] = "transfer"
    number: int
    source: int
    target: int
    amount: int

    def idempotent_id(self) -> str:
        return f"transfer {self.number}"


def make_manager(store: str, database: str, dies: str = "") -> TaskManager:
    """Return a manager whose handler moves the money and completes its task in one transaction."""
    manager = TaskManager(store, poll_interval=0.2, shutdown_timeout=1)
    engine = create_async_engine(database)
    patient = ExponentialBackoffPolicy(max_attempts=20, base_delay=0.05)
    lease = LONGER_SECONDS if dies else LEASE_SECONDS

    @manager.task_handler(Transfer, concurrency=8, lease_duration=lease, max_crashes=0, retry_policy=patient)
    async def transfer(task: OnceTask[Transfer], context: TaskContext[Transfer]) -> None:
        data = task.data
        async with engine.begin() as connection:
            for account, amount in sorted([(data.source, -data.amount), (data.target, data.amount)]):
                await connection.execute(ADD, {"amount": amount, "account": account})
            await connection.execute(NOTE, {"number": data.number})
            await context.acomplete_in(connection)
            if dies == "before":
                os.kill(os.getpid(), signal.SIGKILL)
        if dies == "after":
            os.kill(os.getpid(), signal.SIGKILL)

    return manager


if __name__ == "__main__":
    asyncio.run(make_manager(*sys.argv[1:]).run())
