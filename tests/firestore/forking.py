"""One of several scenarios with a forked child, in a process of its own: what other tests left open would count.

python -m tests.firestore.forking SCENARIO PROJECT
"""

import sys
from pathlib import Path

from oncetask import ConfigurationError, SyncTaskManager
from tests.forked import in_child
from tests.worker.world import Job

RULE = "does not work in a child of a process that has used it"


def unused(project: str) -> None:
    """Fork before the first call: the child works, and so does the parent."""
    manager = SyncTaskManager(f"firestore://{project}")

    async def child() -> None:
        manager.create_task(Job("child"))
        manager.close()

    assert in_child(child) == 0
    manager.create_task(Job("after"))
    assert {task.id for task in manager.list_tasks().tasks} == {"child", "after"}
    manager.close()


def connected(project: str) -> None:
    """Fork while the manager is connected: the child is refused, on another manager of its own as well."""
    manager = SyncTaskManager(f"firestore://{project}")
    manager.create_task(Job("parent"))
    _refused_in_child(manager, project)
    assert manager.create_task(Job("after"))
    manager.close()


def closed(project: str) -> None:
    """Fork after the manager was used and closed: the child is refused, and the parent goes on."""
    manager = SyncTaskManager(f"firestore://{project}")
    manager.create_task(Job("parent"))
    manager.close()
    _refused_in_child(manager, project)
    assert manager.create_task(Job("after"))
    manager.close()


def _refusal(manager: SyncTaskManager) -> str:
    try:
        manager.create_task(Job("child"))
    except ConfigurationError as error:
        return str(error)
    return "it was not refused"


def _refused_in_child(manager: SyncTaskManager, project: str) -> None:
    async def child() -> None:
        assert _threads() == 1, "gRPC has started threads in the child, which crash some"
        for mine in (manager, SyncTaskManager(f"firestore://{project}")):
            assert RULE in _refusal(mine)
            mine.close()

    assert in_child(child) == 0


def _threads() -> int:
    """Return how many threads this process has, those of libraries included; 1 where the system does not tell."""
    own = Path("/proc/self/task")
    return len(list(own.iterdir())) if own.exists() else 1


SCENARIOS = {scenario.__name__: scenario for scenario in (unused, connected, closed)}

if __name__ == "__main__":
    name, project = sys.argv[1:]
    SCENARIOS[name](project)
