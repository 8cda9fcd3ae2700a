"""Defects of the Go library in claiming, waking, stopping, cancelling and recurring."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, ClassVar
from unittest import mock

import msgspec
from dateutil.rrule import rrulestr

from oncetask import (
    BulkOperationError,
    FixedDelayPolicy,
    OnceTask,
    Outcome,
    Recurrence,
    TaskData,
    TaskFilter,
)
from oncetask_core import recurrence as recurrence_package
from oncetask_core.claims import Claim
from oncetask_core.client import TaskClient
from oncetask_core.clock import wait_for_event
from oncetask_core.decisions import ending
from oncetask_core.env import current_env
from oncetask_core.lifecycle import StoreGate
from oncetask_core.operations import Operations
from oncetask_core.recurrence import Cursor, Due, due
from oncetask_core.registry import Registry
from oncetask_core.transition import Answer, Atom
from oncetask_core.worker.execution import Executor
from oncetask_core.worker.worker import Worker
from tests.defects.planting import check_defect, method_replaced, replaced
from tests.defects.spec_store import SpecStore
from tests.worker.world import Job, Keyed, World


@dataclass(frozen=True)
class Recurring(TaskData[None]):
    """A generator with a rule of the test's choosing."""

    kind: ClassVar[str] = "recurring"
    name: str
    rule: str
    start: datetime

    def idempotent_id(self) -> str:
        return self.name

    def recurrence(self) -> Recurrence:
        return Recurrence(rrule=self.rule, dtstart=self.start)


class FirstOnlyStore(SpecStore):
    """A claim looks at the first due task alone, and gives up when its key is busy."""

    def selected(self, claim: Claim) -> list[OnceTask[object]]:
        due_tasks = [
            t for t in self.tasks.values() if t.lease_uid is None and t.wait_until <= self.time() and t.is_live
        ]
        first = min(due_tasks, key=lambda task: task.order_at, default=None)
        return [] if first is None or (first.resource_key and not first.head_key) else [first]


def test_defect_05() -> None:
    """A task behind a busy key does not block the tasks that come after it."""

    async def scenario(world: World) -> None:
        @world.manager.task_handler(Keyed, concurrency=2)
        async def handle(task: OnceTask[Keyed]) -> None:
            await world.clock.sleep(30 if task.data.key == "busy" else 0)

        for name, key in (("first", "busy"), ("second", "busy"), ("free", "other")):
            await world.manager.create_task(Keyed(name, key))
            world.clock.advance(1)
        async with world.manager.running():
            await world.clock.run_for(5)
            done = not (await world.task("free")).is_live
            world.manager.stop()
            world.manager.stop()
        assert done

    check_defect(scenario, store=FirstOnlyStore)


async def _sleep_a_minute(self: Worker) -> None:
    await wait_for_event(self._clock, self._wake, 60)


@contextmanager
def one_wake_up_and_a_minute() -> Iterator[None]:
    """Creation and cancellation wake nobody, and an idle worker sleeps for a minute."""
    with method_replaced(TaskClient, "_wake", lambda self: None), method_replaced(Worker, "_rest", _sleep_a_minute):
        yield


def test_defect_06() -> None:
    """New tasks, retries and cancellations are acted on when they are due, not at the next minute."""

    async def scenario(world: World) -> None:
        starts: list[float] = []

        async def clean_up(task: OnceTask[Job]) -> None:
            starts.append(world.clock.monotonic())

        @world.manager.task_handler(
            Job, retry_policy=FixedDelayPolicy(delay=2), cancellation_handler=clean_up, concurrency=10
        )
        async def handle(task: OnceTask[Job]) -> None:
            starts.append(world.clock.monotonic())
            if task.attempts == 1:
                raise ValueError("once more")

        async with world.manager.running():
            await world.clock.run_for(0.1)
            await world.manager.create_tasks([Job(f"job-{n}") for n in range(10)])
            await world.manager.create_task(Job("later"), delay=3600)
            await world.manager.cancel_task("later")
            await world.clock.run_for(3)
        assert len(starts) == 21
        assert max(starts) < 2.2

    check_defect(scenario, one_wake_up_and_a_minute)


class FreshFirstStore(SpecStore):
    """What never ran comes before what was scheduled, retried or lost its worker."""

    def selected(self, claim: Claim) -> list[OnceTask[object]]:
        fresh = [
            task for task in super().selected(msgspec.structs.replace(claim, slots=_more(claim))) if not task.claims
        ]
        return fresh[: next(iter(claim.slots.values())).limit] or super().selected(claim)


def _more(claim: Claim) -> dict[str, Any]:
    return {kind: msgspec.structs.replace(slots, limit=1000) for kind, slots in claim.slots.items()}


def test_defect_07() -> None:
    """A retried task is not overtaken by an endless stream of fresh ones."""

    async def scenario(world: World) -> None:
        order: list[str] = []

        @world.manager.task_handler(Job, concurrency=1, retry_policy=FixedDelayPolicy(delay=1))
        async def handle(task: OnceTask[Job]) -> None:
            order.append(task.id)
            if task.id == "old" and task.attempts == 1:
                raise ValueError("again")
            await world.clock.sleep(1)
            if len(order) < 30:
                await world.manager.create_task(Job(f"fresh-{len(order)}-a"))
                await world.manager.create_task(Job(f"fresh-{len(order)}-b"))

        await world.manager.create_task(Job("old"))
        await world.manager.create_task(Job("seed"))
        async with world.manager.running():
            await world.clock.run_for(20)
            world.manager.stop()
            world.manager.stop()
        assert "old" in order[1:5]

    check_defect(scenario, store=FreshFirstStore)


def test_defect_09() -> None:
    """A result that cannot be encoded is a recorded failure, not an endless re-run."""

    async def scenario(world: World) -> None:
        @world.manager.task_handler(Job)
        async def handle(task: OnceTask[Job]) -> object:
            return object()

        await world.manager.create_task(Job("a"))
        await world.manager.drain()
        assert (await world.task("a")).outcome is Outcome.FAILED

    def hang(self: Executor, value: object) -> object:
        raise TimeoutError("the completion fails, and the task stays leased")

    check_defect(scenario, lambda: method_replaced(Executor, "_encode", hang))


async def _nothing(self: Worker, *arguments: object, **options: object) -> None:
    return None


@contextmanager
def leave_at_once() -> Iterator[None]:
    """The end of a worker waits for nobody and writes nothing."""
    with method_replaced(Worker, "_wait_for_batches", _nothing), method_replaced(Worker, "_flush", _nothing):
        yield


def test_defect_11() -> None:
    """A shutdown waits for running handlers and writes their results."""

    async def scenario(world: World) -> None:
        @world.manager.task_handler(Job)
        async def handle(task: OnceTask[Job]) -> str:
            await world.clock.sleep(5)
            return "done"

        await world.manager.create_task(Job("a"))
        running = asyncio.create_task(world.manager.run(handle_signals=False))
        await world.clock.run_for(1)
        world.manager.stop()
        await world.clock.run_for(10)
        await running
        assert (await world.task("a")).result == '"done"'

    check_defect(scenario, leave_at_once)


def test_defect_13() -> None:
    """Repeated ids in a bulk call are taken once."""

    async def scenario(world: World) -> None:
        await world.manager.create_tasks([Job("a"), Job("a")])
        for change in (world.manager.cancel_tasks_by_ids, world.manager.delete_tasks_by_ids):
            assert (await change(["a", "a"])).changed == ("a",)

    original = Operations._repeat

    async def refuse(self: Operations, operation: str, ids: Any, **rest: Any) -> object:
        given = list(ids)
        if len(set(given)) < len(given):
            raise BulkOperationError(operation, succeeded=0, errors={})
        return await original(self, operation, given, **rest)

    check_defect(scenario, lambda: method_replaced(Operations, "_repeat", refuse))


def test_defect_14() -> None:
    """Failed attempts of the handler use up none of the clean-up's attempts."""

    async def scenario(world: World) -> None:
        cleanups: list[str] = []

        async def clean_up(task: OnceTask[Job]) -> None:
            cleanups.append(task.id)
            raise ValueError("not yet")

        @world.manager.task_handler(
            Job,
            retry_policy=FixedDelayPolicy(delay=1, max_attempts=0),
            cancellation_handler=clean_up,
            cancellation_retry_policy=FixedDelayPolicy(max_attempts=5),
        )
        async def handle(task: OnceTask[Job]) -> None:
            raise ValueError("boom")

        await world.manager.create_task(Job("a"))
        for _ in range(10):
            await world.manager.drain()
            world.clock.advance(1)
        await world.manager.cancel_task("a")
        await world.manager.drain()
        assert len(cleanups) == 5

    original = ending.after_cleanup_failure

    def shared(task: OnceTask[object], *arguments: Any, **options: Any) -> object:
        charged = msgspec.structs.replace(task, cleanup_attempts=task.cleanup_attempts + task.failures)
        return original(charged, *arguments, **options)

    check_defect(scenario, lambda: replaced(original, shared))


def test_defect_15() -> None:
    """A run that succeeds although it was cancelled keeps its result, and the clean-up still runs."""

    async def scenario(world: World) -> None:
        cleanups: list[str] = []

        async def clean_up(task: OnceTask[Job]) -> None:
            cleanups.append(task.id)

        @world.manager.task_handler(Job, cancellation_handler=clean_up)
        async def handle(task: OnceTask[Job]) -> str:
            await world.manager.cancel_task(task.id)
            return "kept"

        await world.manager.create_task(Job("a"))
        await world.manager.drain()
        assert cleanups == ["a"]
        assert (await world.task("a")).result == '"kept"'

    def skipped(task: OnceTask[object], rules: object) -> object:
        return ending.ended(Outcome.CANCELLED)

    check_defect(scenario, lambda: replaced(ending.after_cancelled_run, skipped))


def test_defect_04() -> None:
    """A rule that starts at an offset from UTC fires at its instants, not hours off."""

    async def scenario(world: World) -> None:
        start = datetime(2030, 1, 1, 7, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
        world.manager.register_task_handler(Recurring, lambda task: None)
        await world.manager.create_task(Recurring("daily", "FREQ=DAILY", start))
        world.clock.advance(timedelta(hours=3))
        await world.manager.drain()
        assert (await world.task("daily")).wait_until == datetime(2030, 1, 2, 2, 0, tzinfo=UTC)

    def as_text(*arguments: Any, **options: Any) -> Due:
        fired = due(*arguments, **options)
        assert fired.next is not None
        local = (fired.next.slot + timedelta(hours=5, minutes=30)).replace(tzinfo=UTC)
        return Due(fire=fired.fire, next=Cursor(slot=local, used=fired.next.used))

    check_defect(scenario, lambda: replaced(due, as_text))


class TornStore(SpecStore):
    """The occurrence and the generator's next slot are two writes, and nothing guards the second."""

    def _apply(self, atom: Atom) -> Answer:
        if not atom.inserts:
            return super()._apply(atom)
        for new in atom.inserts:
            self._insert(new)
        raise TimeoutError("the worker dies between the two writes")


def test_defect_17() -> None:
    """An occurrence and the move of its generator happen together or not at all."""

    async def scenario(world: World) -> None:
        world.manager.register_task_handler(Recurring, lambda task: None)
        await world.manager.create_task(Recurring("hourly", "FREQ=HOURLY", world.clock.now()))
        await asyncio.gather(world.manager.drain(), world.another().drain(), return_exceptions=True)
        generator = await world.task("hourly")
        occurrences = await world.manager.count_tasks(TaskFilter(parent_recurrence_id="hourly"))
        assert generator.wait_until == world.clock.now() + timedelta(hours=1)
        assert occurrences == 1

    check_defect(scenario, store=TornStore)


@contextmanager
def two_years_at_once() -> Iterator[None]:
    """The next slot is looked for among all slots of the next two years."""

    def materialised(rule: Recurrence, count: int, *, after: datetime | None = None) -> tuple[datetime, ...]:
        start = rule.dtstart if after is None else after
        rules = rrulestr(rule.rrule, dtstart=rule.dtstart)
        return tuple(rules.between(start, start + timedelta(days=730), inc=True)[:count])

    with replaced(recurrence_package.preview, materialised):
        yield


def test_defect_18() -> None:
    """The next slots of a fine rule cost next to nothing, and there is no horizon."""

    async def scenario(world: World) -> None:
        start = world.clock.now()
        began = time.process_time()
        assert len(recurrence_package.preview(Recurrence(rrule="FREQ=MINUTELY", dtstart=start), 2)) == 2
        assert time.process_time() - began < 0.5
        rare = recurrence_package.preview(Recurrence(rrule="FREQ=YEARLY;INTERVAL=11", dtstart=start), 3)
        assert [slot.year for slot in rare] == [2030, 2041, 2052]

    check_defect(scenario, two_years_at_once)


async def _store_of_the_moment(self: StoreGate) -> object:
    self.store.real.env = current_env()  # type: ignore[attr-defined]  # the store in memory
    return self.store


def test_defect_24() -> None:
    """The environment of a manager is fixed when it is made, whatever the variable says later."""

    async def scenario(world: World) -> None:
        with mock.patch.dict(os.environ, {"ONCE_TASK_ENV": "STAGING"}):
            await world.manager.create_task(Job("a"))
        assert (await world.task("a")).env == world.manager.env == "DEFAULT"

    check_defect(scenario, lambda: method_replaced(StoreGate, "opened", _store_of_the_moment))


def test_defect_26() -> None:
    """Nothing runs before it is started, and a kind can be paused, stopped and registered anew."""

    async def scenario(world: World) -> None:
        runs: list[str] = []
        world.manager.register_task_handler(Job, lambda task: runs.append(f"first {task.id}"))
        await world.manager.create_task(Job("a"))
        assert runs == []
        world.manager.unregister("job")
        await world.manager.drain()
        assert runs == []
        world.manager.register_task_handler(Job, lambda task: runs.append(f"second {task.id}"))
        await world.manager.drain()
        assert runs == ["second a"]

    check_defect(scenario, lambda: method_replaced(Registry, "remove", lambda self, kind: None))
