"""What a task is doing, as a pure function of its stored facts and the time."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oncetask_core.task import OnceTask


class TaskStatus(StrEnum):
    """The seven states of a task; the strings are those of the Go library."""

    WAITING = "waiting"
    PENDING = "pending"
    LEASED = "leased"
    CANCELLATION_PENDING = "cancellationPending"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """How a task ended. A stored fact: it is never derived from counters."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL: frozenset[TaskStatus] = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})


def status_of(task: "OnceTask[object]", now: datetime) -> TaskStatus:
    """Return the status of `task` at `now` (aware; the store's time).

    The first rule that holds decides: an outcome, a requested cancellation, a lease that has not run
    out, a time to wait for; else the task is pending. A lease that ran out without being expired yet
    therefore reads as pending.
    """
    if task.outcome is not None:
        return TaskStatus(task.outcome.value)
    if task.is_cancelled:
        return TaskStatus.CANCELLATION_PENDING
    if task.leased_until is not None and task.leased_until > now:
        return TaskStatus.LEASED
    return TaskStatus.WAITING if task.wait_until > now else TaskStatus.PENDING
