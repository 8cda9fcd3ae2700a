"""Running a worker: start and stop hooks, signals, and the store that may not be up yet."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from oncetask_core.backoff import Backoff
from oncetask_core.errors import StoreUnavailableError
from oncetask_core.store import TaskStore
from oncetask_core.worker import Seams, Worker

logger = logging.getLogger("oncetask.manager")

LifecycleHook = Callable[[], Awaitable[None] | None]
SIGNALS = (signal.SIGTERM, signal.SIGINT)


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


async def call_hooks(hooks: Sequence[LifecycleHook]) -> None:
    """Call the hooks in order, awaiting those that are coroutines."""
    for hook in hooks:
        outcome = hook()
        if outcome is not None:
            await outcome


@asynccontextmanager
async def hooked(starts: Sequence[LifecycleHook], stops: Sequence[LifecycleHook]) -> AsyncIterator[None]:
    """Call the start hooks, then at the end the stop hooks in reverse order, each even if another fails."""
    await call_hooks(starts)
    try:
        yield
    finally:
        for hook in reversed(stops):
            try:
                await call_hooks([hook])
            except Exception:
                logger.exception("stop hook %r failed", hook)


@contextmanager
def cancelled_by_failure_of(background: "asyncio.Task[None]") -> Iterator[None]:
    """Cancel the block when the task fails; the block then ends with the error of the task."""
    block = asyncio.current_task()
    has_failed = False

    def check(done: "asyncio.Task[None]") -> None:
        nonlocal has_failed
        has_failed = not done.cancelled() and done.exception() is not None
        if has_failed and block is not None:
            block.cancel()

    background.add_done_callback(check)
    try:
        yield
    except asyncio.CancelledError:
        if not has_failed or block is None:
            raise
        block.uncancel()
        background.result()
    finally:
        background.remove_done_callback(check)


async def ended(background: "asyncio.Task[None]") -> None:
    """Return when the task has ended, however; cancelled, cancel it."""
    try:
        await asyncio.wait([background])
    except asyncio.CancelledError:
        background.cancel()
        raise


@contextmanager
def stopped_by_signals(worker: Worker) -> Iterator[None]:
    """Stop the worker on SIGTERM or SIGINT: the first drains, a second cancels what runs and releases it.

    Where the event loop cannot watch signals (Windows, other threads than the main one) nothing is installed there;
    on Windows the interpreter's own handlers are used.
    """
    seen: list[int] = []

    def receive(number: int) -> None:
        seen.append(number)
        logger.info("signal %s: %s", signal.Signals(number).name, "draining" if len(seen) == 1 else "releasing now")
        worker.stop(hurry=len(seen) > 1)

    restore = _install(receive)
    try:
        yield
    finally:
        restore()


def _install(receive: Callable[[int], None]) -> Callable[[], None]:
    loop = asyncio.get_running_loop()
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        for number in SIGNALS:
            loop.add_signal_handler(number, receive, number)
    except (NotImplementedError, RuntimeError, ValueError):
        return _install_plainly(receive)

    def restore() -> None:
        for number, handler in previous.items():
            loop.remove_signal_handler(number)
            if handler is not None:  # None is a handler that was not installed from Python
                signal.signal(number, handler)

    return restore


def _install_plainly(receive: Callable[[int], None]) -> Callable[[], None]:
    try:
        previous = {number: signal.signal(number, lambda n, _: receive(n)) for number in SIGNALS}
    except ValueError:  # not the main thread: whoever owns it has to call `stop`
        return lambda: None

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    return restore
