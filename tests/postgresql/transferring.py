"""A worker process that moves money in its handlers' own transactions.

`python -m tests.postgresql.transferring STORE_URL SERVER_URL`
"""

import asyncio
import sys
from dataclasses import dataclass
from typing import ClassVar

import psycopg

from oncetask import ExponentialBackoffPolicy, OnceTask, TaskContext, TaskData, TaskManager
from tests.postgresql.world import schema_of

LEASE_SECONDS = 2.0


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


def make_manager(store: str, server: str) -> TaskManager:
    """Return a manager whose handler moves the money and completes its task in one transaction."""
    manager = TaskManager(store, poll_interval=0.2, shutdown_timeout=1)
    patient = ExponentialBackoffPolicy(max_attempts=20, base_delay=0.05)

    @manager.task_handler(Transfer, concurrency=8, lease_duration=LEASE_SECONDS, max_crashes=0, retry_policy=patient)
    async def transfer(task: OnceTask[Transfer], context: TaskContext[Transfer]) -> None:
        move = "UPDATE accounts SET balance = balance + %s WHERE number = %s"
        data = task.data
        options = f"-c search_path={schema_of(store)}"
        async with await psycopg.AsyncConnection.connect(server, options=options) as connection:
            for amount, account in sorted(
                [(-data.amount, data.source), (data.amount, data.target)], key=lambda m: m[1]
            ):
                await connection.execute(move, (amount, account))
            await connection.execute("INSERT INTO ledger VALUES (%s)", (data.number,))
            await context.acomplete_in(connection)

    return manager


if __name__ == "__main__":
    asyncio.run(make_manager(*sys.argv[1:]).run())
