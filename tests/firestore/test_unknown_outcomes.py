"""Firestore stays away after a commit that it has obeyed: whoever asks again learns what became of it."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial

import grpc
import pytest

from oncetask import TaskManager
from oncetask_core.decisions import Success, Uids, cancel, conclude, deletion, tick
from oncetask_core.errors import StoreUnavailableError
from oncetask_core.recurrence import Cursor, Due
from oncetask_core.transition import Atom, Verdict
from oncetask_firestore import FirestoreStore
from tests.asynchronous import asynchronous
from tests.firestore.test_faults import a_claim, a_task, project_of
from tests.firestore.test_write_sites import RULES, START, a_generator, a_group
from tests.firestore.world import Faults, documents, needs_server, new_project, once, opened
from tests.worker.world import Job

pytestmark = needs_server

DAY = timedelta(days=1)
Ask = Callable[[], Awaitable[object]]
"""A call that may be made twice."""


@pytest.fixture(autouse=True)
def _nobody_is_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oncetask_firestore.database.PATIENCE_SECONDS", 0.0)


async def _insert(store: FirestoreStore) -> Ask:
    async def ask() -> object:
        return [(answer.created, answer.created_by) for answer in await store.insert([a_task("a"), a_task("b")])]

    return ask


async def _claim(store: FirestoreStore) -> Ask:
    await a_group(store)

    async def ask() -> object:
        return [(task.id, task.claims, task.epoch) for task in (await store.claim(a_claim())).tasks]

    return ask


async def _applied(store: FirestoreStore, atom: Atom) -> Ask:
    async def ask() -> object:
        (answer,) = await store.apply([atom])
        return answer.verdict

    return ask


async def _settle(store: FirestoreStore) -> Ask:
    await a_group(store)
    (task,) = (await store.claim(a_claim())).tasks
    return await _applied(store, Atom((conclude(task, Success("1"), RULES, chance=0.0),)))


async def _cancel(store: FirestoreStore) -> Ask:
    await store.insert([a_task()])
    ending = cancel((await store.get(["a"])).tasks["a"], has_cleanup=False)
    assert ending is not None
    return await _applied(store, Atom((ending,), (a_task("follow-up"),)))


async def _tick(store: FirestoreStore) -> Ask:
    await a_generator(store)
    due = Due(fire=(START, START + DAY), next=Cursor(slot=START + 2 * DAY, used=1))
    generator = (await store.get(["g"])).tasks["g"]
    return await _applied(store, tick(generator, due, Uids(created_by="tick", run_uids=("1", "2"))))


async def _renew(store: FirestoreStore) -> Ask:
    await store.insert([a_task()])
    await store.claim(a_claim())

    async def ask() -> object:
        return [(one.id, one.is_extended) for one in (await store.renew({"lease": DAY})).held]

    return ask


async def _delete(store: FirestoreStore) -> Ask:
    await store.insert([a_task()])
    guard = deletion((await store.get(["a"])).tasks["a"])

    async def ask() -> object:
        return list(await store.delete([guard]))

    return ask


async def _control(store: FirestoreStore) -> Ask:
    return partial(store.write_control, "pause", "1", if_revision=0)


CALLS: Mapping[str, tuple[Callable[[FirestoreStore], Awaitable[Ask]], object, object]] = {
    "insert": (_insert, [(True, "me")] * 2, [(False, "me")] * 2),
    "claim": (_claim, [("0", 1, 1)], [("0", 1, 1)]),
    "settle": (_settle, Verdict.APPLIED, Verdict.ALREADY),
    "cancel": (_cancel, Verdict.APPLIED, Verdict.CHANGED),
    "tick": (_tick, Verdict.APPLIED, Verdict.CHANGED),
    "renew": (_renew, [("a", True)], [("a", True)]),
    "delete": (_delete, [Verdict.APPLIED], [Verdict.MISSING]),
    "control": (_control, True, False),
}
"""By name: what is called, what it answers, and what its repeat answers once the first has been obeyed."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", CALLS)
@asynchronous
async def test_a_repeat_after_an_unknown_outcome_is_told_what_became_of_it(
    name: str, when: str, faults: Faults
) -> None:
    """And writes only what was not written."""
    make, first, again = CALLS[name]
    async with opened(new_project()) as store:
        ask = await make(store)
        setattr(faults, when, once(grpc.StatusCode.UNAVAILABLE, "Commit"))
        with pytest.raises(StoreUnavailableError):
            await ask()
        known = await written(store)
        answer = await ask()

        assert answer == (first if when == "before" else again)
        assert (await written(store) == known) is (when == "after" and name != "renew")


async def written(store: FirestoreStore) -> object:
    """Return every document."""
    collections = ("onceTasks", "onceTaskKeys", "onceTaskControls")
    return [await documents(project_of(store), collection) for collection in collections]


@asynchronous
async def test_a_create_whose_reply_was_lost_is_new_for_its_caller(faults: Faults) -> None:
    """The manager asks again, and recognises its own task."""
    manager = TaskManager(f"firestore://{new_project()}")
    await manager.count_tasks()
    faults.after = once(grpc.StatusCode.DEADLINE_EXCEEDED, "Commit")
    created = await manager.create_task(Job("a"))
    again = await manager.create_task(Job("a"))
    await manager.close()

    assert faults.after("Commit", None) is None, "no reply was lost"
    assert created
    assert again.existed
