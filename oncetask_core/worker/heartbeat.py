"""Renewals: they keep leases alive, notice lost ones, and bring requests to cancel.

They run on a thread with an event loop of its own, so that a handler that blocks the worker's loop does not lose
its lease. A handler that holds the interpreter lock stops them all the same: then the lease runs out and the
guards of the store keep the old run from writing.
"""

import asyncio
import logging
import threading
from collections.abc import Callable

from oncetask_core.errors import StoreError
from oncetask_core.store import TaskStore
from oncetask_core.worker.leases import Findings, LeaseBook
from oncetask_core.worker.run import Run, StopReason
from oncetask_core.worker.settings import Seams

logger = logging.getLogger("oncetask.renewals")

IDLE_SECONDS = 3600.0
STOP_SECONDS = 5.0


class Heartbeat:
    """Renews everything in the book with one statement each time, every third of the shortest lease.

    Args:
        store: Where the leases are.
        book: The leases.
        seams: The clock.
        on_unknown: Called on the worker's loop with lease and id of tasks that we hold without knowing.
    """

    def __init__(
        self,
        store: TaskStore,
        book: LeaseBook,
        *,
        seams: Seams,
        on_unknown: Callable[[list[tuple[str, str]]], None],
    ) -> None:
        self._store = store
        self._book = book
        self._seams = seams
        self._on_unknown = on_unknown
        self._main: asyncio.AbstractEventLoop | None = None
        self._own: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Event | None = None
        self._beating: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self.failing_since: float | None = None

    def start(self) -> None:
        """Begin; called on the worker's event loop."""
        self._main = asyncio.get_running_loop()
        if self._seams.threaded_renewals:
            ready = threading.Event()
            self._thread = threading.Thread(
                target=self._main_of_thread, args=(ready,), name="oncetask-renewals", daemon=True
            )
            self._thread.start()
            ready.wait()
        else:
            self._own, self._changed = self._main, asyncio.Event()
            self._task = asyncio.create_task(self._loop())

    def poke(self) -> None:
        """Note that the book changed: a lease may be due earlier than planned. Any thread may call this."""
        if self._own is not None and self._changed is not None and not self._own.is_closed():
            self._own.call_soon_threadsafe(self._changed.set)

    async def stop(self) -> None:
        """End the renewals; nothing is renewed any more when this returns."""
        self._stopping = True
        self.poke()
        if self._thread is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join, STOP_SECONDS)
        if self._task is not None:
            await self._task

    def _main_of_thread(self, ready: threading.Event) -> None:
        asyncio.run(self._prepare_and_loop(ready))

    async def _prepare_and_loop(self, ready: threading.Event) -> None:
        self._own, self._changed = asyncio.get_running_loop(), asyncio.Event()
        ready.set()
        await self._loop()

    async def _loop(self) -> None:
        while not self._stopping:
            now = self._seams.clock.monotonic()
            if self._book.is_due(now) and (self._beating is None or self._beating.done()):
                self._beating = asyncio.create_task(self._beat())
            self._fence(now)
            await self._rest(now)
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)

    async def _rest(self, now: float) -> None:
        assert self._changed is not None
        wake = self._book.next_wake()
        seconds = IDLE_SECONDS if wake is None else max(wake - now, 0.001)
        beating = self._beating if self._beating is not None and not self._beating.done() else None
        if beating is not None and wake is not None and wake <= now:
            seconds = 0.05
        sleep = asyncio.ensure_future(self._seams.clock.sleep(seconds))
        changed = asyncio.ensure_future(self._changed.wait())
        pending = {sleep, changed} if beating is None else {sleep, changed, beating}
        await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for waiter in (sleep, changed):
            waiter.cancel()
        self._changed.clear()

    async def _beat(self) -> None:
        sent_at = self._seams.clock.monotonic()
        asked = self._book.to_renew(sent_at)
        try:
            renewed = await self._store.renew(asked)
        except StoreError as error:
            self._note_failure(sent_at, error)
            return
        if self.failing_since is not None:
            logger.info("leases are renewed again")
        self.failing_since = None
        self._announce(self._book.record(asked, renewed, sent_at=sent_at))

    def _note_failure(self, sent_at: float, error: StoreError) -> None:
        if self.failing_since is None:
            logger.warning("leases cannot be renewed, trying again: %s", error)
            self.failing_since = sent_at
        self._book.postpone(self._seams.clock.monotonic())

    def _announce(self, findings: Findings) -> None:
        for run, task_id in findings.lost:
            self._post(run.lose_member, task_id)
        for run, task_id in findings.cancelled:
            self._post(run.cancel_member, task_id)
        if findings.unknown:
            self._post(self._on_unknown, findings.unknown)

    def _fence(self, now: float) -> None:
        for run in self._book.fenced(now):
            logger.warning(
                "cannot renew the lease of %s in time: stopping its handler",
                ", ".join(run.tasks),
                extra={"task_id": next(iter(run.tasks), None)},
            )
            self._post(_fence_run, run)

    def _post(self, function: Callable[..., None], *arguments: object) -> None:
        assert self._main is not None
        if not self._main.is_closed():
            self._main.call_soon_threadsafe(function, *arguments)


def _fence_run(run: Run) -> None:
    run.stop(StopReason.FENCED)
