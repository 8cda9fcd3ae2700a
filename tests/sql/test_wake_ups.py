"""Writes of other processes are noticed before the next poll."""

import asyncio
from pathlib import Path

import pytest

from oncetask import TaskManager, VirtualClock
from oncetask_core.store import WakeUps
from oncetask_sql.sqlite.store import SqliteStore
from tests.asynchronous import SOON, asynchronous
from tests.sql.world import new_task
from tests.worker.world import Job

A_WHILE = 0.3


@asynchronous
async def test_a_store_notices_what_others_write_and_not_what_it_writes_itself(tmp_path: Path) -> None:
    """Its own settles wake nobody; a commit of another connection does, also one from before it was waited for."""
    ours, theirs = SqliteStore(tmp_path / "tasks.db"), SqliteStore(tmp_path / "tasks.db")
    await ours.open()
    await theirs.open()
    async with asyncio.timeout(SOON):
        await ours.changed()

    await ours.insert([new_task("a")])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ours.changed(), A_WHILE)
    await theirs.insert([new_task("b")])
    async with asyncio.timeout(SOON):
        await ours.changed()

    await ours.close()
    await theirs.close()


def test_virtual_time_is_not_waited_for(tmp_path: Path) -> None:
    """A store whose clock is injected leaves it to the polls, which that clock steers."""
    assert "wake_ups" in SqliteStore(tmp_path / "tasks.db").capabilities
    assert "wake_ups" not in SqliteStore(tmp_path / "tasks.db", clock=VirtualClock()).capabilities
    assert isinstance(SqliteStore(tmp_path / "tasks.db"), WakeUps)


@asynchronous
async def test_a_worker_takes_up_what_another_manager_creates_long_before_its_next_poll(tmp_path: Path) -> None:
    """The poll is half an hour away."""
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    worker, client = TaskManager(url, poll_interval=3600), TaskManager(url)
    worker.register_task_handler(Job, lambda task: task.id)
    async with asyncio.timeout(SOON), worker.running():
        for name in "abc":
            created = await client.create_task(Job(name))
            assert await created.wait() == name
    await worker.close()
    await client.close()
