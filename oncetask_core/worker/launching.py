"""From claimed tasks to runs, and from their reports to free slots."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from oncetask_core.context import TaskContext
from oncetask_core.decisions import Released
from oncetask_core.handlers import Handler
from oncetask_core.posting import post
from oncetask_core.status import Outcome
from oncetask_core.store import TaskStore
from oncetask_core.task import OnceTask
from oncetask_core.transition import Event, Transition, Verdict
from oncetask_core.worker.binding import bound
from oncetask_core.worker.completing import Completer
from oncetask_core.worker.deadlines import Deadlines
from oncetask_core.worker.events import EventName, Events
from oncetask_core.worker.execution import Executor, Reports, StillRunningError
from oncetask_core.worker.leases import Grant, LeaseBook
from oncetask_core.worker.run import Run, StopReason
from oncetask_core.worker.settings import Seams
from oncetask_core.worker.settling import Settlement, Settler
from oncetask_core.worker.slots import SlotTable

logger = logging.getLogger("oncetask.worker")

_NAMES = {Event.FAIL: EventName.RETRIED, Event.SNOOZE: EventName.SNOOZED, Event.RELEASE: EventName.RELEASED}
_OUTCOMES = {
    Outcome.COMPLETED: EventName.COMPLETED,
    Outcome.FAILED: EventName.FAILED,
    Outcome.CANCELLED: EventName.CANCELLED,
}


class Batch:
    """What takes one slot: a task, or the members of a group; its runs follow each other."""

    __slots__ = ("handler", "has_begun", "has_ended", "outstanding", "runs", "task")

    def __init__(self, handler: Handler, runs: Sequence[Run]) -> None:
        self.handler = handler
        self.runs = runs
        self.outstanding = {task_id for run in runs for task_id in run.tasks}
        self.task: asyncio.Task[None] | None = None
        self.has_begun = False
        self.has_ended = False


class Launcher:
    """Starts what was claimed and sees it through to the store's answer.

    Args:
        store: What handlers complete their tasks in, within transactions of their own.
        executor: Calls them.
        settler: Writes how they ended.
        book: The leases.
        deadlines: Their time limits.
        events: The hooks.
        seams: The clock.
        resources: What handlers share.
        on_ended: Called when the handlers of a slot have ended: the slot is free.
        on_settled: Called when the store has answered for all tasks of a slot, with the last of them.
        is_ending: Whether the event loop is being taken down around the worker.
    """

    def __init__(
        self,
        store: TaskStore,
        *,
        executor: Executor,
        settler: Settler,
        book: LeaseBook,
        deadlines: Deadlines,
        events: Events,
        seams: Seams,
        resources: Mapping[str, object],
        on_ended: Callable[[], None],
        on_settled: Callable[[OnceTask[object]], None],
        is_ending: Callable[[], bool],
    ) -> None:
        self._store = store
        self._executor = executor
        self._settler = settler
        self._book = book
        self._deadlines = deadlines
        self._events = events
        self._seams = seams
        self._resources = resources
        self._on_ended = on_ended
        self._on_settled = on_settled
        self._is_ending = is_ending
        self.slots = SlotTable()
        self.batches: set[Batch] = set()

    def launch(
        self, lease_uid: str, grant: Grant, *, tasks: Sequence[OnceTask[object]], handlers: Mapping[str, Handler]
    ) -> None:
        """Start the tasks of one claim; `handlers` has that of each of their kinds."""
        batches = [self._batch(members, handlers[members[0].kind]) for members in grouped(tasks, handlers)]
        self._book.enter(lease_uid, grant, (run for batch in batches for run in batch.runs))
        for batch in batches:
            self.slots.take(batch.handler.kind)
            self.batches.add(batch)
            batch.task = asyncio.create_task(self._run(batch))
            batch.task.add_done_callback(partial(self._check_end, batch))

    def _batch(self, members: Sequence[OnceTask[object]], handler: Handler) -> Batch:
        """Members that are to be cleaned up go one by one, before the others go together."""
        cleanups = [[task] for task in members if task.in_cleanup]
        normal = [task for task in members if not task.in_cleanup]
        runs = [self._make_run(tasks, handler) for tasks in (*cleanups, normal) if tasks]
        return Batch(handler, runs)

    def _make_run(self, tasks: Sequence[OnceTask[object]], handler: Handler) -> Run:
        known = tuple(bound(task, handler) for task in tasks)
        is_cleanup = tasks[0].in_cleanup
        call = handler.cleanup if is_cleanup else handler.call
        context = TaskContext(
            known,
            resources=self._resources,
            report=partial(post, asyncio.get_running_loop(), self._settler.add_progress),
            completer=Completer(self._store, handler.rules, chance=self._seams.chance),
            threaded=call is not None and not call.is_async,
        )
        return Run(known, handler=handler, context=context, is_cleanup=is_cleanup)

    async def _run(self, batch: Batch) -> None:
        batch.has_begun = True
        for run in batch.runs:
            members = dict(run.tasks)
            try:
                reports = await self._reports_of(run)
            except StillRunningError:
                logger.error("the event loop ends although a handler goes on in its thread; its leases run out")  # noqa: TRY400 - no fault that a stack explains
                self._leave(batch)
                return
            for task_id, task in members.items():
                if task_id in reports:
                    confirms = task_id in run.context.completed_ids
                    settled = partial(self._settled, batch=batch)
                    self._settler.add(Settlement(task, reports[task_id], run.handler, settled, confirms=confirms))
                else:
                    self._lost(batch, task)
        self._end(batch)

    def _end(self, batch: Batch) -> None:
        if batch in self.batches:
            batch.has_ended = True
            self.slots.leave(batch.handler.kind)
            self._on_ended()

    def _check_end(self, batch: Batch, ended: asyncio.Task[None]) -> None:
        """Free the slot of a batch that a fault of our own ended, or the end of the event loop before it had begun."""
        if ended.cancelled() and not batch.has_begun:
            for run in batch.runs:
                self._release(batch, run)
        fault = None if ended.cancelled() else ended.exception()
        if fault is not None:
            logger.critical("a fault of the worker itself ended a run; please report it", exc_info=fault)
            self._leave(batch)

    def _leave(self, batch: Batch) -> None:
        for run in batch.runs:
            for task in list(run.tasks.values()):
                self._book.give_up(task)
                self._finish(batch, task)

    async def _reports_of(self, run: Run) -> Reports:
        started = self._seams.clock.monotonic()
        if run.reason is StopReason.LOST:
            return {}
        if self._is_ending() or run.reason is not None or started >= self._book.fence_of(run):
            return dict.fromkeys(run.tasks, Released())
        for task in run.tasks.values():
            self._events.emit(EventName.STARTED, task)
        self._deadlines.add(run)
        try:
            return await self._executor.execute(run)
        finally:
            self._deadlines.remove(run)

    def _settled(self, settlement: Settlement, verdict: Verdict, transition: Transition, *, batch: Batch) -> None:
        if settlement.task.id not in batch.outstanding:
            return  # given back meanwhile: its handler ignored being cancelled and ended later
        if verdict in (Verdict.APPLIED, Verdict.ALREADY):
            if verdict is Verdict.ALREADY and settlement.confirms:
                self._events.emit(EventName.COMPLETED, settlement.task)
            else:
                self._announce(settlement, transition)
            self._finish(batch, settlement.task)
        elif verdict is Verdict.BROKEN:
            self._book.give_up(settlement.task)
            logger.error(
                "task %s cannot be settled; its lease is left to run out",
                settlement.task.id,
                extra={"task_id": settlement.task.id},
            )
            self._finish(batch, settlement.task)
        else:
            self._lost(batch, settlement.task)

    def _announce(self, settlement: Settlement, transition: Transition) -> None:
        outcome = transition.patch.get("outcome")
        name = _OUTCOMES[outcome] if outcome is not None else _NAMES.get(transition.event)
        if name is not None:
            error = getattr(settlement.report, "error", None)
            self._events.emit(name, settlement.task, error)

    def _lost(self, batch: Batch, task: OnceTask[object]) -> None:
        logger.warning(
            "the lease of task %s was lost: what its handler did here counts for nothing",
            task.id,
            extra={"task_id": task.id, "task_kind": task.kind, "lease_uid": (task.lease_uid or "")[:8]},
        )
        self._events.emit(EventName.LEASE_LOST, task)
        self._finish(batch, task)

    def _finish(self, batch: Batch, task: OnceTask[object]) -> None:
        self._book.drop(task)
        batch.outstanding.discard(task.id)
        if not batch.outstanding and batch in self.batches:
            self.batches.discard(batch)
            self.slots.forget(batch.handler.kind, ended=batch.has_ended)
            self._on_settled(task)

    def stop_all(self, reason: StopReason) -> None:
        """Ask every handler to stop."""
        for batch in self.batches:
            for run in batch.runs:
                run.stop(reason)

    def abandon(self) -> list[Run]:
        """Release the coroutines that ignore being cancelled, and what would come after any of the runs that go on.

        Returns:
            The runs that do not stop: those coroutines, and the threads, which cannot be stopped.
        """
        stuck: list[Run] = []
        for batch in list(self.batches):
            goes_on = False
            for run in batch.runs:
                if run.in_handler:
                    stuck.append(run)
                if goes_on or (run.in_handler and run.is_interruptible):
                    self._release(batch, run)
                goes_on |= run.in_handler
        return stuck

    def _release(self, batch: Batch, run: Run) -> None:
        for task in list(run.tasks.values()):
            self._settler.add(Settlement(task, Released(), run.handler, partial(self._settled, batch=batch)))


def grouped(tasks: Iterable[OnceTask[object]], handlers: Mapping[str, Handler]) -> list[list[OnceTask[object]]]:
    """Return the tasks that share a handler call: those of one key where the kind has a resource-key handler."""
    groups: dict[tuple[str, str, str], list[OnceTask[object]]] = {}
    for task in tasks:
        shares = task.resource_key is not None and handlers[task.kind].is_group
        name = (task.kind, "key", task.resource_key or "") if shares else (task.kind, "id", task.id)
        groups.setdefault(name, []).append(task)
    return list(groups.values())
