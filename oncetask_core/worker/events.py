"""What a worker tells its event hooks, for metrics and error trackers."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec

from oncetask_core.task import OnceTask

logger = logging.getLogger("oncetask.events")


class EventName(StrEnum):
    """What happened to a task, or was noticed about it."""

    STARTED = "started"
    COMPLETED = "completed"
    RETRIED = "retried"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SNOOZED = "snoozed"
    RELEASED = "released"
    EXPIRED = "expired"
    LEASE_LOST = "lease_lost"
    STUCK = "stuck"
    UNREADABLE = "unreadable"


class TaskEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event. Hooks get it on the worker's event loop and must return quickly."""

    name: EventName
    task_id: str
    kind: str
    task: OnceTask[object] | None = None
    """The record that the worker acted on, as it was before."""
    error: BaseException | None = None
    """What the attempt ended with, where it failed."""


Hook = Callable[[TaskEvent], None]


class Events:
    """Counts events and calls the hooks; one that raises is logged and never harms the task.

    Attributes:
        counts: How often each event happened.
    """

    def __init__(self, hooks: Sequence[Hook]) -> None:
        self._hooks = hooks
        self.counts: Counter[str] = Counter()

    def emit(self, name: EventName, task: OnceTask[object], error: BaseException | None = None) -> None:
        """Tell every hook."""
        self.counts[name.value] += 1
        if not self._hooks:
            return
        event = TaskEvent(name=name, task_id=task.id, kind=task.kind, task=task, error=error)
        for hook in self._hooks:
            self._call(hook, event)

    def emit_unreadable(self, task_id: str, reason: str) -> None:
        """Tell every hook about a record that cannot be read."""
        logger.error("record %s cannot be read and was set aside: %s", task_id, reason, extra={"task_id": task_id})
        self.counts[EventName.UNREADABLE.value] += 1
        event = TaskEvent(name=EventName.UNREADABLE, task_id=task_id, kind="")
        for hook in self._hooks:
            self._call(hook, event)

    def _call(self, hook: Hook, event: TaskEvent) -> None:
        try:
            hook(event)
        except (Exception, asyncio.CancelledError):
            logger.exception("event hook %r failed on %s", hook, event.name, extra={"task_id": event.task_id})
