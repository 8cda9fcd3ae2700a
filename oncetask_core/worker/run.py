"""One call of a handler: its tasks, its context, and why it was asked to stop."""

import asyncio
from collections.abc import Callable, Sequence
from enum import StrEnum

from oncetask_core.context import TaskContext
from oncetask_core.handlers import Handler
from oncetask_core.task import OnceTask


class StopReason(StrEnum):
    """Why a handler was asked to stop; later members of this list override earlier ones."""

    CANCELLED = "cancelled"
    TIMED_OUT = "timed out"
    SHUTDOWN = "shutdown"
    FENCED = "cannot renew"
    LOST = "lease lost"


_RANK = {reason: rank for rank, reason in enumerate(StopReason)}


class Run:
    """The handler call for one task or one group; lives on the worker's event loop."""

    __slots__ = (
        "_interruptible",
        "_waiter",
        "context",
        "handler",
        "is_cleanup",
        "reason",
        "stack",
        "started",
        "tasks",
    )

    def __init__(
        self,
        tasks: Sequence[OnceTask[object]],
        *,
        handler: Handler,
        context: TaskContext[object],
        is_cleanup: bool,
    ) -> None:
        self.tasks = {task.id: task for task in tasks}
        self.handler = handler
        self.context = context
        self.is_cleanup = is_cleanup
        self.reason: StopReason | None = None
        self.started: float | None = None
        self.stack: Callable[[], str] = str
        self._waiter: asyncio.Task[None] | None = None
        self._interruptible = False

    def enter(self, *, interruptible: bool) -> None:
        """Note that the handler is being called in the current asyncio task."""
        self._waiter = asyncio.current_task()
        self._interruptible = interruptible

    def leave(self) -> None:
        """Note that the handler is over: from here on nothing is interrupted."""
        self._waiter = None

    @property
    def in_handler(self) -> bool:
        """Whether the handler is being called right now."""
        return self._waiter is not None

    @property
    def is_interruptible(self) -> bool:
        """Whether the handler is a coroutine; a thread can only be asked."""
        return self._interruptible

    def stop(self, reason: StopReason) -> None:
        """Ask the handler to stop: a coroutine is cancelled, a thread finds `context.cancelled` set."""
        if self.reason is None or _RANK[reason] > _RANK[self.reason]:
            self.reason = reason
        self.context.note_stop(lost=reason in (StopReason.FENCED, StopReason.LOST))
        if self._waiter is not None and self._interruptible:
            self._waiter.cancel()

    def cancel_member(self, task_id: str) -> None:
        """Note that the cancellation of a member was requested; the run stops when it concerns every member."""
        if self.is_cleanup or task_id in self.context.cancelled_ids:
            return
        self.context.note_cancel(task_id)
        if self.context.cancelled_ids >= self.tasks.keys():
            self.stop(StopReason.CANCELLED)

    def lose_member(self, task_id: str) -> None:
        """Note that a member's lease is lost; the run stops when none is left.

        What the handler has completed in its own transaction is lost by that, and as it should be.
        """
        if task_id in self.context.completed_ids:
            return
        self.tasks.pop(task_id, None)
        if not self.tasks:
            self.stop(StopReason.LOST)
