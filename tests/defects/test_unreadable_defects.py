"""Defects of the Go library in what one record that nobody can read does to all the others."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

import pytest

from oncetask import TaskManager
from oncetask_sql.codec import UnreadableRowError, decode, decode_all
from tests.asynchronous import SOON
from tests.defects.planting import PATIENCE, replaced
from tests.worker.world import Keyed

Scenario = Callable[[TaskManager, float], Awaitable[None]]
"""Given the seconds after which it has failed."""
SYMPTOMS = (AssertionError, TimeoutError, UnreadableRowError)


def test_defect_08(tmp_path: Path) -> None:
    """A record at the head that nobody can read is set aside, and the tasks behind it run."""

    async def scenario(manager: TaskManager, patience: float) -> None:
        async with manager.running():
            assert await manager.wait("good", timeout=patience) == "done"

    _check(scenario, tmp_path)


def test_defect_25(tmp_path: Path) -> None:
    """Reading tasks by id or by key returns the good ones, and names the bad one with its reason."""

    async def scenario(manager: TaskManager, _: float) -> None:
        by_id = await manager.get_tasks_by_ids(["bad", "good"])
        by_key = await manager.get_tasks_by_resource_key("k")
        for page in (by_id, by_key):
            assert [task.id for task in page.tasks] == ["good"]
            assert list(page.unreadable) == ["bad"]
            assert "column 'errors' holds '[{'" in page.unreadable["bad"]

    _check(scenario, tmp_path)


def _check(scenario: Scenario, folder: Path) -> None:
    """Run the scenario as the library is, where it must pass, and with the seed's rule, where it must fail."""
    asyncio.run(_run(scenario, folder / "ours.db", nullcontext(), within=SOON))
    plant = replaced(decode_all, _decode_all_or_none)
    with pytest.raises(SYMPTOMS):
        asyncio.run(_run(scenario, folder / "planted.db", plant, within=PATIENCE))


async def _run(scenario: Scenario, path: Path, plant: AbstractContextManager[None], *, within: float) -> None:
    manager = TaskManager(f"sqlite:///{path}")
    manager.register_task_handler(Keyed, lambda task: "done")
    await manager.create_tasks([Keyed("bad"), Keyed("good")])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE oncetask_task SET errors = '[{' WHERE id = 'bad'")
    try:
        with plant:
            await scenario(manager, within)
    finally:
        await manager.close()


def _decode_all_or_none(rows: Iterable[Any]) -> tuple[list[Any], list[UnreadableRowError]]:
    return [decode(row) for row in rows], []
