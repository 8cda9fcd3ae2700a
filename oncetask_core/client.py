"""The client half of a manager: creating, reading and controlling tasks. It runs nothing."""

import os
import socket
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar, overload

from oncetask_core import controls
from oncetask_core.arguments import check_filter
from oncetask_core.composition import check_store, make_store, masked
from oncetask_core.creating import Created, conflict_of, insert, raise_conflicts
from oncetask_core.errors import ConfigurationError, InvalidTaskError
from oncetask_core.lifecycle import StoreGate
from oncetask_core.limits import (
    check_duration,
    check_ids,
    check_kind,
    check_resource_key,
    check_time,
)
from oncetask_core.operations import Bulk, Operations
from oncetask_core.query import Page, TaskFilter, TaskOrder, TaskQuery
from oncetask_core.registry import Registry
from oncetask_core.store import CallerTransactions, TaskStore
from oncetask_core.task import DEFAULT_QUEUE, NewTask, OnceTask, StoreNow, When
from oncetask_core.task_data import Identity, TaskData, Wishes, new_task, several
from oncetask_core.transition import Inserted
from oncetask_core.waiting import Waiter
from oncetask_core.worker import Seams, Worker
from oncetask_core.worker.binding import bound
from oncetask_core.worker.completing import caller_transactions
from oncetask_core.worker.settings import check_seams
from oncetask_core.worker.upkeep import purge

R = TypeVar("R")
Duration = timedelta | float


class OnThisThread(NamedTuple):
    """A session of the caller whose statements run in the calling thread; for `SyncTaskManager`."""

    session: object


class TaskClient:
    """Creates and controls the tasks of one environment.

    Every method raises `StoreUnavailableError` when the store cannot be reached, `SchemaError` when its schema does
    not fit, and `InvalidTaskError` for ids, keys and kinds that no task can have.
    """

    def __init__(self, store: TaskStore | str, *, env: str | None, seams: Seams | None) -> None:
        self._seams = check_seams(seams)
        self._address = masked(store) if isinstance(store, str) else type(store).__name__
        self._gate = StoreGate(make_store(store, env=env, clock=self._seams.clock))
        self._registry = Registry()
        self._worker: Worker | None = None
        self._is_running = False

    @property
    def env(self) -> str:
        """The environment that this manager works in; fixed for its life."""
        return self._gate.store.env

    async def open(self) -> None:
        """Open the store now, rather than when it is first needed."""
        await self._gate.opened()

    async def close(self) -> None:
        """Close the store; it is opened again when it is next needed.

        Raises:
            ConfigurationError: This manager is running.
        """
        self._refuse_while_running("be closed")
        await self._gate.close()

    @contextmanager
    def override(self, store: TaskStore) -> Iterator[None]:
        """Use another store for the length of a `with` block, in tests.

        Raises:
            ConfigurationError: It is no store, but for example a URL, or this manager is running.
        """
        check_store(store, "override takes a store")
        self._refuse_while_running("override the store")
        original, self._gate = self._gate, StoreGate(store)
        try:
            yield
        finally:
            self._gate = original

    async def create_task(
        self,
        data: TaskData[R],
        *,
        delay: Duration | None = None,
        at: datetime | None = None,
        priority: int = 0,
        queue: str = DEFAULT_QUEUE,
        headers: Mapping[str, str] | None = None,
        session: object | None = None,
    ) -> Created[R]:
        """Create the task that `data` describes, unless its id exists.

        Args:
            data: The payload.
            delay: Run no earlier than this long from now; a timedelta or seconds.
            at: Run no earlier than this time; aware. A time in the past means now, ahead of newer tasks.
            priority: -10 to 10; each step puts the task ahead of tasks that are up to 60 s older.
            queue: A label for listing.
            headers: Kept with the task, such as a trace context.
            session: Your own transaction: the task exists if and only if that commits. A SQLAlchemy AsyncSession or
                AsyncConnection, or a psycopg AsyncConnection, on the database of the tasks.

        Returns:
            True-ish if the task is new; false-ish if its id existed, whatever its state.

        Raises:
            InvalidTaskError: The payload, or something about it, cannot be stored. Nothing was written.
            InvalidRecurrenceError: Its recurrence rule is malformed, out of bounds or empty.
            TaskIdConflictError: The id belongs to a task of another kind.
            ConfigurationError: The session is none of these, or the store takes part in no such transactions.
        """
        when = _when(delay, at)
        wishes = Wishes(when=when, priority=priority, queue=queue, headers={} if headers is None else headers)
        task = new_task(data, wishes, self._identity(self._seams.new_uid()))
        (answer,) = await self._insert([task], session)
        conflict = conflict_of(task, answer)
        if conflict is not None:
            raise conflict
        self._wake()
        return self._created(task.id, task.kind, existed=not answer.created)

    async def create_tasks(
        self, payloads: Iterable[TaskData[Any]], *, session: object | None = None
    ) -> Sequence[Created[Any]]:
        """Create many tasks in one call; the answers stand in the order of the payloads.

        Everything is checked and encoded before anything is written. Tasks are then inserted independently; of equal
        ids the first is created and the others have existed. With `session` they exist if and only if your own
        transaction commits, as for `create_task`.

        Raises:
            InvalidTaskError: As for `create_task`; nothing was written.
            BulkOperationError: Some ids belong to tasks of another kind; every other task was created or existed.
        """
        created_by = self._seams.new_uid()
        tasks = [new_task(data, Wishes(), self._identity(created_by)) for data in several(payloads)]
        if not tasks:
            return []
        answers = await self._insert(tasks, session)
        self._wake()
        raise_conflicts(tasks, answers)
        return [
            self._created(task.id, task.kind, existed=not answer.created)
            for task, answer in zip(tasks, answers, strict=True)
        ]

    async def get_tasks_by_ids(self, ids: Iterable[str]) -> Page:
        """Return the tasks with these ids, in this order; ids that do not exist are left out.

        A record that cannot be read is named in `unreadable` and keeps no other from being returned.
        """
        wanted = check_ids(ids)
        found = await (await self._gate.opened()).get(wanted)
        tasks = [self._bound(found.tasks[task_id]) for task_id in wanted if task_id in found.tasks]
        return Page(tasks=tasks, unreadable=found.unreadable)

    async def get_tasks_by_resource_key(self, resource_key: str) -> Page:
        """Return every task with this resource key, of all kinds and states, the oldest first."""
        where = TaskFilter(resource_key=check_resource_key(resource_key))
        tasks: list[OnceTask[Any]] = []
        unreadable: dict[str, str] = {}
        page = await self.list_tasks(where, limit=1000)
        while True:
            tasks.extend(page.tasks)
            unreadable |= page.unreadable
            if page.cursor is None:
                return Page(tasks=tasks, unreadable=unreadable)
            page = await self.list_tasks(where, limit=1000, cursor=page.cursor)

    async def list_tasks(
        self,
        where: TaskFilter | None = None,
        *,
        order: TaskOrder = TaskOrder.OLDEST,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        """Return one page of the tasks that match.

        Args:
            where: Which tasks; None means all.
            order: By creation, the oldest or the newest first.
            limit: 1 to 1,000.
            cursor: The `cursor` of the page before.

        Raises:
            ConfigurationError: `where` is no filter, or `limit` or `cursor` is invalid.
        """
        query = TaskQuery(where=check_filter(where), order=order, limit=limit, cursor=cursor)
        page = await (await self._gate.opened()).find(query)
        return Page(tasks=[self._bound(t) for t in page.tasks], cursor=page.cursor, unreadable=page.unreadable)

    async def count_tasks(self, where: TaskFilter | None = None) -> int:
        """Return how many tasks match; None means all.

        Raises:
            ConfigurationError: `where` is no filter.
        """
        wanted = check_filter(where)
        return await (await self._gate.opened()).count(wanted)

    async def get_pending_count(self, kind: str) -> int:
        """Return how many tasks of a kind are due and not leased, those behind a busy key and generators included.

        Any kind may be asked for: other processes may run it, and one that nobody knows has none.
        """
        return await self.count_tasks(TaskFilter(kinds=frozenset({check_kind(kind)}), due=True))

    async def cancel_task(self, task_id: str) -> bool:
        """Cancel a task; return whether this call did it.

        Afterwards the task's normal handler is not started any more. One that runs is told at the next renewal of its
        lease. The task ends as cancelled, after its kind's cancellation handler if there is one. A task that does
        not exist, is finished or was cancelled before is left as it is.
        """
        return bool(await self.cancel_tasks_by_ids([task_id]))

    async def cancel_tasks_by_ids(self, ids: Iterable[str]) -> Bulk:
        """Cancel many tasks; the result says what happened to each id.

        Raises:
            BulkOperationError: Some tasks kept changing under our hands; every other one is done.
        """
        return await self._woken((await self._operations()).cancel(ids))

    async def cancel_tasks_by_resource_key(self, kind: str, resource_key: str) -> Bulk:
        """Cancel the unfinished tasks of a key that exist now; they do not wait for the key to be free."""
        kind, resource_key = check_kind(kind), check_resource_key(resource_key)
        return await self._woken((await self._operations()).cancel_key(kind, resource_key))

    async def reset_task(self, task_id: str) -> bool:
        """Run a finished task again, as if it were new; return whether this call did it.

        Counters, errors and result begin anew; a generator resumes with its first slot from now on.
        """
        return bool(await self.reset_tasks_by_ids([task_id]))

    async def reset_tasks_by_ids(self, ids: Iterable[str]) -> Bulk:
        """Reset many tasks; those that do not exist or are not finished are skipped.

        Raises:
            BulkOperationError: Some tasks kept changing under our hands; every other one is done.
        """
        return await self._woken((await self._operations()).reset(ids))

    async def delete_task(self, task_id: str) -> bool:
        """Delete a task in any state; return whether this call did it. A running handler finds its lease lost."""
        return bool(await self.delete_tasks_by_ids([task_id]))

    async def delete_tasks_by_ids(self, ids: Iterable[str]) -> Bulk:
        """Delete many tasks; those that do not exist are skipped.

        Raises:
            BulkOperationError: Some tasks kept changing under our hands; every other one is done.
        """
        return await self._woken((await self._operations()).delete(ids))

    async def delete_finished(self, older_than: Duration) -> int:
        """Delete the finished tasks that ended longer ago than `older_than`; return how many."""
        age = check_duration(older_than, "older_than")
        store = await self._gate.opened()
        return await purge(store, TaskFilter(done_before=await store.now() - age))

    async def reschedule_task(self, task_id: str, *, delay: Duration | None = None, at: datetime | None = None) -> bool:
        """Move an unfinished task that nobody runs to another time, by default to now; return whether it was moved."""
        when = _when(delay, at)
        return bool(
            await self._woken((await self._operations()).reschedule(task_id, StoreNow() if when is None else when))
        )

    @overload
    async def wait(self, task_id: str, *, result_type: type[R], timeout: Duration | None = None) -> R: ...
    @overload
    async def wait(self, task_id: str, *, result_type: None = None, timeout: Duration | None = None) -> Any: ...
    async def wait(self, task_id: str, *, result_type: Any = None, timeout: Duration | None = None) -> Any:
        """Wait until a task ends and return its result, decoded as `result_type` where one is given.

        Raises:
            TimeoutError: The task did not end in time; it goes on.
            TaskFailedError: The task ended as failed or cancelled.
            TaskNotFoundError: There is no such task.
            PayloadError: The result does not fit `result_type`.
        """
        waiter = Waiter(self._gate.opened, seams=self._seams)
        return await waiter.wait(task_id, result_type=result_type, timeout=timeout)

    async def pause(self, kind: str) -> None:
        """Keep every worker from starting tasks of a kind, from its next poll on; what runs goes on.

        Any kind is accepted, for workers of other processes, or of a later release, may run it: check its spelling, or
        what `paused_kinds` returns.
        """
        await controls.pause(await self._gate.opened(), check_kind(kind))

    async def resume(self, kind: str) -> None:
        """Let the tasks of a paused kind run again; any kind is accepted, as by `pause`."""
        await controls.resume(await self._gate.opened(), check_kind(kind))
        self._wake()

    async def paused_kinds(self) -> frozenset[str]:
        """Return the kinds that are paused."""
        return await controls.paused_kinds(await self._gate.opened())

    async def _insert(self, tasks: Sequence[NewTask], session: object | None) -> Sequence[Inserted]:
        store = await self._gate.opened()
        if session is None:
            return await insert(store, tasks, seams=self._seams)
        takes_part = caller_transactions(store)
        if isinstance(session, OnThisThread):
            return _insert_now(takes_part, session.session, tasks)
        if not takes_part.awaits(session):
            raise ConfigurationError(
                value=session,
                rule="an asynchronous manager takes sessions whose statements are awaited",
                remedy="Use AsyncSession, AsyncConnection or psycopg's AsyncConnection, or SyncTaskManager.",
            )
        return await takes_part.insert_in(session, tasks)

    async def _operations(self) -> Operations:
        return Operations(await self._gate.opened(), self._registry, new_uid=self._seams.new_uid)

    async def _woken(self, change: Coroutine[Any, Any, Bulk]) -> Bulk:
        try:
            return await change
        finally:
            self._wake()

    def _wake(self) -> None:
        worker = self._worker  # read once: the run may end meanwhile
        if worker is not None:
            worker.wake()

    def _identity(self, created_by: str) -> Identity:
        return Identity(run_uid=self._seams.new_uid(), created_by=created_by)

    def _created(self, task_id: str, kind: str, *, existed: bool) -> Created[Any]:
        handler = self._registry.get(kind)
        waiter = Waiter(self._gate.opened, seams=self._seams)
        return Created(task_id, existed=existed, result_type=handler and handler.result_type, waiter=waiter)

    def _bound(self, task: OnceTask[Any]) -> OnceTask[Any]:
        handler = self._registry.get(task.kind)
        return task if handler is None else bound(task, handler)

    def _refuse_while_running(self, what: str) -> None:
        if self._is_running:
            raise ConfigurationError(
                value=self._address,
                rule=f"a manager that is running cannot {what}",
                remedy="Stop it first, or use a second manager.",
            )


def _insert_now(store: CallerTransactions, session: object, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
    if store.awaits(session):
        raise ConfigurationError(
            value=session,
            rule="a blocking manager takes sessions that block",
            remedy="Use Session, Connection, psycopg's Connection or Django's, or TaskManager.",
        )
    return store.insert_in_now(session, tasks)


def _when(delay: Duration | None, at: datetime | None) -> When | None:
    if delay is not None and at is not None:
        raise InvalidTaskError(
            value=(delay, at), rule="a time is given by delay or by at, not by both", remedy="Choose."
        )
    if delay is not None:
        return StoreNow(check_duration(delay, "delay", error=InvalidTaskError))
    return None if at is None else check_time(at, "at")


def default_name() -> str:
    """Return a name for this process: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"
