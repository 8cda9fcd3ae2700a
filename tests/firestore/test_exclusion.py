"""The lock of a key is what keeps two claims of it apart: without it they overlap, with it never."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterable

import pytest

from oncetask_core.task import OnceTask
from oncetask_core.transition import Verdict
from oncetask_firestore import keys
from tests.asynchronous import asynchronous
from tests.firestore.test_claiming import new, settled, taken
from tests.firestore.world import needs_server, new_project, opened

pytestmark = needs_server

TASKS = 60
RACES = 5
"""In how many races at most the claim without locks has to be caught."""


async def race() -> tuple[int, Counter[str]]:
    """Let six instances drain three keys; return how often two of them held a key at once, and what was completed."""
    project, overlaps, running, done = new_project(), [], set[str](), Counter[str]()
    async with opened(project) as store:
        await store.insert([new(f"{number}", f"key {number % 3}") for number in range(TASKS)])

    async def drain(name: int) -> None:
        async with opened(project) as one:
            for turn in range(TASKS):
                tasks = await taken(one, f"{name}.{turn}", 2)
                for task in tasks:
                    overlaps.extend([task.id] if task.resource_key in running else [])
                    running.add(str(task.resource_key))
                await asyncio.sleep(0.01)  # the handler: others may claim meanwhile
                for task in tasks:
                    running.discard(str(task.resource_key))
                    (answer,) = await one.apply([settled(task)])
                    done[task.id] += answer.verdict is Verdict.APPLIED
                if sum(done.values()) == TASKS:
                    return

    await asyncio.gather(*(drain(name) for name in range(6)))
    return len(overlaps), done


@pytest.fixture
def any_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each claim take any task of a key, so that no two meet at the same document but the lock."""

    def any_of(tasks: Iterable[OnceTask[object]]) -> OnceTask[object] | None:
        unleased = [task for task in tasks if task.lease_uid is None]
        return secrets.choice(unleased) if unleased else None

    monkeypatch.setattr(keys, "rightful_head", any_of)


@pytest.mark.usefixtures("any_head")
@asynchronous
async def test_no_two_instances_ever_hold_one_key() -> None:
    """Whichever of its tasks they take; each task is completed once."""
    overlaps, done = await race()

    assert overlaps == 0
    assert set(done.values()) == {1}
    assert len(done) == TASKS


@pytest.mark.usefixtures("any_head")
@asynchronous
async def test_the_race_sees_a_claim_without_the_keys_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A query that finds no lease of the key is no promise that none is granted before the commit."""
    monkeypatch.setattr(keys, "lock_name", lambda _place, _key: secrets.token_hex(8))

    for _ in range(RACES):
        overlaps, _done = await race()
        if overlaps:
            return
    pytest.fail(f"the broken claim was not caught in {RACES} races")
