"""Every error that oncetask raises.

    OncetaskError
    |-- InputError (ValueError)          the caller's mistake: value, rule and way out
    |   |-- InvalidTaskError
    |   |-- InvalidRecurrenceError
    |   |-- UnknownKindError
    |   |-- DuplicateHandlerError
    |   `-- ConfigurationError
    |-- TaskIdConflictError              the id is taken by a task of another kind
    |-- StateError                       the state of the world
    |   |-- TaskNotFoundError (LookupError)
    |   |-- IllegalTransitionError
    |   |-- LeaseLostError
    |   |-- NotCommittedError
    |   |-- TaskFailedError              what `wait` raises for a task that did not complete
    |   `-- BulkOperationError           some ids of a bulk call were refused; the others are done
    |-- RunError                         why an attempt ended without a report of its handler
    |   |-- LeaseExpiredError
    |   |-- HandlerTimeoutError
    |   `-- PayloadError                 the stored payload does not fit the registered type
    `-- StoreError
        |-- StoreUnavailableError
        `-- SchemaError

What a handler raises to steer its task (`RetryAfter`, `Snooze`, `GiveUp`) is a signal and stands in `signals`.
"""

from collections.abc import Mapping

_SHOWN = 120
_NAMED = 5


def shown(value: object) -> str:
    """Return `repr(value)`, cut to about 120 characters: error messages stay readable, payloads stay private."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a repr of the caller's own may raise anything; the message must still be built
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


class OncetaskError(Exception):
    """The root of every error of this library."""


class InputError(OncetaskError, ValueError):
    """A value that the library cannot accept. Nothing was written.

    Attributes:
        value: What was given.
        rule: The rule that it breaks.
        remedy: What to do instead.
    """

    def __init__(self, *, value: object, rule: str, remedy: str) -> None:
        super().__init__(f"{rule}; got {shown(value)}. {remedy}")
        self.value = value
        self.rule = rule
        self.remedy = remedy


class InvalidTaskError(InputError):
    """A task, or a field of it, that no store could keep or no worker could run."""


class InvalidRecurrenceError(InputError):
    """A recurrence rule that is malformed, out of bounds or without any occurrence."""


class UnknownKindError(InputError):
    """A kind for which no handler is registered."""


class DuplicateHandlerError(InputError):
    """A second handler for a kind that has one."""


class ConfigurationError(InputError):
    """A setting, URL or option that is out of bounds, or an extra that is not installed."""


class TaskIdConflictError(OncetaskError):
    """The id already belongs to a task of another kind, so the new task was not created.

    Attributes:
        task_id: The id that is taken.
        kind: The kind of the task that was to be created.
        existing_kind: The kind of the task that has the id.
    """

    def __init__(self, task_id: str, *, kind: str, existing_kind: str) -> None:
        super().__init__(
            f"task ids are unique per environment; {shown(task_id)} belongs to a task of kind "
            f"{shown(existing_kind)}, so no task of kind {shown(kind)} was created under it. "
            "Put the kind into the idempotent id."
        )
        self.task_id = task_id
        self.kind = kind
        self.existing_kind = existing_kind


class StateError(OncetaskError):
    """The state of the world does not allow what was asked."""


class TaskNotFoundError(StateError, LookupError):
    """No task has this id in this environment."""

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"no task has the id {shown(task_id)} in this environment. "
            "It was never created here, or it was deleted or purged since."
        )
        self.task_id = task_id


class IllegalTransitionError(StateError):
    """The task is in a state from which this event does not lead anywhere."""

    def __init__(self, task_id: str, *, event: str, reason: str) -> None:
        super().__init__(f"task {shown(task_id)} cannot take the event {str(event)!r}: {reason}")
        self.task_id = task_id
        self.event = event
        self.reason = reason


class LeaseLostError(StateError):
    """The lease under which this was attempted is no longer the task's; nothing was changed.

    The task was taken over after its lease ran out, or it was reset or deleted. Stop working on it:
    whoever holds it now will finish it.
    """

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"the lease on task {shown(task_id)} is lost: it ran out and was taken over, or the task was "
            "reset or deleted. Nothing was changed; stop working on this task."
        )
        self.task_id = task_id


class NotCommittedError(StateError):
    """The handler said that its own transaction completes the task, but that transaction did not commit."""

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"task {shown(task_id)} was to be completed by the handler's own transaction, which did not commit. "
            "The attempt counts as a failure; commit the transaction before the handler returns."
        )
        self.task_id = task_id


class TaskFailedError(StateError):
    """The awaited task ended without completing.

    Attributes:
        task_id: The task.
        outcome: `failed` or `cancelled`.
        last_error: The text of the last recorded error, if there is one.
    """

    def __init__(self, task_id: str, *, outcome: str, last_error: str | None) -> None:
        why = f": {last_error}" if last_error else ""
        super().__init__(f"task {shown(task_id)} ended as {outcome}{why}")
        self.task_id = task_id
        self.outcome = outcome
        self.last_error = last_error


class BulkOperationError(StateError):
    """Some members of a bulk call were refused; every other member is done.

    Attributes:
        succeeded: How many members were changed.
        errors: Why each refused member was refused, by task id.
    """

    def __init__(self, operation: str, *, succeeded: int, errors: Mapping[str, OncetaskError]) -> None:
        detail = "; ".join(f"{shown(task_id)}: {error}" for task_id, error in list(errors.items())[:_NAMED])
        more = f" (and {len(errors) - _NAMED} more)" if len(errors) > _NAMED else ""
        super().__init__(f"partial {operation}: {succeeded} succeeded, {len(errors)} failed: {detail}{more}")
        self.succeeded = succeeded
        self.errors = dict(errors)


class RunError(OncetaskError):
    """Why an attempt ended without a report of its handler; retry policies see it like any exception."""


class LeaseExpiredError(RunError):
    """The worker that held the task stopped renewing its lease: it died, was paused, or lost the store."""


class HandlerTimeoutError(RunError, TimeoutError):
    """The handler ran longer than its kind's `timeout`."""


class PayloadError(RunError):
    """The stored payload does not decode as the type that is registered for its kind."""


class StoreError(OncetaskError):
    """The store failed in a way that asking again does not mend."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached, or is too busy, right now; asking again may succeed."""


class SchemaError(StoreError):
    """The store's schema is missing, older or newer than this version needs; the message names `migrate`."""
