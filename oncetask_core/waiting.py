"""Waiting for a task to end."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from oncetask_core.errors import TaskFailedError, TaskNotFoundError
from oncetask_core.limits import check_duration, check_id
from oncetask_core.payload import decode_value, plain
from oncetask_core.status import Outcome
from oncetask_core.store import TaskStore
from oncetask_core.task import OnceTask
from oncetask_core.worker.settings import Seams

FIRST_SECONDS = 0.02
MOST_SECONDS = 0.5


class Waiter:
    """Asks the store about a task until it has ended, less and less often.

    Args:
        opened: Returns the open store.
        seams: The clock.
    """

    def __init__(self, opened: Callable[[], Awaitable[TaskStore]], *, seams: Seams) -> None:
        self._opened = opened
        self._clock = seams.clock

    async def wait(self, task_id: str, *, result_type: Any = None, timeout: timedelta | float | None = None) -> Any:
        """Return the result of the task once it has completed, decoded as `result_type` where one is given.

        Raises:
            TimeoutError: The task did not end in time.
            TaskFailedError: The task ended as failed or cancelled.
            TaskNotFoundError: There is no such task.
            PayloadError: The result does not fit `result_type`.
        """
        check_id(task_id)
        limit = None if timeout is None else check_duration(timeout, "timeout").total_seconds()
        start = self._clock.monotonic()
        pause = FIRST_SECONDS
        while True:
            task = await self._ended(task_id)
            if task is not None:
                return _result(task, result_type)
            waited = self._clock.monotonic() - start
            if limit is not None and waited >= limit:
                raise TimeoutError(f"task {task_id!r} did not end within {limit:g} s; it goes on")
            await self._clock.sleep(pause if limit is None else min(pause, limit - waited))
            pause = min(pause * 2, MOST_SECONDS)

    async def _ended(self, task_id: str) -> OnceTask[object] | None:
        store = await self._opened()
        task = (await store.get([task_id])).tasks.get(task_id)
        if task is None:
            raise TaskNotFoundError(task_id)
        return None if task.is_live else task


def _result(task: OnceTask[object], result_type: Any) -> Any:
    if task.outcome is not Outcome.COMPLETED:
        last = task.errors[-1].error if task.errors else None
        raise TaskFailedError(task.id, outcome=str(task.outcome), last_error=last)
    text = "null" if task.result is None else task.result
    return plain(text) if result_type is None else decode_value(text, result_type)
