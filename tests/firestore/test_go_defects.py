"""The stand-in of the Go worker has the defects of the Go library, by their numbers in its specification."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from oncetask_core.clock import VirtualClock
from tests.asynchronous import asynchronous
from tests.firestore import golang
from tests.firestore.go_calls import GoManager
from tests.firestore.go_modelled import ModelStatements
from tests.firestore.go_statements import TASKS
from tests.firestore.go_worker import GoWorker, Handler, Kind, Policy, nothing
from tests.firestore.golang import Fields
from tests.firestore.modelled import Model

START = datetime(2030, 1, 1, 0, 0, 0, 900_000, tzinfo=UTC)
LEASE = timedelta(minutes=10)
KIND = Kind("kind", nothing)


class Process:
    """A Go process on the model."""

    def __init__(self) -> None:
        self.clock = VirtualClock(START)
        self.model = Model(self.clock)
        self.worker = GoWorker(ModelStatements(self.model), self.clock)
        self.manager = GoManager(ModelStatements(self.model), self.clock)

    def fields(self, task_id: str) -> Fields:
        return self.model.documents[TASKS, task_id].fields

    def status(self, task_id: str) -> str:
        return golang.status(self.fields(task_id), self.clock.now())


@pytest.fixture
def process() -> Process:
    return Process()


def failing(*texts: str) -> Handler:
    """Return a handler that raises these errors, one after the other, and then returns."""
    left = list(texts)

    async def handle(_: list[Fields]) -> None:
        if left:
            raise RuntimeError(left.pop(0))

    return handle


@asynchronous
async def test_1_an_id_is_one_of_the_collection(process: Process) -> None:
    """Whatever its environment and kind."""
    other = GoManager(ModelStatements(process.model), process.clock, env="OTHER")

    assert await process.manager.create("a", "kind")
    assert not await process.manager.create("a", "other kind")
    assert not await other.create("a", "kind")


@asynchronous
async def test_2_nothing_is_fenced(process: Process) -> None:
    """Who comes late overwrites the result, and ends the lease of who came after."""
    await process.manager.create("a", "kind")
    (first,) = await process.worker.claim(KIND)
    process.clock.advance(LEASE)
    (second,) = await process.worker.claim(KIND)
    await process.worker.settle(KIND, [first], error="late")
    after_failure = process.fields("a")
    await process.worker.settle(KIND, [second], result="second")
    await process.worker.settle(KIND, [first], result="first")

    assert (second["attempts"], after_failure["leasedUntil"]) == (2, "")
    assert process.fields("a")["result"] == "first"


@asynchronous
async def test_3_a_crash_makes_a_failure_read_as_a_success(process: Process) -> None:
    """More attempts than errors."""
    await process.manager.create("a", "kind")
    await process.worker.claim(KIND)
    process.clock.advance(LEASE)
    kind = Kind("kind", failing("boom"), policy=Policy(max_attempts=2))
    assert await process.worker.turn(kind)

    assert (process.fields("a")["doneAt"] != "", process.status("a")) == (True, "completed")


@asynchronous
async def test_5_one_busy_key_stops_the_kind(process: Process) -> None:
    """Also for tasks without a key."""
    for task_id, key in (("a", "k"), ("b", "k"), ("c", "")):
        await process.manager.create(task_id, "kind", key=key)
    (first,) = await process.worker.claim(KIND)
    second = await process.worker.claim(KIND)
    await process.worker.settle(KIND, [first])
    third = await process.worker.claim(KIND)

    assert (first["id"], second) == ("a", [])
    assert [task["id"] for task in third] == ["b"]
    assert await process.manager.pending_count("kind") == 1


@asynchronous
async def test_6_a_retry_waits_for_the_poll(process: Process) -> None:
    """A minute after the worker began, and each minute from then on; a create in the same process wakes it."""
    runs: list[datetime] = []

    async def handle(_: list[Fields]) -> None:
        runs.append(process.clock.now())
        if len(runs) < 3:
            raise RuntimeError("boom")

    await process.manager.create("a", "kind")
    loop = asyncio.create_task(process.worker.run(Kind("kind", handle)))
    await process.clock.run_for(150)
    await process.manager.create("b", "kind")
    process.worker.wake.set()
    await process.clock.run_for(1)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)

    assert [(run - START).total_seconds() for run in runs] == [0, 60, 120, 150]
    assert (process.status("a"), process.status("b")) == ("completed", "completed")


@asynchronous
async def test_8_one_document_that_cannot_be_read_stops_the_kind(process: Process) -> None:
    """The claim breaks off at it, each time."""
    await process.manager.create("a", "kind")
    await process.manager.create("b", "kind")
    process.fields("a")["attempts"] = "three"
    claimed = [await process.worker.claim(KIND) for _ in range(2)]

    assert claimed == [[], []]
    assert "attempts" in process.worker.log[0]


@asynchronous
async def test_12_a_cancel_is_written_over_what_was_done_meanwhile(process: Process) -> None:
    """It read the task before."""
    await process.manager.create("a", "kind")
    reading = ModelStatements(process.model)
    get = reading.get

    async def get_and_be_slow(names: list[str]) -> object:
        found = await get(names)
        await process.worker.turn(KIND)
        return found

    reading.get = get_and_be_slow  # type: ignore[assignment,method-assign]  # the same, but slower
    slow = GoManager(reading, process.clock)

    assert await slow.cancel(["a"]) == 1
    assert process.status("a") == "cancelled"


@asynchronous
async def test_14_cleaning_up_shares_the_attempts(process: Process) -> None:
    """After four failures it is tried once, and given up."""
    await process.manager.create("a", "kind")
    kind = Kind("kind", failing(*["boom"] * 4), policy=Policy(max_attempts=0), cleanup=failing("cleanup"))
    for _ in range(4):
        assert await process.worker.turn(kind)
        process.clock.advance(600)
    await process.manager.cancel(["a"])
    assert await process.worker.turn(kind)

    assert (process.status("a"), process.fields("a")["attempts"]) == ("cancelled", 5)


@asynchronous
async def test_15_a_cancelled_run_that_succeeds_is_never_cleaned_up(process: Process) -> None:
    """It reads as cancelled, with its result."""
    await process.manager.create("a", "kind")
    (task,) = await process.worker.claim(KIND)
    await process.manager.cancel(["a"])
    await process.worker.settle(KIND, [task], result="done")

    assert (process.status("a"), process.fields("a")["result"]) == ("cancelled", "done")
    assert not await process.worker.turn(KIND)


@asynchronous
async def test_16_one_deleted_member_voids_the_completion_of_a_batch(process: Process) -> None:
    """The others stay leased, and run again."""
    for task_id in "abc":
        await process.manager.create(task_id, "kind", key="k")
    tasks = await process.worker.claim(Kind("kind", nothing, by_key=True))
    await process.manager.delete(["b"])
    await process.worker.settle(KIND, tasks)

    assert len(tasks) == 3
    assert {process.status(task_id) for task_id in "ac"} == {"leased"}
    assert len(process.worker.log) == 1


@asynchronous
async def test_a_reset_of_an_ended_generator_fires_in_the_year_1(process: Process) -> None:
    """And ends it again."""
    rule = {"rrule": "FREQ=DAILY;COUNT=1", "dtstart": "2030-01-01T00:00:00Z", "exdates": None}
    await process.manager.create("g", "kind", rule=rule)
    assert await process.worker.turn(KIND)
    assert await process.manager.reset(["g"]) == 1
    while await process.worker.turn(KIND):
        pass

    assert process.status("g") == "completed"
    assert process.status("g_occ_0001-01-01T00:00:00Z") == "completed"
