"""A collection that the Go library filled: its tasks are listed, claimed, run, retried, cancelled and reset."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from oncetask import NoRetryPolicy, OnceTask, TaskFilter, TaskManager, TaskStatus
from oncetask_core.claims import Claim, Slots
from oncetask_core.clock import VirtualClock
from oncetask_core.decisions import KindRules, Success, cancel, conclude, deletion, expire, reset
from oncetask_core.query import TaskQuery
from oncetask_core.transition import Atom, Verdict
from oncetask_firestore import FirestoreStore
from tests.asynchronous import asynchronous
from tests.firestore import golang
from tests.firestore.stored import GO_DOCUMENTS, go_document
from tests.firestore.world import documents, needs_server, new_project, opened, put
from tests.worker.world import until_all_have_ended

pytestmark = needs_server

NOW = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)
NAMES = sorted(path.stem for path in GO_DOCUMENTS.glob("*.json"))
KINDS = sorted({go_document(name)["type"] for name in NAMES})
RULES = KindRules(retry_policy=NoRetryPolicy())


async def filled(project: str) -> None:
    """Put every document of the Go library into a collection, each under an id of its own: some are one task's life."""
    for name in NAMES:
        await put(project, name, go_document(name) | {"id": name})


def a_claim(lease_uid: str = "lease", *, kinds: list[str] | None = None) -> Claim:
    """Return a claim of up to fifty tasks of each kind."""
    slots = dict.fromkeys(KINDS if kinds is None else kinds, Slots(50))
    return Claim(lease_uid=lease_uid, leased_by="w", lease_for=timedelta(minutes=10), slots=slots)


async def check(project: str, now: datetime) -> None:
    """Compare what Go reads with what we read, and look for what Go could not read."""
    async with opened(project, clock=VirtualClock(now)) as store:
        stored = {fields["id"]: fields for fields in (await documents(project)).values()}
        found = await store.get(list(stored))
        assert dict(found.unreadable) == {}
        for task_id, fields in stored.items():
            assert found.tasks[task_id].status(now) == golang.status(fields, now), task_id
            assert golang.faults(fields) == []


@asynchronous
async def test_every_task_is_listed_with_its_status() -> None:
    """As Go derives it, and by id, status and key."""
    project = new_project()
    await filled(project)
    await check(project, NOW)
    async with opened(project, clock=VirtualClock(NOW)) as store:
        page = await store.find(TaskQuery(limit=1000))
        leased = await store.find(TaskQuery(where=TaskFilter(statuses=frozenset({TaskStatus.LEASED}))))

        assert len(page.tasks) == len(NAMES)
        assert {task.id for task in leased.tasks} == {
            name for name in NAMES if golang.status(go_document(name), NOW) == "leased"
        }


@asynchronous
async def test_everything_due_is_claimed_and_settled_and_go_reads_the_result() -> None:
    """What Go has leased is left alone, and so are its keys; all that was due is completed in Go's eyes too."""
    project = new_project()
    await filled(project)
    before = await documents(project)
    async with opened(project, clock=VirtualClock(NOW)) as store:
        tasks = (await store.claim(a_claim())).tasks
        await check(project, NOW)
        settles = [Atom((conclude(task, Success('{"n":1}'), RULES, chance=0.0),)) for task in tasks]
        answers = await store.apply(settles)
    await check(project, NOW + timedelta(seconds=1))
    after = await documents(project)

    busy = {fields["resourceKey"] for fields in before.values() if golang.status(fields, NOW) == "leased"} - {""}
    due = {
        name
        for name, fields in before.items()
        if golang.status(fields, NOW) in {"pending", "cancellationPending"}
        and fields["recurrence"] is None
        and fields["resourceKey"] not in busy
    }
    assert busy
    assert {task.id for task in tasks} == due
    assert {answer.verdict for answer in answers} == {Verdict.APPLIED}
    assert {name for name in due if after[name]["doneAt"]} == due
    assert all(after[name]["data"] == fields["data"] for name, fields in before.items())


@asynchronous
async def test_a_lease_of_go_that_ran_out_is_expired_and_the_task_runs() -> None:
    """By the same rules as a lease of ours; a live one keeps its key."""
    project, later = new_project(), NOW + timedelta(hours=1)
    await filled(project)
    async with opened(project, clock=VirtualClock(later)) as store:
        out = (await store.find(TaskQuery(where=TaskFilter(run_out=True)))).tasks
        answers = await store.apply([Atom((expire(task, KindRules(), at=later, chance=0.0),)) for task in out])
        claimed = await store.claim(msgspec.structs.replace(a_claim("second"), suspects=True))

    assert len(out) == 3
    assert {answer.verdict for answer in answers} == {Verdict.APPLIED}
    assert len(claimed.tasks) == 1
    await check(project, later)


@asynchronous
async def test_tasks_of_go_are_cancelled_reset_and_deleted() -> None:
    """By whoever may."""
    project = new_project()
    await filled(project)
    async with opened(project, clock=VirtualClock(NOW)) as store:
        every = (await store.find(TaskQuery(limit=1000))).tasks
        live = [task for task in every if task.is_live and not task.is_cancelled]
        done = [task for task in every if not task.is_live and not task.is_generator]
        cancels = [cancel(task, has_cleanup=True) for task in live]
        resets = [reset(task, run_uid="again") for task in done]
        transitions = [one for one in [*cancels, *resets] if one is not None]
        answers = await store.apply([Atom((one,)) for one in transitions])
        await check(project, NOW + timedelta(seconds=1))
        records = await store.get([task.id for task in every])
        verdicts = await store.delete([deletion(task) for task in records.tasks.values()])

    assert {answer.verdict for answer in answers} == {Verdict.APPLIED}
    assert len(transitions) > 20
    assert set(verdicts) == {Verdict.APPLIED}
    assert await documents(project) == {}


@asynchronous
async def test_a_decision_that_go_overtook_is_refused() -> None:
    """A cancel between our claim and our settle is seen, though no number of ours tells it."""
    project = new_project()
    await put(project, "t", golang.created("t", NOW, type="kind", env="DEFAULT"))
    async with opened(project, clock=VirtualClock(NOW)) as store:
        (task,) = (await store.claim(a_claim(kinds=["kind"]))).tasks
        settle = Atom((conclude(task, Success("1"), RULES, chance=0.0),))
        await put(project, "t", golang.cancel({}, NOW))
        (refused,) = await store.apply([settle])
        await put(project, "t", golang.complete({}, NOW, "late"))
        (lost,) = await store.apply([settle])

    assert refused.verdict is Verdict.CHANGED
    assert refused.task is not None
    assert refused.task.is_cancelled
    assert lost.verdict is Verdict.LEASE_LOST


@asynchronous
async def test_a_malformed_document_blocks_nobody_and_is_reported() -> None:
    """Neither here nor at Go's workers, which would stop at it for ever; what it held is kept."""
    project = new_project()
    await put(project, "bad", golang.created("bad", NOW, env="DEFAULT") | {"attempts": "three"})
    for task_id in ("a", "z"):
        await put(project, task_id, golang.created(task_id, NOW, env="DEFAULT"))
    async with opened(project, clock=VirtualClock(NOW)) as store:
        claimed = await store.claim(a_claim(kinds=["kind"]))
        again = await store.claim(a_claim("second", kinds=["kind"]))
        found = await store.get(["bad"])

    assert {task.id for task in claimed.tasks} == {"a", "z"}
    assert set(claimed.unreadable) == {"bad"}
    assert "attempts" in claimed.unreadable["bad"]
    assert dict(again.unreadable) == {}
    assert set(found.unreadable) == {"bad"}
    fields = (await documents(project))["bad"]
    assert (fields["waitUntil"], fields["attempts"]) == ("9999-12-31T23:59:59Z", "three")


@asynchronous
async def test_a_worker_runs_what_go_created() -> None:
    """Retries and clean-ups included; every document is one that Go can read."""
    project, now = new_project(), datetime.now(UTC)
    for number in range(20):
        await put(project, f"g{number}", golang.created(f"g{number}", now, env="DEFAULT", resourceKey=f"k{number % 3}"))
    store = FirestoreStore(project=project)
    manager = TaskManager(store, poll_interval=0.05)
    runs: list[str] = []

    @manager.task_handler("kind", concurrency=5)
    async def handle(task: OnceTask[dict[str, object]]) -> dict[str, int]:
        runs.append(task.id)
        return {"n": len(runs)}

    async with manager.running():
        await until_all_have_ended(manager, seconds=30)
    await manager.close()

    assert sorted(runs) == sorted(f"g{number}" for number in range(20))
    await check(project, datetime.now(UTC))


@pytest.mark.parametrize("name", NAMES)
def test_the_documents_are_what_the_specification_says(name: str) -> None:
    """Or the checker would be wrong."""
    assert golang.faults(go_document(name)) == []
