"""What another instance creates is heard of, long before the next poll; a listener costs little and mends itself."""

import asyncio
import time

import grpc
import pytest

from oncetask import TaskManager, VirtualClock
from oncetask_core.decisions import Released, conclude
from oncetask_core.errors import StoreUnavailableError
from oncetask_core.store import WakeUps
from oncetask_core.transition import Atom
from oncetask_firestore import FirestoreStore
from oncetask_firestore.waking import SECOND
from tests.asynchronous import SOON, asynchronous, until
from tests.firestore.test_claiming import RULES, new, project_of, settled, taken
from tests.firestore.world import Faults, needs_server, new_project, once, opened
from tests.worker.world import Job

pytestmark = needs_server

A_WHILE = 0.3


async def listening(faults: Faults, times: int) -> None:
    """Return when it has been listened so many times."""
    async with asyncio.timeout(SOON):
        while sum(name == "Listen" for name, _ in faults.calls) < times:  # noqa: ASYNC110 - the channel alone knows
            await asyncio.sleep(0.01)


async def drowsy(store: FirestoreStore) -> None:
    """Call until nothing is left to be heard but what comes from now on; others have told something before."""
    async with asyncio.timeout(SOON):
        await store.changed()
        await store.changed()  # what was told last when it was first listened
        await store.changed()  # and what was told within a second


async def is_woken(store: FirestoreStore) -> bool:
    """Return whether a store hears something within a while; a stream that breaks off tells nothing and begins anew."""
    while True:
        try:
            async with asyncio.timeout(A_WHILE):
                await store.changed()
        except StoreUnavailableError:
            continue
        except TimeoutError:
            return False
        return True


@pytest.mark.parametrize("breaks", ["never", "when it opens", "later"])
@asynchronous
async def test_a_worker_takes_up_what_another_creates_long_before_its_next_poll(faults: Faults, breaks: str) -> None:
    """The poll is a minute away, and the stream may break."""
    project = new_project()
    worker = TaskManager(FirestoreStore(project=project), poll_interval=60)
    creator = TaskManager(FirestoreStore(project=project))
    worker.register_task_handler(Job, lambda task: task.id)
    if breaks == "when it opens":
        faults.before = once(grpc.StatusCode.UNAVAILABLE, "Listen")
    async with worker.running():
        await listening(faults, 1)
        if breaks == "later":
            faults.broken.set()
        await listening(faults, 1 if breaks == "never" else 2)
        async with asyncio.timeout(SOON):
            for name in "ba":
                created = await creator.create_task(Job(name))
                assert await created.wait() == name
    await worker.close()
    await creator.close()


@asynchronous
async def test_a_listener_that_hears_nothing_asks_anew(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection may have died without a word."""
    monkeypatch.setattr("oncetask_firestore.channel.SILENCE_SECONDS", A_WHILE)
    async with opened(new_project()) as ours:
        await ours.changed()
        waiting = asyncio.ensure_future(ours.changed())
        await listening(faults, 3)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


@pytest.mark.parametrize("turns", [1, 3, 10])
@asynchronous
async def test_who_stops_listening_before_it_has_begun_leaves_nothing_behind(turns: int) -> None:
    """The stream is not there yet, and would otherwise be kept, and paid for, until the store is closed."""
    async with opened(new_project()) as ours:
        await ours.changed()
        before = asyncio.all_tasks()
        waiting = asyncio.ensure_future(ours.changed())
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

        await until(lambda: asyncio.all_tasks() == before)


@asynchronous
async def test_a_store_does_not_wake_itself() -> None:
    """Its own creations reach its worker without a detour."""
    async with opened(new_project()) as ours:
        await ours.changed()
        await ours.insert([new("a")])

        assert not await is_woken(ours)


@asynchronous
async def test_many_that_are_made_due_are_told_once_a_second(faults: Faults) -> None:
    """The first at once, the rest together: one document takes few writes."""
    async with opened(new_project()) as ours, opened(project_of(ours)) as theirs:
        await theirs.insert([new(f"{number}") for number in range(20)])
        tasks = await taken(theirs, "lease", 20)
        await drowsy(ours)
        faults.calls.clear()
        began = time.monotonic()
        for task in tasks:
            await theirs.apply([Atom((conclude(task, Released(), RULES, chance=0.0),))])
        async with asyncio.timeout(SOON):
            await ours.changed()
        took = time.monotonic() - began
        told = [request for name, request in faults.calls if name == "Commit" and "onceTaskWakes" in str(request)]

    assert 1 <= len(told) <= 2 + took / SECOND


@asynchronous
async def test_nobody_listens_while_there_is_something_to_do(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read for each claim of somebody's would be a waste."""
    monkeypatch.setattr("oncetask_firestore.waking.QUIET_SECONDS", 3 * SOON)  # however slow the machine is
    async with opened(new_project()) as store:
        await store.insert([new(f"{number}") for number in range(3)])
        await store.changed()
        await taken(store, "lease", 1)
        faults.calls.clear()
        waiting = asyncio.ensure_future(store.changed())
        done, _ = await asyncio.wait([waiting], timeout=A_WHILE)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

        assert not done
        assert "Listen" not in {name for name, _ in faults.calls}


@asynchronous
async def test_what_is_heard_costs_a_read_each() -> None:
    """What was told last when it begins, and what is told then; nothing while tasks are claimed and settled."""
    async with opened(new_project()) as ours, opened(project_of(ours)) as theirs:
        await theirs.insert([new("a")])
        await drowsy(ours)
        before = ours.usage.pushed
        waiting = asyncio.ensure_future(ours.changed())
        await until(lambda: ours.usage.pushed > before)
        await theirs.apply([settled(task) for task in await taken(theirs, "lease", 1)])
        await theirs.insert([new("b")])
        async with asyncio.timeout(SOON):
            await waiting

        assert before == 1
        assert ours.usage.pushed - before == 2


def test_virtual_time_is_not_waited_for() -> None:
    """A store whose clock is injected leaves it to the polls, which that clock steers."""
    assert "wake_ups" in FirestoreStore(project="p").capabilities
    assert "wake_ups" not in FirestoreStore(project="p", clock=VirtualClock()).capabilities
    assert isinstance(FirestoreStore(project="p"), WakeUps)
