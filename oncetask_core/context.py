"""What a running handler can ask about itself."""

import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Generic, Protocol, TypeVar, cast

from oncetask_core.errors import LeaseLostError
from oncetask_core.payload import encode_value
from oncetask_core.task import OnceTask

P = TypeVar("P")
ReportProgress = Callable[[OnceTask[object], str], None]


class CompletesTasks(Protocol):
    """What completes a task on a session of the handler."""

    async def complete(self, session: object, task: OnceTask[object], result: str | None) -> None:
        """Complete it on a session whose statements are awaited."""

    def complete_now(self, session: object, task: OnceTask[object], result: str | None) -> None:
        """Complete it on a session in the calling thread."""


class TaskContext(Generic[P]):
    """A handler's view of its own run; safe to use from the handler's thread.

    Attributes:
        tasks: The tasks of this run: one, or the members of a group in order.
        resources: What the manager shares with its handlers.
        attempt: Which attempt of the first task this is, counted from 1.
    """

    __slots__ = (
        "_cancelled_ids",
        "_completed_ids",
        "_completer",
        "_lost",
        "_report",
        "_stop_event",
        "_stopped",
        "attempt",
        "resources",
        "tasks",
    )

    def __init__(
        self,
        tasks: tuple[OnceTask[P], ...],
        *,
        resources: Mapping[str, object],
        report: ReportProgress,
        completer: CompletesTasks,
        threaded: bool = False,
    ) -> None:
        self.tasks = tasks
        self.resources = resources
        self.attempt = tasks[0].cleanup_attempts + 1 if tasks[0].in_cleanup else tasks[0].attempts
        self._report = report
        self._completer = completer
        self._completed_ids: frozenset[str] = frozenset()
        self._stopped = False
        self._lost = False
        self._stop_event = threading.Event() if threaded else None
        self._cancelled_ids: frozenset[str] = frozenset()

    @property
    def task(self) -> OnceTask[P]:
        """The task of this run; of a group its first member."""
        return self.tasks[0]

    @property
    def fence(self) -> int:
        """A number that rises with every claim of the same key (or id): let other systems refuse lower ones."""
        return self.tasks[0].epoch

    @property
    def idempotency_key(self) -> str:
        """The same in every attempt of this run: hand it to services that recognise repeated requests."""
        return self.tasks[0].idempotency_key

    @property
    def cancelled(self) -> bool:
        """Whether the handler should stop: cancelled, timed out, shutting down, or the lease is lost.

        Plain functions poll this (or wait for it with `wait_cancelled`); coroutines are cancelled instead.
        """
        return self._stopped

    @property
    def cancelled_ids(self) -> frozenset[str]:
        """The members of a group whose cancellation was requested while the group ran."""
        return self._cancelled_ids

    @property
    def lease_lost(self) -> bool:
        """Whether somebody else may hold the task by now; whatever this handler writes to us will be refused."""
        return self._lost

    def wait_cancelled(self, timeout: float) -> bool:
        """Block the calling thread for up to `timeout` seconds; return whether the handler should stop.

        For plain functions; a coroutine is cancelled instead and gets its answer at once.
        """
        return self._stopped if self._stop_event is None else self._stop_event.wait(timeout)

    def check(self) -> None:
        """Raise if the lease is lost: call it before an effect that nobody else fences.

        Raises:
            LeaseLostError: Somebody else may hold the task by now.
        """
        if self._lost:
            raise LeaseLostError(self.tasks[0].id)

    def progress(self, value: object, *, task: OnceTask[P] | None = None) -> None:
        """Store `value` as the progress of `task` (by default the only or first one).

        Returns at once; the write follows in the background, and only the latest value is kept.

        Raises:
            InvalidTaskError: The value cannot be stored as JSON.
            LeaseLostError: The lease is lost.
        """
        self.check()
        self._report(self.tasks[0] if task is None else task, encode_value(value, "progress"))

    async def acomplete_in(self, session: object, result: object = None, *, task: OnceTask[P] | None = None) -> None:
        """Complete the task in your own transaction: it is completed if and only if that commits.

        Call it last before the commit, and return from the handler after it; what the handler returns then counts for
        nothing. If the transaction does not commit, the attempt has failed.

        Args:
            session: A SQLAlchemy AsyncSession or AsyncConnection, or a psycopg AsyncConnection, within a transaction on
                the database of the tasks.
            result: What the handler would return.
            task: Which member of a group; by default the only or first one.

        Raises:
            LeaseLostError: Somebody else may hold the task; the transaction can only be rolled back.
            InvalidTaskError: The result cannot be stored.
            ConfigurationError: The session is none of these, or the store takes part in no such transactions.
        """
        meant, text = self._completing(task, result)
        await self._completer.complete(session, meant, text)
        self._completed_ids |= {meant.id}

    def complete_in(self, session: object, result: object = None, *, task: OnceTask[P] | None = None) -> None:
        """Do the same in the calling thread, for plain functions.

        Args:
            session: A SQLAlchemy Session or Connection, a psycopg Connection, or a connection of Django.
            result: As for `acomplete_in`.
            task: As for `acomplete_in`.

        Raises:
            LeaseLostError: As for `acomplete_in`.
            InvalidTaskError: As for `acomplete_in`.
            ConfigurationError: As for `acomplete_in`.
        """
        meant, text = self._completing(task, result)
        self._completer.complete_now(session, meant, text)
        self._completed_ids |= {meant.id}

    @property
    def completed_ids(self) -> frozenset[str]:
        """The tasks that the handler has completed in a transaction of its own, which may not have committed."""
        return self._completed_ids

    def _completing(self, task: OnceTask[P] | None, result: object) -> tuple[OnceTask[object], str | None]:
        self.check()
        meant = self.tasks[0] if task is None else task
        return cast(OnceTask[object], meant), None if result is None else encode_value(result)

    def note_cancel(self, task_id: str) -> None:
        """Remember that the cancellation of a member was requested. Called by the worker."""
        self._cancelled_ids |= {task_id}

    def note_stop(self, *, lost: bool) -> None:
        """Tell the handler to stop. Called by the worker."""
        self._lost = self._lost or lost
        self._stopped = True
        if self._stop_event is not None:
            self._stop_event.set()


_current: ContextVar[TaskContext[object] | None] = ContextVar("oncetask_context", default=None)


def enter_context(context: TaskContext[object]) -> None:
    """Make `context` the current one of the running asyncio task or thread. Called by the worker."""
    _current.set(context)


def current_context() -> TaskContext[object] | None:
    """Return the context of the handler that is running here, or None outside of handlers."""
    return _current.get()


def get_current_task_id() -> str | None:
    """Return the id of the task that is running here; None outside of handlers and in groups of several tasks."""
    context = _current.get()
    return context.task.id if context is not None and len(context.tasks) == 1 else None


def get_current_task_resource_key() -> str | None:
    """Return the resource key of the task or group that is running here, or None."""
    context = _current.get()
    return None if context is None else context.task.resource_key
