"""What somebody has to do now and then: end leases that ran out, move generators on, delete old history.

Every worker does it for the kinds it serves; guards decide who was first, and the others change nothing.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import cast

from oncetask_core.claims import is_claimable
from oncetask_core.decisions import Uids, break_off, call_off, deletion, expire, tick
from oncetask_core.limits import describe_exception
from oncetask_core.query import Page, TaskFilter, TaskQuery
from oncetask_core.recurrence import Cursor, Recurrence, due
from oncetask_core.registry import Registry
from oncetask_core.store import TaskStore
from oncetask_core.task import OnceTask
from oncetask_core.transition import Atom, Verdict
from oncetask_core.worker.events import EventName, Events
from oncetask_core.worker.settings import Seams

logger = logging.getLogger("oncetask.worker")

PAGE = 500
PURGE_PAGES = 20
PURGE_SECONDS = 60.0


class Upkeep:
    """The upkeep of the kinds in `registry`.

    Args:
        store: The tasks.
        registry: The kinds that are served.
        seams: Chance and identities.
        events: The hooks.
        now: The store's time, as the worker knows it.
    """

    def __init__(
        self,
        store: TaskStore,
        registry: Registry,
        *,
        seams: Seams,
        events: Events,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._registry = registry
        self._seams = seams
        self._events = events
        self._now = now
        self._purge_at = seams.clock.monotonic()

    async def expire(self, kinds: frozenset[str]) -> int:
        """End the leases that ran out; return how many this call ended."""
        if not kinds:
            return 0
        page = await self._find(TaskFilter(kinds=kinds, run_out=True))
        served = [(task, handler) for task in page.tasks if (handler := self._registry.get(task.kind)) is not None]
        at, chance = self._now(), self._seams.chance
        atoms = [Atom((expire(task, handler.rules, at=at, chance=chance()),)) for task, handler in served]
        answers = await self._store.apply(atoms) if atoms else ()
        ended = [task for (task, _), answer in zip(served, answers, strict=True) if answer.verdict is Verdict.APPLIED]
        for task in ended:
            logger.warning(
                "the lease of task %s ran out: worker %s stopped renewing it",
                task.id,
                task.leased_by,
                extra={"task_id": task.id, "task_kind": task.kind},
            )
            self._events.emit(EventName.EXPIRED, task)
        return len(ended)

    async def tick(self, kinds: frozenset[str]) -> int:
        """Create the occurrences that are due and move their generators on; return how many generators moved."""
        if not kinds:
            return 0
        page = await self._find(TaskFilter(kinds=kinds, live=True, due=True, generators=True))
        unleased = [task for task in page.tasks if task.lease_uid is None]  # a Go worker's lease is expired first
        answers = await self._store.apply([self._tick(task) for task in unleased]) if unleased else ()
        for answer in answers:
            for inserted in answer.inserted:
                if not inserted.created and inserted.kind not in kinds:
                    logger.error("occurrence %s was not created: a task of another kind has its id", inserted.id)
        return sum(answer.verdict is Verdict.APPLIED for answer in answers)

    def _tick(self, generator: OnceTask[object]) -> Atom:
        if generator.is_cancelled:
            return call_off(generator)
        now = max(self._now(), generator.wait_until)
        cursor = Cursor(slot=generator.wait_until, used=generator.slots_used)
        try:
            fired = due(cast("Recurrence", generator.recurrence), cursor, now=now)
        except Exception as error:  # one generator must not keep the others from their slots
            logger.exception("generator %s ends: its rule cannot be evaluated", generator.id)
            return break_off(generator, describe_exception(error), at=now)
        uids = tuple(self._seams.new_uid() for _ in fired.fire)
        return tick(generator, fired, Uids(created_by=self._seams.new_uid(), run_uids=uids))

    async def kinds_of_suspects(self, kinds: frozenset[str]) -> frozenset[str]:
        """Return those of the kinds of which a task that crashed a worker could be claimed now."""
        if not kinds:
            return frozenset()
        page = await self._find(TaskFilter(kinds=kinds, live=True, due=True, suspects=True, generators=False))
        now = self._now()
        return frozenset(task.kind for task in page.tasks if is_claimable(task, max(now, task.wait_until)))

    async def purge(self, older_than: timedelta) -> None:
        """Delete finished tasks of every kind that ended longer ago than `older_than`, once a minute."""
        now = self._seams.clock.monotonic()
        if now >= self._purge_at:
            before = await self._store.now() - older_than
            await purge(self._store, TaskFilter(done_before=before), pages=PURGE_PAGES)
            self._purge_at = now + PURGE_SECONDS

    async def _find(self, where: TaskFilter) -> Page:
        page = await self._store.find(TaskQuery(where=where, limit=PAGE))
        for task_id, reason in page.unreadable.items():
            self._events.emit_unreadable(task_id, reason)
        return page


async def purge(store: TaskStore, where: TaskFilter, *, pages: int | None = None) -> int:
    """Delete the finished tasks that match, page by page; return how many were deleted.

    A task that was reset since it was listed is left alone.
    """
    deleted = 0
    cursor = None
    while pages is None or pages > 0:
        page = await store.find(TaskQuery(where=where, limit=PAGE, cursor=cursor))
        verdicts = await store.delete([deletion(task) for task in page.tasks]) if page.tasks else ()
        deleted += sum(verdict is Verdict.APPLIED for verdict in verdicts)
        cursor = page.cursor
        if cursor is None:
            break
        pages = None if pages is None else pages - 1
    return deleted
