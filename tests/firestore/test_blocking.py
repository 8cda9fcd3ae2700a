"""Code that blocks: a manager without await on Firestore, from many threads, after a fork, and beside an event loop."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from oncetask import OnceTask, SyncTaskManager, TaskFilter
from oncetask_firestore.forks import FORK_SUPPORT
from tests.asynchronous import asynchronous
from tests.firestore.forking import SCENARIOS
from tests.firestore.world import needs_server, new_project
from tests.worker.world import Job

pytestmark = needs_server

ENOUGH = 90.0


def test_many_threads_create_and_run_tasks() -> None:
    """Each gets its own answer."""
    manager = SyncTaskManager(f"firestore://{new_project()}")

    @manager.task_handler(Job)
    def handle(task: OnceTask[Job]) -> str:
        return f"did {task.id}"

    with manager.running():
        with ThreadPoolExecutor(8) as threads:
            created = list(threads.map(lambda number: manager.create_task(Job(f"t{number % 20}")), range(40)))
        results = [handle.wait(timeout=ENOUGH) for handle in created]
    assert manager.count_tasks(TaskFilter(live=True)) == 0
    manager.close()

    assert sum(bool(handle) for handle in created) == 20
    assert results == [f"did t{number % 20}" for number in range(40)]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_forked_child_works_or_is_told_what_to_do(scenario: str) -> None:
    """As the workers of a web server that loads the application first; where gRPC was in use they would hang."""
    command = [sys.executable, "-m", "tests.firestore.forking", scenario, new_project()]
    environment = {name: value for name, value in os.environ.items() if name != FORK_SUPPORT}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=ENOUGH, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("said", [{}, {FORK_SUPPORT: "true"}])
def test_what_the_environment_says_of_forks_is_left_as_it_is(said: dict[str, str]) -> None:
    """It counts for gRPC, and what a process starts inherits nothing that we say."""
    environment = {name: value for name, value in os.environ.items() if name != FORK_SUPPORT} | said
    source = f"import os, oncetask_firestore; print(os.environ.get({FORK_SUPPORT!r}))"
    done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == said.get(FORK_SUPPORT, "None")


@asynchronous
async def test_a_running_event_loop_is_no_obstacle() -> None:
    """As in a notebook, where one always runs."""
    manager = SyncTaskManager(f"firestore://{new_project()}")
    manager.register_task_handler(Job, lambda task: task.id)
    manager.create_task(Job("a"))
    manager.drain()
    assert manager.wait("a") == "a"
    manager.close()
