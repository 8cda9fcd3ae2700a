"""One task in every state that the contract tells apart, each reached by the ordinary verbs.

Each task has the kind "kind of" its id, so that preparing one never touches another.
"""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum

from oncetask_conformance.factories import (
    CLEANED_UP,
    HOUR,
    ONE_ATTEMPT,
    RETRIED,
    NewTaskFields,
    a_claim,
    a_failure,
    a_generator,
    a_new_task,
)
from oncetask_conformance.world import World
from oncetask_core.claims import Claim
from oncetask_core.decisions import Released, Report, Snoozed, Success, cancel, report_progress
from oncetask_core.task import NewTask, OnceTask, StoreNow
from oncetask_core.transition import Verdict


class State(StrEnum):
    """What a task of the suite's collection went through last."""

    RUN_OUT = "run out"
    CRASHED = "crashed"
    WAITING = "waiting"
    PENDING = "pending"
    LEASED = "leased"
    PROGRESSING = "progressing"
    RETRYING = "retrying"
    SNOOZED = "snoozed"
    RELEASED = "released"
    CANCELLING = "cancelling"
    TOLD_TO_STOP = "told to stop"
    CLEANING_UP = "cleaning up"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    GENERATOR = "generator"


FINISHED = (State.COMPLETED, State.FAILED, State.CANCELLED)
_STEP = timedelta(milliseconds=1)
HELD = (State.RUN_OUT, State.LEASED, State.PROGRESSING, State.TOLD_TO_STOP, State.CLEANING_UP)
_NEW: Mapping[State, NewTaskFields] = {
    State.WAITING: {"wait_until": StoreNow(HOUR), "queue": "slow"},
    State.PENDING: {"priority": 3, "headers": {"traceparent": "00-1"}, "resource_key": "van-1"},
    State.LEASED: {"resource_key": "van-1", "strict_order": True},
    State.COMPLETED: {"parent_recurrence_id": "generator"},
}
_REPORTS: Mapping[State, Report] = {
    State.RETRYING: a_failure(delay=HOUR),
    State.SNOOZED: Snoozed(HOUR),
    State.RELEASED: Released(),
    State.COMPLETED: Success('{"signed":true}'),
    State.FAILED: a_failure("no such address"),
}


def new_in(state: State, task_id: str) -> NewTask:
    """Return the task that `bring` turns into one of this state."""
    fields = NewTaskFields(kind=kind_of(task_id)) | _NEW.get(state, NewTaskFields())
    return a_generator(task_id, **fields) if state is State.GENERATOR else a_new_task(task_id, **fields)


def kind_of(task_id: str) -> str:
    """Return the kind of a task of the collection."""
    return f"kind of {task_id}"


async def reach(world: World, state: State, task_id: str = "a") -> OnceTask[object]:
    """Insert a task, bring it into the state, and return its record."""
    await world.add(new_in(state, task_id))
    await bring(world, state, task_id)
    if state in (State.RUN_OUT, State.CRASHED):
        await world.pass_time(world.short)
        await _expire_crashed(world, state, task_id)
    return await world.record(task_id)


async def collection(world: World) -> None:
    """Insert one task in each state, its id being the state; no two are created or finished at one time."""
    for state in State:
        await world.add(new_in(state, state))
        await world.pass_time(_STEP)
    for state in State:
        await bring(world, state, state)
        await world.pass_time(_STEP)
    await world.pass_time(world.short)
    await _expire_crashed(world, State.CRASHED, State.CRASHED)


async def bring(world: World, state: State, task_id: str) -> None:
    """Bring a task that was just inserted into the state, up to the passing of time."""
    if state in (State.WAITING, State.PENDING, State.GENERATOR):
        return
    if state is State.CANCELLED:
        await _cancel(world, task_id, has_cleanup=False)
    elif state in (State.CANCELLING, State.CLEANING_UP):
        await _cancel(world, task_id, has_cleanup=True)
    if state in (State.CANCELLED, State.CANCELLING):
        return
    short_lived = state in (State.RUN_OUT, State.CRASHED)
    task = (await world.store.claim(only(task_id, lease_for=world.short if short_lived else world.long))).tasks[0]
    await _go_on(world, state, task)


def only(task_id: str, *, lease_for: timedelta = HOUR, lease_uid: str | None = None) -> Claim:
    """Return a claim that can take nothing but this task of the collection."""
    return a_claim(lease_uid or f"lease of {task_id}", kinds=[kind_of(task_id)], lease_for=lease_for)


async def _go_on(world: World, state: State, task: OnceTask[object]) -> None:
    if state in _REPORTS:
        rules = ONE_ATTEMPT if state is State.FAILED else RETRIED
        assert await world.settle(task, _REPORTS[state], rules) is Verdict.APPLIED
    elif state is State.TOLD_TO_STOP:
        await _cancel(world, task.id, has_cleanup=True)
    elif state is State.PROGRESSING:
        assert await world.verdict(report_progress(task, '{"done":3}')) is Verdict.APPLIED


async def _cancel(world: World, task_id: str, *, has_cleanup: bool) -> None:
    transition = cancel(await world.record(task_id), has_cleanup=has_cleanup)
    assert transition is not None
    assert await world.verdict(transition) is Verdict.APPLIED


async def _expire_crashed(world: World, state: State, task_id: str) -> None:
    if state is State.CRASHED:
        assert await world.expire(await world.record(task_id), CLEANED_UP) is Verdict.APPLIED
