"""Settling: what ended goes to the store with the next call, many at once, until the store has answered."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from oncetask_core.backoff import Backoff
from oncetask_core.decisions import Failure, Report, Success, conclude, report_progress
from oncetask_core.errors import StoreError
from oncetask_core.handlers import Handler
from oncetask_core.limits import describe_exception
from oncetask_core.store import TaskStore
from oncetask_core.task import OnceTask
from oncetask_core.transition import Answer, Atom, Transition, Verdict
from oncetask_core.worker.settings import Seams

logger = logging.getLogger("oncetask.worker")

MAX_BATCH = 500


@dataclass(slots=True)
class Settlement:
    """One ended attempt on its way to the store."""

    task: OnceTask[object]
    report: Report
    handler: Handler
    on_settled: Callable[["Settlement", Verdict, Transition], None]
    rejected: bool = False
    """Whether the store could not write its result."""
    confirms: bool = False
    """Whether the handler completed the task in its own transaction, so that nothing is to be written if it did."""


class Settler:
    """Writes reports and progress. Everything that queued up during one call goes out with the next.

    Args:
        store: Where to write.
        seams: Clock and chance.
        now: The store's time, as the worker knows it.
    """

    def __init__(self, store: TaskStore, *, seams: Seams, now: Callable[[], datetime]) -> None:
        self._store = store
        self._seams = seams
        self._now = now
        self._queue: deque[Settlement] = deque()
        self._progress: dict[tuple[str, str], Transition] = {}
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._backoff = Backoff(seams.chance)

    @property
    def pending(self) -> int:
        """How many ended attempts the store has not answered yet."""
        return len(self._queue)

    def add(self, settlement: Settlement) -> None:
        """Queue an ended attempt."""
        self._queue.append(settlement)
        self._emptied.clear()
        self._filled.set()

    def add_progress(self, task: OnceTask[object], progress: str) -> None:
        """Queue the latest progress of a task that is being run."""
        self._progress[task.id, task.lease_uid or ""] = report_progress(task, progress)
        self._filled.set()

    async def idle(self) -> None:
        """Return when the store has answered everything that was queued."""
        await self._emptied.wait()

    async def run(self) -> None:
        """Write what is queued, again and again, until cancelled."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._queue or self._progress:
                await self._flush()
            self._emptied.set()

    async def _flush(self) -> None:
        progress, self._progress = self._progress, {}
        batch = [self._queue[index] for index in range(min(len(self._queue), MAX_BATCH))]
        decided = [(settlement, self._decide(settlement)) for settlement in batch]
        atoms = [Atom((transition,)) for transition in progress.values()]
        try:
            answers = await self._store.apply(atoms + [Atom((transition,)) for _, transition in decided])
        except StoreError as error:
            self._progress = progress | self._progress
            await self._wait_for_store(error)
            return
        self._backoff.reset()
        for _ in batch:
            self._queue.popleft()
        for (settlement, transition), answer in zip(decided, answers[len(atoms) :], strict=True):
            self._take(settlement, transition, answer)

    def _decide(self, settlement: Settlement) -> Transition:
        return conclude(settlement.task, settlement.report, settlement.handler.rules, chance=self._seams.chance())

    async def _wait_for_store(self, error: StoreError) -> None:
        delay = self._backoff.next_delay()
        logger.warning("%d results wait for the store, trying again in %.1f s: %s", len(self._queue), delay, error)
        await self._seams.clock.sleep(delay)

    def _take(self, settlement: Settlement, transition: Transition, answer: Answer) -> None:
        if answer.verdict is Verdict.CHANGED and answer.task is not None:
            self._queue.append(replace(settlement, task=answer.task))
        elif answer.verdict is Verdict.BROKEN and not settlement.rejected:
            self._queue.append(self._rejected(settlement, answer.error))
        else:
            settlement.on_settled(settlement, answer.verdict, transition)

    def _rejected(self, settlement: Settlement, error: StoreError | None) -> Settlement:
        cause = StoreError("the store refused the write") if error is None else error
        logger.error("task %s could not be settled as it ended: %s", settlement.task.id, cause)
        text = f"the outcome could not be stored: {describe_exception(cause)}"
        failure = Failure(error=cause, text=text, at=self._now(), final=isinstance(settlement.report, Success))
        return replace(settlement, report=failure, rejected=True)
