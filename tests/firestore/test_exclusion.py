"""The lock of a key is what keeps two claims of it apart: without it they overlap, with it never."""

import asyncio
from collections import Counter

import pytest

from oncetask_core.transition import Verdict
from tests.asynchronous import asynchronous
from tests.firestore.broken import take_any_head, take_no_lock
from tests.firestore.test_claiming import MOST_TURNS, new, settled, taken
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
            for turn in range(MOST_TURNS):
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
    """Let the lock alone keep claims apart."""
    take_any_head(monkeypatch.setattr)


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
    take_no_lock(monkeypatch.setattr)

    for _ in range(RACES):
        overlaps, _done = await race()
        if overlaps:
            return
    pytest.fail(f"the broken claim was not caught in {RACES} races")
