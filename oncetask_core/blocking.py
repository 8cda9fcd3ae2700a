"""The manager for code that blocks: web frameworks, scripts, notebooks."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, Unpack, overload

from oncetask_core.background import BackgroundLoop
from oncetask_core.client import Duration, OnThisThread
from oncetask_core.creating import Created
from oncetask_core.handlers import HandlerFunction
from oncetask_core.lifecycle import LifecycleHook
from oncetask_core.manager import Options, TaskManager
from oncetask_core.store import TaskStore
from oncetask_core.task import DEFAULT_QUEUE
from oncetask_core.task_data import TaskData
from oncetask_core.worker import Seams
from oncetask_core.worker.events import Hook

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
F = TypeVar("F", bound=HandlerFunction)


class SyncCreated(Generic[R_co]):
    """The answer to a create call; true if the task is new.

    Attributes:
        id: The task's id.
        existed: Whether a task of this kind had the id already; it was left untouched.
    """

    def __init__(self, created: Created[R_co], loop: BackgroundLoop) -> None:
        self.id = created.id
        self.existed = created.existed
        self._created = created
        self._loop = loop

    def __bool__(self) -> bool:
        return not self.existed

    def __repr__(self) -> str:
        return f"SyncCreated({self.id!r}, existed={self.existed})"

    def wait(self, *, timeout: Duration | None = None) -> R_co:
        """Wait until the task ends and return its handler's result; raises as `Created.wait` does."""
        return self._loop.run(self._created.wait(timeout=timeout))


def _blocking(
    method: Callable[Concatenate[TaskManager, P], Coroutine[Any, Any, T]],
) -> "Callable[Concatenate[SyncTaskManager, P], T]":
    """Return a method that waits for the one of `TaskManager`; parameters, answers and errors are the same."""

    def call(self: "SyncTaskManager", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._loop.run(method(self.manager, *args, **kwargs))

    update_wrapper(call, method)
    return call


class SyncTaskManager:
    """`TaskManager` with methods that block; the work is done by an event loop on a thread of its own.

    Safe to share between threads, to use after a fork where its store is (the child starts a thread of its own), and
    where an event loop is running already, as in a notebook.

    Args:
        store: As for `TaskManager`.
        env: As for `TaskManager`.
        name: As for `TaskManager`.
        poll_interval: As for `TaskManager`.
        shutdown_timeout: As for `TaskManager`.
        keep_finished_for: As for `TaskManager`.
        seams: As for `TaskManager`.

    Attributes:
        manager: The manager behind this one, for code that awaits.

    Raises:
        ConfigurationError: A setting is out of bounds, or no store serves the URL.
    """

    def __init__(
        self,
        store: TaskStore | str,
        *,
        env: str | None = None,
        name: str | None = None,
        poll_interval: Duration = 1.0,
        shutdown_timeout: Duration = 25.0,
        keep_finished_for: Duration | None = None,
        seams: Seams | None = None,
    ) -> None:
        self.manager = TaskManager(
            store,
            env=env,
            name=name,
            poll_interval=poll_interval,
            shutdown_timeout=shutdown_timeout,
            keep_finished_for=keep_finished_for,
            seams=seams,
        )
        self._loop = BackgroundLoop()

    @property
    def env(self) -> str:
        """The environment that this manager works in; fixed for its life."""
        return self.manager.env

    @property
    def resources(self) -> dict[str, object]:
        """What handlers share; fill it in a start hook, read it as `context.resources`."""
        return self.manager.resources

    def create_task(
        self,
        data: TaskData[R],
        *,
        delay: Duration | None = None,
        at: datetime | None = None,
        priority: int = 0,
        queue: str = DEFAULT_QUEUE,
        headers: Mapping[str, str] | None = None,
        session: object | None = None,
    ) -> SyncCreated[R]:
        """Create the task that `data` describes, unless its id exists; as `TaskManager.create_task` does.

        With `session` (a SQLAlchemy Session or Connection, a psycopg Connection, or Django's connection within
        `transaction.atomic()`) the task is written by the calling thread, and exists if and only if your transaction
        commits.
        """
        creating = self.manager.create_task(
            data,
            delay=delay,
            at=at,
            priority=priority,
            queue=queue,
            headers=headers,
            session=None if session is None else OnThisThread(session),
        )
        return SyncCreated(self._created(creating, session), self._loop)

    def create_tasks(
        self, payloads: Iterable[TaskData[Any]], *, session: object | None = None
    ) -> Sequence[SyncCreated[Any]]:
        """Create many tasks in one call; as `TaskManager.create_tasks` does, with `session` as for `create_task`."""
        here = None if session is None else OnThisThread(session)
        created = self._created(self.manager.create_tasks(payloads, session=here), session)
        return [SyncCreated(one, self._loop) for one in created]

    def _created(self, creating: Coroutine[Any, Any, T], session: object | None) -> T:
        if session is None:
            return self._loop.run(creating)
        try:
            self._loop.run(self.manager.open())
        except BaseException:
            creating.close()
            raise
        return _run_here(creating)

    @overload
    def wait(self, task_id: str, *, result_type: type[R], timeout: Duration | None = None) -> R: ...
    @overload
    def wait(self, task_id: str, *, result_type: None = None, timeout: Duration | None = None) -> Any: ...
    def wait(self, task_id: str, *, result_type: Any = None, timeout: Duration | None = None) -> Any:
        """Wait until a task ends and return its result; as `TaskManager.wait` does."""
        return self._loop.run(self.manager.wait(task_id, result_type=result_type, timeout=timeout))

    get_tasks_by_ids = _blocking(TaskManager.get_tasks_by_ids)
    get_tasks_by_resource_key = _blocking(TaskManager.get_tasks_by_resource_key)
    list_tasks = _blocking(TaskManager.list_tasks)
    count_tasks = _blocking(TaskManager.count_tasks)
    get_pending_count = _blocking(TaskManager.get_pending_count)
    cancel_task = _blocking(TaskManager.cancel_task)
    cancel_tasks_by_ids = _blocking(TaskManager.cancel_tasks_by_ids)
    cancel_tasks_by_resource_key = _blocking(TaskManager.cancel_tasks_by_resource_key)
    reset_task = _blocking(TaskManager.reset_task)
    reset_tasks_by_ids = _blocking(TaskManager.reset_tasks_by_ids)
    delete_task = _blocking(TaskManager.delete_task)
    delete_tasks_by_ids = _blocking(TaskManager.delete_tasks_by_ids)
    delete_finished = _blocking(TaskManager.delete_finished)
    reschedule_task = _blocking(TaskManager.reschedule_task)
    pause = _blocking(TaskManager.pause)
    resume = _blocking(TaskManager.resume)
    paused_kinds = _blocking(TaskManager.paused_kinds)
    health = _blocking(TaskManager.health)
    drain = _blocking(TaskManager.drain)

    def register_task_handler(
        self, kind: str | type[object], handler: HandlerFunction, **options: Unpack[Options]
    ) -> None:
        """Let `handler` run the tasks of a kind, one task per call; as `TaskManager.register_task_handler` does."""
        self.manager.register_task_handler(kind, handler, **options)

    def register_resource_key_handler(
        self, kind: str | type[object], handler: HandlerFunction, **options: Unpack[Options]
    ) -> None:
        """Let `handler` run the tasks of a kind, all due tasks of one resource key together."""
        self.manager.register_resource_key_handler(kind, handler, **options)

    def task_handler(self, kind: str | type[object], **options: Unpack[Options]) -> Callable[[F], F]:
        """Register the decorated function as `register_task_handler` does; the function is returned unchanged."""
        return self.manager.task_handler(kind, **options)

    def resource_key_handler(self, kind: str | type[object], **options: Unpack[Options]) -> Callable[[F], F]:
        """Register the decorated function as `register_resource_key_handler` does; it is returned unchanged."""
        return self.manager.resource_key_handler(kind, **options)

    def unregister(self, kind: str) -> None:
        """Stop serving a kind; what runs is finished, nothing more is claimed."""
        self.manager.unregister(kind)

    def on_event(self, hook: Hook) -> Hook:
        """Call `hook(event)` for every event of the worker; usable as a decorator."""
        return self.manager.on_event(hook)

    def on_start(self, hook: LifecycleHook) -> LifecycleHook:
        """Call `hook()` before the worker claims anything; usable as a decorator."""
        return self.manager.on_start(hook)

    def on_stop(self, hook: LifecycleHook) -> LifecycleHook:
        """Call `hook()` after the worker has drained; usable as a decorator."""
        return self.manager.on_stop(hook)

    def run(self) -> None:
        """Run tasks in the calling thread until `stop()` or, in the main thread, SIGTERM or SIGINT; then drain.

        Where an event loop is running already, the work is done in the background, and no signal is watched.
        """
        if _has_loop():
            self._loop.run(self.manager.run(handle_signals=False))
        else:
            asyncio.run(self.manager.run(handle_signals=threading.current_thread() is threading.main_thread()))

    def running(self) -> AbstractContextManager[None]:
        """Run tasks in the background for the length of a `with` block; its end drains.

        A worker that fails ends the block with its error, but not before the block has come to its end: what it does on
        this thread cannot be interrupted. Let what waits in it have a `timeout`.
        """
        return self._running()

    @contextmanager
    def _running(self) -> Iterator[None]:
        begun: Future[asyncio.Event] = Future()
        holding = self._loop.begin(self._hold(begun))
        either: list[Future[Any]] = [begun, holding]
        wait_for(either, return_when=FIRST_COMPLETED)
        if not begun.done():  # it could not; a worker that has begun and failed since is told at the end of the block
            holding.result()
        try:
            yield
        finally:
            self._loop.call(begun.result().set)
            holding.result()

    async def _hold(self, begun: "Future[asyncio.Event]") -> None:
        over = asyncio.Event()
        async with self.manager.running():
            begun.set_result(over)
            await over.wait()

    def stop(self) -> None:
        """Ask a running worker to drain and end. Any thread may call this; twice hurries."""
        self.manager.stop()

    def override(self, store: TaskStore) -> AbstractContextManager[None]:
        """Use another store for the length of a `with` block, in tests."""
        return self.manager.override(store)

    def close(self) -> None:
        """Close the store and end the thread; both begin anew when they are next needed.

        Calls that other threads still wait for raise `concurrent.futures.CancelledError`.
        """
        self._loop.run(self.manager.close())
        self._loop.close()


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run_here(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that has nothing to wait for in the calling thread."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # what the coroutine returns
    coroutine.close()
    raise AssertionError("the coroutine waits for something")
