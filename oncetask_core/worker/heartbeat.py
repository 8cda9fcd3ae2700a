"""Renewals: they keep leases alive, notice lost ones, and bring requests to cancel.

They run on a thread with an event loop of its own, so that a handler that blocks the worker's loop does not lose
its lease. A handler that holds the interpreter lock stops them all the same: then the lease runs out and the
guards of the store keep the old run from writing.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

from oncetask_core.clock import Clock, wait_for_event
from oncetask_core.errors import StoreError
from oncetask_core.posting import post
from oncetask_core.store import TaskStore
from oncetask_core.worker.leases import Findings, LeaseBook
from oncetask_core.worker.run import StopReason
from oncetask_core.worker.settings import Seams

logger = logging.getLogger("oncetask.renewals")

IDLE_SECONDS = 3600.0
STOP_SECONDS = 5.0
LEAST_SECONDS = 0.001
BEATING_SECONDS = 0.05
"""How often fences are looked at while a renewal is on its way."""

AGAIN_SECONDS = 1.0
"""How long after a renewal that failed the store is asked again, also if nothing is held by then."""

OnUnknown = Callable[[list[tuple[str, str]]], None]
OnFault = Callable[[BaseException], None]


class Heartbeat:
    """Starts the renewals where they belong, and stops them.

    Args:
        store: Where the leases are.
        book: The leases.
        seams: The clock.
        on_unknown: Called on the worker's loop with lease and id of tasks that we hold without knowing.
        on_fault: Called on the worker's loop with an error of the store that asking again does not mend.
    """

    def __init__(
        self, store: TaskStore, book: LeaseBook, *, seams: Seams, on_unknown: OnUnknown, on_fault: OnFault
    ) -> None:
        self._store = store
        self._book = book
        self._seams = seams
        self._on_unknown = on_unknown
        self._on_fault = on_fault
        self._renewals: Renewals | None = None
        self._thread: threading.Thread | None = None
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_failing(self) -> bool:
        """Whether leases cannot be renewed at the moment."""
        return self._renewals is not None and self._renewals.failing

    def start(self) -> None:
        """Begin; called on the worker's event loop.

        Raises:
            Exception: The thread could not begin.
        """
        main = asyncio.get_running_loop()
        if not self._seams.threaded_renewals:
            self._renewals = self._make(main)
            self._task = asyncio.create_task(self._renewals.run())
            return
        made: Future[Renewals] = Future()
        self._thread = threading.Thread(target=self._work, args=(main, made), name="oncetask-renewals", daemon=True)
        self._thread.start()
        self._renewals = made.result()

    def poke(self) -> None:
        """Note that the book changed: a lease may be due earlier than planned. Any thread may call this."""
        if self._renewals is not None:
            self._renewals.poke()

    async def stop(self) -> None:
        """End the renewals; nothing is renewed any more when this returns."""
        self.end()
        if self._thread is not None:  # on no executor, which handlers may have filled with what does not stop
            ended = asyncio.ensure_future(self._ended.wait())
            try:
                await asyncio.wait([ended], timeout=STOP_SECONDS)
            finally:
                ended.cancel()
        if self._task is not None:
            await self._task

    def end(self) -> None:
        """Ask the renewals to end; what is under way may still arrive."""
        if self._renewals is not None:
            self._renewals.stop()

    def _work(self, main: asyncio.AbstractEventLoop, made: "Future[Renewals]") -> None:
        try:
            asyncio.run(self._run_in_thread(main, made))
        except Exception as fault:  # noqa: BLE001 - no event loop is to be had, or a bug: the worker has to learn of it
            if made.done():
                post(main, self._on_fault, fault)
            else:
                made.set_exception(fault)
        finally:
            post(main, self._ended.set)

    async def _run_in_thread(self, main: asyncio.AbstractEventLoop, made: "Future[Renewals]") -> None:
        renewals = self._make(main)
        made.set_result(renewals)
        await renewals.run()

    def _make(self, main: asyncio.AbstractEventLoop) -> "Renewals":
        return Renewals(
            self._store,
            self._book,
            clock=self._seams.clock,
            main=main,
            on_unknown=self._on_unknown,
            on_fault=self._on_fault,
        )


class Renewals:
    """Renews everything in the book with one statement each time, every third of the shortest lease.

    Lives on the event loop on which it was made.
    """

    def __init__(
        self,
        store: TaskStore,
        book: LeaseBook,
        *,
        clock: Clock,
        main: asyncio.AbstractEventLoop,
        on_unknown: OnUnknown,
        on_fault: OnFault,
    ) -> None:
        self._store = store
        self._book = book
        self._clock = clock
        self._main = main
        self._on_unknown = on_unknown
        self._on_fault = on_fault
        self._own = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._beating: asyncio.Task[None] | None = None
        self._stopping = False
        self._again_at = 0.0
        self.failing = False

    def poke(self) -> None:
        """Look at the book again. Any thread may call this."""
        post(self._own, self._changed.set)

    def stop(self) -> None:
        """End soon. Any thread may call this."""
        self._stopping = True
        self.poke()

    async def run(self) -> None:
        """Renew until stopped."""
        while not self._stopping:
            now = self._clock.monotonic()
            if self._is_due(now) and not self._is_beating():
                self._beating = asyncio.create_task(self._beat())
            self._fence(now)
            await self._rest(now)
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)

    def _is_due(self, now: float) -> bool:
        """Return whether to ask now; what failed is asked for again, for nothing is claimed until it has succeeded."""
        return self._book.is_due(now) or (self.failing and self._again_at <= now)

    def _is_beating(self) -> bool:
        return self._beating is not None and not self._beating.done()

    async def _rest(self, now: float) -> None:
        """Sleep until the next renewal or fence, the end of the renewal that is on its way, or a change."""
        wakes = [self._book.next_wake(), self._again_at if self.failing else None]
        wake = min((one for one in wakes if one is not None), default=now + IDLE_SECONDS)
        seconds = max(wake - now, LEAST_SECONDS)
        if self._is_beating():
            seconds = max(seconds, BEATING_SECONDS)
        await wait_for_event(self._clock, self._changed, seconds)
        self._changed.clear()

    async def _beat(self) -> None:
        sent_at = self._clock.monotonic()
        asked = self._book.to_renew(sent_at)
        try:
            renewed = await self._store.renew(asked)
        except StoreError as error:
            if not self.failing:
                logger.warning("leases cannot be renewed, trying again: %s", error)
            self._fail()
        except Exception as fault:  # noqa: BLE001 - a bug, of which the worker has to learn
            self._fail()
            post(self._main, self._on_fault, fault)
        else:
            if self.failing:
                logger.info("leases are renewed again")
            self.failing = False
            self._announce(self._book.record(asked, renewed, sent_at=sent_at))
        self._changed.set()

    def _fail(self) -> None:
        now = self._clock.monotonic()
        self.failing = True
        self._again_at = now + AGAIN_SECONDS
        self._book.postpone(now)

    def _announce(self, findings: Findings) -> None:
        for run, task_id in findings.lost:
            post(self._main, run.lose_member, task_id)
        for run, task_id in findings.cancelled:
            post(self._main, run.cancel_member, task_id)
        if findings.unknown:
            post(self._main, self._on_unknown, findings.unknown)

    def _fence(self, now: float) -> None:
        for run in self._book.fenced(now):
            self.failing = self.failing or self._is_beating()
            ids = [*run.tasks]  # at once: the worker's loop may be taking out a member that was lost before
            logger.warning(
                "cannot renew the lease of %s in time: stopping its handler",
                ", ".join(ids),
                extra={"task_id": ids[0] if ids else None},
            )
            post(self._main, run.stop, StopReason.FENCED)
