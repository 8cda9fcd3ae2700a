"""What happens to a task whose lease ran out: its worker died, was paused, or lost the store."""

from datetime import datetime

import msgspec

from oncetask_core.decisions.ending import (
    KindRules,
    after_cancelled_run,
    after_cleanup_failure,
    ended,
    held,
    recorded,
    unleased,
)
from oncetask_core.errors import IllegalTransitionError, LeaseExpiredError
from oncetask_core.status import Outcome
from oncetask_core.task import OnceTask
from oncetask_core.transition import Event, Patch, Transition


def expire(task: OnceTask[object], rules: KindRules, *, at: datetime, chance: float) -> Transition:
    """Return the end of a lease that ran out: a crash is charged and recorded, and the task goes on.

    The guard makes the store check again that the lease has run out, for a renewal may come in between.
    The next attempt is due at once, unless the crash limit or the retry policy ends the task.

    Args:
        task: The record whose lease ran out.
        rules: The kind's policies.
        at: The time of the error entry: the store's time.
        chance: A random number, 0 <= chance < 1, for jitter.

    Raises:
        IllegalTransitionError: The record holds no lease.
    """
    if task.lease_uid is None:
        raise IllegalTransitionError(task.id, event=Event.EXPIRE, reason="it holds no lease")
    error = LeaseExpiredError(f"lease expired: worker {task.leased_by} stopped renewing it")
    attempt = task.cleanup_attempts + 1 if task.in_cleanup else task.attempts
    charged = recorded(task, str(error), at=at, attempt=attempt) | Patch(crashes=task.crashes + 1)
    then = _next(task, rules, error=error, chance=chance)
    guard = msgspec.structs.replace(held(task), run_out=True)
    return Transition(Event.EXPIRE, guard, unleased() | charged | then)


def _next(task: OnceTask[object], rules: KindRules, *, error: LeaseExpiredError, chance: float) -> Patch:
    poisoned = 0 < rules.max_crashes <= task.crashes + 1
    if task.in_cleanup and poisoned:
        return ended(Outcome.CANCELLED) | Patch(cleanup_attempts=task.cleanup_attempts + 1)
    if task.in_cleanup:
        return after_cleanup_failure(task, rules, error=error, chance=chance)
    if task.is_cancelled:
        return after_cancelled_run(task, rules)
    if poisoned or rules.retry_policy.delay_after(task.attempts, error, chance=chance) is None:
        return ended(Outcome.FAILED)
    return Patch()
