"""What can be done to tasks from outside: cancelling, resetting, rescheduling, deleting.

Bulk calls take every id once, change each record only under its guard, and say what happened to each id.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import msgspec

from oncetask_core.controls import cleanup_by_kind
from oncetask_core.decisions import cancel, deletion, reschedule, reset
from oncetask_core.errors import (
    BulkOperationError,
    IllegalTransitionError,
    OncetaskError,
    StoreError,
    StoreUnavailableError,
)
from oncetask_core.limits import check_ids
from oncetask_core.query import TaskFilter, TaskQuery
from oncetask_core.recurrence import resume
from oncetask_core.registry import Registry
from oncetask_core.store import TaskStore
from oncetask_core.task import OnceTask, When
from oncetask_core.transition import Atom, Guard, Transition, Verdict

CHUNK = 500
TRIES = 20
MISSING = "no such task"


class Bulk(msgspec.Struct, frozen=True, kw_only=True):
    """What a bulk call did, by id."""

    changed: tuple[str, ...] = ()
    """The tasks that this call changed."""
    skipped: Mapping[str, str] = {}
    """The tasks that it left as they are, and why: already finished, no such task, ..."""

    def __len__(self) -> int:
        return len(self.changed)


Decide = Callable[[OnceTask[object]], Transition | str]
"""Returns the transition, or why there is none."""
SkipReason = Callable[[OnceTask[object]], str | None]
Write = Callable[[Sequence[OnceTask[object]]], Awaitable[Sequence[Verdict]]]


class Operations:
    """Decides on the newest record of each task until the store accepts the decision.

    Args:
        store: The tasks.
        registry: The handlers of this process, which know whether a kind has a clean-up.
        new_uid: Makes the identities of new runs.
    """

    def __init__(self, store: TaskStore, registry: Registry, *, new_uid: Callable[[], str]) -> None:
        self._store = store
        self._registry = registry
        self._new_uid = new_uid

    async def cancel(self, ids: Iterable[str]) -> Bulk:
        """Cancel tasks; those that nobody holds and that need no clean-up end at once."""
        known = await cleanup_by_kind(self._store, self._registry)

        def decide(task: OnceTask[object]) -> Transition | str:
            transition = cancel(task, has_cleanup=known.get(task.kind, True))
            if transition is not None:
                return transition
            return "already cancelled" if task.is_cancelled else "already finished"

        return await self._change("cancellation", ids, decide)

    async def cancel_key(self, kind: str, resource_key: str) -> Bulk:
        """Cancel the unfinished tasks of a key that exist when this is called."""
        where = TaskFilter(kinds=frozenset({kind}), resource_key=resource_key, live=True)
        return await self.cancel(await self.ids_of(where))

    async def reset(self, ids: Iterable[str]) -> Bulk:
        """Give finished tasks a new run; a generator resumes with its first slot from now on."""
        now = await self._store.now()

        def decide(task: OnceTask[object]) -> Transition | str:
            cursor = None if task.recurrence is None else resume(task.recurrence, after=now)
            try:
                return reset(task, run_uid=self._new_uid(), resume=cursor)
            except IllegalTransitionError as error:
                return error.reason

        return await self._change("reset", ids, decide)

    async def reschedule(self, task_id: str, when: When) -> Bulk:
        """Move an unfinished task that nobody holds to another time."""

        def decide(task: OnceTask[object]) -> Transition | str:
            try:
                return reschedule(task, when)
            except IllegalTransitionError as error:
                return error.reason

        return await self._change("rescheduling", [task_id], decide)

    async def delete(self, ids: Iterable[str]) -> Bulk:
        """Delete tasks, held ones, too: whoever holds one finds its lease lost."""

        async def write(tasks: Sequence[OnceTask[object]]) -> Sequence[Verdict]:
            guards: list[Guard] = [deletion(task) for task in tasks]
            return await self._store.delete(guards)

        return await self._repeat("deletion", ids, progress=_Progress(), skip_reason=lambda _: None, write=write)

    async def ids_of(self, where: TaskFilter) -> list[str]:
        """Return the ids of every task that matches, page by page."""
        ids: list[str] = []
        cursor = None
        while True:
            page = await self._store.find(TaskQuery(where=where, limit=CHUNK, cursor=cursor))
            ids.extend(task.id for task in page.tasks)
            cursor = page.cursor
            if cursor is None:
                return ids

    async def _change(self, operation: str, ids: Iterable[str], decide: Decide) -> Bulk:
        decided: dict[str, Transition] = {}
        progress = _Progress()

        def skip_reason(task: OnceTask[object]) -> str | None:
            decision = decide(task)
            if isinstance(decision, str):
                return decision
            decided[task.id] = decision
            return None

        async def write(tasks: Sequence[OnceTask[object]]) -> Sequence[Verdict]:
            answers = await self._store.apply([Atom((decided[task.id],)) for task in tasks])
            progress.fail({t.id: a.error for t, a in zip(tasks, answers, strict=True) if a.error is not None})
            return [answer.verdict for answer in answers]

        return await self._repeat(operation, ids, progress=progress, skip_reason=skip_reason, write=write)

    async def _repeat(
        self,
        operation: str,
        ids: Iterable[str],
        *,
        progress: "_Progress",
        skip_reason: SkipReason,
        write: Write,
    ) -> Bulk:
        """Read, decide and write, again for those that changed in between."""
        wanted = check_ids(ids)
        for start in range(0, len(wanted), CHUNK):
            pending = wanted[start : start + CHUNK]
            for _ in range(TRIES):
                pending = await self._round(pending, progress=progress, skip_reason=skip_reason, write=write)
                if not pending:
                    break
            progress.contended(pending)
        return progress.result(operation)

    async def _round(
        self,
        ids: Sequence[str],
        *,
        progress: "_Progress",
        skip_reason: SkipReason,
        write: Write,
    ) -> list[str]:
        found = await self._store.get(ids)
        progress.skip({**dict.fromkeys(set(ids) - found.tasks.keys(), MISSING), **found.unreadable})
        tasks = [found.tasks[task_id] for task_id in ids if task_id in found.tasks]
        reasons = {task.id: skip_reason(task) for task in tasks}
        progress.skip({task_id: reason for task_id, reason in reasons.items() if reason is not None})
        due = [task for task in tasks if reasons[task.id] is None]
        verdicts = await write(due) if due else ()
        again: list[str] = []
        for task, verdict in zip(due, verdicts, strict=True):
            if verdict in (Verdict.APPLIED, Verdict.ALREADY):
                progress.changed.append(task.id)
            elif verdict is not Verdict.BROKEN:
                again.append(task.id)
        return again


class _Progress:
    """What a bulk call has done so far."""

    def __init__(self) -> None:
        self.changed: list[str] = []
        self._skipped: dict[str, str] = {}
        self._errors: dict[str, OncetaskError] = {}

    def skip(self, reasons: Mapping[str, str]) -> None:
        """Note what is left as it is."""
        self._skipped |= reasons

    def fail(self, errors: Mapping[str, StoreError]) -> None:
        """Note what the store could not write."""
        self._errors |= errors

    def contended(self, ids: Sequence[str]) -> None:
        """Note tasks that kept changing between reading and writing."""
        for task_id in ids:
            self._errors[task_id] = StoreUnavailableError(
                f"the task changed {TRIES} times between reading and writing it; try again"
            )

    def result(self, operation: str) -> Bulk:
        """Return what was done.

        Raises:
            BulkOperationError: Some tasks kept changing, or could not be written.
        """
        if self._errors:
            raise BulkOperationError(operation, succeeded=len(self.changed), errors=self._errors)
        return Bulk(changed=tuple(self.changed), skipped=self._skipped)
