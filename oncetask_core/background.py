"""An event loop on a thread of its own, for callers that block."""

import asyncio
import os
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from oncetask_core.errors import ConfigurationError

T = TypeVar("T")


class BackgroundLoop:
    """Runs coroutines for threads that wait for them. A forked child gets a loop and a thread of its own.

    Safe to use from any thread, also from one whose own event loop is running.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        _background_loops.add(self)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what the coroutine returns.

        Raises:
            ConfigurationError: Called on the loop's own thread, which would wait for itself.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise ConfigurationError(
                value=threading.current_thread().name,
                rule="the blocking manager is called from a thread that may wait, not from a coroutine that it runs",
                remedy="Await the methods of TaskManager there.",
            )
        return self.begin(coroutine).result()

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """Begin to run the coroutine."""
        with self._lock:
            return asyncio.run_coroutine_threadsafe(coroutine, self._started())

    def call(self, function: Any) -> None:
        """Call a function on the loop, soon."""
        with self._lock:
            self._started().call_soon_threadsafe(function)

    def close(self) -> None:
        """End the thread, if there is one; it is started again when it is next needed.

        What still runs there is cancelled. Nothing begins on a loop that was told to stop, where it would be lost.
        """
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
            if loop is not None:
                loop.call_soon_threadsafe(loop.stop)
        if thread is not None:
            thread.join()

    def _started(self) -> asyncio.AbstractEventLoop:
        """Return the loop; called with the lock held."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_serve, args=(self._loop,), name="oncetask-background", daemon=True)
            self._thread.start()
        return self._loop

    def forget(self) -> None:
        """Forget in a forked child what belongs to the parent: its thread is not there."""
        self._lock = threading.Lock()
        self._loop = self._thread = None


_background_loops: Final[weakref.WeakSet[BackgroundLoop]] = weakref.WeakSet()
"""A hook of a fork cannot be taken back, so that one serves them all."""


def _forget_all() -> None:
    for background in list(_background_loops):
        background.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, then end what is left in it as `asyncio.run` does."""
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
