"""Around a worker: start and stop hooks, and the store that may not be up yet."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from oncetask_core.backoff import Backoff
from oncetask_core.errors import StoreUnavailableError
from oncetask_core.stopping import Stopping
from oncetask_core.store import TaskStore
from oncetask_core.worker import Seams

logger = logging.getLogger("oncetask.manager")

LifecycleHook = Callable[[], Awaitable[None] | None]


class StoreGate:
    """Opens a store when it is first needed, once.

    Attributes:
        store: The store, not necessarily open.
    """

    def __init__(self, store: TaskStore) -> None:
        self.store = store
        self._is_open = False

    async def opened(self) -> TaskStore:
        """Return the open store.

        Raises:
            StoreUnavailableError: It cannot be reached now.
            SchemaError: Its schema does not fit.
        """
        if not self._is_open:
            await self.store.open()
            self._is_open = True
        return self.store

    async def opened_at_last(self, *, seams: Seams) -> TaskStore:
        """Return the open store, however long it takes to come up; says so once."""
        backoff, said = Backoff(seams.chance), False
        while True:
            try:
                return await self.opened()
            except StoreUnavailableError as error:
                if not said:
                    logger.warning("the store is not there yet; trying until it is: %s", error)
                said = True
                await seams.clock.sleep(backoff.next_delay())

    async def close(self) -> None:
        """Close the store if it is open."""
        if self._is_open:
            self._is_open = False
            await self.store.close()


@asynccontextmanager
async def hooked(
    starts: Sequence[LifecycleHook], stops: Sequence[LifecycleHook], *, stopping: Stopping
) -> AsyncIterator[bool]:
    """Call the start hooks, then at the end the stop hooks in reverse order, each even if another fails.

    A start hook that runs when the end is asked for a second time is cancelled, and a stop hook that runs when it is
    asked for once more.

    Yields:
        Whether all start hooks have ended; the stop hooks are called only then.
    """
    started = False
    async with stopping.cut_at(2):
        for hook in starts:
            await _call(hook)
        started = True
    try:
        yield started
    finally:
        for hook in reversed(stops if started else ()):
            await _call_at_the_end(hook, stopping)


async def _call(hook: LifecycleHook) -> None:
    outcome = hook()
    if outcome is not None:
        await outcome


async def _call_at_the_end(hook: LifecycleHook, stopping: Stopping) -> None:
    ended = False
    async with stopping.cut_at(max(stopping.asked + 1, 2)):
        try:
            await _call(hook)
        except Exception:
            logger.exception("stop hook %r failed", hook)
        ended = True
    if not ended:
        logger.warning("stop hook %r was cancelled by another signal", hook)


@contextmanager
def cancelled_by_failure_of(background: "asyncio.Task[None]") -> Iterator[None]:
    """Cancel the block when the task fails; it then ends with the error of the task, and with its own as the context.

    Afterwards the cancellation is taken back, also where the block swallowed it: what follows was not cancelled.
    """
    block = asyncio.current_task()
    if block is None:
        raise AssertionError("a worker is run within an asyncio task")
    has_failed = False

    def check(done: "asyncio.Task[None]") -> None:
        nonlocal has_failed
        has_failed = not done.cancelled() and done.exception() is not None
        if has_failed:
            block.cancel()

    background.add_done_callback(check)
    try:
        yield
    except (asyncio.CancelledError, Exception):
        if has_failed:
            background.result()
        raise
    finally:
        background.remove_done_callback(check)
        if has_failed:
            block.uncancel()


async def ended(background: "asyncio.Task[None]") -> None:
    """Return when the task has ended, however; cancelled, cancel it."""
    try:
        await asyncio.wait([background])
    except asyncio.CancelledError:
        background.cancel()
        raise
