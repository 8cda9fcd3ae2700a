"""Control records that somebody wrote over, in the console for example: they hold, and are named."""

from typing import Any

import pytest

from oncetask import TaskManager
from oncetask_firestore import FirestoreStore
from tests.asynchronous import asynchronous
from tests.firestore.world import looking, needs_server, new_project, opened
from tests.worker.world import Job, Keyed, until_all_have_ended

pytestmark = needs_server

BROKEN = ["two", None, 2.5]


async def written_over(project: str, **fields: Any) -> str:
    """Write fields of the only control record around the store; return the name of its document."""
    async with looking(project) as client:
        (record,) = [one async for one in client.collection("onceTaskControls").stream()]
        await record.reference.update(fields)
        return record.id


@pytest.mark.parametrize("revision", BROKEN)
@asynchronous
async def test_a_pause_that_somebody_wrote_over_ends_no_worker(
    revision: object, caplog: pytest.LogCaptureFixture
) -> None:
    """The kind stays paused, the others run, and it is told once which document that is and how to mend it."""
    project, runs = new_project(), list[str]()
    manager = TaskManager(FirestoreStore(project=project), poll_interval=0.05)
    await manager.pause("job")
    document = await written_over(project, revision=revision)
    manager.register_task_handler(Job, lambda task: runs.append(task.id))
    manager.register_task_handler(Keyed, lambda task: runs.append(task.id))
    await manager.create_tasks([Job("paused"), Keyed("other")])
    async with manager.running():
        await until_all_have_ended(manager, seconds=30, but=1)
        await manager.create_task(Keyed("later"))
        await until_all_have_ended(manager, seconds=30, but=1)
        assert runs == ["other", "later"]
        assert await manager.paused_kinds() == {"job"}
        await manager.resume("job")
        await until_all_have_ended(manager, seconds=30)
    await manager.close()

    (told,) = [record.getMessage() for record in caplog.records if record.name == "oncetask.firestore"]
    for part in ("'pause/job'", repr(revision), repr(document), "onceTaskControls", "resuming the kind"):
        assert part in told


@pytest.mark.parametrize("revision", BROKEN)
@asynchronous
async def test_the_next_write_puts_a_higher_revision_there(revision: object) -> None:
    """It is guarded as any other, and no revision comes back."""
    project = new_project()
    async with opened(project) as store:
        assert await store.write_control("pause/kind", "1")
        (before,) = (await store.read_control()).values()
        await written_over(project, revision=revision)
        (broken,) = (await store.read_control()).values()

        assert not await store.write_control("pause/kind", "2", if_revision=before.revision)
        assert await store.write_control("pause/kind", "2", if_revision=broken.revision)
        (mended,) = (await store.read_control()).values()
        assert before.revision < broken.revision < mended.revision
        assert mended.value == "2"


@asynchronous
async def test_a_value_that_somebody_wrote_as_it_is_reads_as_its_text() -> None:
    """Nobody who pauses a kind in the console thinks of quotes."""
    project = new_project()
    async with opened(project) as store:
        assert await store.write_control("kind/job", "1")
        await written_over(project, value={"has_cleanup": True})
        (record,) = (await store.read_control()).values()

        assert record.value == '{"has_cleanup":true}'
