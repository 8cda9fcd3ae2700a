"""What every end of a lease has in common: the fields it clears, the error it records, where the task goes next."""

from datetime import datetime, timedelta

import msgspec

from oncetask_core.retry import DEFAULT_CLEANUP_RETRY, DEFAULT_RETRY, RetryPolicy
from oncetask_core.status import Outcome
from oncetask_core.task import PRIORITY_STEP, OnceTask, StoreNow, TaskError
from oncetask_core.transition import Guard, Patch

ERRORS_KEPT_FIRST = 1
ERRORS_KEPT_LAST = 9
SETTLEMENTS_KEPT = 8
MAX_CRASHES = 3


class KindRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the decisions have to know about a kind."""

    retry_policy: RetryPolicy = DEFAULT_RETRY
    cleanup_policy: RetryPolicy = DEFAULT_CLEANUP_RETRY
    has_cleanup: bool = False
    max_crashes: int = MAX_CRASHES
    """After so many leases that ended without a report the task fails, whatever the policy says; 0 means no limit."""


def unleased() -> Patch:
    """Return the fields that the end of any lease clears; the seat is given anew by the store."""
    return Patch(lease_uid=None, leased_by=None, leased_until=None, head_key=None)


def settled(task: OnceTask[object]) -> Patch:
    """Return the fields that the end of a lease by its own holder sets."""
    known = task.settled_by if task.lease_uid is None else (*task.settled_by, task.lease_uid)
    return unleased() | Patch(settled_by=known[-SETTLEMENTS_KEPT:])


def grant_of(task: OnceTask[object]) -> Guard:
    """Return the guard of a write that the holder may make whatever else happened to this record."""
    return Guard(
        id=task.id,
        run_uid=task.run_uid,
        kind=task.kind,
        resource_key=task.resource_key,
        lease_uid=task.lease_uid,
        epoch=task.epoch,
    )


def held(task: OnceTask[object]) -> Guard:
    """Return the guard of a decision that the holder made on this record."""
    return Guard(
        id=task.id,
        run_uid=task.run_uid,
        kind=task.kind,
        resource_key=task.resource_key,
        lease_uid=task.lease_uid,
        epoch=task.epoch,
        revision=task.revision,
    )


def decided_on(task: OnceTask[object]) -> Guard:
    """Return the guard of a decision that anybody else made on this record."""
    return Guard(
        id=task.id, run_uid=task.run_uid, kind=task.kind, resource_key=task.resource_key, revision=task.revision
    )


def wait(delay: timedelta, *, priority: int) -> Patch:
    """Return the fields that put a task `delay` into the future of the store's clock."""
    return Patch(wait_until=StoreNow(delay), order_at=StoreNow(delay - priority * PRIORITY_STEP))


def ended(outcome: Outcome) -> Patch:
    """Return the fields of a terminal state; a finished task holds no seat."""
    return Patch(outcome=outcome, done_at=StoreNow(), head_key=None)


def recorded(task: OnceTask[object], text: str, *, at: datetime, attempt: int) -> Patch:
    """Return the error history with one more entry: the first and the latest are kept, all are counted."""
    errors = (*task.errors, TaskError(at=at, error=text, attempt=attempt))
    if len(errors) > ERRORS_KEPT_FIRST + ERRORS_KEPT_LAST:
        errors = errors[:ERRORS_KEPT_FIRST] + errors[-ERRORS_KEPT_LAST:]
    return Patch(errors=errors, error_count=task.error_count + 1)


def after_cancelled_run(task: OnceTask[object], rules: KindRules) -> Patch:
    """Return where a cancelled task goes when the run of its normal handler is over: to the clean-up, or to its end.

    The clean-up is another handler: the crashes of the normal one are not held against it.
    """
    if rules.has_cleanup:
        return wait(timedelta(0), priority=task.priority) | Patch(crashes=0)
    return ended(Outcome.CANCELLED)


def after_cleanup_failure(task: OnceTask[object], rules: KindRules, *, error: BaseException, chance: float) -> Patch:
    """Return where a task goes when a clean-up attempt failed: it waits for the next one, or ends cancelled."""
    attempts = task.cleanup_attempts + 1
    delay = rules.cleanup_policy.delay_after(attempts, error, chance=chance)
    then = ended(Outcome.CANCELLED) if delay is None else wait(delay, priority=task.priority)
    return Patch(cleanup_attempts=attempts) | then
