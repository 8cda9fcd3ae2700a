"""Documents have a bound of 1 MiB, and requests one of their own: who meets it is named, and holds up nobody."""

import json
from collections import Counter
from datetime import UTC, datetime

import grpc
import msgspec
import pytest

from oncetask import EventName, OnceTask, Outcome, TaskEvent, TaskManager
from oncetask_core.decisions import KindRules, Success, conclude
from oncetask_core.env import DEFAULT_ENV
from oncetask_core.errors import StoreError
from oncetask_core.task import NewTask
from oncetask_core.transition import Atom, Verdict
from oncetask_firestore import FirestoreStore
from oncetask_firestore.texts import HIDDEN
from tests.asynchronous import asynchronous
from tests.firestore import golang
from tests.firestore.test_claiming import a_claim, new
from tests.firestore.world import Faults, documents, needs_server, new_project, opened, put
from tests.worker.world import Job, until_all_have_ended

pytestmark = needs_server

ROOM = 1_048_000
"""Characters that fill a document, but for some dozens of bytes."""
LARGE = 262_000
"""Characters of a payload or result that every store takes."""


def large(task_id: str, characters: int) -> NewTask:
    """Return a task with a payload of so many characters, in an order of keys that Firestore forgets."""
    half = "x" * (characters // 2)
    return msgspec.structs.replace(new(task_id), payload=f'{{"b":"{half}","a":"{half}"}}')


@asynchronous
async def test_a_document_that_is_too_large_is_named() -> None:
    """With the bound and the way out; what was to be created with it is."""
    project = new_project()
    async with opened(project) as store:
        with pytest.raises(StoreError) as caught:
            await store.insert([new("small"), large("much too large", 1_200_000), new("another")])
        stored = await documents(project)

    for words in ("'much too large'", "1 MiB", "pass a reference"):
        assert words in str(caught.value)
    assert "'small'" not in str(caught.value)
    assert "much too large" not in stored


@asynchronous
async def test_many_large_tasks_are_created_in_several_commits(faults: Faults) -> None:
    """A request of Firestore has its own bound: that of the emulator is 4 MiB."""
    async with opened(new_project()) as store:
        answers = await store.insert([large(f"{number:02}", LARGE) for number in range(20)])
        sizes = [request.ByteSize() for name, request in faults.calls if name == "Commit"]
        found = await store.get([answer.id for answer in answers])

    assert [answer.created for answer in answers] == [True] * 20
    assert len(found.tasks) == 20
    assert sum(sizes) > 4 * 2**20 > max(sizes)


@asynchronous
async def test_payload_and_result_of_their_bounds_fit_into_a_document() -> None:
    """In forms that a Firestore value loses; each is read back as it was written."""
    project = new_project()
    async with opened(project) as store:
        result = large("any", LARGE).payload
        await store.insert([large("a", LARGE)])
        (task,) = (await store.claim(a_claim("lease", 1))).tasks
        (answer,) = await store.apply([Atom((conclude(task, Success(result), KindRules(), chance=0.0),))])
        ended = (await store.get(["a"])).tasks["a"]
        stored = (await documents(project))["a"]

    assert answer.verdict is Verdict.APPLIED
    assert (ended.payload, ended.result) == (result, result)
    assert stored["data"] == json.loads(result)
    assert (stored["result"], stored["oncetaskResult"]) == (None, result)


@asynchronous
async def test_a_result_that_has_no_room_ends_its_task_and_holds_up_no_other() -> None:
    """A Go worker may have created the task with a payload that none of ours has."""
    project = new_project()
    fields = golang.created("large", datetime.now(UTC), type=Job.kind, env=DEFAULT_ENV)
    await put(project, "large", fields | {"data": {"name": "large", "value": "x" * (ROOM - LARGE)}})
    manager = TaskManager(FirestoreStore(project=project), poll_interval=0.1)
    half = "x" * (LARGE // 2)
    runs: Counter[str] = Counter()

    @manager.task_handler(Job, concurrency=5)
    async def handle(task: OnceTask[Job]) -> object:
        runs[task.id] += 1
        return {"b": half, "a": half} if task.id == "large" else "small"

    await manager.create_task(Job("beside it"))
    async with manager.running():
        await until_all_have_ended(manager, seconds=30)
    found = await manager.get_tasks_by_ids(["large", "beside it"])
    await manager.close()
    tasks = {task.id: task for task in found.tasks}

    assert runs == {"large": 1, "beside it": 1}
    assert tasks["beside it"].outcome is Outcome.COMPLETED
    assert tasks["large"].outcome is Outcome.FAILED
    for words in ("could not be stored", "'large'", "1 MiB", "pass a reference"):
        assert words in tasks["large"].errors[-1].error


@asynchronous
async def test_a_document_with_room_is_not_blamed(faults: Faults) -> None:
    """Whatever else Firestore has against a claim is an error of the claim: no task is hidden for it."""
    project = new_project()
    async with opened(project) as store:
        await store.insert([new("a"), new("b")])
        before = await documents(project)
        faults.before = lambda name, _request: grpc.StatusCode.INVALID_ARGUMENT if name == "Commit" else None
        with pytest.raises(StoreError, match="made up by the test"):
            await store.claim(a_claim("lease", 5))

    assert await documents(project) == before


@pytest.mark.parametrize("key", ["", "k"])
@asynchronous
async def test_a_document_without_room_for_a_lease_is_set_aside(key: str) -> None:
    """A Go worker may have filled it; it is reported, stops no worker, and lets the next of its key pass."""
    project, now = new_project(), datetime.now(UTC)
    text = "x" * (ROOM - len(key))
    for task_id, data in (("1", {}), ("2 full", {"text": text}), ("3", {})):
        fields = golang.created(task_id, now, type="kind", env=DEFAULT_ENV, resourceKey=key, data=data)
        await put(project, task_id, fields)
    manager = TaskManager(f"firestore://{project}", poll_interval=0.1)
    manager.register_resource_key_handler("kind", lambda tasks: None)
    unreadable: list[TaskEvent] = []
    manager.on_event(lambda event: unreadable.append(event) if event.name is EventName.UNREADABLE else None)
    async with manager.running():
        await until_all_have_ended(manager, seconds=30, but=1)
    await manager.close()
    stored = await documents(project)

    assert [event.task_id for event in unreadable] == ["2 full"]
    assert {task_id: bool(fields["doneAt"]) for task_id, fields in stored.items()} == {
        "1": True,
        "2 full": False,
        "3": True,
    }
    assert stored["2 full"]["waitUntil"] == HIDDEN
    assert stored["2 full"]["data"] == {"text": text}
