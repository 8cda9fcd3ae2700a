"""Calling a handler and turning however it ends into reports. Nothing that a handler does escapes from here."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from oncetask_core.context import enter_context
from oncetask_core.decisions import Failure, Released, Report, Snoozed, Success
from oncetask_core.errors import HandlerTimeoutError, InvalidTaskError, NotCommittedError, OncetaskError, PayloadError
from oncetask_core.handlers import Call, Failed, PerTask
from oncetask_core.limits import describe_exception
from oncetask_core.payload import encode_value
from oncetask_core.signals import GiveUp, RetryAfter, Snooze
from oncetask_core.worker.run import Run, StopReason
from oncetask_core.worker.threads import DaemonThreads

logger = logging.getLogger("oncetask.worker")

Reports = Mapping[str, Report]


class MissingOutcomeError(OncetaskError):
    """A group handler returned outcomes, but none for this member."""


class StillRunningError(Exception):
    """The event loop is taken down around a plain function, which goes on in its thread."""


class Executor:
    """Runs handlers.

    Args:
        threads: Where plain functions run.
        now: The store's time, as the worker knows it.
        is_ending: Whether the event loop is being taken down around the worker.
    """

    def __init__(self, threads: DaemonThreads, *, now: Callable[[], datetime], is_ending: Callable[[], bool]) -> None:
        self._threads = threads
        self._now = now
        self._is_ending = is_ending

    async def execute(self, run: Run) -> Reports:
        """Call the run's handler; return how each of its tasks ended, by id.

        A task that the handler completed in its own transaction has failed, unless the store knows better.

        A task that was lost meanwhile has no report.

        Raises:
            StillRunningError: It has not ended, and nobody will learn how it does.
        """
        reports = await self._ended(run)
        return {**reports, **{task_id: self._uncommitted(task_id) for task_id in run.context.completed_ids}}

    def _uncommitted(self, task_id: str) -> Failure:
        error = NotCommittedError(task_id)
        return Failure(error=error, text=describe_exception(error), at=self._now())

    async def _ended(self, run: Run) -> Reports:
        call = run.handler.cleanup if run.is_cleanup else run.handler.call
        if call is None:
            return {task_id: Success() for task_id in run.tasks}
        subject = list(run.tasks.values()) if run.handler.is_group and not run.is_cleanup else run.context.task
        try:
            value = await self._call(call, subject, run)
        except asyncio.CancelledError as error:
            return self._interrupted(run, error)
        except StillRunningError:
            raise
        except (KeyboardInterrupt, GeneratorExit):  # the end of the process or of its loop, not of the attempt
            raise
        except BaseException as error:  # noqa: BLE001 - an attempt's outcome, also sys.exit() and a panic of native code
            return self._all(run, error)
        try:
            return self._returned(run, value)
        except Exception as error:  # noqa: BLE001 - an outcome that was put together wrongly is the handler's failure
            return self._all(run, error)

    async def _call(self, call: Call, subject: object, run: Run) -> Any:
        arguments = call.arguments(subject, run.context)
        run.enter(interruptible=call.is_async)
        try:
            enter_context(run.context)
            if call.is_async:
                return await call.function(*arguments)
            return await self._call_in_thread(partial(call.function, *arguments), run)
        finally:
            run.leave()
            current = asyncio.current_task()
            if current is not None and current.cancelling() and not self._is_ending():
                await _forget_cancellation(current)

    async def _call_in_thread(self, function: Callable[[], Any], run: Run) -> Any:
        future = self._threads.submit(function)
        run.stack = partial(self._threads.stack_of, future)
        try:
            value = await asyncio.shield(future)
        except asyncio.CancelledError:
            if future.done():  # it raised this itself
                raise
            raise StillRunningError from None
        if run.reason is StopReason.TIMED_OUT:
            raise HandlerTimeoutError(_timeout_text(run))
        return await self._finished(value, run) if asyncio.iscoroutine(value) else value

    async def _finished(self, coroutine: Coroutine[Any, Any, Any], run: Run) -> Any:
        """Await what a plain function has returned; from here on it can be interrupted as a coroutine handler can."""
        run.enter(interruptible=True)
        if run.reason is not None:
            coroutine.close()
            raise asyncio.CancelledError
        return await coroutine

    def _interrupted(self, run: Run, error: asyncio.CancelledError) -> Reports:
        """A coroutine ended by cancellation: who asked for it decides what that means."""
        match run.reason:
            case None if self._is_ending():
                return dict.fromkeys(run.tasks, Released())
            case None:
                return self._all(run, error)
            case StopReason.TIMED_OUT:
                return self._all(run, HandlerTimeoutError(_timeout_text(run)))
            case StopReason.LOST:
                return {}
            case _:
                return dict.fromkeys(run.tasks, Released())

    def _all(self, run: Run, error: BaseException) -> Reports:
        return {task_id: self._raised(run, error) for task_id in run.tasks}

    def _raised(self, run: Run, error: BaseException) -> Report:
        try:
            return self._report_of(run, error)
        except Exception as fault:  # noqa: BLE001 - a signal of the handler's own that lacks what signals have
            return Failure(error=fault, text=describe_exception(fault), at=self._now())

    def _report_of(self, run: Run, error: BaseException) -> Report:
        if isinstance(error, Snooze):
            return Snoozed(error.delay)
        if not isinstance(error, RetryAfter | GiveUp):
            logger.warning(
                "handler of kind %s failed: %s",
                run.handler.kind,
                type(error).__name__,
                exc_info=None if isinstance(error, PayloadError) else error,  # it quotes the payload
                extra={"task_kind": run.handler.kind},
            )
        return failure_of(error, at=self._now())

    def _returned(self, run: Run, value: object) -> Reports:
        if not isinstance(value, PerTask):
            return self._encoded(run, value)
        reports: dict[str, Report] = {}
        for task_id in run.tasks:
            if task_id in value.outcomes:
                reports[task_id] = self._member(run, value.outcomes[task_id])
            else:
                missing = MissingOutcomeError(f"the group handler returned no outcome for task {task_id}")
                reports[task_id] = self._raised(run, missing)
        for unknown in value.outcomes.keys() - run.tasks.keys():
            logger.warning("outcome for %s ignored: it is no member of this group, or no longer", unknown)
        return reports

    def _member(self, run: Run, value: object) -> Report:
        return self._raised(run, value.error) if isinstance(value, Failed) else self._encode(value)

    def _encoded(self, run: Run, value: object) -> Reports:
        return dict.fromkeys(run.tasks, self._encode(value))

    def _encode(self, value: object) -> Report:
        if value is None:
            return Success()
        try:
            return Success(encode_value(value))
        except InvalidTaskError as error:
            logger.warning("a result cannot be stored: %s", error.rule)  # the error itself quotes it
            text = f"the result cannot be stored: {describe_exception(error)}"
            return Failure(error=error, text=text, at=self._now(), final=True)


def failure_of(error: BaseException, *, at: datetime) -> Failure:
    """Return the report of an attempt that ended with `error`."""
    if isinstance(error, RetryAfter):
        return Failure(error=error, text=f"RetryAfter: {error.reason}", at=at, delay=error.delay)
    if isinstance(error, GiveUp):
        return Failure(error=error, text=f"GiveUp: {error.reason}", at=at, final=True)
    return Failure(error=error, text=describe_exception(error), at=at)


async def _forget_cancellation(current: "asyncio.Task[Any]") -> None:
    """Undo the cancellation of the asyncio task in which a handler ran, for the runs that follow in it.

    It may have arrived and may be on its way still; before Python 3.13 `uncancel` does not take that back.
    """
    while current.cancelling():
        current.uncancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)


def _timeout_text(run: Run) -> str:
    limit = run.handler.time_limit
    seconds = limit.total_seconds() if isinstance(limit, timedelta) else 0.0
    return f"the handler ran longer than its timeout of {seconds:g} s"
