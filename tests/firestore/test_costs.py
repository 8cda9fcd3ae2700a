"""What Firestore bills for a task that succeeds at once, when many are due and one instance takes them."""

from collections.abc import Sequence

import pytest

from oncetask_core.task import OnceTask
from oncetask_core.transition import Verdict
from oncetask_firestore import FirestoreStore
from oncetask_firestore.usage import Usage
from tests.asynchronous import SOON, asynchronous
from tests.firestore.test_claiming import EARLIER, new, settled, taken
from tests.firestore.world import freeze, needs_server, new_project, opened

pytestmark = needs_server

TASKS = 600
SLOTS = 100
KEYS = 50
OVERHEAD = 0.05
"""For each task: the queries that find nothing, of which each is billed as a read; one in five seconds on the fleet."""


async def drained(store: FirestoreStore) -> Usage:
    """Claim and settle until nothing is left, in two hands as a worker does; return what it took."""
    before, done = Usage(), 0
    before.reads, before.writes, before.refused = store.usage.reads, store.usage.writes, store.usage.refused
    running: Sequence[OnceTask[object]] = ()
    turn = 0
    while done < TASKS:
        claimed = await taken(store, f"lease {turn}", SLOTS)
        done += await settle(store, running)
        running, turn = claimed, turn + 1
    used = store.usage
    return Usage(
        reads=used.reads - before.reads, writes=used.writes - before.writes, refused=used.refused - before.refused
    )


async def settle(store: FirestoreStore, tasks: Sequence[OnceTask[object]]) -> int:
    """Settle tasks and return how many were."""
    answers = await store.apply([settled(task) for task in tasks])
    return sum(answer.verdict is Verdict.APPLIED for answer in answers)


@pytest.mark.parametrize(
    ("keys", "shared_with_go", "reads", "writes"),
    [(0, False, 1.0, 2), (KEYS, False, 1.5, 3), (KEYS, True, 3.0, 3)],
    ids=["keyless", "keyed", "keyed beside Go"],
)
@asynchronous
async def test_what_a_task_costs(
    *, keys: int, shared_with_go: bool, reads: float, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Amortised: each document is read and written so many times at most, and nothing is refused."""
    monkeypatch.setattr("oncetask_firestore.fleet.REFRESH_SECONDS", 3 * SOON)  # however slow the machine is
    async with opened(new_project(), shared_with_go=shared_with_go) as store:
        freeze(store)
        names = [(f"{number:04}", f"key {number % keys}" if keys else None) for number in range(TASKS)]
        await store.insert([new(*name, wait_until=EARLIER) for name in names])
        usage = await drained(store)

    assert usage.reads <= (reads + OVERHEAD) * TASKS
    assert usage.writes <= writes * TASKS + 2, "who claims, and that there is something to claim, are written once"
    assert usage.refused == 0
