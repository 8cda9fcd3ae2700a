"""Money is moved once, whoever dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from oncetask import SyncTaskManager, TaskFilter
from tests.servers.transferring import Transfer
from tests.servers.world import Place

pytestmark = pytest.mark.timeout(300)

TRANSFERS = int(os.environ.get("ONCETASK_TRANSFERS", "100"))
PORTIONS = 4
"""In how many portions they are created: the next one when two workers have been killed over the last."""
ACCOUNTS = 8
ENOUGH = 240.0


@contextmanager
def a_worker(place: Place, *dies: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Yield a worker process, and kill it at the end."""
    line = [sys.executable, "-m", "tests.servers.transferring", place.url, place.alchemy(awaited=True), *dies]
    process = subprocess.Popen(line)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def with_accounts(place: Place) -> SyncTaskManager:
    """Make accounts and a ledger; return a manager."""
    place.run(
        "CREATE TABLE accounts (number int PRIMARY KEY, balance int)",
        f"INSERT INTO accounts VALUES {', '.join(f'({number}, 1000)' for number in range(1, ACCOUNTS + 1))}",
        "CREATE TABLE ledger (number int)",
    )
    return SyncTaskManager(place.url)


def test_each_transfer_happens_once_although_workers_are_killed(place: Place) -> None:
    """Kills hit before, within and after the transactions; the sum of all accounts stays, and so does each number."""
    manager = with_accounts(place)
    transfers = [Transfer(n, 1 + n % ACCOUNTS, 1 + (n * 3 + 1) % ACCOUNTS, 1 + n % 7) for n in range(TRANSFERS)]
    portions = [transfers[n::PORTIONS] for n in range(PORTIONS)]
    kills, left, deadline = 0, TRANSFERS, time.monotonic() + ENOUGH
    while left and time.monotonic() < deadline:
        manager.create_tasks(portions.pop() if portions else [])
        with a_worker(place), a_worker(place):
            goal = done_before(manager) + min(20, manager.count_tasks(TaskFilter(live=True)))
            while done_before(manager) < goal and time.monotonic() < deadline:
                time.sleep(0.05)  # both work; then both are killed in the middle of it
        kills += 2
        left = TRANSFERS - done_before(manager)
    tasks = manager.list_tasks(limit=1000).tasks
    manager.close()

    assert left == 0
    assert [*place.run("SELECT number FROM ledger ORDER BY number")] == [(number,) for number in range(TRANSFERS)]
    assert int(place.run("SELECT sum(balance) FROM accounts")[0][0]) == ACCOUNTS * 1000
    assert {str(task.outcome) for task in tasks} == {"completed"}
    assert kills >= 2 * PORTIONS


def done_before(manager: SyncTaskManager) -> int:
    """Return how many transfers are done."""
    return manager.count_tasks(TaskFilter(live=False))


@pytest.mark.parametrize("dies", ["before", "after"])
def test_a_worker_that_is_killed_at_its_commit_leaves_both_or_nothing(dies: str, place: Place) -> None:
    """Before it the money is where it was and the task waits for its lease; behind it both are done, and stay so."""
    manager = with_accounts(place)
    manager.create_task(Transfer(1, 1, 2, 30))
    with a_worker(place, dies) as worker:
        code = worker.wait(timeout=60)
    balances = place.run("SELECT balance FROM accounts WHERE number < 3 ORDER BY number")
    numbers = place.run("SELECT number FROM ledger")
    (task,) = manager.list_tasks().tasks
    with a_worker(place, "never"):
        deadline = time.monotonic() + ENOUGH
        while manager.count_tasks(TaskFilter(live=True)) and time.monotonic() < deadline:
            time.sleep(0.05)
    (ended,) = manager.list_tasks().tasks
    manager.close()

    assert code == -signal.SIGKILL
    assert [*balances, *numbers] == ([(1000,), (1000,)] if dies == "before" else [(970,), (1030,), (1,)])
    assert (task.outcome, ended.outcome) == (None if dies == "before" else "completed", "completed")
    assert ended.claims == (2 if dies == "before" else 1)
    assert [*place.run("SELECT number FROM ledger")] == [(1,)]
