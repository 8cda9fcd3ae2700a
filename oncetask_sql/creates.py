"""Creating calls of one event loop: what is asked for while a statement runs goes out together with the next."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from oncetask_core.errors import StoreError, StoreUnavailableError
from oncetask_core.task import NewTask
from oncetask_core.transition import Inserted
from oncetask_sql.inserted import TaskLockedError

MOST: Final = 1000
"""How many tasks one statement takes, unless a single call has more."""

Insert = Callable[[Sequence[NewTask]], Awaitable[Sequence[Inserted]]]


class _Call(NamedTuple):
    tasks: Sequence[NewTask]
    answer: "asyncio.Future[Sequence[Inserted]]"


class Creates:
    """Runs one insert at a time.

    Args:
        insert: Inserts tasks that may come from several callers.
    """

    def __init__(self, insert: Insert) -> None:
        self._insert = insert
        self._waiting: deque[_Call] = deque()
        self._running: asyncio.Task[None] | None = None

    async def add(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        """Insert tasks; return an answer for each, in order.

        Raises:
            StoreError: A task of this call cannot be stored, or the server cannot be reached.
        """
        call = _Call(tasks, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await call.answer

    async def _run(self) -> None:
        while self._waiting:
            calls = self._taken()
            try:
                await self._write(calls)
            except BaseException as error:
                for call in (*calls, *self._waiting):
                    _fail(call, error if isinstance(error, Exception) else StoreUnavailableError("the loop has ended"))
                self._waiting.clear()
                raise

    def _taken(self) -> list[_Call]:
        calls = [self._waiting.popleft()]
        count = len(calls[0].tasks)
        while self._waiting and count + len(self._waiting[0].tasks) <= MOST:
            calls.append(self._waiting.popleft())
            count += len(calls[-1].tasks)
        return calls

    async def _write(self, calls: Sequence[_Call]) -> None:
        """Insert what several callers want; if one of them is to blame for a failure, each alone."""
        try:
            answers = await self._insert([task for call in calls for task in call.tasks])
        except StoreError as error:
            is_of_one = isinstance(error, TaskLockedError) or not isinstance(error, StoreUnavailableError)
            if len(calls) == 1 or not is_of_one:
                for call in calls:
                    _fail(call, error)
                return
            for call in calls:
                await self._write([call])
            return
        start = 0
        for call in calls:
            end = start + len(call.tasks)
            if not call.answer.done():
                call.answer.set_result(answers[start:end])
            start = end


def _fail(call: _Call, error: Exception) -> None:
    if not call.answer.done():
        call.answer.set_exception(error)
