"""Ending a run of a manager, from before its store is open until after its last stop hook."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

from oncetask_core.posting import post
from oncetask_core.worker import Worker

logger = logging.getLogger("oncetask.manager")

T = TypeVar("T")

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopping:
    """How often a run was asked to end: the first time it drains, a second time it releases what runs.

    Belongs to the event loop in which it is made.

    Attributes:
        asked: How often so far.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._loop = asyncio.get_running_loop()
        self._worker: Worker | None = None
        self._cuts: dict[asyncio.Timeout, int] = {}

    def ask(self) -> None:
        """Ask once more. Any thread may call this."""
        self.asked += 1
        worker = self._worker  # read once: the run may end meanwhile
        if worker is not None:
            worker.stop(hurry=self.asked > 1)
        post(self._loop, self._cut)

    @contextmanager
    def steering(self, worker: Worker) -> Iterator[None]:
        """Pass on what was and what will be asked."""
        self._worker = worker
        if self.asked:
            worker.stop(hurry=self.asked > 1)
        try:
            yield
        finally:
            self._worker = None

    @asynccontextmanager
    async def cut_at(self, count: int) -> AsyncIterator[None]:
        """Cancel what runs in the block once `count` was asked; the block then ends without an error."""
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._cuts[scope] = count
                self._cut()
                yield
        except TimeoutError:
            if not scope.expired():
                raise
        finally:
            self._cuts.pop(scope, None)

    async def unless_asked(self, work: Awaitable[T]) -> T | None:
        """Return what `work` returns; None once the end is asked for before it has ended."""
        result: T | None = None
        async with self.cut_at(1):
            result = await work
        return result  # noqa: RET504 - the block may end without having assigned it

    def _cut(self) -> None:
        for scope, count in self._cuts.items():
            if self.asked >= count and scope.when() is None:
                scope.reschedule(self._loop.time())


@contextmanager
def asked_by_signals(stopping: Stopping) -> Iterator[None]:
    """Ask for the end on each SIGTERM and SIGINT, and give both back to the application afterwards.

    Where the event loop cannot watch signals (Windows, other threads than the main one) nothing is installed there;
    on Windows the interpreter's own handlers are used.
    """

    def receive(number: int) -> None:
        stopping.ask()
        what = "draining" if stopping.asked == 1 else "releasing now"
        logger.info("signal %s: %s", signal.Signals(number).name, what)

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
