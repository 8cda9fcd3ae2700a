"""Money is moved once, whoever dies."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from oncetask import SyncTaskManager, TaskFilter
from tests.postgresql.transferring import Transfer
from tests.postgresql.world import URL, Schemas, connected, needs_server, schema_of

pytestmark = [needs_server, pytest.mark.alone, pytest.mark.timeout(300)]

TRANSFERS = int(os.environ.get("ONCETASK_TRANSFERS", "100"))
ACCOUNTS = 8
ENOUGH = 240.0


@contextmanager
def a_worker(url: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Yield a worker process, and kill it at the end."""
    process = subprocess.Popen([sys.executable, "-m", "tests.postgresql.transferring", url, URL])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_each_transfer_happens_once_although_workers_are_killed(schemas: Schemas) -> None:
    """Kills hit before, within and after the transactions; the sum of all accounts stays, and so does each number."""
    url = schemas.new()
    with connected(options=f"-c search_path={schema_of(url)}") as connection:
        connection.execute("CREATE TABLE accounts (number int PRIMARY KEY, balance int)")
        connection.execute(f"INSERT INTO accounts SELECT n, 1000 FROM generate_series(1, {ACCOUNTS}) AS n".encode())
        connection.execute("CREATE TABLE ledger (number int)")
    manager = SyncTaskManager(url)
    manager.create_tasks(
        [Transfer(n, 1 + n % ACCOUNTS, 1 + (n * 3 + 1) % ACCOUNTS, 1 + n % 7) for n in range(TRANSFERS)]
    )
    kills, deadline = 0, time.monotonic() + ENOUGH
    while (left := manager.count_tasks(TaskFilter(live=True))) and time.monotonic() < deadline:
        with a_worker(url), a_worker(url):
            began = done_before(manager)
            while done_before(manager) < min(began + 20, TRANSFERS) and time.monotonic() < deadline:
                time.sleep(0.05)  # both work; then both are killed in the middle of it
        kills += 2
    tasks = manager.list_tasks(limit=1000).tasks
    manager.close()
    with connected(options=f"-c search_path={schema_of(url)}") as connection:
        numbers = [number for (number,) in connection.execute("SELECT number FROM ledger ORDER BY number")]
        row = connection.execute("SELECT sum(balance) FROM accounts").fetchone()

    assert left == 0
    assert numbers == list(range(TRANSFERS))
    assert row == (ACCOUNTS * 1000,)
    assert {str(task.outcome) for task in tasks} == {"completed"}
    assert kills >= 4


def done_before(manager: SyncTaskManager) -> int:
    """Return how many transfers are done."""
    return manager.count_tasks(TaskFilter(live=False))
