"""What anybody may decide about a task that they do not hold: cancel, reset, reschedule, delete."""

from datetime import timedelta

from oncetask_core.decisions.ending import decided_on, ended, wait
from oncetask_core.errors import IllegalTransitionError
from oncetask_core.recurrence import Cursor
from oncetask_core.status import Outcome
from oncetask_core.task import PRIORITY_STEP, OnceTask, StoreNow, When, order_at
from oncetask_core.transition import Event, Guard, Patch, Transition


def cancel(task: OnceTask[object], *, has_cleanup: bool) -> Transition | None:
    """Return the request to cancel the task, or None when there is nothing left to cancel.

    A task that nobody holds ends at once where its kind has no clean-up handler, else it waits for the clean-up,
    which is due immediately. A task that is held is only marked: its holder is told and the end of its lease
    decides. Generators have no clean-up of their own; the occurrences they created go on.

    Args:
        task: The newest known record.
        has_cleanup: Whether the kind has a clean-up handler; True where that is not known.
    """
    if not task.is_live or task.is_cancelled:
        return None
    marked = Patch(is_cancelled=True, cancelled_at=StoreNow())
    if task.lease_uid is not None:
        patch = marked
    elif has_cleanup and not task.is_generator:
        patch = marked | wait(timedelta(0), priority=task.priority) | Patch(crashes=0)
    else:
        patch = marked | ended(Outcome.CANCELLED)
    return Transition(Event.CANCEL, decided_on(task), patch)


def reset(task: OnceTask[object], *, run_uid: str, resume: Cursor | None = None) -> Transition:
    """Return the start of a new run of a finished task: counters, errors and result begin anew.

    Args:
        task: The newest known record; finished.
        run_uid: The identity of the new run; nobody who knows the old one can write any more.
        resume: For a generator the first slot after now.

    Raises:
        IllegalTransitionError: The task is not finished, or a generator has no slot left.
    """
    if task.is_live:
        raise IllegalTransitionError(task.id, event=Event.RESET, reason="only a finished task can be reset")
    if task.is_generator and resume is None:
        raise IllegalTransitionError(task.id, event=Event.RESET, reason="its rule has no occurrence left")
    fresh = Patch(
        run_uid=run_uid,
        in_cleanup=False,
        started_at=None,
        settled_by=(),
        claims=0,
        failures=0,
        crashes=0,
        cleanup_attempts=0,
        is_cancelled=False,
        cancelled_at=None,
        done_at=None,
        outcome=None,
        result=None,
        errors=(),
        error_count=0,
        progress=None,
    )
    return Transition(Event.RESET, decided_on(task), fresh | _restart(task, resume))


def _restart(task: OnceTask[object], resume: Cursor | None) -> Patch:
    if resume is None:
        return wait(timedelta(0), priority=task.priority)
    return Patch(wait_until=resume.slot, order_at=order_at(resume.slot, task.priority), slots_used=resume.used)


def reschedule(task: OnceTask[object], when: When) -> Transition:
    """Return the move of an unfinished task that nobody holds to another time.

    Raises:
        IllegalTransitionError: The task is finished, held, cancelled, or a generator.
    """
    reason = _why_fixed(task)
    if reason is not None:
        raise IllegalTransitionError(task.id, event=Event.RESCHEDULE, reason=reason)
    if isinstance(when, StoreNow):
        order: When = StoreNow(when.plus - task.priority * PRIORITY_STEP)
    else:
        order = order_at(when, task.priority)
    return Transition(Event.RESCHEDULE, decided_on(task), Patch(wait_until=when, order_at=order))


def _why_fixed(task: OnceTask[object]) -> str | None:
    if not task.is_live:
        return "it is finished"
    if task.lease_uid is not None:
        return "a worker holds it"
    if task.is_cancelled:
        return "it is being cancelled"
    return "its times follow from its recurrence rule" if task.is_generator else None


def deletion(task: OnceTask[object]) -> Guard:
    """Return the guard under which this record, and no later one, is deleted; a task that is held may be deleted."""
    return decided_on(task)
