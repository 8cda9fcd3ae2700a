"""A manager whose store was closed opens it again."""

from pathlib import Path

import pytest

from oncetask import TaskManager
from tests.asynchronous import asynchronous
from tests.worker.world import Job


@asynchronous
async def test_what_was_created_can_be_waited_for_after_the_manager_was_closed(tmp_path: Path) -> None:
    """The store is opened again when it is next needed."""
    manager = TaskManager(f"sqlite:///{tmp_path / 'tasks.db'}")
    created = await manager.create_task(Job("a"))
    await manager.close()
    with pytest.raises(TimeoutError, match="did not end"):
        await created.wait(timeout=0)

    await manager.close()
