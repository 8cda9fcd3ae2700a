"""What anybody may decide about a task that they do not hold."""

from datetime import timedelta

import pytest

from oncetask_core.decisions import Success, cancel, reschedule, reset
from oncetask_core.errors import IllegalTransitionError
from oncetask_core.recurrence import Cursor
from oncetask_core.status import Outcome
from oncetask_core.task import OnceTask, StoreNow
from tests.core.records import (
    CLEANED_UP,
    NOW,
    SECOND,
    STATES,
    a_failure,
    a_generator,
    a_task,
    cancelled,
    changed,
    ended,
    held,
    written,
)

LATER = NOW + timedelta(hours=1)


def test_cancel_of_a_free_task_without_clean_up_ends_it() -> None:
    """Even one that is not due yet, and without asking whose turn it is."""
    after = cancelled(changed(STATES["waiting"], resource_key="key"))

    assert (after.outcome, after.done_at, after.cancelled_at) == (Outcome.CANCELLED, NOW, NOW)


def test_cancel_of_a_free_task_with_clean_up_makes_it_due() -> None:
    """The clean-up does not wait for the time that the task was waiting for, nor under its suspicion."""
    after = cancelled(changed(STATES["waiting"], priority=1, crashes=2), CLEANED_UP)

    assert (after.outcome, after.wait_until, after.order_at) == (None, NOW, NOW - timedelta(minutes=1))
    assert after.crashes == 0


@pytest.mark.parametrize("has_cleanup", [True, False])
def test_cancel_of_a_held_task_only_marks_it(*, has_cleanup: bool) -> None:
    """The end of its lease decides what follows."""
    transition = cancel(STATES["leased"], has_cleanup=has_cleanup)

    assert transition is not None
    assert transition.patch == {"is_cancelled": True, "cancelled_at": StoreNow()}


def test_cancel_of_a_generator_ends_it() -> None:
    """Generators have no clean-up of their own."""
    assert written(a_generator(), cancel(a_generator(), has_cleanup=True)).outcome is Outcome.CANCELLED


@pytest.mark.parametrize("state", ["cancelled while leased", "waits for clean-up", "completed", "failed", "cancelled"])
def test_nothing_is_cancelled_twice_or_too_late(state: str) -> None:
    """A task that is being cancelled, or over, is left alone."""
    assert cancel(STATES[state], has_cleanup=True) is None


def test_reset_starts_a_new_run() -> None:
    """Nothing of the old run is left but what the creator said, the revision and the fence."""
    done = ended(Success('"value"'), changed(ended(a_failure()), lease_uid="l", leased_until=NOW, progress="1"))
    after = written(done, reset(done, run_uid="run 2"), LATER)

    expected = changed(a_task(), run_uid="run 2", revision=done.revision + 1, epoch=1)
    assert after == changed(expected, wait_until=LATER, order_at=LATER)


def test_reset_of_a_cancelled_task_forgets_the_cancel() -> None:
    """The new run is the normal handler's."""
    cleaned = ended(Success(), STATES["in clean-up"], CLEANED_UP)
    after = written(cleaned, reset(cleaned, run_uid="run 2"))

    assert (after.is_cancelled, after.cancelled_at, after.in_cleanup, after.cleanup_attempts) == (False, None, False, 0)
    assert not held(after).in_cleanup


def test_reset_keeps_every_field_of_the_creator() -> None:
    """Whatever a patch of a reset does not name survives; what it names is all of the run."""
    fields = set(OnceTask.__struct_fields__)
    kept = fields - reset(STATES["completed"], run_uid="run 2").patch.keys()

    assert kept == {
        *("id", "kind", "env", "payload", "created_by", "created_at", "sequence", "resource_key", "strict_order"),
        *("head_key", "queue", "priority", "headers", "recurrence", "slots_used", "parent_recurrence_id"),
        *("occurrence_timestamp", "reader", "revision", "epoch", "lease_uid", "leased_by", "leased_until"),
    }


def test_reset_of_a_generator_resumes() -> None:
    """Its next slot is the first after now, and the slots used so far are told."""
    over = changed(a_generator(priority=1), outcome=Outcome.COMPLETED, done_at=NOW)
    after = written(over, reset(over, run_uid="run 2", resume=Cursor(slot=LATER, used=9)))

    assert (after.outcome, after.wait_until, after.slots_used) == (None, LATER, 9)
    assert after.order_at == LATER - timedelta(minutes=1)


def test_generator_without_a_slot_cannot_be_reset() -> None:
    """A rule that is used up stays so."""
    over = changed(a_generator(), outcome=Outcome.COMPLETED)
    with pytest.raises(IllegalTransitionError, match="no occurrence left"):
        reset(over, run_uid="run 2")


@pytest.mark.parametrize("state", ["waiting", "pending", "leased", "in clean-up", "generator"])
def test_only_what_is_over_can_be_reset(state: str) -> None:
    """A live task goes on."""
    with pytest.raises(IllegalTransitionError, match="only a finished task"):
        reset(STATES[state], run_uid="run 2")


def test_task_is_moved_to_another_time() -> None:
    """Absolute times and times of the store's clock move due time and order alike."""
    task = changed(STATES["waiting"], priority=-2)
    absolute = written(task, reschedule(task, LATER))
    relative = written(task, reschedule(task, StoreNow(SECOND)))

    assert (absolute.wait_until, absolute.order_at) == (LATER, LATER + timedelta(minutes=2))
    assert (relative.wait_until, relative.order_at) == (NOW + SECOND, NOW + SECOND + timedelta(minutes=2))


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("completed", "it is finished"),
        ("leased", "a worker holds it"),
        ("waits for clean-up", "it is being cancelled"),
        ("generator", "its times follow from its recurrence rule"),
    ],
)
def test_task_whose_time_is_fixed_is_not_moved(state: str, reason: str) -> None:
    """The error says why."""
    with pytest.raises(IllegalTransitionError, match=reason) as caught:
        reschedule(STATES[state], LATER)

    assert (caught.value.task_id, caught.value.event, caught.value.reason) == (STATES[state].id, "reschedule", reason)
