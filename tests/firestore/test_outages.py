"""An emulator that pauses, is not up yet, or comes back empty: no worker ends, and nothing is doubled."""

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import Iterator

import pytest

from oncetask import FixedDelayPolicy, OnceTask, Outcome, TaskManager
from oncetask_core.errors import StoreUnavailableError
from oncetask_firestore import FirestoreStore
from tests.asynchronous import asynchronous
from tests.firestore.strict import check_documents
from tests.firestore.world import needs_server, new_project, opened
from tests.worker.world import Job, Keyed, until_all_have_ended
from tools.servers import Server, running_firestore

pytestmark = [needs_server, pytest.mark.timeout(400)]

ENOUGH = 120.0
TASKS = 20
PAUSE = float(os.environ.get("ONCETASK_PAUSE_SECONDS", "1"))
"""How long the emulator does nothing; calls give up after `CALL`."""
CALL = PAUSE / 3
EVER = FixedDelayPolicy(max_attempts=0, delay=0.0)
"""However often a short lease runs out on a slow machine, its task does not fail."""
OUTAGE = float(os.environ.get("ONCETASK_OUTAGE_SECONDS", "0"))
"""How long the emulator is away before it is looked how soon calls are served again."""


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """An emulator of this module's own, which may be stopped."""
    with running_firestore(own=True) as server:
        yield server


@pytest.fixture
def emulator(own: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Yield that emulator, running, where clients look for it; in the end the documents on it are looked at."""
    own.start()
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", own.url)
    yield own
    check_documents()


class Seen:
    """What a worker did and said."""

    def __init__(self, manager: TaskManager, *, lease: float) -> None:
        self.runs: Counter[str] = Counter()
        self.completed: Counter[str] = Counter()
        self.began = asyncio.Event()

        async def handle(task: OnceTask[Job]) -> None:
            self.runs[task.id] += 1
            self.began.set()
            await asyncio.sleep(0.01)  # so that a pause meets runs in their middle

        for data, function in ((Job, handle), (Keyed, lambda task: None)):
            manager.register_task_handler(
                data, function, concurrency=5, lease_duration=lease, retry_policy=EVER, max_crashes=0
            )
        manager.on_event(
            lambda event: self.completed.update([event.task_id] if event.name.value == "completed" else [])
        )


@pytest.mark.parametrize("lease", [ENOUGH, PAUSE / 2])
@asynchronous
async def test_a_pause_loses_and_doubles_nothing(
    lease: float, emulator: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls give up in the middle of it, and are asked again; a lease that outlives it is kept."""
    monkeypatch.setattr("oncetask_firestore.channel.CALL_SECONDS", CALL)
    manager = TaskManager(f"firestore://{new_project()}", poll_interval=0.1)
    seen = Seen(manager, lease=lease)
    await manager.create_tasks([Job(f"j{number}") for number in range(TASKS)])
    await manager.create_tasks([Keyed(f"k{number}", f"key {number % 3}") for number in range(TASKS)])
    async with manager.running():
        await seen.began.wait()
        emulator.pause()
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(PAUSE):
                    await manager.count_tasks()
        finally:
            emulator.resume()
        await until_all_have_ended(manager, seconds=ENOUGH)
    tasks = (await manager.list_tasks(limit=1000)).tasks
    await manager.close()

    assert len(tasks) == 2 * TASKS
    assert {task.outcome for task in tasks} == {Outcome.COMPLETED}
    assert seen.completed == {task.id: 1 for task in tasks}
    if lease > PAUSE:
        assert set(seen.runs.values()) == {1}
        assert {task.claims for task in tasks} == {1}


@asynchronous
async def test_an_emulator_that_is_down_at_the_start_is_waited_for(
    emulator: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker says once that it waits and for what, and begins when the emulator is up."""
    monkeypatch.setattr("oncetask_firestore.database.PATIENCE_SECONDS", 0.2)
    caplog.set_level(logging.WARNING, "oncetask")
    await asyncio.to_thread(emulator.stop, immediate=True)
    manager = TaskManager(f"firestore://{new_project()}", poll_interval=0.1)
    seen = Seen(manager, lease=ENOUGH)
    running = asyncio.create_task(manager.run(handle_signals=False))
    with pytest.raises(StoreUnavailableError, match=emulator.url):
        await manager.create_task(Job("a"))
    await asyncio.to_thread(emulator.start)
    async with asyncio.timeout(ENOUGH):
        while not seen.completed:
            try:
                await manager.create_task(Job("a"))
            except StoreUnavailableError:
                await asyncio.sleep(0.05)  # the emulator is still down, and nobody tells when it answers
    manager.stop()
    await running
    await manager.close()

    waiting = [record.getMessage() for record in caplog.records if "is not there yet" in record.getMessage()]
    assert len(waiting) == 1
    assert emulator.url in waiting[0]


@pytest.mark.alone
@pytest.mark.skipif(OUTAGE == 0, reason="an outage of a minute is for the long test")
@asynchronous
async def test_a_long_outage_is_over_soon_after_its_end(emulator: Server) -> None:
    """A connection that failed for a minute is tried again within seconds."""
    async with opened(new_project()) as store:
        await asyncio.to_thread(emulator.stop, immediate=True)
        calls = asyncio.create_task(asked_until_served(store))
        await asyncio.sleep(OUTAGE)
        assert not calls.done()
        await asyncio.to_thread(emulator.start)
        async with asyncio.timeout(10):
            await calls


async def asked_until_served(store: FirestoreStore) -> None:
    """Read something until it is read."""
    while True:
        with contextlib.suppress(StoreUnavailableError):
            await store.get(["a"])
            return


@asynchronous
async def test_an_emulator_that_comes_back_empty_ends_no_worker(
    emulator: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ran is gone with it, and its outcome is written nowhere; what is created then is run."""
    monkeypatch.setattr("oncetask_firestore.database.PATIENCE_SECONDS", 0.2)
    manager = TaskManager(f"firestore://{new_project()}", poll_interval=0.1)
    seen = Seen(manager, lease=ENOUGH)
    await manager.create_tasks([Job(f"before {number}") for number in range(5 * TASKS)])
    async with manager.running():
        await seen.began.wait()
        await asyncio.to_thread(emulator.restart, immediate=True)
        known = 0
        async with asyncio.timeout(ENOUGH):
            while known < 20:
                try:
                    known += len(await manager.create_tasks([Job(f"after {number}") for number in range(20)]))
                except StoreUnavailableError:
                    await asyncio.sleep(0.05)  # nobody tells when it answers
        await until_all_have_ended(manager, seconds=ENOUGH)
        tasks = (await manager.list_tasks(limit=1000)).tasks
    await manager.close()

    assert {task.id for task in tasks} == {f"after {number}" for number in range(20)}
    assert {task.outcome for task in tasks} == {Outcome.COMPLETED}
    assert {seen.runs[task.id] for task in tasks} == {1}
