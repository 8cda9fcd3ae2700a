"""What an administrator is told in `docs/firestore.md`: calls, permissions, and what is left out of the indexes."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import oncetask_firestore
from oncetask import OnceTask, TaskManager
from tests.asynchronous import asynchronous, until
from tests.firestore.world import Faults, needs_server, new_project
from tests.worker.test_recurring import Report
from tests.worker.world import Job, Keyed, until_all_have_ended

DOCUMENTATION = (Path(__file__).parents[2] / "docs" / "firestore.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \|.*\| (`datastore\.[^|]*) \|$", re.MULTILINE)
PERMISSION = re.compile(r"`datastore\.entities\.(\w+)`")
NEEDED = {call: set(PERMISSION.findall(permissions)) for call, permissions in ROW.findall(DOCUMENTATION)}
"""By call: the permissions that it needs, as Google's documentation says."""
INDEXES = json.loads((Path(oncetask_firestore.__file__).parent / "firestore.indexes.json").read_text(encoding="utf-8"))


async def whole_life(project: str, faults: Faults) -> None:
    """Create, run, retry, renew, cancel, reset, count, list, listen, pause, wait, tick, purge and delete."""
    manager = TaskManager(f"firestore://{project}", poll_interval=0.05)
    manager.register_task_handler(Job, lambda task: None, concurrency=2)

    @manager.resource_key_handler(Keyed, lease_duration=0.3)
    async def handle(tasks: list[OnceTask[Keyed]]) -> None:
        await asyncio.sleep(0.2)  # two renewals

    manager.register_task_handler(Report, lambda task: None)
    await manager.create_tasks([Job(f"job {number}") for number in range(5)])
    await manager.create_tasks([Keyed("b", "k"), Keyed("c", "k"), Job("cancelled"), Job("deleted")])
    start = datetime.now(UTC).replace(microsecond=0)
    await manager.create_task(Report("g", "FREQ=SECONDLY;COUNT=2", start, {}))
    await manager.cancel_task("cancelled")
    await manager.delete_task("deleted")
    async with manager.running():
        await manager.wait("job 0", timeout=30)
        await until_all_have_ended(manager, seconds=30)
        await until(lambda: "Listen" in {name for name, _ in faults.calls})
    await manager.reset_task("job 0")
    await manager.list_tasks()
    await manager.close()
    purging = TaskManager(f"firestore://{project}", keep_finished_for=timedelta(0), poll_interval=0.05)
    purging.register_task_handler(Job, lambda task: None)
    async with asyncio.timeout(30):
        await purging.drain()
    await purging.close()


@needs_server
@asynchronous
async def test_the_documentation_names_every_call_and_the_permissions_of_its_writes(faults: Faults) -> None:
    """No other call is made over a whole life of tasks, and each that is named is made."""
    await whole_life(new_project(), faults)
    writes = [write for name, request in faults.calls if name == "Commit" for write in request.writes]
    made = {"delete" if write.delete else _how(write.current_document) for write in writes}

    assert {name for name, _ in faults.calls} == set(NEEDED)
    assert made == NEEDED["Commit"]
    assert NEEDED["RunQuery"] == NEEDED["RunAggregationQuery"] == {"get", "list"}


def _how(precondition: Any) -> str:
    """Return which permission a write under a precondition needs."""
    return "update" if precondition.HasField("update_time") else "create"


def test_the_documentation_names_no_permission_more_than_the_calls_need() -> None:
    """The list for a role of one's own is that of the table."""
    (listed,) = re.findall(r"^A role of your own needs (.*?)\.$", DOCUMENTATION, re.MULTILINE | re.DOTALL)

    assert set(PERMISSION.findall(listed)) == set().union(*NEEDED.values())
    assert listed.count("`datastore.") == len(set().union(*NEEDED.values()))


@pytest.mark.parametrize("field", ["data", "result", "errors", "oncetaskPayload", "oncetaskResult", "oncetask"])
def test_what_nobody_asks_by_is_in_no_index(field: str) -> None:
    """Each value of an indexed map would be written into indexes of its own, and counted against their bounds."""
    exempt = {(one["collectionGroup"], one["fieldPath"]) for one in INDEXES["fieldOverrides"] if not one["indexes"]}
    composite = {part["fieldPath"].partition(".")[0] for one in INDEXES["indexes"] for part in one["fields"]}

    assert ("onceTasks", field) in exempt
    assert field not in composite


def test_nothing_is_deleted_by_time() -> None:
    """A policy would delete a task that was reset meanwhile; see the documentation."""
    assert [one for one in INDEXES["fieldOverrides"] if one.get("ttl")] == []
