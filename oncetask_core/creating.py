"""Creating tasks: encode and check everything first, then insert, and recognise our own insert after a lost reply."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Generic, TypeVar

import msgspec

from oncetask_core.backoff import Backoff
from oncetask_core.errors import BulkOperationError, OncetaskError, StoreUnavailableError, TaskIdConflictError
from oncetask_core.store import TaskStore
from oncetask_core.task import NewTask
from oncetask_core.transition import Inserted
from oncetask_core.waiting import Waiter
from oncetask_core.worker.settings import Seams

R_co = TypeVar("R_co", covariant=True)

INSERT_TRIES = 4


class Created(Generic[R_co]):
    """The answer to a create call; true if the task is new.

    Attributes:
        id: The task's id.
        existed: Whether a task of this kind had the id already; it was left untouched.
    """

    def __init__(self, task_id: str, *, existed: bool, result_type: Any, waiter: Waiter) -> None:
        self.id = task_id
        self.existed = existed
        self._result_type = result_type
        self._waiter = waiter

    def __bool__(self) -> bool:
        return not self.existed

    def __repr__(self) -> str:
        return f"Created({self.id!r}, existed={self.existed})"

    async def wait(self, *, timeout: timedelta | float | None = None) -> R_co:
        """Wait until the task ends and return its handler's result.

        Args:
            timeout: A timedelta or seconds; None waits for as long as it takes.

        Raises:
            TimeoutError: The task did not end in time; it goes on.
            TaskFailedError: The task ended as failed or cancelled.
            TaskNotFoundError: The task was deleted.
        """
        result: R_co = await self._waiter.wait(self.id, result_type=self._result_type, timeout=timeout)
        return result


async def insert(store: TaskStore, tasks: Sequence[NewTask], *, seams: Seams) -> Sequence[Inserted]:
    """Insert tasks; a lost reply is resolved by asking again, for an insert is recognised by its creator.

    Raises:
        StoreUnavailableError: The store did not answer in several tries. The tasks may or may not exist:
            creating them again is safe.
    """
    backoff = Backoff(seams.chance)
    for _ in range(INSERT_TRIES - 1):
        try:
            return _own(tasks, await store.insert(tasks))
        except StoreUnavailableError:
            await seams.clock.sleep(backoff.next_delay())
    return _own(tasks, await store.insert(tasks))


def _own(tasks: Sequence[NewTask], answers: Sequence[Inserted]) -> list[Inserted]:
    """Return the answers, with a task that our own lost request created counted as created, once."""
    own: list[Inserted] = []
    seen: set[str] = set()
    for task, answer in zip(tasks, answers, strict=True):
        ours = answer.created_by == task.created_by and task.id not in seen
        own.append(msgspec.structs.replace(answer, created=answer.created or ours))
        seen.add(task.id)
    return own


def conflict_of(task: NewTask, answer: Inserted) -> TaskIdConflictError | None:
    """Return the error of an id that belongs to a task of another kind."""
    if answer.created or answer.kind == task.kind:
        return None
    return TaskIdConflictError(task.id, kind=task.kind, existing_kind=answer.kind)


def raise_conflicts(tasks: Sequence[NewTask], answers: Sequence[Inserted]) -> None:
    """Raise if any id of a bulk create belongs to a task of another kind.

    Raises:
        BulkOperationError: Names those ids; every other task was created or existed.
    """
    conflicts = [conflict_of(task, answer) for task, answer in zip(tasks, answers, strict=True)]
    errors: dict[str, OncetaskError] = {error.task_id: error for error in conflicts if error is not None}
    if errors:
        raise BulkOperationError("creation", succeeded=sum(answer.created for answer in answers), errors=errors)
