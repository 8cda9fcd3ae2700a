"""Random steps over two keys, after each of which the seats in the storage are checked."""

from collections.abc import Sequence
from random import Random

from oncetask_conformance.factories import CLEANED_UP, SECOND, a_failure, a_new_task
from oncetask_conformance.harness import RawTask
from oncetask_conformance.world import World
from oncetask_core.decisions import Released, Report, Snoozed, Success, cancel, deletion, reschedule, reset
from oncetask_core.errors import IllegalTransitionError
from oncetask_core.query import TaskFilter
from oncetask_core.task import NewTask, OnceTask, StoreNow

STEPS = 60
TASKS = 12
STRICT = "strict"
KEYS = ("north", STRICT)
_REPORTS: Sequence[Report] = (
    Success("1"),
    a_failure(),
    a_failure(delay=0 * SECOND),
    a_failure(final=True),
    Snoozed(SECOND),
    Released(),
)


async def faults_of_a_storm(world: World, random: Random) -> list[str]:
    """Return what was wrong after the first step that left a wrong seat; nothing when all went well."""
    for number in range(STEPS):
        step = random.choice((_insert, _insert, _claim, _settle, _settle, _settle, _crash, _decide, _decide))
        await step(world, random, number)
        found = seat_faults(list((await world.seats()).values()))
        if found:
            return [f"after step {number} ({step.__name__}): {fault}" for fault in found]
    return []


def seat_faults(tasks: Sequence[RawTask]) -> list[str]:
    """Return what is wrong with the seats, by the rule as the contract words it."""
    faults = [
        f"{task.id} has a seat of another key" for task in tasks if task.head_key not in (None, task.resource_key)
    ]
    for key in KEYS:
        of_key = [task for task in tasks if task.resource_key == key]
        rightful = _rightful([task for task in of_key if task.outcome is None])
        seated = {task.id for task in of_key if task.head_key == key and task.lease_uid is None}
        if seated != rightful:
            faults.append(f"the seat of {key} belongs to {rightful or 'nobody'}, and {seated or 'nobody'} has it")
    return faults


def _rightful(live: Sequence[RawTask]) -> set[str]:
    if not live or any(task.lease_uid is not None for task in live):
        return set()
    return {min(live, key=_place).id}


def _place(task: RawTask) -> tuple[float, int]:
    return (0.0 if task.strict_order else task.wait_until.timestamp(), task.sequence)


async def _insert(world: World, random: Random, number: int) -> None:
    await world.add(*(_random_task(random, number) for _ in range(random.randint(1, 4))))


def _random_task(random: Random, number: int) -> NewTask:
    key = random.choice(KEYS)
    return a_new_task(
        f"task {random.randrange(TASKS)}",
        run_uid=f"run {number}",
        resource_key=key,
        strict_order=key == STRICT,
        wait_until=StoreNow(random.choice((-30, 0, 0, 30)) * SECOND),
    )


async def _claim(world: World, random: Random, number: int) -> None:
    await world.claim(f"lease {number}", group=random.choice((1, 3)), suspects=random.random() < 0.3)


async def _settle(world: World, random: Random, _: int) -> None:
    task = await _one(world, random, TaskFilter(live=True), held=True)
    if task is not None:
        await world.settle(task, random.choice(_REPORTS), CLEANED_UP)


async def _crash(world: World, _: Random, number: int) -> None:
    await world.claim(f"lease {number}", group=2, lease_for=world.short)
    await world.pass_time(world.short)
    for task_id in await world.found(TaskFilter(run_out=True)):
        await world.expire(await world.record(task_id), CLEANED_UP)


async def _decide(world: World, random: Random, number: int) -> None:
    task = await _one(world, random, TaskFilter(), held=None)
    if task is None:
        return
    if random.random() < 0.2:
        await world.store.delete([deletion(task)])
        return
    try:
        transition = random.choice(
            (
                lambda: cancel(task, has_cleanup=random.random() < 0.5),
                lambda: reset(task, run_uid=f"run {number}"),
                lambda: reschedule(task, StoreNow(random.choice((-20, 0, 20)) * SECOND)),
            )
        )()
    except IllegalTransitionError:
        return
    if transition is not None:
        await world.verdict(transition)


async def _one(world: World, random: Random, where: TaskFilter, *, held: bool | None) -> OnceTask[object] | None:
    tasks = [await world.record(task_id) for task_id in await world.found(where)]
    fitting = [task for task in tasks if held is None or (task.lease_uid is not None) is held]
    return random.choice(fitting) if fitting else None
