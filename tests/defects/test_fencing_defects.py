"""Defects of the Go library in who may write what: ids, stale workers, truth, blind writes, crashes."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from oncetask import FixedDelayPolicy, NoRetryPolicy, OnceTask, Outcome, TaskIdConflictError, TaskStatus
from oncetask_core.claims import Claim
from oncetask_core.creating import conflict_of
from oncetask_core.decisions import KindRules, Success, conclude, ending
from oncetask_core.decisions.expiry import expire
from oncetask_core.query import Page, TaskQuery
from oncetask_core.status import status_of
from oncetask_core.transition import Atom, Guard, Transition, Verdict
from oncetask_core.worker.heartbeat import Heartbeat
from tests.defects.planting import check_defect, method_replaced, replaced
from tests.defects.spec_store import SpecStore
from tests.worker.world import LEASE, Job, Keyed, World


def test_defect_01() -> None:
    """An id that exists with another kind is an error, not a task that silently never runs."""

    async def scenario(world: World) -> None:
        await world.manager.create_task(Job("same"))
        with pytest.raises(TaskIdConflictError, match="belongs to a task of kind 'job'"):
            await world.manager.create_task(Keyed("same"))

    check_defect(scenario, lambda: replaced(conflict_of, lambda task, answer: None))


class UnfencedStore(SpecStore):
    """Completion writes over whatever is there, as long as the document exists."""

    def judged(self, guard: Guard) -> Verdict:
        return Verdict.APPLIED if guard.id in self.tasks else Verdict.MISSING


def test_defect_02() -> None:
    """A worker whose lease was taken over cannot overwrite the result, nor free the new holder's lease."""

    async def scenario(world: World) -> None:
        world.manager.register_task_handler(Job, lambda task: "second")
        await world.manager.create_task(Job("a"))
        (stale,) = await world.vanish_with("job")
        world.clock.advance(LEASE)
        await world.manager.drain()
        await world.store.apply([Atom((conclude(stale, Success('"first"'), KindRules(), chance=0.0),))])
        assert (await world.task("a")).result == '"second"'

    check_defect(scenario, store=UnfencedStore)


@contextmanager
def status_from_counters() -> Iterator[None]:
    """An expiry leaves no error, and a finished task with more claims than errors reads as completed."""

    def silent(task: OnceTask[object], rules: KindRules, *, at: datetime, chance: float) -> Transition:
        transition = expire(task, rules, at=at, chance=chance)
        return msgspec.structs.replace(transition, patch={**transition.patch, "errors": task.errors})

    def derived(task: OnceTask[object], now: datetime) -> TaskStatus:
        if task.done_at is None:
            return status_of(task, now)
        return TaskStatus.COMPLETED if task.claims > len(task.errors) else TaskStatus.FAILED

    with replaced(expire, silent), replaced(status_of, derived):
        yield


def test_defect_03() -> None:
    """A task whose worker crashed and whose retries are used up is failed: the outcome is a stored fact."""

    async def scenario(world: World) -> None:
        @world.manager.task_handler(Job, retry_policy=FixedDelayPolicy(max_attempts=2))
        async def handle(task: OnceTask[Job]) -> None:
            raise ValueError("boom")

        await world.manager.create_task(Job("a"))
        await world.vanish_with("job")
        world.clock.advance(LEASE)
        await world.manager.drain()
        task = await world.task("a")
        assert task.status(world.clock.now()) is TaskStatus.FAILED
        assert len(task.errors) == 2

    check_defect(scenario, status_from_counters)


class BlindStore(SpecStore):
    """Bulk operations read, and then write without looking again."""

    def judged(self, guard: Guard) -> Verdict:
        if guard.lease_uid is None:
            return Verdict.APPLIED if guard.id in self.tasks else Verdict.MISSING
        return super().judged(guard)


def test_defect_12() -> None:
    """A task that completes between the reading and the writing of a cancellation stays completed."""

    async def scenario(world: World) -> None:
        world.manager.register_task_handler(Job, lambda task: None)
        await world.manager.create_task(Job("a"))
        (held,) = await world.vanish_with("job")
        done = conclude(held, Success(), KindRules(), chance=0.0)
        store: Any = world.store.real
        read = store.get

        async def read_then_complete(ids: list[str]) -> object:
            found = await read(ids)
            await store.apply([Atom((done,))])
            return found

        store.get = read_then_complete
        await world.manager.cancel_task("a")
        store.get = read
        task = await world.task("a")
        assert task.outcome is Outcome.COMPLETED
        assert not task.is_cancelled

    check_defect(scenario, store=BlindStore)


class SkewedStore(SpecStore):
    """Whether a lease has run out is decided by the clock of whoever asks, and that one is two minutes fast."""

    def judged(self, guard: Guard) -> Verdict:
        return super().judged(msgspec.structs.replace(guard, run_out=False))

    async def find(self, query: TaskQuery) -> Page:
        self.clock.now, now = (lambda: now() + timedelta(minutes=2)), self.clock.now  # type: ignore[method-assign]  # the clock of this call alone
        try:
            return await super().find(query)
        finally:
            self.clock.now = now  # type: ignore[method-assign]  # the clock of this call alone


def test_defect_19() -> None:
    """A worker with a fast clock takes nobody's lease: durations are evaluated on the store's clock."""

    async def scenario(world: World) -> None:
        world.manager.register_task_handler(Job, lambda task: None)
        await world.manager.create_task(Job("a"))
        await world.vanish_with("job")
        world.clock.advance(LEASE / 2)
        await world.manager.drain()
        assert (await world.task("a")).leased_by == "vanished"

    check_defect(scenario, store=SkewedStore)


def test_defect_20() -> None:
    """A handler that takes longer than its lease keeps it by renewals."""

    async def scenario(world: World) -> None:
        runs: list[str] = []

        @world.manager.task_handler(Job, lease_duration=10, timeout=None)
        async def handle(task: OnceTask[Job]) -> None:
            runs.append(task.id)
            await world.clock.sleep(35)

        await world.manager.create_task(Job("a"))
        async with world.manager.running():
            await world.clock.run_for(50)
            world.manager.stop()
            world.manager.stop()
        assert runs == ["a"]
        assert (await world.task("a")).outcome is Outcome.COMPLETED

    check_defect(scenario, lambda: method_replaced(Heartbeat, "start", lambda self: None))


def test_defect_21() -> None:
    """A task that kills its workers is given up after three crashes, however patient its policy is."""

    async def scenario(world: World) -> None:
        world.manager.register_task_handler(Job, lambda task: None, retry_policy=FixedDelayPolicy(max_attempts=0))
        await world.manager.pause("job")
        await world.manager.create_task(Job("killer"))
        for _ in range(5):
            await world.vanish_with("job")
            world.clock.advance(LEASE)
            await world.manager.drain()
        assert (await world.task("killer")).outcome is Outcome.FAILED

    def patient(task: OnceTask[object], rules: KindRules, *, at: datetime, chance: float) -> Transition:
        tireless = msgspec.structs.replace(rules, max_crashes=0)
        return expire(task, tireless, at=at, chance=chance)

    check_defect(scenario, lambda: replaced(expire, patient))


def test_defect_10() -> None:
    """However often a task fails, its record stays small and the number of errors is known."""

    async def scenario(world: World) -> None:
        @world.manager.task_handler(Job, retry_policy=FixedDelayPolicy(max_attempts=0))
        async def handle(task: OnceTask[Job]) -> None:
            if task.attempts <= 200:
                raise ValueError(f"failure {task.attempts}")

        await world.manager.create_task(Job("a"))
        await world.manager.drain()
        task = await world.task("a")
        assert task.error_count == 200
        assert [error.attempt for error in task.errors] == [1, *range(192, 201)]

    check_defect(scenario, lambda: replaced(ending.ERRORS_KEPT_LAST, 10**9))


def test_defect_16() -> None:
    """A backlog of one key is handed over in groups of bounded size, each member settled on its own."""

    async def scenario(world: World) -> None:
        sizes: list[int] = []

        @world.manager.resource_key_handler(Keyed, max_group=25, retry_policy=NoRetryPolicy())
        async def handle(tasks: list[OnceTask[Keyed]]) -> None:
            sizes.append(len(tasks))

        await world.manager.create_tasks([Keyed(f"t{n}") for n in range(60)])
        await world.manager.drain()
        assert sizes == [25, 25, 10]

    check_defect(scenario, store=UnboundedStore)


class UnboundedStore(SpecStore):
    """A key is handed over whole."""

    def selected(self, claim: Claim) -> list[OnceTask[object]]:
        slots = {kind: msgspec.structs.replace(slot, group=10**6) for kind, slot in claim.slots.items()}
        return super().selected(msgspec.structs.replace(claim, slots=slots))
