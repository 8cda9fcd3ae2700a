"""Records that the tests start from: one task in every state that the rules tell apart."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from oncetask_core.claims import Claim, Slots, leased
from oncetask_core.clock import START
from oncetask_core.decisions import Failure, KindRules, Success, cancel, conclude
from oncetask_core.recurrence import Recurrence
from oncetask_core.retry import FixedDelayPolicy
from oncetask_core.task import NewTask, OnceTask, born
from oncetask_core.transition import Transition, applied

NOW = START + timedelta(hours=12)
SECOND = timedelta(seconds=1)
LEASE_FOR = timedelta(seconds=60)
RULES = KindRules(retry_policy=FixedDelayPolicy(delay=10, max_attempts=3))
"""Three attempts, ten seconds apart; no clean-up."""
CLEANED_UP = KindRules(
    retry_policy=FixedDelayPolicy(delay=10, max_attempts=3),
    cleanup_policy=FixedDelayPolicy(delay=5, max_attempts=2),
    has_cleanup=True,
)
"""As `RULES`, with a clean-up that is tried twice, five seconds apart."""

Task = OnceTask[object]


def a_task(task_id: str = "t", **fields: Any) -> Task:
    """Return a pending task with these fields."""
    new = NewTask(id=task_id, kind="kind", payload='{"to":"Ada"}', run_uid="run 1", created_by="call 1")
    return changed(born(new, env="TEST", now=NOW, sequence=1), **fields)


def changed(task: Task, **fields: Any) -> Task:
    """Return the task with other fields."""
    return msgspec.structs.replace(task, **fields)


def a_claim(lease_uid: str = "lease 1", **fields: Any) -> Claim:
    """Return a claim of ten tasks of the kind, one by one."""
    defaults: dict[str, Any] = {"leased_by": "worker", "lease_for": LEASE_FOR, "slots": {"kind": Slots(10)}}
    return Claim(lease_uid=lease_uid, **(defaults | fields))


def held(task: Task, lease_uid: str = "lease 1", *, epoch: int = 1) -> Task:
    """Return the task as a claim leases it."""
    return leased(task, a_claim(lease_uid), now=NOW, epoch=epoch)


def written(task: Task, transition: Transition | None, now: datetime = NOW) -> Task:
    """Return the task after the transition, which has to be one."""
    assert transition is not None
    return applied(task, transition, now)


def cancelled(task: Task, rules: KindRules = RULES) -> Task:
    """Return the task after a cancel."""
    return written(task, cancel(task, has_cleanup=rules.has_cleanup))


def a_failure(text: str = "no such street", **fields: Any) -> Failure:
    """Return the report of an attempt that failed."""
    return Failure(error=RuntimeError(text), text=text, at=NOW, **fields)


def a_generator(task_id: str = "g", **fields: Any) -> Task:
    """Return a daily generator whose slot is due."""
    rule = Recurrence(rrule="FREQ=DAILY", dtstart=NOW)
    return a_task(task_id, **({"recurrence": rule, "slots_used": 3} | fields))


def ended(report: Any, task: Task | None = None, rules: KindRules = RULES) -> Task:
    """Return a task after the only attempt was reported."""
    start = held(a_task()) if task is None else task
    return written(start, conclude(start, report, rules, chance=0.0))


STATES: Mapping[str, Task] = {
    "waiting": a_task(wait_until=NOW + SECOND, order_at=NOW + SECOND),
    "pending": a_task(),
    "leased": held(a_task()),
    "run out": changed(held(a_task()), leased_until=NOW),
    "cancelled while leased": cancelled(held(a_task()), CLEANED_UP),
    "waits for clean-up": cancelled(a_task(), CLEANED_UP),
    "in clean-up": held(cancelled(a_task(), CLEANED_UP)),
    "completed": ended(Success('"value"')),
    "failed": ended(a_failure(final=True)),
    "cancelled": cancelled(a_task()),
    "generator": a_generator(),
}
"""One task in every state that the rules tell apart, by name."""
