"""Creating, running and controlling tasks without awaiting anything."""

import asyncio
import inspect
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from oncetask import (
    ConfigurationError,
    MemoryStore,
    OnceTask,
    Outcome,
    SyncTaskManager,
    TaskFailedError,
    TaskFilter,
    TaskIdConflictError,
    TaskManager,
)
from oncetask_core import blocking
from tests.asynchronous import SOON, asynchronous
from tests.forked import in_child
from tests.worker.failing import FaultyStore
from tests.worker.world import Job, Keyed


def test_a_task_is_created_run_and_waited_for() -> None:
    """The quick start, without await."""
    manager = SyncTaskManager("memory://")

    @manager.task_handler(Job)
    def handle(task: OnceTask[Job]) -> str:
        return f"did {task.id}"

    created = manager.create_task(Job("a"))
    with manager.running():
        assert created.wait(timeout=SOON) == "did a"
        assert manager.create_tasks([Job("b"), Job("a")])[0].wait(timeout=SOON) == "did b"
    manager.close()

    assert created
    assert not created.existed


def test_every_method_of_the_manager_is_there() -> None:
    """With the same parameters, and none that has to be awaited."""
    public = {name for name in dir(TaskManager) if not name.startswith("_")} - {"open"}
    assert public <= set(dir(SyncTaskManager))
    for name in sorted(public):
        member = getattr(SyncTaskManager, name)
        assert not inspect.iscoroutinefunction(member) or hasattr(member, "__wrapped__"), name
        original = getattr(TaskManager, name)
        if callable(original) and name != "run":
            assert list(inspect.signature(member).parameters) == list(inspect.signature(original).parameters), name


def test_errors_come_through_as_they_are() -> None:
    """The same types as of the manager that awaits."""
    manager = SyncTaskManager("memory://")
    manager.register_task_handler(Job, lambda task: None)
    manager.create_task(Job("a"))
    with pytest.raises(TaskIdConflictError):
        manager.create_task(Keyed("a"))
    assert manager.cancel_task("a")
    manager.drain()
    with pytest.raises(TaskFailedError):
        manager.wait("a")
    manager.close()


def test_many_threads_share_a_manager(tmp_path: Path) -> None:
    """Each gets its own answer."""
    manager = SyncTaskManager(f"sqlite:///{tmp_path / 'tasks.db'}")
    with ThreadPoolExecutor(8) as threads:
        created = list(threads.map(lambda number: bool(manager.create_task(Job(f"t{number % 40}"))), range(80)))
    assert sum(created) == 40
    assert manager.count_tasks(TaskFilter(live=True)) == 40
    manager.close()


@asynchronous
async def test_a_running_event_loop_is_no_obstacle() -> None:
    """As in a notebook, where one always runs."""
    manager = SyncTaskManager("memory://")

    @manager.task_handler(Job)
    def handle(task: OnceTask[Job]) -> str:
        manager.stop()
        return task.id

    manager.create_task(Job("a"))
    manager.run()

    assert manager.wait("a") == "a"
    manager.create_task(Job("b"))
    manager.drain()
    assert manager.wait("b") == "b"
    manager.close()


def test_a_forked_child_goes_on_with_a_thread_of_its_own(tmp_path: Path) -> None:
    """As the workers of a web server that loads the application first."""
    manager = SyncTaskManager(f"sqlite:///{tmp_path / 'tasks.db'}")
    manager.create_task(Job("parent"))

    async def child() -> None:
        manager.create_task(Job("child"))
        manager.close()

    assert in_child(child) == 0
    manager.create_task(Job("after"))
    assert {task.id for task in manager.list_tasks().tasks} == {"parent", "child", "after"}
    manager.close()


def test_a_handler_that_awaits_is_told_which_manager_to_use() -> None:
    """It runs on the thread that it would wait for."""
    manager = SyncTaskManager("memory://")
    refused: list[str] = []

    @manager.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> None:
        try:
            manager.create_task(Job("child"))
        except ConfigurationError as error:
            refused.append(str(error))

    manager.create_task(Job("a"))
    manager.drain()
    manager.close()

    assert "Await the methods of TaskManager" in refused[0]


def test_running_in_the_calling_thread_ends_when_it_is_stopped() -> None:
    """`run` blocks until then, and drains."""
    store = MemoryStore()
    manager = SyncTaskManager(store)
    manager.register_task_handler(Job, lambda task: manager.stop())
    manager.create_task(Job("a"))
    manager.run()

    assert asyncio.run(store.get(["a"])).tasks["a"].outcome is Outcome.COMPLETED
    manager.close()


def test_a_block_whose_worker_cannot_begin_says_why() -> None:
    """Nothing is waited for."""
    manager = SyncTaskManager("memory://")

    @manager.on_start
    def start() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), manager.running():
        pass
    manager.close()


def test_a_worker_that_fails_within_a_block_is_told_at_its_end() -> None:
    """What runs on the caller's thread is not interrupted, and nothing waits for a worker that has ended."""
    manager = SyncTaskManager(FaultyStore())
    manager.register_task_handler(Job, lambda task: None)
    created = manager.create_task(Job("a"))
    waited: list[str] = []

    def block() -> None:
        with manager.running():
            deadline = time.monotonic() + SOON
            while manager.health().worker is not None and time.monotonic() < deadline:
                time.sleep(0.01)  # nobody tells when the worker has ended
            with pytest.raises(TimeoutError):
                created.wait(timeout=0.01)
            waited.append(created.id)

    with pytest.raises(TypeError, match="a bug in the store"):
        block()
    manager.close()

    assert waited == ["a"]


def test_a_block_that_begins_late_is_run_although_its_worker_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the calling thread gets its turn decides nothing: a worker that has begun is told at the block's end."""
    manager = SyncTaskManager(FaultyStore())
    manager.register_task_handler(Job, lambda task: None)
    manager.create_task(Job("a"))
    monkeypatch.setattr(blocking, "wait_for", lambda either, *, return_when: wait(either, SOON))
    ran: list[bool] = []

    with pytest.raises(TypeError, match="a bug in the store"), manager.running():
        ran.append(manager.health().worker is None)
    manager.close()

    assert ran == [True]


def test_closing_ends_the_thread_and_using_it_begins_another() -> None:
    """Also twice."""
    manager = SyncTaskManager("memory://")
    before = threading.enumerate()
    assert manager.count_tasks() == 0
    assert [thread.name for thread in threading.enumerate() if thread not in before] == ["oncetask-background"]
    manager.close()
    manager.close()
    assert [thread for thread in threading.enumerate() if thread not in before] == []
    assert manager.count_tasks() == 0
    manager.close()
