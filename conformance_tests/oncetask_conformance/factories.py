"""Values that tests start from: every field has a default, and a test names only what it is about."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import TypedDict, Unpack

from oncetask_core.claims import Claim, Slots
from oncetask_core.clock import START
from oncetask_core.decisions import Failure, KindRules
from oncetask_core.recurrence import Recurrence
from oncetask_core.retry import FixedDelayPolicy, NoRetryPolicy
from oncetask_core.task import NewTask, When

KIND = "parcel"
KEY = "van-7"
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

RETRIED = KindRules(retry_policy=FixedDelayPolicy(delay=10, max_attempts=3))
"""Three attempts, ten seconds apart; no clean-up handler."""
ONE_ATTEMPT = KindRules(retry_policy=NoRetryPolicy())
CLEANED_UP = KindRules(
    retry_policy=FixedDelayPolicy(delay=10, max_attempts=3),
    cleanup_policy=FixedDelayPolicy(delay=5, max_attempts=2),
    has_cleanup=True,
)
"""As `RETRIED`, with a clean-up handler that is tried twice, five seconds apart."""


class NewTaskFields(TypedDict, total=False):
    """What `a_new_task` may be told."""

    kind: str
    payload: str
    run_uid: str
    created_by: str
    wait_until: When
    resource_key: str | None
    strict_order: bool
    queue: str
    priority: int
    headers: Mapping[str, str]
    recurrence: Recurrence | None
    slots_used: int
    parent_recurrence_id: str | None
    occurrence_timestamp: datetime | None


class ClaimFields(TypedDict, total=False):
    """What `a_claim` may be told."""

    kinds: Collection[str]
    limit: int
    group: int
    leased_by: str
    lease_for: timedelta
    suspects: bool


def at(seconds: float) -> datetime:
    """Return the time this many seconds after the injected clock's start."""
    return START + timedelta(seconds=seconds)


def a_new_task(task_id: str = "a", **fields: Unpack[NewTaskFields]) -> NewTask:
    """Return a task to insert, due at once; run and creator are named after the id."""
    defaults = NewTaskFields(
        kind=KIND, payload='{"to":"Ada"}', run_uid=f"run of {task_id}", created_by=f"creator of {task_id}"
    )
    return NewTask(id=task_id, **(defaults | fields))


def keyed(task_id: str, **fields: Unpack[NewTaskFields]) -> NewTask:
    """Return a task to insert that takes part in the exclusion of `KEY`."""
    return a_new_task(task_id, **(NewTaskFields(resource_key=KEY) | fields))


def a_rule() -> Recurrence:
    """Return the rule "daily at midnight UTC", from the injected clock's first day on."""
    return Recurrence(rrule="FREQ=DAILY", dtstart=START)


def a_generator(task_id: str = "a", **fields: Unpack[NewTaskFields]) -> NewTask:
    """Return a daily generator to insert, whose first slot is due at once."""
    return a_new_task(task_id, **(NewTaskFields(recurrence=a_rule()) | fields))


def a_claim(lease_uid: str = "lease 1", **fields: Unpack[ClaimFields]) -> Claim:
    """Return a claim of up to ten tasks of `KIND`, one by one, for a minute."""
    slots = Slots(limit=fields.get("limit", 10), group=fields.get("group", 1))
    return Claim(
        lease_uid=lease_uid,
        leased_by=fields.get("leased_by", "worker 1"),
        lease_for=fields.get("lease_for", MINUTE),
        slots=dict.fromkeys(fields.get("kinds", (KIND,)), slots),
        suspects=fields.get("suspects", False),
    )


def a_failure(text: str = "no such street", *, final: bool = False, delay: timedelta | None = None) -> Failure:
    """Return the report of an attempt that failed at the injected clock's start."""
    return Failure(error=RuntimeError(text), text=text, at=START, final=final, delay=delay)
