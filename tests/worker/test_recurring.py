"""Generators and their occurrences, run by the worker."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest

from oncetask import OnceTask, Outcome, Recurrence, TaskData, TaskFilter
from oncetask_core.recurrence import Cursor, Due, due
from oncetask_core.transition import Answer, Atom
from tests.asynchronous import asynchronous
from tests.worker.world import Job, World


@dataclass(frozen=True)
class Report(TaskData[None]):
    """A payload that recurs."""

    kind: ClassVar[str] = "report"
    name: str
    rule: str
    start: datetime
    options: dict[str, Any]

    def idempotent_id(self) -> str:
        return self.name

    def recurrence(self) -> Recurrence:
        return Recurrence(rrule=self.rule, dtstart=self.start, **self.options)


class Reports(World):
    """A world whose handler notes when it ran, for which slot."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.runs: list[tuple[float, str]] = []

        @self.manager.task_handler(Report)
        async def handle(task: OnceTask[Report]) -> None:
            self.runs.append((self.clock.monotonic(), task.id))

    async def create(self, rule: str, *, start: timedelta = timedelta(0), **options: Any) -> None:
        """Create a generator."""
        await self.manager.create_task(Report("g", rule, self.clock.now() + start, options))


@asynchronous
async def test_an_occurrence_starts_when_its_slot_comes() -> None:
    """Each slot makes one occurrence, which starts at its time; the generator moves on and ends with its rule."""
    world = Reports()
    await world.create("FREQ=MINUTELY;COUNT=3", start=timedelta(seconds=30))
    async with world.manager.running():
        await world.clock.run_for(timedelta(minutes=4))

    assert [round(at) for at, _ in world.runs] == [30, 90, 150]
    assert [name for _, name in world.runs] == [f"g_occ_2030-01-01T00:0{minute}:30Z" for minute in range(3)]
    assert (await world.task("g")).outcome is Outcome.COMPLETED


@asynchronous
async def test_after_a_downtime_one_occurrence_makes_up_for_all() -> None:
    """By default missed slots are coalesced: the oldest fires, then the schedule goes on from now."""
    world = Reports()
    await world.create("FREQ=HOURLY")
    world.clock.advance(timedelta(hours=5, minutes=10))
    await world.manager.drain()

    assert [name for _, name in world.runs] == ["g_occ_2030-01-01T00:00:00Z"]
    assert (await world.task("g")).wait_until == world.clock.now() + timedelta(minutes=50)


@asynchronous
async def test_all_missed_slots_fire_where_that_is_asked_for() -> None:
    """catch_up="all" creates an occurrence for every missed slot."""
    world = Reports()
    await world.create("FREQ=HOURLY", catch_up="all")
    world.clock.advance(timedelta(hours=5, minutes=10))
    await world.manager.drain()

    assert len(world.runs) == 6


@asynchronous
async def test_however_many_slots_were_missed_a_hundred_at_most_come_at_once() -> None:
    """catch_up="all" creates them in portions, tick by tick, and loses none."""
    world = Reports()
    await world.create("FREQ=MINUTELY", catch_up="all")
    world.clock.advance(timedelta(minutes=249))
    apply, portions = world.store.real.apply, []

    async def count(atoms: Sequence[Atom]) -> Sequence[Answer]:
        portions.append(sum(len(atom.inserts) for atom in atoms))
        return await apply(atoms)

    world.store.plant(apply=count)
    await world.manager.drain()

    assert [portion for portion in portions if portion] == [100, 100, 50]
    assert len(world.runs) == 250


@asynchronous
async def test_a_generator_ticks_while_all_slots_are_taken() -> None:
    """Generators need no slot and no lease."""
    world = Reports()
    blocked = world.another(name="blocked")

    @blocked.task_handler(Report, concurrency=1)
    async def block(task: OnceTask[Report]) -> None:
        await world.clock.sleep(100_000)

    await world.create("FREQ=MINUTELY;COUNT=4")
    async with blocked.running():
        await world.clock.run_for(timedelta(minutes=4))
        occurrences = await blocked.count_tasks(TaskFilter(parent_recurrence_id="g"))
        blocked.stop()
        blocked.stop()

    assert occurrences == 4


@asynchronous
async def test_a_cancelled_generator_stops_and_its_occurrences_go_on() -> None:
    """A generator ends at once; what it created is a task like any other."""
    world = Reports()
    await world.create("FREQ=HOURLY")
    await world.manager.pause("report")
    await world.manager.resume("report")
    await world.manager.drain()
    assert await world.manager.cancel_task("g")
    world.clock.advance(timedelta(days=1))
    await world.manager.drain()

    assert len(world.runs) == 1
    assert (await world.task("g")).outcome is Outcome.CANCELLED


@asynchronous
async def test_a_generator_that_is_reset_resumes_from_now() -> None:
    """A reset generator goes on with its first slot after now."""
    world = Reports()
    await world.create("FREQ=HOURLY")
    await world.manager.cancel_task("g")
    world.clock.advance(timedelta(hours=7, minutes=20))
    assert await world.manager.reset_task("g")

    generator = await world.task("g")
    assert generator.is_live
    assert generator.wait_until == world.clock.now() + timedelta(minutes=40)


@asynchronous
async def test_a_generator_of_a_paused_kind_makes_no_occurrence() -> None:
    """Its slots wait until it is resumed."""
    world = Reports()
    world.manager.register_task_handler(Job, lambda task: None)
    await world.create("FREQ=HOURLY;COUNT=3")
    await world.manager.pause("report")
    async with world.manager.running():
        await world.clock.run_for(10)
        assert (await world.store.real.count(TaskFilter())) == 1
        await world.manager.resume("report")
        await world.clock.run_for(2)
        assert (await world.store.real.count(TaskFilter())) == 2


@asynchronous
async def test_a_rule_that_cannot_be_evaluated_keeps_no_other_generator_from_its_slots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The generator ends and says why."""
    world = Reports()
    start = world.clock.now()
    await world.manager.create_task(Report("bad", "FREQ=HOURLY;COUNT=3", start, {}))
    await world.manager.create_task(Report("good", "FREQ=HOURLY;COUNT=2", start, {}))

    def evaluate(rule: Recurrence, cursor: Cursor, *, now: datetime) -> Due:
        if "COUNT=3" in rule.rrule:
            raise RecursionError("a bug in the rule")
        return due(rule, cursor, now=now)

    monkeypatch.setattr("oncetask_core.worker.upkeep.due", evaluate)
    async with world.manager.running():
        await world.clock.run_for(2)

    assert (await world.task("bad")).outcome is Outcome.FAILED
    assert "a bug in the rule" in (await world.task("bad")).errors[0].error
    assert len(world.runs) == 1
