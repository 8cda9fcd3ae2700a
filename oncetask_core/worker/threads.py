"""Threads for plain functions.

They are daemons: a handler that never returns must not keep the process from ending, and no thread can be
killed. `concurrent.futures` joins its threads at exit, which is why it is not used here.
"""

import asyncio
import contextvars
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from oncetask_core.posting import post

_Job = tuple[Callable[[], Any], contextvars.Context, asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class DaemonThreads:
    """Runs functions on daemon threads, as many as are needed at once; idle ones are used again."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._count = 0
        self._is_closed = False
        self._busy: dict[int, asyncio.Future[Any]] = {}

    def submit(self, function: Callable[[], Any]) -> "asyncio.Future[Any]":
        """Run `function` on a thread, in a copy of the caller's context; return its future on this loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._lock:
            spawn = self._idle == 0
            self._idle -= not spawn
            self._count += spawn
        if spawn:
            name = f"oncetask-handler-{self._count}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
        self._jobs.put((function, contextvars.copy_context(), loop, future))
        return future

    def stack_of(self, future: "asyncio.Future[Any]") -> str:
        """Return where the thread that works on `future` stands right now; empty when none does."""
        thread_id = next((ident for ident, busy in list(self._busy.items()) if busy is future), None)
        frame = None if thread_id is None else sys._current_frames().get(thread_id)  # noqa: SLF001 - the documented way to see another thread's stack
        return "" if frame is None else "".join(traceback.format_stack(frame))

    def close(self) -> None:
        """Let idle threads end; busy ones end with their function."""
        with self._lock:
            idle, self._idle = self._idle, 0
            self._is_closed = True
        for _ in range(idle):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, context, loop, future = job
            self._busy[threading.get_ident()] = future
            value, error = _call(function, context)
            del self._busy[threading.get_ident()]
            with self._lock:
                is_last = self._is_closed
                self._idle += not is_last
            del job, function, context
            _deliver(loop, future, value=value, error=error)
            del value, error, future
            if is_last:
                return


def _call(function: Callable[[], Any], context: contextvars.Context) -> tuple[Any, BaseException | None]:
    try:
        return context.run(function), None
    except BaseException as error:  # noqa: BLE001 - whatever ends the function is its outcome, not the thread's
        return None, error


def _deliver(
    loop: asyncio.AbstractEventLoop, future: "asyncio.Future[Any]", *, value: Any, error: BaseException | None
) -> None:
    def settle() -> None:
        if future.done():
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(_as_exception(error))

    post(loop, settle)


def _as_exception(error: BaseException) -> BaseException:
    """Return an error that means nothing to the loop: it cannot carry StopIteration, and would end for the others."""
    if isinstance(error, StopIteration | GeneratorExit | KeyboardInterrupt):
        wrapped = RuntimeError(f"the handler raised {type(error).__name__}")
        wrapped.__cause__ = error
        return wrapped
    return error
