"""Time limits of the handlers that run: one watcher for all of them, nothing per finished task."""

import asyncio
import logging

from oncetask_core.clock import Clock, wait_for_event
from oncetask_core.worker.run import Run, StopReason

logger = logging.getLogger("oncetask.worker")

FAR_SECONDS = 3600.0


class Deadlines:
    """Stops runs that are over their time limit.

    Runs of one kind have equal limits, so those of a kind are in the order of their deadlines as they come.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_kind: dict[str, dict[Run, float]] = {}
        self._earlier = asyncio.Event()
        self._planned = float("inf")

    def add(self, run: Run) -> None:
        """Begin to watch a run, if its kind has a time limit."""
        limit = run.handler.time_limit
        if limit is None:
            return
        deadline = self._clock.monotonic() + limit.total_seconds()
        self._by_kind.setdefault(run.handler.kind, {})[run] = deadline
        if deadline < self._planned:
            self._earlier.set()

    def remove(self, run: Run) -> None:
        """Stop watching a run."""
        self._by_kind.get(run.handler.kind, {}).pop(run, None)

    async def watch(self) -> None:
        """Stop every run at its deadline, until cancelled."""
        while True:
            now = self._clock.monotonic()
            for run in self._overdue(now):
                self._time_out(run)
            self._planned = min(
                (min(runs.values()) for runs in self._by_kind.values() if runs),
                default=now + FAR_SECONDS,
            )
            self._earlier.clear()
            await wait_for_event(self._clock, self._earlier, self._planned - now)

    def _overdue(self, now: float) -> list[Run]:
        over = [run for runs in self._by_kind.values() for run, deadline in runs.items() if deadline <= now]
        for run in over:
            self.remove(run)
        return over

    def _time_out(self, run: Run) -> None:
        run.stop(StopReason.TIMED_OUT)
        stack = run.stack()
        if stack:
            logger.error(
                "the handler of %s is over its time limit, and a thread cannot be stopped; its slot stays taken:\n%s",
                ", ".join(run.tasks),
                stack,
                extra={"task_kind": run.handler.kind},
            )
