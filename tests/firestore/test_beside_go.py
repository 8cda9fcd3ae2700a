"""A store of ours and a Go worker on the same tasks: what Go writes over ours is read rightly, by both sides."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from firestore_rules import collection_faults

from oncetask import Seams, TaskManager
from oncetask_core.claims import Claim, Slots
from oncetask_core.clock import VirtualClock
from oncetask_core.decisions import KindRules, Report, Success, cancel, conclude, expire, reset
from oncetask_core.query import TaskFilter, TaskQuery
from oncetask_core.registry import Registry
from oncetask_core.retry import FixedDelayPolicy
from oncetask_core.status import Outcome, TaskStatus
from oncetask_core.task import OnceTask
from oncetask_core.transition import Answer, Atom, Transition, Verdict
from oncetask_core.worker.events import Events
from oncetask_core.worker.upkeep import Upkeep
from oncetask_firestore import FirestoreStore, claiming, database, loops
from oncetask_firestore.keys import Key
from tests.asynchronous import asynchronous
from tests.core.records import a_failure
from tests.firestore import golang
from tests.firestore.go_calls import GoManager
from tests.firestore.go_modelled import ModelStatements
from tests.firestore.go_statements import TASKS
from tests.firestore.go_worker import GoWorker, Kind, Policy, nothing
from tests.firestore.golang import Fields
from tests.firestore.mixed import KIND, new_task
from tests.firestore.modelled import Model, ModelChannel, Put
from tests.firestore.stored import GO_DOCUMENTS, go_document

Task = OnceTask[object]

START = datetime(2030, 1, 1, 0, 0, 0, 400_000, tzinfo=UTC)
LEASE = timedelta(seconds=20)
GO_LEASE = timedelta(seconds=60)
DELAY = timedelta(seconds=10)
RULES = KindRules(retry_policy=FixedDelayPolicy(max_attempts=0, delay=DELAY), has_cleanup=True, max_crashes=0)


class Beside:
    """One task, a store of ours, and a Go process."""

    def __init__(self) -> None:
        self.clock = VirtualClock(START)
        self.model = Model(self.clock)
        self.store = FirestoreStore(project="model", clock=self.clock, shared_with_go=True)
        self.go = GoWorker(ModelStatements(self.model), self.clock)
        self.asked = GoManager(ModelStatements(self.model), self.clock)
        self.kind = Kind(KIND, nothing, policy=Policy(base=DELAY), lease=GO_LEASE)
        self._claims = 0

    async def claimed(self, *, suspects: bool = False) -> Task:
        """Claim the one task that is to be had."""
        (task,) = await self.taken(suspects=suspects)
        return task

    async def taken(self, kinds: tuple[str, ...] = (KIND,), *, suspects: bool = False) -> list[Task]:
        """Claim what is to be had."""
        self._claims += 1
        uid, slots = f"lease {self._claims}", {kind: Slots(50) for kind in kinds}
        claim = Claim(lease_uid=uid, leased_by="w", lease_for=LEASE, slots=slots, suspects=suspects)
        return list((await self.store.claim(claim)).tasks)

    async def settled(self, task: Task, report: Report) -> Answer:
        """Report the end of a run."""
        return await self.applied(conclude(task, report, RULES, chance=0.0))

    async def applied(self, transition: Transition | None) -> Answer:
        """Write a decision."""
        assert transition is not None
        (answer,) = await self.store.apply([Atom((transition,))])
        return answer

    async def expired(self) -> None:
        """Expire the leases that have run out."""
        page = await self.store.find(TaskQuery(where=TaskFilter(kinds=frozenset({KIND}), run_out=True)))
        for task in page.tasks:
            await self.applied(expire(task, RULES, at=self.clock.now(), chance=0.0))

    async def renewed(self, task: Task) -> bool:
        """Return whether a lease of ours could be extended."""
        return bool((await self.store.renew({task.lease_uid or "": LEASE})).held)

    async def read(self, task_id: str = "t") -> Task:
        """Return the record, once both sides derive the same status and no rule is broken."""
        self.clock.advance(1)  # past the rounding
        fields = self.fields(task_id)
        task = (await self.store.get([task_id])).tasks[task_id]
        assert collection_faults({task_id: fields}) == []
        assert task.status(self.clock.now()) == golang.status(fields, self.clock.now())
        listed = await self.store.find(
            TaskQuery(where=TaskFilter(statuses=frozenset({TaskStatus(task.status(self.clock.now()))})))
        )
        assert task in listed.tasks
        return task

    def fields(self, task_id: str = "t") -> Fields:
        """Return the document."""
        return self.model.documents[TASKS, task_id].fields


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Beside:
    """One task of ours, and both sides on the model of Firestore."""
    made = Beside()
    monkeypatch.setattr(loops, "new_client", lambda _options: None)
    monkeypatch.setattr(loops, "name_of", lambda _client: "a model of Firestore")
    monkeypatch.setattr(database, "Channel", lambda *_: ModelChannel(made.model))
    return made


@asynchronous
async def test_a_reset_by_go_is_a_new_run_that_we_take(beside: Beside) -> None:
    """Whoever held the run before changes nothing any more."""
    await beside.store.insert([new_task("t", "k")])
    first = await beside.claimed()
    await beside.settled(first, Success("1"))
    assert await beside.asked.reset(["t"]) == 1
    again = await beside.read()
    late = await beside.settled(first, Success("2"))
    second = await beside.claimed()
    await beside.settled(second, Success("3"))
    done = await beside.read()

    assert (again.run_uid == first.run_uid, again.claims, again.result) == (False, 0, None)
    assert late.verdict is Verdict.LEASE_LOST
    assert (done.run_uid, done.outcome, done.result) == (again.run_uid, Outcome.COMPLETED, "3")


@asynchronous
async def test_a_reset_and_completion_by_go_within_one_second_is_read_as_its_own(beside: Beside) -> None:
    """Although every stamp of ours fits the document again."""
    await beside.store.insert([new_task("t", "k")])
    first = await beside.claimed()
    await beside.settled(first, Success("1"))
    stamp = beside.fields()["oncetask"]["stamp"]
    await beside.asked.reset(["t"])
    assert await beside.go.turn(beside.kind)
    fields = beside.fields()
    task = await beside.read()

    assert [fields["doneAt"], fields["leasedUntil"], fields["attempts"]] == stamp
    assert (task.run_uid == first.run_uid, task.outcome, task.result) == (False, Outcome.COMPLETED, None)


@asynchronous
async def test_a_zombies_completion_ends_our_run(beside: Beside) -> None:
    """We notice at the next renewal or settle, and its result stays."""
    await beside.asked.create("t", KIND, key="k")
    (zombie,) = await beside.go.claim(beside.kind)
    beside.clock.advance(GO_LEASE)
    await beside.expired()
    ours = await beside.claimed(suspects=True)
    await beside.go.settle(beside.kind, [zombie], result={"late": True})
    task = await beside.read()

    assert not await beside.renewed(ours)
    assert (await beside.settled(ours, Success("1"))).verdict is Verdict.LEASE_LOST
    assert (task.outcome, task.result, task.lease_uid) == (Outcome.COMPLETED, '{"late":true}', None)


@asynchronous
async def test_a_zombies_retry_over_our_end_is_read_as_go_reads_it(beside: Beside) -> None:
    """It takes nothing back: the task stays done, whatever both sides derive."""
    await beside.asked.create("t", KIND, key="k")
    (zombie,) = await beside.go.claim(beside.kind)
    beside.clock.advance(GO_LEASE)
    await beside.expired()
    ours = await beside.claimed(suspects=True)
    await beside.settled(ours, Success("1"))
    await beside.go.settle(beside.kind, [zombie], error="late")
    task = await beside.read()

    assert (task.outcome, task.result, task.failures) == (Outcome.COMPLETED, "1", 1)
    assert await beside.taken() == []
    assert not await beside.go.turn(beside.kind)


@asynchronous
async def test_a_cancel_by_go_ends_our_back_off(beside: Beside) -> None:
    """The clean-up is due at once, although our exact time lies ahead."""
    await beside.store.insert([new_task("t", "k")])
    await beside.settled(await beside.claimed(), a_failure("boom"))
    waiting = await beside.read()
    assert await beside.asked.cancel(["t"]) == 1
    pending = await beside.read()
    cleanup = await beside.claimed()
    await beside.settled(cleanup, Success())
    done = await beside.read()

    assert waiting.status(beside.clock.now()) is TaskStatus.WAITING
    assert pending.status(beside.clock.now()) is TaskStatus.CANCELLATION_PENDING
    assert cleanup.in_cleanup
    assert done.outcome is Outcome.CANCELLED


@asynchronous
async def test_a_cancel_by_go_of_what_we_run_is_told_to_the_holder(beside: Beside) -> None:
    """The lease goes on; a settle that was decided without it is decided again, and the clean-up follows."""
    await beside.store.insert([new_task("t", "k")])
    ours = await beside.claimed()
    await beside.asked.cancel(["t"])
    held = (await beside.store.renew({ours.lease_uid or "": LEASE})).held
    refused = await beside.settled(ours, Success("1"))
    assert refused.task is not None
    accepted = await beside.settled(refused.task, Success("1"))
    cleanup = await beside.claimed()
    await beside.settled(cleanup, Success())
    done = await beside.read()

    assert [one.cancel_requested for one in held] == [True]
    assert (refused.verdict, accepted.verdict) == (Verdict.CHANGED, Verdict.APPLIED)
    assert (cleanup.in_cleanup, done.outcome, done.result) == (True, Outcome.CANCELLED, "1")


@asynchronous
async def test_a_claim_by_go_after_our_expiry_voids_our_lease(beside: Beside) -> None:
    """We neither renew nor settle; what Go makes of it is what we read."""
    await beside.store.insert([new_task("t", "k")])
    ours = await beside.claimed()
    beside.clock.advance(LEASE)
    (theirs,) = await beside.go.claim(beside.kind)
    task = await beside.read()
    renewed, settled = await beside.renewed(ours), await beside.settled(ours, Success("1"))
    await beside.go.settle(beside.kind, [theirs], result="theirs")
    done = await beside.read()

    assert (task.status(beside.clock.now()), task.leased_by) == (TaskStatus.LEASED, "a Go worker")
    assert (renewed, settled.verdict) == (False, Verdict.LEASE_LOST)
    assert (done.outcome, done.result) == (Outcome.COMPLETED, '"theirs"')


@asynchronous
async def test_a_cancel_that_go_decided_before_our_end_is_read_as_go_reads_it(beside: Beside) -> None:
    """It reads first and writes blindly; the result stays."""
    await beside.store.insert([new_task("t", "k")])
    await beside.settled(await beside.claimed(), Success("1"))
    beside.model.commit([Put((TASKS, "t"), golang.cancel({}, beside.clock.now()))])
    task = await beside.read()

    assert (task.outcome, task.is_cancelled, task.result) == (Outcome.CANCELLED, True, "1")


@asynchronous
async def test_a_deletion_by_go_under_our_lease_is_noticed(beside: Beside) -> None:
    """And a task of the same id that comes after it is another one."""
    await beside.store.insert([new_task("t", "k")])
    ours = await beside.claimed()
    await beside.asked.delete(["t"])
    missing = await beside.settled(ours, Success("1"))
    await beside.asked.create("t", KIND, key="k")
    lost = await beside.settled(ours, Success("1"))
    second = await beside.claimed()

    assert (missing.verdict, lost.verdict) == (Verdict.MISSING, Verdict.LEASE_LOST)
    assert second.epoch > ours.epoch


@pytest.mark.parametrize("by_key", [False, True])
@asynchronous
async def test_go_sees_our_lease_on_a_key(beside: Beside, *, by_key: bool) -> None:
    """Also within the second in which the task became due; both of its ways to claim look for leases."""
    await beside.store.insert([new_task("t", "k")])
    ours = await beside.claimed()
    await beside.asked.create("u", KIND, key="k")
    kind = Kind(KIND, nothing, by_key=by_key, lease=GO_LEASE)
    before = await beside.go.claim(kind)
    await beside.settled(ours, Success("1"))
    after = await beside.go.claim(kind)

    assert before == []
    assert [task["id"] for task in after] == ["u"]


@pytest.mark.parametrize("by_key", [False, True])
@asynchronous
async def test_we_see_the_lease_of_go_on_a_key(beside: Beside, *, by_key: bool) -> None:
    """Until it has run out and is expired; then the key goes on."""
    for task_id in "tuv":
        await beside.asked.create(task_id, KIND, key="k")
    theirs = await beside.go.claim(Kind(KIND, nothing, by_key=by_key, lease=GO_LEASE))
    early = await beside.taken()
    beside.clock.advance(GO_LEASE)
    await beside.expired()
    late = await beside.taken() or await beside.taken(suspects=True)

    assert [task["id"] for task in theirs] == (["t", "u", "v"] if by_key else ["t"])
    assert early == []
    assert len(late) == 1


THREE_DAYS: Fields = {"rrule": "FREQ=DAILY;COUNT=3", "dtstart": "2030-01-01T09:00:00Z", "exdates": None}


async def drained(beside: Beside) -> None:
    """Let a worker of ours tick and run whatever is due."""
    manager = TaskManager(beside.store, seams=Seams(clock=beside.clock))
    manager.register_task_handler(KIND, _handled)
    await manager.drain()


async def _handled(_: OnceTask[dict[str, object]]) -> None: ...


@asynchronous
async def test_a_generator_that_go_ticked_ends_when_its_rule_does(beside: Beside) -> None:
    """Go counts no slots in the document, so we count those that are behind."""
    await beside.asked.create("t", KIND, rule=THREE_DAYS)
    for _ in range(2):
        beside.clock.advance(timedelta(days=1))
        while await beside.go.turn(beside.kind):
            pass
    before = await beside.read()
    for _ in range(3):
        beside.clock.advance(timedelta(days=1))
        await drained(beside)
    done = await beside.read()

    assert (before.slots_used, before.wait_until) == (2, datetime(2030, 1, 3, 9, tzinfo=UTC))
    assert done.outcome is Outcome.COMPLETED
    occurrences = [f"t_occ_2030-01-0{day}T09:00:00Z" for day in (1, 2, 3)]
    assert sorted(name for where, name in beside.model.documents if where == TASKS) == ["t", *occurrences]


@asynchronous
async def test_a_generator_that_go_cancelled_ends_at_our_next_tick(beside: Beside) -> None:
    """Without another occurrence."""
    await beside.asked.create("t", KIND, rule=THREE_DAYS | {"rrule": "FREQ=DAILY"})
    await beside.asked.cancel(["t"])
    beside.clock.advance(timedelta(days=1))
    await drained(beside)
    task = await beside.read()

    assert task.outcome is Outcome.CANCELLED
    assert [name for where, name in beside.model.documents if where == TASKS] == ["t"]


@pytest.mark.parametrize("deed", ["", "cancel"])
@asynchronous
async def test_a_generator_that_go_vanished_with_goes_on(beside: Beside, deed: str) -> None:
    """Its lease is expired before the tick: nothing is done and leased."""
    await beside.asked.create("t", KIND, rule=THREE_DAYS | {"rrule": "FREQ=DAILY;COUNT=1"})
    beside.clock.advance(timedelta(days=1))
    assert await beside.go.claim(beside.kind)
    await beside.asked.cancel(["t"] if deed else [])
    beside.clock.advance(GO_LEASE)
    await drained(beside)
    task = await beside.read()

    assert task.outcome is (Outcome.CANCELLED if deed else Outcome.COMPLETED)
    assert ("t_occ_2030-01-01T09:00:00Z" in {name for _, name in beside.model.documents}) is not bool(deed)


@asynchronous
async def test_a_generator_is_not_ticked_under_a_lease_of_go(beside: Beside) -> None:
    """Also one that ran out after the worker had looked for those: it is expired the next time."""
    await beside.asked.create("t", KIND, rule=THREE_DAYS)
    beside.clock.advance(timedelta(days=1))
    assert await beside.go.claim(beside.kind)
    beside.clock.advance(GO_LEASE)
    upkeep = Upkeep(beside.store, Registry(), seams=Seams(clock=beside.clock), events=Events(()), now=beside.clock.now)
    moved = await upkeep.tick(frozenset({KIND}))

    assert moved == 0
    assert (await beside.read()).slots_used == 0


@asynchronous
async def test_a_generator_that_go_reset_resumes(beside: Beside) -> None:
    """With the first slot from then on, and not with one of the year 1."""
    await beside.asked.create("t", KIND, rule=THREE_DAYS | {"rrule": "FREQ=DAILY"})
    await beside.applied(cancel(await beside.read(), has_cleanup=False))
    beside.clock.advance(timedelta(days=4))
    await beside.asked.reset(["t"])
    pending = await beside.read()
    await drained(beside)
    task = await beside.read()

    assert pending.status(beside.clock.now()) is TaskStatus.PENDING
    assert (task.wait_until, task.outcome) == (datetime(2030, 1, 5, 9, tzinfo=UTC), None)
    assert [name for where, name in beside.model.documents if where == TASKS] == ["t"]


@asynchronous
async def test_a_rule_of_go_that_we_cannot_evaluate_leaves_the_generator_readable(beside: Beside) -> None:
    """Its next tick ends it, with the reason."""
    await beside.asked.create("t", KIND, rule=THREE_DAYS)
    beside.model.commit([Put((TASKS, "t"), {"recurrence": THREE_DAYS | {"rrule": "FREQ=COUNT"}})])
    beside.clock.advance(timedelta(days=1))
    await drained(beside)
    task = await beside.read()

    assert task.outcome is Outcome.FAILED
    assert "'COUNT'" in task.errors[-1].error


@asynchronous
async def test_what_we_give_back_is_given_back_although_go_changes_it(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancel between our look and our release: nobody holds the task, nothing is charged, its clean-up is due."""

    async def go_cancels(_database: object, _place: object, keys: Iterable[Key]) -> frozenset[Key]:
        await beside.asked.cancel(["t"])
        return frozenset(keys)

    await beside.store.insert([new_task("t", "k")])
    with monkeypatch.context() as patched:
        patched.setattr(claiming, "leased_beside", go_cancels)
        claimed = await beside.taken()
    task = await beside.read()
    cleanup = await beside.claimed()

    assert claimed == []
    assert (task.lease_uid, task.claims, task.attempts) == (None, 1, 0)
    assert (task.is_cancelled, cleanup.in_cleanup) == (True, True)


def all_documents(beside: Beside) -> dict[str, Fields]:
    """Put every document of the Go library into the model; return them by name."""
    names = sorted(path.stem for path in GO_DOCUMENTS.glob("*.json"))
    stored = {name: go_document(name) | {"id": name} for name in names}
    beside.model.commit([Put((TASKS, name), fields) for name, fields in stored.items()])
    return stored


@asynchronous
async def test_whatever_go_left_is_retried_fails_and_is_reset_by_us(beside: Beside) -> None:
    """Every task that is due; then Go takes over again."""
    stored = all_documents(beside)
    kinds = tuple(sorted({fields["type"] for fields in stored.values()}))
    beside.clock.advance(1)
    first = await beside.taken(kinds)
    for task in first:
        assert (await beside.settled(task, a_failure("ours"))).verdict is Verdict.APPLIED
    retried = {task.id: await beside.read(task.id) for task in first}
    beside.clock.advance(DELAY)
    second = [task for task in await beside.taken(kinds) if task.id in retried]
    for task in second:
        assert (await beside.settled(task, a_failure("ours", final=True))).verdict is Verdict.APPLIED
    ended = {task.id: await beside.read(task.id) for task in second}
    for task in ended.values():
        assert (await beside.applied(reset(task, run_uid="again"))).verdict is Verdict.APPLIED
    again = {task.id: await beside.read(task.id) for task in second}

    assert len(second) >= 5
    assert {task.outcome for task in retried.values()} == {None}
    assert {task.outcome for task in ended.values()} == {Outcome.FAILED, Outcome.CANCELLED}
    assert {task.status(beside.clock.now()) for task in again.values()} == {TaskStatus.PENDING}
    assert all(beside.fields(task_id)["data"] == stored[task_id]["data"] for task_id in again)


@asynchronous
async def test_whatever_go_left_alive_is_cancelled_by_us_and_cleaned_up_by_go(beside: Beside) -> None:
    """Every live task that has a handler of its kind."""
    stored = all_documents(beside)
    live = [name for name, fields in stored.items() if not fields["doneAt"] and fields["recurrence"] is None]
    for name in live:
        task = await beside.read(name)
        if not task.is_cancelled:
            assert (await beside.applied(cancel(task, has_cleanup=True))).verdict is Verdict.APPLIED
    pending = {name: await beside.read(name) for name in live}
    beside.clock.advance(3600)
    for kind in sorted({stored[name]["type"] for name in live}):
        while await beside.go.turn(Kind(kind, nothing)):
            pass
    done = {name: await beside.read(name) for name in live}

    assert len(live) >= 8
    assert {task.status(beside.clock.now()) for task in pending.values()} == {TaskStatus.CANCELLATION_PENDING}
    assert {task.outcome for task in done.values()} == {Outcome.CANCELLED}
