"""Every event in every state: where it leads, or that it leads nowhere."""

from collections.abc import Callable, Mapping
from datetime import timedelta

import pytest

from oncetask_core.decisions import (
    Released,
    Report,
    Snoozed,
    Success,
    Uids,
    cancel,
    conclude,
    deletion,
    expire,
    report_progress,
    reschedule,
    reset,
    tick,
)
from oncetask_core.errors import OncetaskError
from oncetask_core.recurrence import Cursor, Due
from oncetask_core.status import TaskStatus
from oncetask_core.task import StoreNow
from oncetask_core.transition import Event, Transition, Verdict, applied, judge
from tests.core.records import CLEANED_UP, NOW, SECOND, STATES, Task, a_failure, changed

NEXT = Cursor(slot=NOW + timedelta(days=1), used=4)
Decide = Callable[[Task], Transition | None]


def _reported(report: Report) -> Decide:
    return lambda task: conclude(task, report, CLEANED_UP, chance=0.0)


def _tick(task: Task) -> Transition:
    due = Due(fire=(task.wait_until,), next=NEXT)
    return tick(task, due, Uids(created_by="call", run_uids=("run",))).transitions[0]


EVENTS: Mapping[str, Decide] = {
    "succeed": _reported(Success('"late"')),
    "fail": _reported(a_failure()),
    "give up": _reported(a_failure(final=True)),
    "snooze": _reported(Snoozed(SECOND)),
    "release": _reported(Released()),
    "progress": lambda task: report_progress(task, "1"),
    "expire": lambda task: expire(task, CLEANED_UP, at=NOW, chance=0.0),
    "cancel": lambda task: cancel(task, has_cleanup=True),
    "cancel, no clean-up": lambda task: cancel(task, has_cleanup=False),
    "reset": lambda task: reset(task, run_uid="run 2", resume=NEXT if task.is_generator else None),
    "reschedule": lambda task: reschedule(task, StoreNow(SECOND)),
}
WAITING, PENDING, LEASED = TaskStatus.WAITING, TaskStatus.PENDING, TaskStatus.LEASED
CANCELLING, CANCELLED = TaskStatus.CANCELLATION_PENDING, TaskStatus.CANCELLED
COMPLETED, FAILED = TaskStatus.COMPLETED, TaskStatus.FAILED
REFUSED = "refused"
NOTHING = "nothing to do"
NOT_YET = "not yet"

HELD = {"succeed": COMPLETED, "fail": WAITING, "give up": FAILED, "snooze": WAITING, "release": PENDING}
CLEANED = {"succeed": CANCELLED, "fail": CANCELLING, "give up": CANCELLED, "snooze": CANCELLING, "release": CANCELLING}
STOPPED = dict.fromkeys(HELD, CANCELLING)
OVER = {"reset": PENDING, "cancel": NOTHING, "cancel, no clean-up": NOTHING}
FREE = {"cancel": CANCELLING, "cancel, no clean-up": CANCELLED, "reschedule": WAITING}

TABLE: Mapping[str, Mapping[str, object]] = {
    "waiting": FREE,
    "pending": FREE,
    "leased": HELD | {"progress": LEASED, "expire": NOT_YET, "cancel": CANCELLING, "cancel, no clean-up": CANCELLING},
    "run out": HELD | {"progress": PENDING, "expire": PENDING, "cancel": CANCELLING, "cancel, no clean-up": CANCELLING},
    "cancelled while leased": STOPPED
    | {"progress": CANCELLING, "expire": NOT_YET, "cancel": NOTHING, "cancel, no clean-up": NOTHING},
    "waits for clean-up": {"cancel": NOTHING, "cancel, no clean-up": NOTHING},
    "in clean-up": CLEANED
    | {"progress": CANCELLING, "expire": NOT_YET, "cancel": NOTHING, "cancel, no clean-up": NOTHING},
    "completed": OVER,
    "failed": OVER,
    "cancelled": OVER,
    "generator": {"cancel": CANCELLED, "cancel, no clean-up": CANCELLED},
}
CASES = [(state, event) for state in STATES for event in EVENTS]


def _outcome(state: str, event: str) -> object:
    """Return the status that the event leads to, or why it leads nowhere."""
    task = STATES[state]
    try:
        transition = EVENTS[event](task)
    except OncetaskError:
        return REFUSED
    if transition is None:
        return NOTHING
    if judge(transition.guard, task, NOW) is Verdict.CHANGED:
        return NOT_YET
    return applied(task, transition, NOW).status(NOW)


def test_table_names_every_state() -> None:
    """No state is forgotten."""
    assert TABLE.keys() == STATES.keys()


@pytest.mark.parametrize(("state", "event"), CASES)
def test_event_leads_where_the_table_says(state: str, event: str) -> None:
    """Whatever the table does not name is refused."""
    assert _outcome(state, event) == TABLE[state].get(event, REFUSED)


@pytest.mark.parametrize(("state", "event"), CASES)
def test_event_keeps_the_record_whole(state: str, event: str) -> None:
    """No event tears apart what belongs together: lease and its fields, outcome and its time, order and due time."""
    before = STATES[state]
    if _outcome(state, event) in (REFUSED, NOTHING, NOT_YET):
        return
    transition = EVENTS[event](before)
    assert transition is not None

    after = applied(before, transition, NOW)

    assert (after.lease_uid is None) == (after.leased_until is None) == (after.leased_by is None)
    assert (after.outcome is None) == (after.done_at is None)
    assert (after.cancelled_at is not None) == after.is_cancelled
    assert after.order_at == after.wait_until - after.priority * timedelta(seconds=60)
    assert not (after.lease_uid is not None and not after.is_live)
    assert after.revision == before.revision + (event != "progress")
    assert (after.claims, after.epoch) == ((0, before.epoch) if event == "reset" else (before.claims, before.epoch))
    assert (after.run_uid != before.run_uid) == (event == "reset")


@pytest.mark.parametrize("event", ["succeed", "fail", "give up", "snooze", "release", "expire"])
def test_end_of_a_lease_gives_up_lease_and_seat(event: str) -> None:
    """Whatever ends a lease clears its fields and the seat; the store gives the seat anew."""
    transition = EVENTS[event](changed(STATES["run out"], resource_key="key", head_key="key"))

    assert transition is not None
    cleared = {"lease_uid": None, "leased_by": None, "leased_until": None, "head_key": None}
    assert cleared.items() <= transition.patch.items()


@pytest.mark.parametrize("event", ["succeed", "fail", "give up", "snooze", "release"])
def test_every_report_is_remembered(event: str) -> None:
    """The lease of every accepted report is kept, so that a repeated one is recognised."""
    transition = EVENTS[event](STATES["leased"])

    assert transition is not None
    assert transition.patch["settled_by"] == ("lease 1",)


def test_generator_ticks_to_its_next_slot() -> None:
    """A tick leaves the generator waiting for the next slot."""
    generator = STATES["generator"]

    after = applied(generator, _tick(generator), NOW)

    assert after.status(NOW) is WAITING
    assert (after.wait_until, after.slots_used) == (NEXT.slot, NEXT.used)


@pytest.mark.parametrize("state", list(STATES))
def test_any_record_may_be_deleted_as_it_was_read(state: str) -> None:
    """Held tasks may be deleted, too."""
    task = STATES[state]

    assert judge(deletion(task), task, NOW) is Verdict.APPLIED
    assert judge(deletion(task), changed(task, revision=task.revision + 1), NOW) is Verdict.CHANGED


def test_events_of_holders_carry_their_names() -> None:
    """A store keeps a statement per event, so a transition says which it is."""
    named = {event: decide(STATES["leased"]) for event, decide in EVENTS.items() if event in HELD}

    assert {event: made and made.event for event, made in named.items()} == {
        "succeed": Event.SUCCEED,
        "fail": Event.FAIL,
        "give up": Event.FAIL,
        "snooze": Event.SNOOZE,
        "release": Event.RELEASE,
    }
