"""The manager: a client that also knows handlers and runs them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from typing import TypedDict, TypeVar, Unpack

import msgspec

from oncetask_core.arguments import check_event_hook, check_lifecycle_hook
from oncetask_core.client import Duration, TaskClient, default_name
from oncetask_core.errors import StoreError
from oncetask_core.handlers import HandlerFunction, options_named
from oncetask_core.lifecycle import LifecycleHook, cancelled_by_failure_of, ended, hooked
from oncetask_core.limits import check_kind
from oncetask_core.registry import kind_and_types
from oncetask_core.retry import RetryPolicy
from oncetask_core.stopping import Stopping, asked_by_signals
from oncetask_core.store import TaskStore
from oncetask_core.worker import Seams, Worker, WorkerSettings, WorkerState
from oncetask_core.worker.events import Hook

logger = logging.getLogger("oncetask.manager")

F = TypeVar("F", bound=HandlerFunction)

HEALTH_SECONDS = 5.0
STALE_SECONDS = 30.0


class Options(TypedDict, total=False):
    """The options of `HandlerOptions`, as keyword arguments."""

    retry_policy: RetryPolicy
    cancellation_handler: HandlerFunction | None
    cancellation_retry_policy: RetryPolicy
    lease_duration: Duration
    renew_lease: bool
    timeout: Duration | None
    concurrency: int
    max_group: int
    max_crashes: int


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of a probe."""

    ok: bool
    """The store answers and, where a worker runs here, it has been in contact lately and can renew its leases."""
    worker: WorkerState | None
    reason: str | None = None
    """What is wrong, if anything is."""


class TaskManager(TaskClient):
    """Creates tasks, controls them, and runs them. Making one does no I/O.

    Args:
        store: A store, or a URL such as `sqlite:///tasks.db` or `memory://`.
        env: The environment; by default `ONCE_TASK_ENV` as it is now, else `DEFAULT`. Fixed for the manager's life.
        name: This worker's name in leases and logs; by default host and process id.
        poll_interval: The longest rest of the worker while nothing is known to be due; a timedelta or seconds.
        shutdown_timeout: How long handlers may go on after a stop was asked for.
        keep_finished_for: Finished tasks older than this are deleted by the worker; None keeps them.
        seams: Clock, chance and identities, for tests.

    Attributes:
        resources: What handlers share; fill it in a start hook, read it as `context.resources`.

    Raises:
        ConfigurationError: A setting is out of bounds, or no store serves the URL.
    """

    def __init__(
        self,
        store: TaskStore | str,
        *,
        env: str | None = None,
        name: str | None = None,
        poll_interval: Duration = timedelta(seconds=1),
        shutdown_timeout: Duration = timedelta(seconds=25),
        keep_finished_for: Duration | None = None,
        seams: Seams | None = None,
    ) -> None:
        super().__init__(store, env=env, seams=seams)
        self._settings = WorkerSettings(
            name=default_name() if name is None else name,
            poll_interval=poll_interval,
            shutdown_timeout=shutdown_timeout,
            keep_finished_for=keep_finished_for,
        )
        self._hooks: list[Hook] = []
        self._starts: list[LifecycleHook] = []
        self._stops: list[LifecycleHook] = []
        self._stopping: Stopping | None = None
        self.resources: dict[str, object] = {}

    def register_task_handler(
        self, kind: str | type[object], handler: HandlerFunction, **options: Unpack[Options]
    ) -> None:
        """Let `handler` run the tasks of a kind, one task per call.

        Args:
            kind: A payload class, or the name of a kind whose payloads are plain JSON objects.
            handler: `handler(task)` or `handler(task, context)`; a coroutine function, or a plain function, which is
                called on a thread of its own.
            **options: See `HandlerOptions`.

        Raises:
            DuplicateHandlerError: The kind has a handler.
            ConfigurationError: The handler does not fit the kind, or an option is unknown or out of bounds.
        """
        self._registry.add(kind, handler, options_named(options, is_group=False), is_group=False)
        self._wake()

    def register_resource_key_handler(
        self, kind: str | type[object], handler: HandlerFunction, **options: Unpack[Options]
    ) -> None:
        """Let `handler` run the tasks of a kind, all due tasks of one resource key together.

        The handler gets the list of tasks, in order, at most `max_group`; a task without a key comes alone. It returns
        one result for all, or `PerTask`; an exception fails every member.

        Raises:
            DuplicateHandlerError: The kind has a handler.
            ConfigurationError: The handler does not fit the kind, or an option is unknown or out of bounds.
        """
        self._registry.add(kind, handler, options_named(options, is_group=True), is_group=True)
        self._wake()

    def task_handler(self, kind: str | type[object], **options: Unpack[Options]) -> Callable[[F], F]:
        """Register the decorated function as `register_task_handler` does; the function is returned unchanged."""
        kind_and_types(kind)  # a decorator without its parentheses is given the handler, which nobody would register

        def decorate(handler: F) -> F:
            self.register_task_handler(kind, handler, **options)
            return handler

        return decorate

    def resource_key_handler(self, kind: str | type[object], **options: Unpack[Options]) -> Callable[[F], F]:
        """Register the decorated function as `register_resource_key_handler` does; it is returned unchanged."""
        kind_and_types(kind)  # a decorator without its parentheses is given the handler, which nobody would register

        def decorate(handler: F) -> F:
            self.register_resource_key_handler(kind, handler, **options)
            return handler

        return decorate

    def unregister(self, kind: str) -> None:
        """Stop serving a kind; what runs is finished, nothing more is claimed.

        Raises:
            UnknownKindError: The kind has no handler.
        """
        self._registry.remove(check_kind(kind))

    def on_event(self, hook: Hook) -> Hook:
        """Call `hook(event)` for every event of the worker; usable as a decorator.

        Raises:
            ConfigurationError: It is no plain function, or cannot be called so.
        """
        check_event_hook(hook)
        self._hooks.append(hook)
        return hook

    def on_start(self, hook: LifecycleHook) -> LifecycleHook:
        """Call `hook()` before the worker claims anything; usable as a decorator.

        Raises:
            ConfigurationError: It cannot be called so.
        """
        check_lifecycle_hook(hook)
        self._starts.append(hook)
        return hook

    def on_stop(self, hook: LifecycleHook) -> LifecycleHook:
        """Call `hook()` after the worker has drained, the latest registered first; usable as a decorator.

        Raises:
            ConfigurationError: It cannot be called so.
        """
        check_lifecycle_hook(hook)
        self._stops.append(hook)
        return hook

    async def run(self, *, handle_signals: bool = True) -> None:
        """Run tasks until SIGTERM or SIGINT or `stop()`, then drain and return.

        The first signal stops claiming and lets handlers finish for up to `shutdown_timeout`; then, or at a second
        signal, they are cancelled and their tasks are given back, nothing charged. A store that is not up yet is
        waited for until the first signal. A start hook that hangs is cancelled at the second signal, a stop hook at the
        next one.

        Raises:
            SchemaError: The store's schema does not fit.
            ConfigurationError: This manager runs already, or the store refuses its configuration.
        """
        async with self._working(handle_signals=handle_signals) as worker:
            if worker is not None:
                await worker.run()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run tasks in the background for the length of an `async with` block; its end drains.

        Should the worker fail, the block is cancelled, and the error of the worker raised.

        Raises:
            ConfigurationError: This manager runs already.
        """
        async with self._working() as worker:
            if worker is None:
                yield
                return
            background = asyncio.create_task(worker.run())
            with cancelled_by_failure_of(background):
                try:
                    yield
                finally:
                    worker.stop()
                    await ended(background)
            await background

    async def drain(self) -> None:
        """Run everything that is due, and what becomes due by it, then return; for tests and cron."""
        async with self._working() as worker:
            if worker is not None:
                await worker.run(until_idle=True)

    def stop(self) -> None:
        """Ask a running worker to drain and end; `run` then returns. Any thread may call this; twice hurries."""
        stopping = self._stopping  # read once: the run may end meanwhile
        if stopping is not None:
            stopping.ask()

    async def health(self) -> Health:
        """Return whether the store answers and the worker, if one runs here, is in contact. Never raises for those."""
        running = self._worker  # read once: the run may end meanwhile
        worker = None if running is None else running.state
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                await (await self._gate.opened()).now()
        except (StoreError, TimeoutError) as error:
            return Health(ok=False, worker=worker, reason=f"the store does not answer: {error}")
        reason = None if worker is None else _what_is_wrong(worker)
        return Health(ok=reason is None, worker=worker, reason=reason)

    @asynccontextmanager
    async def _working(self, *, handle_signals: bool = False) -> AsyncIterator[Worker | None]:
        """Do what belongs around a worker; yields None where the end was asked for before there was one."""
        self._refuse_while_running("be run a second time")
        self._is_running, self._stopping = True, Stopping()
        try:
            with asked_by_signals(self._stopping) if handle_signals else nullcontext():
                async with self._started(self._stopping) as worker:
                    yield worker
        finally:
            self._worker, self._stopping, self._is_running = None, None, False

    @asynccontextmanager
    async def _started(self, stopping: Stopping) -> AsyncIterator[Worker | None]:
        store = await stopping.unless_asked(self._gate.opened_at_last(seams=self._seams))
        if store is None:
            yield None
            return
        async with hooked(self._starts, self._stops, stopping=stopping) as is_started:
            self._worker = self._make_worker(store) if is_started else None
            with nullcontext() if self._worker is None else stopping.steering(self._worker):
                yield self._worker

    def _make_worker(self, store: TaskStore) -> Worker:
        kinds = ", ".join(sorted(handler.kind for handler in self._registry)) or "none"
        logger.info("worker %s: env %s, store %s, kinds %s", self._settings.name, self.env, self._address, kinds)
        return Worker(
            store,
            self._registry,
            settings=self._settings,
            seams=self._seams,
            hooks=self._hooks,
            resources=self.resources,
        )


def _what_is_wrong(worker: WorkerState) -> str | None:
    if worker.renewals_fail:
        return "leases cannot be renewed"
    if worker.last_contact > STALE_SECONDS:
        return f"the worker's loop has had no answer from the store for {worker.last_contact:.0f} s"
    return None
