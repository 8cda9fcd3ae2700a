"""Creating, running and controlling tasks without awaiting anything."""

import asyncio
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
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
from tests.asynchronous import asynchronous
from tests.sql.test_processes import in_child
from tests.worker.world import Job, Keyed


def test_a_task_is_created_run_and_waited_for() -> None:
    """The quick start, without await."""
    manager = SyncTaskManager("memory://")

    @manager.task_handler(Job)
    def handle(task: OnceTask[Job]) -> str:
        return f"did {task.id}"

    created = manager.create_task(Job("a"))
    with manager.running():
        assert created.wait(timeout=10) == "did a"
        assert manager.create_tasks([Job("b"), Job("a")])[0].wait(timeout=10) == "did b"
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
    manager.register_task_handler(Job, lambda task: task.id)
    manager.create_task(Job("a"))
    manager.drain()
    threading.Timer(0.05, manager.stop).start()
    manager.run()

    assert manager.wait("a") == "a"
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


def test_closing_ends_the_thread_and_using_it_begins_another() -> None:
    """Also twice."""
    manager = SyncTaskManager("memory://")
    assert manager.count_tasks() == 0
    manager.close()
    manager.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "oncetask-background"]
    assert manager.count_tasks() == 0
    manager.close()
