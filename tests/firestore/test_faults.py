"""Replies that are lost, and calls that are refused for a moment: nothing is written twice, nothing is lost."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import grpc
import pytest

from oncetask_core.claims import Claim, Slots
from oncetask_core.decisions import KindRules, Success, cancel, conclude, deletion
from oncetask_core.errors import StoreError, StoreUnavailableError
from oncetask_core.query import TaskFilter, TaskQuery
from oncetask_core.status import Outcome
from oncetask_core.task import NewTask
from oncetask_core.transition import Atom, Verdict
from oncetask_firestore import FirestoreStore
from tests.asynchronous import asynchronous
from tests.firestore.world import Faults, needs_server, new_project, once, opened

pytestmark = needs_server

CODES = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.ABORTED,
)
PASSING = (*CODES, grpc.StatusCode.RESOURCE_EXHAUSTED)
UNKNOWN = CODES[:4]
"""What leaves the outcome of a commit unknown."""


def a_task(task_id: str = "a", *, key: str | None = None) -> NewTask:
    """Return a task that is due at once."""
    return NewTask(id=task_id, kind="kind", payload="{}", run_uid="run", created_by="me", resource_key=key)


def a_claim(lease_uid: str = "lease") -> Claim:
    """Return a claim of ten tasks."""
    return Claim(lease_uid=lease_uid, leased_by="w", lease_for=timedelta(hours=1), slots={"kind": Slots(10)})


async def held(store: FirestoreStore) -> Atom:
    """Insert and claim a task; return its settle."""
    await store.insert([a_task()])
    (task,) = (await store.claim(a_claim())).tasks
    return Atom((conclude(task, Success("1"), KindRules(), chance=0.0),))


async def _insert(store: FirestoreStore) -> object:
    return [answer.created for answer in await store.insert([a_task("a"), a_task("b")])]


async def _claim(store: FirestoreStore) -> object:
    return [(task.id, task.claims) for task in (await store.claim(a_claim())).tasks]


async def _settle(store: FirestoreStore) -> object:
    (task,) = (await store.get(["a"])).tasks.values()
    (answer,) = await store.apply([Atom((conclude(task, Success("1"), KindRules(), chance=0.0),))])
    return answer.verdict


async def _cancel(store: FirestoreStore) -> object:
    (task,) = (await store.get(["a"])).tasks.values()
    decided = cancel(task, has_cleanup=False)
    assert decided is not None
    (answer,) = await store.apply([Atom((decided,), (a_task("follow-up"),))])
    return answer.verdict, [one.created for one in answer.inserted]


async def _renew(store: FirestoreStore) -> object:
    return [one.id for one in (await store.renew({"lease": timedelta(hours=2)})).held]


async def _delete(store: FirestoreStore) -> object:
    return list(await store.delete([deletion((await store.get(["a"])).tasks["a"])]))


async def _control(store: FirestoreStore) -> object:
    return await store.write_control("a", "1", if_revision=0), (await store.read_control())["a"].revision


async def _nothing(_: FirestoreStore) -> None: ...


async def _a_task(store: FirestoreStore) -> None:
    await store.insert([a_task()])


async def _keyed_tasks(store: FirestoreStore) -> None:
    await store.insert([a_task("a", key="k"), a_task("b", key="k"), a_task("c")])


async def _a_lease(store: FirestoreStore) -> None:
    await held(store)


Deed = Callable[[FirestoreStore], Awaitable[object]]
DEEDS: Mapping[str, tuple[Deed, Deed, object]] = {
    "insert": (_nothing, _insert, [True, True]),
    "claim": (_keyed_tasks, _claim, [("a", 1), ("c", 1)]),
    "settle": (_a_lease, _settle, Verdict.APPLIED),
    "cancel and follow up": (_a_task, _cancel, (Verdict.APPLIED, [True])),
    "renew": (_a_lease, _renew, ["a"]),
    "delete": (_a_task, _delete, [Verdict.APPLIED]),
    "control": (_nothing, _control, (True, 1)),
}
"""What has to be there, what is done, and what it answers, by name."""


@pytest.mark.parametrize("code", UNKNOWN)
@pytest.mark.parametrize("name", DEEDS)
@asynchronous
async def test_a_lost_reply_to_a_commit_changes_nothing(name: str, code: grpc.StatusCode, faults: Faults) -> None:
    """The write is there, once, and answered as ours."""
    begin, deed, expected = DEEDS[name]
    async with opened(new_project()) as store:
        await begin(store)
        faults.after = once(code, "Commit")
        answer = await deed(store)
        commits = sum(name == "Commit" for name, _ in faults.calls)

        assert answer == expected
        assert faults.after("Commit", None) is None, "no reply was lost"
        assert commits >= 2


@pytest.mark.parametrize("code", PASSING)
@pytest.mark.parametrize("name", DEEDS)
@asynchronous
async def test_a_commit_that_never_arrives_is_repeated(name: str, code: grpc.StatusCode, faults: Faults) -> None:
    """It is written by the second try."""
    begin, deed, expected = DEEDS[name]
    async with opened(new_project()) as store:
        await begin(store)
        faults.before = once(code, "Commit")

        assert await deed(store) == expected
        assert faults.before("Commit", None) is None, "nothing was refused"


@pytest.mark.parametrize("code", PASSING)
@pytest.mark.parametrize("call", ["BatchGetDocuments", "RunQuery"])
@asynchronous
async def test_a_read_that_fails_is_repeated(call: str, code: grpc.StatusCode, faults: Faults) -> None:
    """ABORTED included, which the client itself does not repeat."""
    async with opened(new_project()) as store:
        await _keyed_tasks(store)
        faults.before = once(code, call)
        found = await store.get(["a"])
        page = await store.find(TaskQuery(where=TaskFilter(live=True)))

        assert set(found.tasks) == {"a"}
        assert [task.id for task in page.tasks] == ["a", "b", "c"]
        assert faults.before(call, None) is None, "nothing was refused"


@pytest.mark.parametrize("code", PASSING)
@pytest.mark.parametrize("call", ["BatchGetDocuments", "RunQuery"])
@asynchronous
async def test_a_read_that_breaks_off_is_repeated_as_a_whole(call: str, code: grpc.StatusCode, faults: Faults) -> None:
    """What had come of it counts once."""
    async with opened(new_project()) as store:
        await _keyed_tasks(store)
        replies = iter([None, code])
        faults.amid = lambda name, _request: next(replies, None) if name == call else None
        if call == "RunQuery":
            found = [task.id for task in (await store.find(TaskQuery(where=TaskFilter(live=True)))).tasks]
        else:
            found = sorted((await store.get(["a", "b", "c"])).tasks)

        assert found == ["a", "b", "c"]
        assert next(replies, "none is left") == "none is left"


@asynchronous
async def test_a_settle_whose_document_went_on_is_not_written_again(faults: Faults) -> None:
    """The reply is lost, and the task is reset before we ask again: the second try is refused, and told apart."""
    async with opened(new_project()) as store, opened(project_of(store)) as other:
        settle = await held(store)

        async def reset_meanwhile() -> None:
            from oncetask_core.decisions import reset

            (task,) = (await other.get(["a"])).tasks.values()
            assert task.outcome is Outcome.COMPLETED
            await other.apply([Atom((reset(task, run_uid="second run"),))])

        faults.after = once(grpc.StatusCode.UNAVAILABLE, "Commit")
        faults.meanwhile = reset_meanwhile
        (answer,) = await store.apply([settle])
        (task,) = (await store.get(["a"])).tasks.values()

        assert answer.verdict is Verdict.LEASE_LOST
        assert (task.run_uid, task.outcome) == ("second run", None)


def project_of(store: FirestoreStore) -> str:
    """Return the project of a store."""
    return str(store._loops._options["project"])


@asynchronous
async def test_what_stays_away_is_unavailable(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while, with the last error; later calls are served again."""
    monkeypatch.setattr("oncetask_firestore.database.PATIENCE_SECONDS", 0.1)
    async with opened(new_project()) as store:
        faults.before = lambda _name, _request: grpc.StatusCode.UNAVAILABLE
        with pytest.raises(StoreUnavailableError, match="did not answer"):
            await store.insert([a_task()])
        faults.before = lambda _name, _request: None

        assert await _insert(store) == [True, True]


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "roles/datastore.user"),
        (grpc.StatusCode.FAILED_PRECONDITION, "firestore.indexes.json"),
        (grpc.StatusCode.UNIMPLEMENTED, "refused"),
    ],
)
@asynchronous
async def test_what_asking_again_does_not_mend_is_raised_at_once(
    code: grpc.StatusCode, hint: str, faults: Faults
) -> None:
    """With what to do about it."""
    async with opened(new_project()) as store:
        faults.before = once(code, "RunQuery")

        with pytest.raises(StoreError, match=hint) as caught:
            await store.find(TaskQuery())
        assert not isinstance(caught.value, StoreUnavailableError)
